"""Reading a whole tree, and canceling one."""

from __future__ import annotations

from ..bench import OURS, PLAIN, SIDES, USER_TASKS, Bench, Row, medians
from ..measure import median


def run(bench: Bench) -> None:
    """Measure both at their largest size."""
    size = bench.size(10_000)
    found = bench.in_turns(lambda side: side.call("read", size, bench.user_id), (OURS, USER_TASKS))
    times, queries = medians(found, "seconds"), medians(found, "queries")
    busy = medians(found, "cpu")[OURS] * 1000
    bench.add(
        Row(
            f"read a tree of {size:,}", "ms", times[OURS] * 1000, times[USER_TASKS] * 1000, None,
            "<= 60 ms", bench.at_full_size(times[OURS] <= 0.06),
            f"{queries[OURS]:.0f} query, {busy:.0f} ms of processor time",
        )
    )  # fmt: skip
    size = bench.size(1000)
    found = bench.in_turns(lambda side: side.call("cancel", size, bench.user_id), SIDES, 3)
    times, queries = medians(found, "seconds"), medians(found, "queries")
    sent = median([used["broadcasts"] for used in found[OURS]])
    bench.add(
        Row(
            f"cancel {size:,} tasks that wait", "ms",
            times[OURS] * 1000, times[USER_TASKS] * 1000, times[PLAIN] * 1000,
            "<= 100 ms", bench.at_full_size(times[OURS] <= 0.1),
            f"{queries[OURS]:.0f} queries, {sent:.0f} broadcast; Celery: revoke",
        )
    )  # fmt: skip
