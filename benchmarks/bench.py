"""One run: the processes of the sides, sizes and rounds, and the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .measure import median
from .processes import Side

OURS, USER_TASKS, PLAIN = SIDES = ("ours", "user_tasks", "plain")


@dataclass
class Row:
    """One line of the table: medians, in the unit that it names."""

    work: str
    unit: str
    ours: float
    user_tasks: float | None = None
    plain: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


@dataclass
class Bench:
    """The interface that rows measure through."""

    scale: float = 1.0
    rounds: int = 5
    rows: list[Row] = field(default_factory=list)
    growth: dict[str, dict[int, float]] = field(default_factory=dict)
    """Milliseconds by size, for each cost that is drawn."""
    _sides: dict[str, Side] = field(default_factory=dict)
    _user_id: int = 0

    def side(self, name: str) -> Side:
        """Return the process of a side; start it if it is the first call."""
        if name not in self._sides:
            self._sides[name] = Side(name)
            self._user_id = self._sides[name].call("prepare")
            self._sides[name].call("clear")
        return self._sides[name]

    def fresh(self, name: str) -> Side:
        """Start a new process of a side, for measures of memory; the caller closes it."""
        self.side(name)
        return Side(name)

    @property
    def user_id(self) -> int:
        """The id of the user who owns all workflows."""
        self.side(OURS)
        return self._user_id

    def size(self, full: int, least: int = 10) -> int:
        """Return a size, scaled, but not below ``least``."""
        return max(least, round(full * self.scale))

    def at_full_size(self, met: bool) -> bool | None:
        """Return whether a target for the full size is met; None at a smaller scale."""
        return met if self.scale >= 1 else None

    def in_turns(
        self, call: Callable[[Side], Any], sides: Iterable[str] = SIDES, rounds: int | None = None
    ) -> dict[str, list[Any]]:
        """Make a call on each side, one after the other, in rounds; return the results by side."""
        found: dict[str, list[Any]] = {name: [] for name in sides}
        for _ in range(rounds or self.rounds):
            for name in found:
                found[name].append(call(self.side(name)))
                self.side(name).call("clear")
        return found

    def add(self, row: Row) -> None:
        """Keep a row, and print it."""
        self.rows.append(row)
        print(as_text(row), flush=True)

    def close(self) -> None:
        """End the processes."""
        for side in self._sides.values():
            side.close()


def medians(found: dict[str, list[dict[str, float]]], what: str) -> dict[str, float]:
    """Return the median of one measure, for each side."""
    return {name: median([each[what] for each in given]) for name, given in found.items()}


def ratio(row: Row, beside: float | None) -> str:
    """Return our value relative to another side's, as text."""
    return f"{row.ours / beside:.2f}x" if beside else "-"


def number(value: float | None) -> str:
    """Return a number with as many digits as are significant."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_text(row: Row) -> str:
    """Return a row as one line for the terminal."""
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return (
        f"{row.work:58s} {row.unit:>9s} {number(row.ours):>9s} {number(row.user_tasks):>9s} "
        f"{number(row.plain):>9s}  {ratio(row, row.plain):>6s} {ratio(row, row.user_tasks):>6s}  "
        f"{row.target:14s} {met:3s} {row.note}"
    )
