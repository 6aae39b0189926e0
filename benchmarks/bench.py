"""One run: the sides' processes, how large and how often, and what was found."""

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
    """What rows work with."""

    scale: float = 1.0
    rounds: int = 5
    rows: list[Row] = field(default_factory=list)
    growth: dict[str, dict[int, float]] = field(default_factory=dict)
    """Milliseconds by size, for each cost that is drawn."""
    _sides: dict[str, Side] = field(default_factory=dict)
    _user_id: int = 0

    def side(self, name: str) -> Side:
        """The process of a side."""
        if name not in self._sides:
            self._sides[name] = Side(name)
            self._user_id = self._sides[name].call("prepare")
            self._sides[name].call("clear")
        return self._sides[name]

    def fresh(self, name: str) -> Side:
        """A new process of a side, whose memory nothing else has used; the caller closes it."""
        self.side(name)
        return Side(name)

    @property
    def user_id(self) -> int:
        """Whose workflows all are."""
        self.side(OURS)
        return self._user_id

    def size(self, full: int, least: int = 10) -> int:
        """As much as the scale says."""
        return max(least, round(full * self.scale))

    def at_full_size(self, met: bool) -> bool | None:
        """Whether a target is met that is set for the full size: a smaller one does not say."""
        return met if self.scale >= 1 else None

    def in_turns(
        self, call: Callable[[Side], Any], sides: Iterable[str] = SIDES, rounds: int | None = None
    ) -> dict[str, list[Any]]:
        """What the call gives on each side, in rounds: one side after the other in each."""
        found: dict[str, list[Any]] = {name: [] for name in sides}
        for _ in range(rounds or self.rounds):
            for name in found:
                found[name].append(call(self.side(name)))
                self.side(name).call("clear")
        return found

    def add(self, row: Row) -> None:
        """Keeps a line, and shows it at once."""
        self.rows.append(row)
        print(as_text(row), flush=True)

    def close(self) -> None:
        """Ends the processes."""
        for side in self._sides.values():
            side.close()


def medians(found: dict[str, list[dict[str, float]]], what: str) -> dict[str, float]:
    """The median of one of the things that were measured, for each side."""
    return {name: median([each[what] for each in given]) for name, given in found.items()}


def ratio(row: Row, beside: float | None) -> str:
    """Ours beside another."""
    return f"{row.ours / beside:.2f}x" if beside else "-"


def number(value: float | None) -> str:
    """As many digits as tell something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_text(row: Row) -> str:
    """One line for the terminal."""
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return (
        f"{row.work:58s} {row.unit:>9s} {number(row.ours):>9s} {number(row.user_tasks):>9s} "
        f"{number(row.plain):>9s}  {ratio(row, row.plain):>6s} {ratio(row, row.user_tasks):>6s}  "
        f"{row.target:14s} {met:3s} {row.note}"
    )
