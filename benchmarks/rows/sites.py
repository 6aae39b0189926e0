"""Lists and purging on a site of 10,000 workflows, and how costs grow with the site."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..bench import OURS, USER_TASKS, Bench, Row
from ..measure import median


def run(bench: Bench) -> None:
    """Measure lists and a purge of workflows of 20 nodes, then their growth."""
    _list_and_purge(bench, bench.size(10_000, 200))
    _grow(bench, 1000, bench.size(100_000, 2000))


def _repeated(call: Callable[[], dict[str, float]], times: int = 15) -> float:
    return median([call()["seconds"] for _ in range(times)]) * 1000


def _list_and_purge(bench: Bench, workflows: int) -> None:
    ours, theirs, user_id = bench.side(OURS), bench.side(USER_TASKS), bench.user_id
    for side in (ours, theirs):
        side.call("site", workflows, [user_id])
    listed = {s.name: _repeated(lambda s=s: s.call("listing", user_id)) for s in (ours, theirs)}
    shown = {s.name: _repeated(lambda s=s: s.call("rendered", user_id)) for s in (ours, theirs)}
    what = f"list 50 of {workflows:,} workflows x 20"
    bench.add(
        Row(
            f"{what}, query", "ms", listed[OURS], listed[USER_TASKS], None,
            "<= 5 ms", bench.at_full_size(listed[OURS] <= 5),
        )
    )  # fmt: skip
    bench.add(
        Row(
            f"{what}, REST", "ms", shown[OURS], shown[USER_TASKS], None,
            "<= 30 ms", bench.at_full_size(shown[OURS] <= 30), "django-user-tasks: 50 of all nodes",
        )
    )  # fmt: skip
    with bench.fresh(OURS) as beside:
        purged = bench.size(10_000, 200)
        beside.begin("longest_progress", 1 + purged / 2000, user_id)
        time.sleep(0.5)
        seconds = ours.call("purge", purged)["seconds"]
        longest = beside.end() * 1000
    few = min(workflows, bench.size(1000, 100))
    theirs.call("clear")
    theirs.call("site", few, [user_id])
    other = theirs.call("purge", few)["seconds"] / few * workflows
    bench.add(
        Row(
            f"purge {workflows:,} workflows x 20", "ms", seconds * 1000, other * 1000, None,
            "<= 5,000 ms", bench.at_full_size(seconds <= 5), f"django-user-tasks: from {few:,}",
        )
    )  # fmt: skip
    bench.add(
        Row(
            "longest progress write meanwhile", "ms", longest, None, None,
            "<= 50 ms", bench.at_full_size(longest <= 50),
        )
    )  # fmt: skip
    ours.call("clear"), theirs.call("clear")


def _grow(bench: Bench, small: int, large: int) -> None:
    side, user_id = bench.side(OURS), bench.user_id
    owners = [user_id, *side.call("others", 9)]
    found: dict[int, dict[str, float]] = {}
    for workflows in (small, large):
        side.call("clear")
        side.call("site", workflows, owners)
        found[workflows] = {
            "list": _repeated(lambda: side.call("rendered", user_id)),
            "detail": _repeated(lambda: side.call("detail", user_id)),
            "cancel": _repeated(lambda: side.call("cancel_open", user_id), 5),
            "progress": _repeated(lambda: side.call("progress", 20, user_id), 7) / 20,
            "purge, each": side.call("purge_some", 1000)["seconds"],
        }
    side.call("clear")
    for what, after in found[large].items():
        before = found[small][what]
        bench.add(
            Row(
                f"{what}: {large:,} workflows, beside {small:,}", "ms", after, None, before,
                "<= 2x", bench.at_full_size(after <= 2 * before), "beside: the small site",
            )
        )  # fmt: skip
