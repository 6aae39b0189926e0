"""A whole workflow as one row of a list: from its stored columns, without a look at its tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import UserTaskStatus
from ..phases import Phase
from ..reports import formatting, labels
from ..tree import estimates
from ..tree.nodes import percent
from .counts import SEGMENTS
from .icons import icon
from .tree_rows import digest

#: What a list may be narrowed to.
GROUPS = {
    "running": (_("Running"), Q(settled_at__isnull=True)),
    "succeeded": (_("Succeeded"), Q(phase__in=(Phase.SUCCEEDED, Phase.PARTIAL))),
    "failed": (_("Failed"), Q(phase=Phase.FAILED)),
    "canceled": (_("Canceled"), Q(phase__in=(Phase.CANCELED, Phase.SKIPPED))),
}


@dataclass(slots=True, eq=False)
class ListRow:
    """One workflow in a list, or on a page that is about something else."""

    status: UserTaskStatus
    at: datetime
    reader: Any
    """The user who looks at it."""

    @property
    def uuid(self) -> UUID:
        """Of the workflow."""
        return self.status.uuid

    @property
    def name(self) -> str:
        """As the user knows it."""
        return str(self.status.name)

    @property
    def owner(self) -> str:
        """Who started it, if that was somebody else."""
        if self.reader is None or self.status.user_id == self.reader.pk:
            return ""
        return str(self.status.user.get_username())

    @property
    def phase(self) -> Phase:
        """The verdict, for now or for good."""
        return Phase(self.status.phase)

    @property
    def kind(self) -> str:
        """The phase as a part of CSS classes."""
        return self.phase.value.lower()

    @property
    def icon(self) -> SafeString:
        """The sign of its phase."""
        return icon(self.phase)

    @property
    def is_settled(self) -> bool:
        """Whether nothing can run any more."""
        return self.status.is_settled

    @property
    def state(self) -> str:
        """In words."""
        return labels.state_label(self.phase, self.status.state, is_settled=self.is_settled)

    @property
    def completed(self) -> int:
        """Steps done; never more than there are."""
        return min(self.status.completed_steps, self.status.total_steps)

    @property
    def total(self) -> int:
        """Steps in all."""
        return self.status.total_steps

    @property
    def percent(self) -> int:
        """Completed steps of 100."""
        return percent(self.completed, self.total)

    @property
    def steps(self) -> str:
        """ "46 of 92 steps"."""
        return labels.steps_label(self.completed, self.total)

    @property
    def value_text(self) -> str:
        """What a screen reader says of the bar."""
        return f"{self.steps}, {self.state}"

    def segments(self) -> Iterator[tuple[str, float, float]]:
        """One part of a bar, in the colour of the phase; the others empty, to be filled later."""
        width = 100 * self.completed / self.total if self.total else 0.0
        if self.phase in (Phase.SUCCEEDED, Phase.PARTIAL) and self.is_settled:
            width = 100.0
        mine = next((k for k, phases in SEGMENTS.items() if self.phase in phases), "running")
        for kind in SEGMENTS:
            yield kind, 0, round(width, 2) if kind == mine else 0

    @property
    def elapsed(self) -> float | None:
        """Seconds it took, or has taken."""
        return estimates.elapsed(self.status.started_at, self.status.settled_at, self.at)

    @property
    def duration(self) -> str:
        """The same in words."""
        return formatting.format_duration(self.elapsed)

    @property
    def is_ticking(self) -> bool:
        """Whether its duration grows."""
        return self.status.started_at is not None and not self.is_settled

    @property
    def version(self) -> str:
        """Differs when the row has to be shown anew."""
        status = self.status
        return digest(
            (
                self.name, self.state, self.phase.value, self.is_settled, status.subject,
                self.completed, self.total, status.started_at is None,
            )
        )  # fmt: skip
