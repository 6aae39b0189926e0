"""Sums over the tasks of a subtree: how many are in which phase, and with how many steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    cells: dict[Phase, PhaseCount] = field(default_factory=dict)

    def add(self, phase: Phase, tasks: int, unsettled: int, completed: int, total: int) -> None:
        """Counts tasks in."""
        cell = self.cells.setdefault(phase, PhaseCount())
        cell.tasks += tasks
        cell.unsettled += unsettled
        cell.completed += completed
        cell.total += total

    def update(self, other: PhaseCounts) -> None:
        """Counts another subtree in."""
        for phase, cell in other.cells.items():
            self.add(phase, cell.tasks, cell.unsettled, cell.completed, cell.total)

    def by_phase(self) -> dict[Phase, int]:
        """Return the number of tasks in each phase."""
        return {phase: cell.tasks for phase, cell in self.cells.items()}

    def tasks(self, phases: Iterable[Phase] = tuple(Phase)) -> int:
        """How many tasks are in these phases."""
        return sum(self.cells[phase].tasks for phase in phases if phase in self.cells)

    @property
    def completed(self) -> int:
        """Steps done."""
        return sum(cell.completed for cell in self.cells.values())

    @property
    def total(self) -> int:
        """Steps in all."""
        return sum(cell.total for cell in self.cells.values())

    @property
    def ended(self) -> int:
        """Tasks that are not waited for any more."""
        return sum(cell.tasks - cell.unsettled for cell in self.cells.values())

    @property
    def steps_behind(self) -> int:
        """Steps that are not waited for any more: done, or of tasks that have ended."""
        return sum(
            cell.total if not cell.unsettled else cell.completed for cell in self.cells.values()
        )

    @property
    def waiting(self) -> int:
        """Tasks that have not started, and will."""
        return sum(cell.unsettled for phase, cell in self.cells.items() if phase in WAITING)

    @property
    def running(self) -> int:
        """Tasks whose body may run at this moment."""
        return sum(cell.unsettled for phase, cell in self.cells.items() if phase not in WAITING)

    @property
    def stopping(self) -> int:
        """Tasks that were canceled and have not stopped yet."""
        cell = self.cells.get(Phase.CANCELED)
        return cell.unsettled if cell else 0

    @property
    def stoppable(self) -> int:
        """Tasks that a cancellation would end."""
        phases = (Phase.PENDING, Phase.RUNNING, Phase.RETRYING)
        return sum(self.cells[phase].unsettled for phase in phases if phase in self.cells)

    def segments(self) -> Iterator[tuple[str, float, float]]:
        """The parts of a bar 100 wide: kind, where it begins, how wide it is; also the empty.

        A running task takes the width of the steps that it has done, any that has ended the
        width of all its steps. Where no task has steps, each counts as one.
        """
        total = self.total
        at = 0.0
        for kind, phases in SEGMENTS.items():
            share = 0
            for cell in (self.cells[phase] for phase in phases if phase in self.cells):
                if not total:
                    share += 0 if kind == "running" else cell.tasks
                else:
                    share += cell.completed if kind == "running" else cell.total
            width = round(100 * share / (total or self.tasks() or 1), 2)
            yield kind, round(at, 2), width
            at += width

    def key(self) -> tuple[object, ...]:
        """What two equal tallies have in common."""
        return tuple(
            (phase.value, cell.tasks, cell.unsettled, cell.completed, cell.total)
            for phase, cell in sorted(self.cells.items())
            if cell.tasks
        )


def add_node(found: PhaseCounts, node: TreeNode) -> None:
    """Counts a node itself into a tally, if it stands for a task."""
    if node.is_container:
        return
    completed, total = node.completed_steps, node.total_steps
    for child in node.children:
        completed -= child.completed_steps
        total -= child.total_steps
    unsettled = int(node.settled_at is None and node.ended_at is None)
    found.add(node.phase, 1, unsettled, completed, total)


def counts_by_node(top: TreeNode) -> dict[int, PhaseCounts]:
    """The tally of each node of a tree that is no mere task, by key."""
    found: dict[int, PhaseCounts] = {}
    for node in reversed(list(top.walk())):
        if node.children or node.is_container:
            sums = found[node.pk] = PhaseCounts()
            add_node(sums, node)
            add_nodes(sums, node.children, found)
    return found


def add_nodes(sums: PhaseCounts, nodes: Iterable[TreeNode], known: dict[int, PhaseCounts]) -> None:
    """Counts nodes and all below them into a tally; ``known`` are those of ``tallies``."""
    for node in nodes:
        if node.pk in known:
            sums.update(known[node.pk])
        else:
            add_node(sums, node)
