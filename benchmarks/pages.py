"""Measure the status page of a workflow in a real browser, at 5, 500 and 10,000 tasks.

    python -m benchmarks.pages [--minutes 10]

For each size: the time to the first paint and the bytes of the page; then, while one task a second
makes a step, the time and the bytes of each poll, and of polls when nothing has changed. At the
end the largest page is left open for ``--minutes`` while it polls, and its memory is read: heap
after a garbage collection, and nodes of the document. Prints medians and the worst. Needs the
dependency group ``browser`` and Chromium. Makes and drops a test database beside the one in
``BENCH_DATABASE_URL``.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.pages_settings")
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

#: Arguments of Chromium: without its sandbox, and quiet on the network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
]
#: Playwright's page, which is imported only where it is used.
Page = Any

TIMES = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    return [paint.startTime, page.responseEnd - page.requestStart, page.encodedBodySize];
}"""
POLLS = """() => performance.getEntriesByType("resource")
    .filter((entry) => entry.name.includes("/changes/"))
    .map((entry) => [entry.responseEnd - entry.requestStart, entry.encodedBodySize])"""


def large(count: int, user: Any) -> Any:
    """Store a mailing of ``count`` tasks: nearly half are done, some have failed, one runs."""
    from django.utils.timezone import now

    from user_workflows.lifecycle import steps
    from user_workflows.models import UserTaskStatus
    from user_workflows.phases import Phase
    from user_workflows.testing import container, find_node, leaf, store_tree

    mails = container("group", *(leaf(f"Mail {i}") for i in range(count)), name="Mail all")
    plan = container("chain", leaf("Prepare"), mails, leaf("Report"), name="Newsletter")
    root = store_tree(plan, user=user, action="mail", subject="SKY101")
    find_node(root, "Prepare").succeed()
    rows = UserTaskStatus.objects.filter(parent=find_node(root, "Mail all")).order_by("lft")
    ended = list(rows.values_list("pk", flat=True))[: count * 46 // 100]
    at = now() - timedelta(seconds=300)
    for start in range(0, len(ended), 500):
        UserTaskStatus.objects.filter(pk__in=ended[start : start + 500]).update(
            phase=Phase.SUCCEEDED, state=Phase.SUCCEEDED.state, completed_steps=1,
            started_at=at, settled_at=now(),
        )  # fmt: skip
    failed = UserTaskStatus.objects.filter(pk__in=ended[7::900])
    failed.update(
        phase=Phase.FAILED, state=Phase.FAILED.state, completed_steps=0, allow_failure=True
    )
    for task in failed:
        task.add_artifact("Error", text="550 mailbox unavailable")
    rows[count - 1].start()
    steps.roll_up(root.tree_id, every=timedelta(0))
    return UserTaskStatus.objects.get(pk=root.pk)


def versions(html: str, what: str) -> str:
    """Return the ``rows`` or ``parts`` of a page with their versions, as its script sends them."""
    found = re.findall(rf'data-uw-{what}="(\w+)" data-uw-v="(\w+)"', html)
    return ",".join(f"{name}.{version}" for name, version in found)


def report(label: str, values: list[float], unit: str) -> None:
    """Print the median and the worst value on one line."""
    if values:
        worst = max(values)
        print(f"  {label:<34} {statistics.median(values):9.1f} {unit}   worst {worst:9.1f} {unit}")


def open_pages(page: Page, url: str, rounds: int) -> None:
    """Load a page several times; print its times and sizes."""
    found = []
    for _ in range(rounds):
        page.goto(url)
        while not page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
            page.wait_for_timeout(50)
        found.append(page.evaluate(TIMES))
    report("first paint", [each[0] for each in found], "ms")
    report("of this, until the page was there", [each[1] for each in found], "ms")
    report("page", [each[2] / 1000 for each in found], "kB")
    print(f"  {'rows':<34} {page.locator('[data-uw-row]').count():9}")


def polls(page: Page, seconds: int, change: Callable[[], None] | None = None) -> None:
    """Watch the polls of an open page; with ``change`` there is something new each second."""
    page.evaluate("performance.clearResourceTimings()")
    for _ in range(seconds):
        if change:
            change()
        page.wait_for_timeout(1000)
    found = page.evaluate(POLLS)
    what = "poll, one task changed" if change else "poll, nothing changed"
    report(what, [each[0] for each in found], "ms")
    report("", [each[1] / 1000 for each in found], "kB")


def alone(client: Any, root: Any, change: Callable[[], None]) -> None:
    """Print the server's processor time of a page and of a poll, without a browser."""
    from django.urls import reverse

    detail, changes = (
        reverse(f"user_workflows:{name}", args=[root.uuid]) for name in ("detail", "changes")
    )
    html = client.get(detail).content.decode()
    known = {"rows": versions(html, "row"), "parts": versions(html, "part")}
    times: dict[str, list[float]] = {"page": [], "poll": []}
    for _ in range(15):
        change()
        for name, url, query in (("page", detail, {}), ("poll", changes, known)):
            begin = time.thread_time()
            client.get(url, query)
            times[name].append(1000 * (time.thread_time() - begin))
    report("processor time of a page", times["page"], "ms")
    report("processor time of a poll", times["poll"], "ms")


def memory(page: Page, minutes: float, change: Callable[[], None]) -> None:
    """Leave a page open while it polls; print its memory before and after."""
    session = page.context.new_cdp_session(page)

    def now(label: str) -> None:
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"] / 1_000_000
        nodes = session.send("Memory.getDOMCounters")["nodes"]
        print(f"  memory {label:<27} {heap:9.2f} MB   {nodes} nodes")

    now("at first")
    begin = time.monotonic()
    while time.monotonic() - begin < minutes * 60:
        change()
        page.wait_for_timeout(1000)
    now(f"after {minutes:g} minutes")


def main() -> None:
    """Serve the pages from a thread to Chromium, and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seconds", type=int, default=20, help="how long polls are watched")
    parser.add_argument("--rounds", type=int, default=5, help="how often each page is opened")
    options = parser.parse_args()

    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.db import connection
    from django.db.models import F
    from django.test import Client
    from django.test.testcases import LiveServerThread
    from django.test.utils import setup_test_environment
    from django.utils.timezone import now
    from playwright.sync_api import sync_playwright

    from user_workflows.models import UserTaskStatus
    from user_workflows.phases import Phase

    setup_test_environment()
    connection.creation.create_test_db(verbosity=0)
    server = LiveServerThread("127.0.0.1", StaticFilesHandler, connections_override={})
    server.daemon = True
    server.start()
    server.is_ready.wait()
    try:
        client = Client()
        user = get_user_model().objects.create_user("bench")
        client.force_login(user)
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium"),
                args=ARGUMENTS,
            )
            context = chromium.new_context(viewport={"width": 1280, "height": 900})
            base = f"http://127.0.0.1:{server.port}"
            cookie = client.cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": base}])
            for size in (5, 500, 10_000):
                root = large(size, user)
                page = context.new_page()
                print(f"{size:,} tasks on {connection.vendor}")
                open_pages(page, base + root.get_absolute_url(), options.rounds)
                running = UserTaskStatus.objects.filter(
                    tree_id=root.tree_id, node_type="task"
                ).order_by("lft")
                task = running[1]
                UserTaskStatus.objects.filter(pk=task.pk).update(
                    phase=Phase.RUNNING, state=Phase.RUNNING.state, total_steps=10**6,
                    settled_at=None, last_seen_at=now(),
                )  # fmt: skip

                def change(pk: int = task.pk) -> None:
                    UserTaskStatus.objects.filter(pk=pk).update(
                        completed_steps=F("completed_steps") + 1, modified=now()
                    )

                alone(client, root, change)
                polls(page, options.seconds, change)
                page.wait_for_timeout(3000)
                polls(page, options.seconds)
                if size == 10_000 and options.minutes:
                    memory(page, options.minutes, change)
                page.close()
            chromium.close()
    finally:
        server.terminate()
        if connection.vendor == "postgresql":  # Threads that have answered keep theirs open.
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


if __name__ == "__main__":
    main()
