"""Measure how many spawned tasks a second eight processes attach to one tree, beside each other.

    python -m benchmarks.growing [--seconds 5]

Each process stands for a worker whose running task spawns one task after the other. Beside it, in
the same run: the same rows inserted without a tree (Django's ``bulk_create`` of one row, each in a
transaction), which is the best that the machine can do. Prints medians and ratios, and checks the
bounds of the tree after each round. Uses the database in ``BENCH_DATABASE_URL``.
"""

from __future__ import annotations

import argparse
import statistics
import time

from .__main__ import services
from .bench import OURS
from .processes import Side

PROCESSES = 8


def rate(crew: list[Side], function: str, leaves: list[int], seconds: float) -> float:
    """Have all processes insert below their share of the leaves; return inserts a second."""
    at = time.time() + 0.5
    for rank, side in enumerate(crew):
        side.begin(function, at, leaves[rank :: len(crew)], seconds)
    return sum(done / spent for done, spent in [side.end() for side in crew])


def main() -> None:
    """Run both sides in turns, on trees of 200 and of 10,000 nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    services()
    crew = [Side(OURS) for _ in range(PROCESSES)]
    try:
        first = crew[0]
        user_id = first.call("prepare")
        for size in (200, 10_000):
            trees, plain = [], []
            for _ in range(options.rounds):
                first.call("clear")
                leaves = first.call("leaves", size - 3, user_id)
                trees.append(rate(crew, "spawn", leaves, options.seconds))
                if faults := first.call("faults"):
                    raise SystemExit("\n".join(faults))
                plain.append(rate(crew, "insert_rows", leaves, options.seconds))
            grown, rows = statistics.median(trees), statistics.median(plain)
            print(
                f"tree of {size:6,d}: {grown:6,.0f} inserts/s, rows alone {rows:6,.0f}/s, "
                f"ratio {rows / grown:.2f}",
                flush=True,
            )
        first.call("clear")
    finally:
        for side in crew:
            side.close()


if __name__ == "__main__":
    main()
