"""Publishing chords: time, queries, memory, and how they grow."""

from __future__ import annotations

from ..bench import OURS, PLAIN, SIDES, USER_TASKS, Bench, Row, medians
from ..measure import exponent, median

#: Chords larger than this are published once, by a process of their own.
REPEATED = 10_000


def run(bench: Bench) -> None:
    """Publish chords of 10 to 100,000 tasks; with django-user-tasks only small ones."""
    for size in (10, 100, 1000, 10_000, 100_000):
        if size > 10_000 * bench.scale:
            _once(bench, size)
            break
        sides = SIDES if size <= 1000 else (OURS, PLAIN)
        call = lambda side, size=size: side.call("publish", size, bench.user_id)  # noqa: E731
        call(bench.side(OURS)), call(bench.side(PLAIN))
        found = bench.in_turns(call, sides)
        if size == REPEATED and bench.scale >= 1:
            found[USER_TASKS] = [bench.side(USER_TASKS).call("publish", size, bench.user_id)]
            bench.side(USER_TASKS).call("clear")
        _note(bench, size, found)
    _plain(bench, bench.size(1000, 100))
    _memory(bench, bench.size(10_000))
    for name, costs in bench.growth.items():
        bench.add(Row(f"growth of publishing, {name}", "exponent", exponent(costs)))


def _note(
    bench: Bench, size: int, found: dict[str, list[dict[str, float]]], note: str = ""
) -> None:
    times, queries = medians(found, "seconds"), medians(found, "queries")
    busy = medians(found, "cpu")
    aim = 1.25 if 1000 <= size <= 10_000 else None
    bench.add(
        Row(
            f"publish a chord of {size:,}",
            "ms",
            times[OURS] * 1000,
            times[USER_TASKS] * 1000 if USER_TASKS in times else None,
            times[PLAIN] * 1000,
            "<= 1.25x Celery" if aim else "",
            times[OURS] / times[PLAIN] <= aim if aim else None,
            note,
        )
    )
    bench.add(
        Row(
            f"publish a chord of {size:,}, processor time", "ms", busy[OURS] * 1000,
            busy[USER_TASKS] * 1000 if USER_TASKS in busy else None, busy[PLAIN] * 1000,
            "<= 1.25x Celery" if aim else "", busy[OURS] / busy[PLAIN] <= aim if aim else None,
            note,
        )
    )  # fmt: skip
    bench.add(
        Row(
            f"queries for a chord of {size:,}",
            "queries",
            queries[OURS],
            queries.get(USER_TASKS),
            queries[PLAIN],
            "<= 8",
            queries[OURS] <= 8,
        )
    )
    names = {OURS: "this library", USER_TASKS: "django-user-tasks", PLAIN: "Celery alone"}
    for side, seconds in times.items():
        bench.growth.setdefault(names[side], {})[size] = seconds * 1000


def _once(bench: Bench, size: int) -> None:
    found = {}
    for name in (PLAIN, OURS):
        with bench.fresh(name) as side:
            found[name] = [side.call("publish", size, bench.user_id)]
            side.call("clear")
    _note(bench, size, found, "once")


def _plain(bench: Bench, size: int) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    fresh = {name: bench.fresh(name) for name in SIDES}  # They have published nothing else.
    try:
        for _ in range(3 * bench.rounds):
            for name, side in fresh.items():
                found[name].append(side.call("plain", size))
                side.call("clear")
    finally:
        for side in fresh.values():
            side.close()
    times, busy = medians(found, "seconds"), medians(found, "cpu")
    for what, each in (("", times), (", processor time", busy)):
        bench.add(
            Row(
                f"publish {size:,} tasks that nobody tracks{what}", "ms",
                each[OURS] * 1000, each[USER_TASKS] * 1000, each[PLAIN] * 1000,
                "<= 1.05x Celery", bench.at_full_size(each[OURS] / each[PLAIN] <= 1.05),
            )
        )  # fmt: skip


def _memory(bench: Bench, size: int) -> None:
    peaks: dict[str, list[float]] = {OURS: [], PLAIN: []}
    for _ in range(3):
        for name, found in peaks.items():
            with bench.fresh(name) as side:
                found.append(side.call("publish", size, bench.user_id)["rss"])
                side.call("clear")
    ours, plain = median(peaks[OURS]), median(peaks[PLAIN])
    bench.add(
        Row(
            f"peak memory of who publishes {size:,}",
            "MB",
            ours,
            None,
            plain,
            "<= 1.5x Celery",
            bench.at_full_size(ours / plain <= 1.5),
        )
    )
