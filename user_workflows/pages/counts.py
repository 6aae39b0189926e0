"""Sums over the tasks of a subtree: how many are in which phase, and with how many steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..phases import WAITING, Phase
from ..tree.nodes import TreeNode

#: Parts of a bar, in the order in which they are drawn.
SEGMENTS = {
    "succeeded": (Phase.SUCCEEDED,),
    "partial": (Phase.PARTIAL,),
    "running": (Phase.RUNNING, Phase.RETRYING),
    "failed": (Phase.FAILED,),
    "canceled": (Phase.CANCELED,),
    "skipped": (Phase.SKIPPED,),
}


@dataclass(slots=True)
class PhaseCount:
    """The tasks of one phase."""

    tasks: int = 0
    unsettled: int = 0
    """Those whose body may still run, or will."""
    completed: int = 0
    total: int = 0


@dataclass(slots=True)
class PhaseCounts:
    """The tasks of a subtree by phase."""

    by_phase: dict[Phase, PhaseCount] = field(default_factory=dict)

    def add(self, phase: Phase, tasks: int, unsettled: int, completed: int, total: int) -> None:
        """Add tasks of one phase, with their steps."""
        count = self.by_phase.setdefault(phase, PhaseCount())
        count.tasks += tasks
        count.unsettled += unsettled
        count.completed += completed
        count.total += total

    def update(self, other: PhaseCounts) -> None:
        """Add the tasks of another subtree."""
        for phase, count in other.by_phase.items():
            self.add(phase, count.tasks, count.unsettled, count.completed, count.total)

    def add_node(self, node: TreeNode) -> None:
        """Add the node itself, without its children, if it stands for a task."""
        if node.is_container:
            return
        completed, total = node.completed_steps, node.total_steps
        for child in node.children:
            completed -= child.completed_steps
            total -= child.total_steps
        unsettled = int(node.settled_at is None and node.ended_at is None)
        self.add(node.phase, 1, unsettled, completed, total)

    def tasks(self, phases: Iterable[Phase] = tuple(Phase)) -> int:
        """Return the number of tasks in these phases."""
        return sum(self.by_phase[phase].tasks for phase in phases if phase in self.by_phase)

    def tasks_by_phase(self) -> dict[Phase, int]:
        """Return the number of tasks in each phase."""
        return {phase: count.tasks for phase, count in self.by_phase.items()}

    @property
    def completed(self) -> int:
        """Steps done."""
        return sum(count.completed for count in self.by_phase.values())

    @property
    def total(self) -> int:
        """Steps in all."""
        return sum(count.total for count in self.by_phase.values())

    @property
    def ended(self) -> int:
        """Tasks whose bodies can run no more."""
        return sum(count.tasks - count.unsettled for count in self.by_phase.values())

    @property
    def passed_steps(self) -> int:
        """Steps that take no more time: done, or of tasks that have ended."""
        return sum(
            count.completed if count.unsettled else count.total for count in self.by_phase.values()
        )

    @property
    def waiting(self) -> int:
        """Tasks that have not started, and will."""
        return self._unsettled(WAITING)

    @property
    def running(self) -> int:
        """Tasks whose body may run at this moment."""
        return self._unsettled(set(Phase) - WAITING)

    @property
    def stopping(self) -> int:
        """Tasks that were canceled and have not stopped yet."""
        return self._unsettled([Phase.CANCELED])

    @property
    def stoppable(self) -> int:
        """Tasks that a cancellation would end."""
        return self._unsettled([Phase.PENDING, Phase.RUNNING, Phase.RETRYING])

    def _unsettled(self, phases: Iterable[Phase]) -> int:
        return sum(self.by_phase[phase].unsettled for phase in phases if phase in self.by_phase)

    def segments(self) -> Iterator[tuple[str, float, float]]:
        """Yield the parts of a bar 100 wide, empty ones too: kind, start and width.

        A running task takes the width of the steps that it has done, any that has ended the
        width of all its steps. Where no task has steps, each counts as one.
        """
        total, start = self.total, 0.0
        for kind, phases in SEGMENTS.items():
            share = 0
            for count in (self.by_phase[phase] for phase in phases if phase in self.by_phase):
                if kind == "running":
                    share += count.completed if total else 0
                else:
                    share += count.total if total else count.tasks
            width = round(100 * share / (total or self.tasks() or 1), 2)
            yield kind, round(start, 2), width
            start += width

    def key(self) -> tuple[object, ...]:
        """Return a value that two equal counts have in common."""
        return tuple(
            (phase.value, count.tasks, count.unsettled, count.completed, count.total)
            for phase, count in sorted(self.by_phase.items())
            if count.tasks
        )


def counts_by_node(top: TreeNode) -> dict[int, PhaseCounts]:
    """Return the counts of all nodes of a tree but mere tasks, by key."""
    found: dict[int, PhaseCounts] = {}
    for node in reversed(list(top.walk())):
        if node.children or node.is_container:
            counts = sum_counts(node.children, found)
            counts.add_node(node)
            found[node.pk] = counts
    return found


def sum_counts(nodes: Iterable[TreeNode], known: Mapping[int, PhaseCounts]) -> PhaseCounts:
    """Return the counts of nodes and all below them; ``known`` comes from ``counts_by_node``."""
    counts = PhaseCounts()
    for node in nodes:
        if node.pk in known:
            counts.update(known[node.pk])
        else:
            counts.add_node(node)
    return counts
