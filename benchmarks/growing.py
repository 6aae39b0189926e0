"""How many tasks a second eight processes insert into one tree, while others read it.

    TEST_DATABASE_URL=postgres://... python benchmarks/growing.py [--seconds 5]

Each process stands for a worker whose running task sends one task after the other. Beside it, in
the same run: the same rows inserted without a tree (Django's ``bulk_create`` of one row, a
transaction each), which is what the machine can do at best. Prints medians and ratios, and proves
the bounds of the tree afterwards. Makes and drops a database of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from tests.integration.crew import Crew, Member

# Django is imported where it is used: in each process only after its database is known.


def grow(me: Member, leaves: list[int], seconds: float) -> tuple[int, float]:
    """Sends tasks from its share of the leaves; how many, and in how many seconds."""
    from tests.integration.planned import leaf
    from user_workflows.models import UserTaskStatus
    from user_workflows.queues.celery import spawning

    mine = list(UserTaskStatus.objects.filter(pk__in=leaves[me.rank :: me.size]))
    me.together()
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        spawning.attach_subtree(mine[done % len(mine)], leaf("sent"))
        done += 1
    return done, time.perf_counter() - begin


def insert(me: Member, leaves: list[int], seconds: float) -> tuple[int, float]:
    """Inserts rows that are in no tree of anybody's."""
    from django.db import transaction

    from user_workflows.models import UserTaskStatus

    user_id = UserTaskStatus.objects.values_list("user_id", flat=True).get(pk=leaves[0])
    me.together()
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        row = UserTaskStatus(
            user_id=user_id, task_id=str(uuid4()), name="sent", total_steps=1,
            tree_id=0, lft=1, rght=2, level=0,
        )  # fmt: skip
        with transaction.atomic():
            UserTaskStatus.objects.bulk_create([row])
        done += 1
    return done, time.perf_counter() - begin


def rate(results: list[object]) -> float:
    """All processes' inserts a second."""
    return sum(done / spent for done, spent in (r.value for r in results))  # type: ignore[attr-defined]


def main() -> None:
    """Runs both sides in turns, on trees of 200 and of 10,000 nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import django

    django.setup()
    from django.db import connection

    from tests.integration.planned import group_of, stored
    from user_workflows.models import UserTaskStatus
    from user_workflows.tree import integrity

    name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    crew = Crew(8, f"{os.environ['TEST_DATABASE_URL'].rsplit('/', 1)[0]}/{name}")
    try:
        for size in (200, 10_000):
            ours, plain = [], []
            for _ in range(options.rounds):
                root = stored(group_of(size - 1))
                leaves = list(
                    UserTaskStatus.objects.filter(parent=root).values_list("pk", flat=True)
                )
                ours.append(rate(crew.run(grow, leaves, options.seconds)))
                if faults := integrity.find_faults(root.pk):
                    raise SystemExit("\n".join(faults))
                plain.append(rate(crew.run(insert, leaves, options.seconds)))
            grown, rows = statistics.median(ours), statistics.median(plain)
            print(
                f"tree of {size:6,d}: {grown:6,.0f} inserts/s, rows alone {rows:6,.0f}/s, "
                f"ratio {rows / grown:.2f}"
            )
    finally:
        crew.dismiss()
        connection.close()
        connection.creation.destroy_test_db(name, verbosity=0)


if __name__ == "__main__":
    main()
