"""The completion path alone: eight processes that end the leaves of one tree at once."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ..bench import OURS, USER_TASKS, Bench, Row
from ..measure import median
from ..processes import Side

PROCESSES = 8


def run(bench: Bench) -> None:
    """Measure it with and without a receiver of signals, which counts how often nodes settle."""
    size = bench.size(1600, 160)
    crews = {name: [bench.fresh(name) for _ in range(PROCESSES)] for name in (OURS, USER_TASKS)}
    try:
        for announced in (False, True):
            _rate(bench, crews, size, announced)
    finally:
        for crew in crews.values():
            for side in crew:
                side.close()


def _rate(bench: Bench, crews: dict[str, list[Side]], size: int, announced: bool) -> None:
    rates: dict[str, list[float]] = {name: [] for name in crews}
    twice = 0
    for _ in range(bench.rounds):
        for name, crew in crews.items():
            leaves = bench.side(name).call("leaves", size, bench.user_id)
            rate, won = _end(crew, leaves, announced)
            rates[name].append(rate)
            if name == OURS:
                # Each leaf, and the group around them; the chord's body has not run.
                if len(won) != size + announced:
                    raise RuntimeError(f"{len(won)} of {size + announced} nodes were settled.")
                twice += sum(count - 1 for count in won.values())
            bench.side(name).call("clear")
    ours = median(rates[OURS])
    bench.add(
        Row(
            f"end {size:,} leaves of one tree, {PROCESSES} processes"
            + (", each told to a receiver" if announced else ""),
            "leaves/s",
            ours,
            median(rates[USER_TASKS]),
            None,
            "" if announced else ">= 1,500/s",
            None if announced else bench.at_full_size(ours >= 1500),
            f"settled twice: {twice}",
        )
    )


def _end(crew: list[Side], leaves: list[int], announced: bool) -> tuple[float, Counter[int]]:
    for rank, side in enumerate(crew):
        side.call("take", leaves[rank :: len(crew)])
    at = time.time() + 0.5
    for side in crew:
        side.begin("settle", at, announced)
    answers: list[dict[str, Any]] = [side.end() for side in crew]
    won: Counter[int] = Counter()
    for answer in answers:
        won.update({int(pk): count for pk, count in answer["won"].items()})
    return len(leaves) / (max(answer["end"] for answer in answers) - at), won
