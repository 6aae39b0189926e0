"""A node as it is shown: the same whether it comes from a whole tree or from a few queries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from ..conf import settings
from ..phases import NodeType, Phase
from ..reports import formatting, labels
from ..tree import estimates
from .counts import PhaseCounts
from .icons import icon


def digest(content: object) -> str:
    """A short sign that differs where the content does."""
    return hashlib.blake2s(repr(content).encode(), digest_size=6).hexdigest()


@dataclass(slots=True, eq=False)
class TreeRow:
    """One node of a tree as the page shows it."""

    pk: int
    uuid: UUID
    parent_id: int | None
    level: int
    """1 for the top of the page."""
    node_type: NodeType
    name: str
    phase: Phase
    text: str
    """The state as it is stored."""
    allow_failure: bool
    attempts: int
    started_at: datetime | None
    settled_at: datetime | None
    ended_at: datetime | None
    last_seen_at: datetime | None
    cause: str
    """The name of the task because of which this one did not run."""
    tally: PhaseCounts
    children: int
    artifacts: int
    at: datetime
    """When it was read."""
    place: int = 0
    """Among its siblings, from 1; 0 where it is not known, as in a delta."""
    siblings: int = 0
    is_open: bool = False
    toggle: str = ""
    """Where a click opens or closes it without a script."""
    can_force: bool = False
    """Whether what was asked to stop has had its time to."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing below can run any more."""
        return self.settled_at is not None

    @property
    def several(self) -> bool:
        """Whether this stands for more than one task."""
        return self.children > 0 or self.node_type is not NodeType.TASK

    @property
    def state(self) -> str:
        """In words."""
        return labels.state_label(
            self.phase,
            self.text,
            is_settled=self.is_settled,
            running=self.tally.running,
            waiting=self.tally.waiting,
            several=self.several,
        )

    @property
    def icon(self) -> SafeString:
        """The sign of its phase."""
        return icon(self.phase)

    @property
    def kind(self) -> str:
        """The phase as a part of CSS classes."""
        return self.phase.value.lower()

    @property
    def badge(self) -> str:
        """What kind of container it is."""
        return labels.type_labels(self.node_type)[0]

    @property
    def badge_title(self) -> str:
        """The same at more length."""
        return labels.type_labels(self.node_type)[1]

    @property
    def summary(self) -> list[str]:
        """What is inside a container, by phase."""
        counts = self.tally.by_phase() if self.several else {}
        return [text for _, _, text in labels.count_labels(counts)]

    @property
    def value_text(self) -> str:
        """What a screen reader says of its bar."""
        return labels.progress_label(
            self.tally.completed, self.tally.total, self.tally.tasks([Phase.FAILED])
        )

    @property
    def label(self) -> str:
        """The row in one breath, for those who hear it."""
        said = [self.state]
        if self.several or self.tally.total > 1:
            said.append(self.value_text)
        if self.silence:
            said.append(self.silence)
        return f"{self.name}: {', '.join(said)}"

    @property
    def elapsed(self) -> float | None:
        """Seconds it took, or has taken."""
        return estimates.elapsed(self.started_at, self.settled_at, self.at)

    @property
    def duration(self) -> str:
        """The same in words."""
        return formatting.format_duration(self.elapsed)

    @property
    def is_ticking(self) -> bool:
        """Whether its duration grows."""
        return self.started_at is not None and not self.is_settled

    @property
    def silent_minutes(self) -> int:
        """Since when nothing was heard of the worker of a running task; 0 if that is not long."""
        if self.is_settled or self.several or self.ended_at or self.last_seen_at is None:
            return 0
        if self.phase in (Phase.PENDING, Phase.RETRYING):
            return 0
        silence = self.at - self.last_seen_at
        return int(silence.total_seconds() // 60) if silence >= settings.LOST_AFTER else 0

    @property
    def silence(self) -> str:
        """The same in words, empty if all is well."""
        return labels.stalled_label(self.silent_minutes) if self.silent_minutes else ""

    @property
    def is_stoppable(self) -> bool:
        """Whether canceling it would have an effect."""
        return self.tally.stoppable > 0

    @property
    def is_stubborn(self) -> bool:
        """Whether only force is left to stop what runs here."""
        return self.can_force and not self.is_stoppable and self.tally.stopping > 0

    @property
    def version(self) -> str:
        """Differs when the row has to be shown anew."""
        return digest(
            (
                self.name, self.phase.value, self.text, self.allow_failure, self.attempts,
                _timestamp(self.started_at), _timestamp(self.settled_at), self.cause,
                self.tally.key(),
                self.children, self.artifacts, self.silent_minutes, self.can_force,
            )
        )  # fmt: skip


def _timestamp(time: datetime | None) -> Any:
    return time and time.timestamp()
