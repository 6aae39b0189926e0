"""Eight processes that end the leaves of one tree at once: the completion path alone."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ..bench import OURS, USER_TASKS, Bench, Row
from ..measure import median
from ..processes import Side

PROCESSES = 8


def run(bench: Bench) -> None:
    """The last of them settles the containers; how often, the signals say."""
    size = bench.size(1600, 160)
    rates: dict[str, list[float]] = {OURS: [], USER_TASKS: []}
    twice = 0
    crews = {name: [bench.fresh(name) for _ in range(PROCESSES)] for name in rates}
    try:
        for _ in range(bench.rounds):
            for name, crew in crews.items():
                leaves = bench.side(name).call("leaves", size, bench.user_id)
                rate, sent = _end(crew, leaves)
                rates[name].append(rate)
                if name == OURS:
                    # Each leaf and the group around them; the chord's body has not run.
                    if len(sent) != size + 1:
                        raise RuntimeError(f"{len(sent)} of {size + 1} nodes were settled.")
                    twice += sum(count - 1 for count in sent.values())
                bench.side(name).call("clear")
    finally:
        for crew in crews.values():
            for side in crew:
                side.close()
    ours = median(rates[OURS])
    bench.add(
        Row(
            f"end {size:,} leaves of one tree, {PROCESSES} processes",
            "leaves/s",
            ours,
            median(rates[USER_TASKS]),
            None,
            ">= 1,500/s",
            ours >= 1500,
            f"settled twice: {twice}",
        )
    )


def _end(crew: list[Side], leaves: list[int]) -> tuple[float, Counter[int]]:
    for rank, side in enumerate(crew):
        side.call("take", leaves[rank :: len(crew)])
    at = time.time() + 0.5
    for side in crew:
        side.begin("settle", at)
    answers: list[dict[str, Any]] = [side.end() for side in crew]
    sent: Counter[int] = Counter()
    for answer in answers:
        sent.update({int(pk): count for pk, count in answer["won"].items()})
    return len(leaves) / (max(answer["end"] for answer in answers) - at), sent
