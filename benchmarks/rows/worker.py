"""The cost that tracking adds to a task in a worker, and that of progress."""

from __future__ import annotations

from typing import Any

from ..bench import OURS, PLAIN, SIDES, USER_TASKS, Bench, Row
from ..measure import median
from ..processes import Worker

#: Worker settings: Celery's own, and with connections that are kept.
REGIMES = ((None, "connections closed by Celery"), (100_000, "connections kept"))


def run(bench: Bench) -> None:
    """Measure with one worker of one process for each side, of which one works at a time."""
    for keep, regime in REGIMES:
        workers = [Worker(name, keep=keep) for name in SIDES]
        try:
            _overhead(bench, regime)
            if keep is None:
                _progress(bench)
        finally:
            for worker in workers:
                worker.close()


def _overhead(bench: Bench, regime: str) -> None:
    count, user_id = bench.size(300, 50), bench.user_id
    bench.in_turns(lambda side: side.call("drain", 20, user_id), rounds=1)
    found = bench.in_turns(lambda side: side.call("drain", count, user_id))
    each = {
        name: median([used["seconds"] for used in given]) / count * 1000
        for name, given in found.items()
    }
    # What a round adds to the round of Celery that it was measured beside.
    added = {
        name: median(
            [
                (mine["seconds"] - plain["seconds"]) / count * 1000
                for mine, plain in zip(found[name], found[PLAIN], strict=True)
            ]
        )
        for name in (OURS, USER_TASKS)
    }
    bench.add(
        Row(f"a task of no length, {regime}", "ms", each[OURS], each[USER_TASKS], each[PLAIN])
    )
    bench.add(
        Row(
            f"added to it by tracking, {regime}", "ms", added[OURS], added[USER_TASKS], None,
            "<= 2.5 ms", added[OURS] <= 2.5,
        )
    )  # fmt: skip
    busy = {name: median([u["cpu"] for u in given]) / count * 1000 for name, given in found.items()}
    bench.add(
        Row(
            f"processor time of the task, {regime}", "ms",
            busy[OURS], busy[USER_TASKS], busy[PLAIN],
        )
    )  # fmt: skip
    queries = {name: median([u["queries"] for u in given]) / count for name, given in found.items()}
    bench.add(
        Row(
            f"queries of a task, {regime}", "queries", queries[OURS], queries[USER_TASKS],
            queries[PLAIN], "<= 4", queries[OURS] <= 4.1,
        )
    )  # fmt: skip
    memory = {name: max(u["rss"] for u in given) for name, given in found.items()}
    bench.add(
        Row(
            f"peak memory of a worker's process, {regime}", "MB",
            memory[OURS], memory[USER_TASKS], memory[PLAIN],
        )
    )  # fmt: skip
    found = bench.in_turns(lambda side: side.call("drain", bench.size(20), user_id, 0.1))
    long = {
        name: median([u["seconds"] for u in given]) / bench.size(20) * 1000
        for name, given in found.items()
    }
    bench.add(
        Row(
            f"a task of 100 ms, {regime}", "ms", long[OURS], long[USER_TASKS], long[PLAIN],
            "<= 1.05x Celery", long[OURS] / long[PLAIN] <= 1.05,
        )
    )  # fmt: skip


def _progress(bench: Bench) -> None:
    times, user_id = bench.size(1000, 100), bench.user_id
    found: dict[str, list[Any]] = bench.in_turns(
        lambda side: side.call("increments", times, user_id)
    )
    spent = {name: median(given) * 1000 for name, given in found.items()}
    bench.add(
        Row(
            f"{times:,} increment_completed_steps in a task", "ms",
            spent[OURS], spent[USER_TASKS], spent[PLAIN],
            ">= 5x faster", spent[USER_TASKS] / spent[OURS] >= 5, "Celery: update_state",
        )
    )  # fmt: skip
    items = bench.size(1_000_000, 10_000)
    found = bench.in_turns(lambda side: side.call("tracking", items, user_id), (OURS, PLAIN))
    item = {name: median(given) / items * 1e6 for name, given in found.items()}
    added = item[OURS] - item[PLAIN]
    bench.add(
        Row(
            f"an item of {items:,} in self.track", "us", item[OURS],
            spent[USER_TASKS] / times * 1000, item[PLAIN],
            "<= 1 us added", added <= 1, "django-user-tasks: an increment",
        )
    )  # fmt: skip
