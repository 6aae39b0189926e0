"""A workflow as a row of a list: from its stored columns, without reading its tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.auth.models import AbstractUser, AnonymousUser

from ..models import UserTaskStatus
from ..phases import Phase
from .counts import SEGMENTS
from .node_summary import NodeSummary
from .versions import digest


@dataclass(slots=True, eq=False, kw_only=True)
class ListRow(NodeSummary[UserTaskStatus]):
    """One workflow in a list, or on a page that is about something else."""

    reader: AbstractUser | AnonymousUser | None = None
    """The user who looks at the list; None where owners are not shown."""

    @property
    def owner(self) -> str:
        """The user who started the workflow, if that is not the reader."""
        if self.reader is None or self.node.user_id == self.reader.pk:
            return ""
        return str(self.node.user.get_username())

    @property
    def completed(self) -> int:
        return min(self.node.completed_steps, self.node.total_steps)

    @property
    def total(self) -> int:
        return self.node.total_steps

    @property
    def value_text(self) -> str:
        return f"{self.steps}, {self.state}"

    def segments(self) -> Iterator[tuple[str, float, float]]:
        """Yield one part of a bar in the colour of the phase, and the others empty."""
        width = 100 * self.completed / self.total if self.total else 0.0
        if self.phase in (Phase.SUCCEEDED, Phase.PARTIAL) and self.is_settled:
            width = 100.0
        own = next((kind for kind, phases in SEGMENTS.items() if self.phase in phases), "running")
        for kind in SEGMENTS:
            yield kind, 0, round(width, 2) if kind == own else 0

    @property
    def version(self) -> str:
        """A text that differs when the row has to be shown again."""
        return digest(
            self.name, self.state, self.phase.value, self.is_settled, self.node.subject,
            self.completed, self.total, self.node.started_at is None,
        )  # fmt: skip
