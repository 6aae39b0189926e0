"""A soak: many workflows at once, for minutes, of which none may fail, get lost or stay open.

    python -m benchmarks.soak [--minutes 5] [--workflows 500]

Four workers run workflows of 20 tasks, each of which counts steps. Whenever one has ended another
is submitted. Each minute: how many tasks have ended, how long they took, what memory the workers'
processes use, how many connections the database has. In the end what is left is canceled, and each
tree is proved. Exits with 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

import django

django.setup()

from django.db import connection  # noqa: E402
from django.db.models import F  # noqa: E402
from django.utils.timezone import now  # noqa: E402

import benchmarks.app  # noqa: E402, F401
from benchmarks import tasks  # noqa: E402
from benchmarks.processes import Worker  # noqa: E402
from benchmarks.sides import ours  # noqa: E402
from user_workflows.canvas import chain, chord, workflow  # noqa: E402
from user_workflows.models import UserTaskStatus  # noqa: E402
from user_workflows.tree import integrity  # noqa: E402

objects = UserTaskStatus.objects
WORKERS = 4
CANCELED = ("TaskCanceledException", "TaskRevokedError")


def submit(user: Any) -> None:
    """Submit a workflow of 20 tasks: one, then a chord of 18 and its body."""
    step = tasks.work.si(user.pk, 3)
    workflow(chain(step, chord([step] * 18, step)), user=user, name="soak").delay()


def memory(pids: list[int]) -> float:
    """Return the memory of these processes and of their children, in MB."""
    found = 0.0
    for pid in pids:
        family = [pid]
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            family += [int(child) for child in task.read_text().split()]
        for member in family:
            fields = Path(f"/proc/{member}/statm").read_text().split()
            found += int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return found


def connections() -> int:
    """Return the number of connections to this database other than our own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def minute(pids: list[int]) -> tuple[int, float]:
    """Print the last minute; return the tasks that ended in it, and the median of their seconds."""
    leaves = objects.filter(node_type="task", settled_at__gte=now() - timedelta(minutes=1))
    ended = [
        (end - start).total_seconds()
        for start, end in leaves.filter(started_at__isnull=False).values_list(
            "started_at", "settled_at"
        )
    ]
    took = statistics.median(ended) if ended else 0.0
    print(
        f"{len(ended):6,d} tasks ended, {took * 1000:6.0f} ms each, workers "
        f"{memory(pids):5.0f} MB, {connections():3d} connections",
        flush=True,
    )
    return len(ended), took


def faults() -> list[str]:
    """Return the faults of all stored workflows."""
    found = [f"{node} is open" for node in objects.filter(settled_at__isnull=True)[:20]]
    done = objects.filter(phase="SUCCEEDED").exclude(completed_steps=F("total_steps"))
    found += [f"{node}: {node.completed_steps} of {node.total_steps} steps" for node in done[:20]]
    failed = objects.filter(phase__in=("FAILED", "PARTIAL"))
    found += [f"{node} has failed" for node in failed[:20]]
    unsent = objects.roots().filter(finished_sent_at__isnull=True)
    found += [f"{node}: its signal was not sent" for node in unsent[:20]]
    for root in objects.roots():
        tree = root.tree()
        if (tree.completed_steps, tree.total_steps) != (root.completed_steps, root.total_steps):
            found.append(f"{root}: its sums are {root.completed_steps} of {root.total_steps}")
        found += integrity.find_faults(root.pk)
    return found


def run(minutes: float, workflows: int, log: Path) -> list[str]:
    """Run the soak; return everything that failed."""
    user = ours.owner(ours.prepare())
    ours.clear()
    for _ in range(workflows):
        submit(user)
    print(f"{workflows} workflows submitted", flush=True)
    with log.open("w") as output:
        workers = [Worker("ours", keep=10_000, output=output) for _ in range(WORKERS)]
        pids = [worker.pid for worker in workers]
        until, next_look = time.monotonic() + minutes * 60, time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(2)
            for _ in range(workflows - objects.roots().active().count()):
                submit(user)
            if time.monotonic() >= next_look:
                next_look += 60
                minute(pids)
        for root in objects.roots().active():
            root.cancel()
        patience = time.monotonic() + 120
        while objects.active().exists() and time.monotonic() < patience:
            time.sleep(1)
        for worker in workers:
            worker.close()
    found = faults()
    lines = log.read_text().splitlines()
    # What Celery says of tasks that were canceled is no error of anybody.
    lines = [line for line in lines if not any(word in line for word in CANCELED)]
    found += [line for line in lines if "ERROR" in line or "deadlock" in line][:20]
    if connections():
        found.append(f"{connections()} connections are still open")
    print(f"{objects.filter(phase='SUCCEEDED', node_type='task').count():,} tasks have succeeded")
    return found


def main() -> None:
    """Run the soak and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--workflows", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = run(options.minutes, options.workflows, Path(directory, "workers.log"))
    print("\n".join(found) or "Nothing was lost, left open or counted wrong.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
