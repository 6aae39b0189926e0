"""A node as a row of the tree: the same from a whole tree and from a few queries."""

from __future__ import annotations

from dataclasses import dataclass

from ..conf import settings
from ..phases import WAITING, NodeType, Phase
from ..reports import labels
from ..tree.nodes import TreeNode
from .node_summary import NodeColumns, NodeSummary
from .versions import digest


@dataclass(slots=True, eq=False, kw_only=True)
class TreeRow(NodeSummary[TreeNode | NodeColumns]):
    """One node of a tree as the page shows it."""

    level: int
    """The depth in the page; 1 for the root."""
    children: int
    artifacts: int
    caused_by: str | None
    """The name of the task that failed or was canceled and so decided this node."""
    position: int = 0
    """The place among the siblings, from 1; 0 where it is not known, as in a delta."""
    siblings: int = 0
    is_open: bool = False
    toggle: str = ""
    """The query string that opens or closes the row without a script."""
    can_force: bool = False
    """True if tasks that were asked to stop have had their time to."""

    @property
    def several(self) -> bool:
        return self.children > 0 or self.node.node_type != NodeType.TASK

    @property
    def badge(self) -> str:
        """The badge of a container: how its members run."""
        return labels.type_labels(NodeType(self.node.node_type))[0]

    @property
    def badge_title(self) -> str:
        """The meaning of the badge."""
        return labels.type_labels(NodeType(self.node.node_type))[1]

    @property
    def cause(self) -> str:
        """The name of the task because of which this one did not run."""
        return self.caused_by or "" if self.phase is Phase.SKIPPED else ""

    @property
    def summary(self) -> list[str]:
        """The tasks in a container, by phase."""
        counts = self.counts.tasks_by_phase() if self.several else {}
        return list(labels.count_labels(counts).values())

    @property
    def label(self) -> str:
        """The whole row as a screen reader reads it out."""
        progress = self.value_text if self.several or self.total > 1 else ""
        parts = [part for part in (self.state, progress, self.stalled) if part]
        return f"{self.name}: {', '.join(parts)}"

    @property
    def stalled_minutes(self) -> int:
        """Minutes since the last heartbeat of a running task; 0 if that is not long."""
        seen = self.node.last_seen_at
        is_over = self.is_settled or self.node.ended_at is not None
        if seen is None or is_over or self.several or self.phase in WAITING:
            return 0
        age = self.at - seen
        return int(age.total_seconds() // 60) if age >= settings.LOST_AFTER else 0

    @property
    def stalled(self) -> str:
        """The label of a stalled task; empty if all is well."""
        return labels.stalled_label(self.stalled_minutes) if self.stalled_minutes else ""

    @property
    def is_stoppable(self) -> bool:
        """True if canceling the node would have an effect."""
        return self.counts.stoppable > 0

    @property
    def needs_force(self) -> bool:
        """True if only force can stop what still runs here."""
        return self.can_force and not self.is_stoppable and self.counts.stopping > 0

    @property
    def version(self) -> str:
        """A text that differs when the row has to be shown again."""
        node = self.node
        return digest(
            self.name, self.phase.value, node.state, node.allow_failure, node.attempts,
            node.started_at and node.started_at.timestamp(),
            node.settled_at and node.settled_at.timestamp(), self.cause, self.counts.key(),
            self.children, self.artifacts, self.stalled_minutes, self.can_force,
        )  # fmt: skip
