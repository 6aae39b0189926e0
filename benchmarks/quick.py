"""A first look at what the hot paths cost; prints, asserts nothing.

    TEST_DATABASE_URL=postgres://postgres@127.0.0.1:5432/bench python benchmarks/quick.py

Makes and drops a test database of its own beside the one that is named.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "example_project"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")


@contextmanager
def timed(what: str, count: int = 1, unit: str = "") -> Iterator[None]:
    """Prints how long the block took, and how many of ``count`` a second that makes."""
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    rate = f"{count / seconds:10,.0f} {unit}/s" if unit else ""
    print(f"{what:45} {seconds * 1000:10,.1f} ms {rate}", flush=True)


def main() -> None:
    """Runs everything once, in a database of its own."""
    import django

    django.setup()
    from django.db import connection

    name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        measure_trees()
        if connection.vendor != "sqlite":
            measure_completion(f"{os.environ['TEST_DATABASE_URL'].rsplit('/', 1)[0]}/{name}")
    finally:
        connection.close()
        connection.creation.destroy_test_db(name, verbosity=0)


def measure_trees() -> None:
    """Storing, reading and canceling wide trees in one process."""
    from tests.helpers import a_user
    from tests.integration.planned import group_of
    from user_workflows import capture

    user = a_user()
    for count in (1_000, 10_000):
        plan = group_of(count)
        with timed(f"store {count:,} leaves", count, "leaves"):
            root = capture.store(plan, user_id=user.pk)
        for _ in range(2):
            with timed(f"read {count:,} leaves", count, "leaves"):
                root.tree()
        with timed(f"cancel {count:,} pending leaves", count, "leaves"):
            root.cancel()


def measure_completion(url: str) -> None:
    """Eight processes end the leaves of one tree of 1,000."""
    from tests.integration import jobs
    from tests.integration.crew import Crew
    from tests.integration.planned import group_of, stored
    from user_workflows.models import UserTaskStatus

    crew = Crew(8, url)
    try:
        for number in range(4):  # The first warms up.
            root = stored(group_of(1_000))
            leaves = UserTaskStatus.objects.filter(parent=root).order_by("lft")
            results = crew.run(jobs.settle_share, list(leaves.values_list("pk", flat=True)))
            seconds = max(r.value[1] for r in results) - min(r.value[0] for r in results)
            root.refresh_from_db()
            if number:
                print(f"end 1,000 leaves, 8 processes, a listener {1000 / seconds:28,.0f} leaves/s")
    finally:
        crew.dismiss()


if __name__ == "__main__":
    main()
