"""The properties that the header, list rows and tree rows have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from django.utils.safestring import SafeString, mark_safe

from ..diagram.svg import SIGNS
from ..models import UserTaskStatus
from ..phases import Phase
from ..reports import labels
from ..reports.formatting import format_duration
from ..tree import estimates
from ..tree.nodes import TreeNode, percent
from .counts import PhaseCounts

#: The icon of each phase, hidden from screen readers.
ICONS = {
    phase: mark_safe(  # noqa: S308 - made of constants
        f'<svg class="uw-icon uw-icon-{phase.value.lower()}" viewBox="0 0 16 16" width="16" '
        f'height="16" aria-hidden="true" focusable="false">'
        f'<path fill="currentColor" fill-rule="evenodd" d="{shape}"/></svg>'
    )
    for phase, shape in SIGNS.items()
}


class NodeColumns(NamedTuple):
    """The columns of a node that are read to show it again."""

    pk: int
    uuid: UUID
    level: int
    node_type: str
    name: str
    phase: str
    state: str
    allow_failure: bool
    attempts: int
    started_at: datetime | None
    settled_at: datetime | None
    ended_at: datetime | None
    last_seen_at: datetime | None
    completed_steps: int
    total_steps: int
    lft: int
    rght: int
    caused_by__name: str | None


N = TypeVar("N", bound=UserTaskStatus | TreeNode | NodeColumns)


@dataclass(slots=True, eq=False, kw_only=True)
class NodeSummary(Generic[N]):
    """A node in a few words and one bar."""

    node: N
    at: datetime
    """The time at which the node was read."""
    counts: PhaseCounts = field(default_factory=PhaseCounts)
    """The tasks in the node. Stored sums are used only where there are no counts."""

    @property
    def uuid(self) -> UUID:
        """The public id of the node."""
        return self.node.uuid

    @property
    def name(self) -> str:
        """The name that the user knows."""
        return str(self.node.name)

    @property
    def phase(self) -> Phase:
        """The verdict, for now or for good."""
        return Phase(self.node.phase)

    @property
    def kind(self) -> str:
        """The phase as a part of CSS classes."""
        return self.phase.value.lower()

    @property
    def icon(self) -> SafeString:
        """The icon of the phase."""
        return ICONS[self.phase]

    @property
    def is_settled(self) -> bool:
        """True if nothing in the node can run any more."""
        return self.node.settled_at is not None

    @property
    def several(self) -> bool:
        """True if the node stands for more than one task."""
        return self.counts.tasks() > 1

    @property
    def state(self) -> str:
        """The label of the state."""
        return labels.state_label(
            self.phase, self.node.state, is_settled=self.is_settled, several=self.several,
            running=self.counts.running, waiting=self.counts.waiting,
        )  # fmt: skip

    @property
    def completed(self) -> int:
        """Steps done; never more than there are."""
        return self.counts.completed

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.counts.total

    @property
    def percent(self) -> int:
        """Completed steps of 100."""
        return percent(self.completed, self.total)

    @property
    def steps(self) -> str:
        """The progress as a label: "46 of 92 steps"."""
        return labels.steps_label(self.completed, self.total)

    @property
    def value_text(self) -> str:
        """The bar as a screen reader reads it out."""
        failed = self.counts.tasks([Phase.FAILED])
        return labels.progress_label(self.completed, self.total, failed)

    @property
    def elapsed(self) -> float | None:
        """Seconds from the start until the node settled, or until it was read."""
        return estimates.elapsed(self.node.started_at, self.node.settled_at, self.at)

    @property
    def duration(self) -> str:
        """The elapsed time as a label."""
        return format_duration(self.elapsed)

    @property
    def is_ticking(self) -> bool:
        """True if the duration grows."""
        return self.node.started_at is not None and not self.is_settled
