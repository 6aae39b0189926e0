"""What the head of the page says of a whole workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.safestring import SafeString

from ..conf import settings
from ..models import UserTaskStatus
from ..phases import WAITING, Phase
from ..reports import formatting, labels
from ..tree import estimates
from ..tree.nodes import TreeNode, percent
from .counts import PhaseCounts
from .icons import icon
from .tree_rows import digest

#: How long tasks that were asked to stop may take before force is offered.
FORCE_AFTER = timedelta(seconds=10)
#: Before a workflow that nobody has started says that it waits for a worker.
USUAL_WAIT = timedelta(seconds=5)


@dataclass(slots=True, eq=False)
class WorkerHealth:
    """What the sums over a tree do not tell."""

    silent: int = 0
    """Running tasks of which nothing was heard for long."""
    silent_since: datetime | None = None
    """Since when, of the one that has been so for longest."""
    stopping_since: datetime | None = None
    """When the first of those that still run was canceled."""


def worker_health(top: TreeNode, at: datetime) -> WorkerHealth:
    """The vitals of a tree as read."""
    found = WorkerHealth()
    silent_before = at - settings.LOST_AFTER
    for node in top.walk():
        if node.is_container or node.settled_at is not None or node.ended_at is not None:
            continue
        if node.phase is Phase.CANCELED:
            found.stopping_since = min(found.stopping_since or node.modified, node.modified)
        seen = node.last_seen_at
        if seen and seen <= silent_before and node.phase not in WAITING and not node.children:
            found.silent += 1
            found.silent_since = min(found.silent_since or seen, seen)
    return found


@dataclass(slots=True, eq=False)
class Header:
    """A whole workflow in a few words and one bar."""

    status: UserTaskStatus
    """The root; its sums are not looked at, those of ``tally`` are."""
    tally: PhaseCounts
    vitals: WorkerHealth
    at: datetime
    may_cancel: bool = False
    may_delete: bool = False
    artifacts: int = 0

    @property
    def name(self) -> str:
        """As the user knows it."""
        return str(self.status.name)

    @property
    def phase(self) -> Phase:
        """The verdict, for now or for good."""
        return Phase(self.status.phase)

    @property
    def kind(self) -> str:
        """The phase as a part of CSS classes."""
        return self.phase.value.lower()

    @property
    def is_settled(self) -> bool:
        """Whether nothing can run any more."""
        return self.status.is_settled

    @property
    def state(self) -> str:
        """In words."""
        return labels.state_label(
            self.phase,
            self.status.state,
            is_settled=self.is_settled,
            running=self.tally.running,
            waiting=self.tally.waiting,
            several=self.tally.tasks() > 1,
        )

    @property
    def icon(self) -> SafeString:
        """The sign of its phase."""
        return icon(self.phase)

    @property
    def steps(self) -> str:
        """ "46 of 92 steps"."""
        return labels.steps_label(self.tally.completed, self.tally.total)

    @property
    def value_text(self) -> str:
        """What a screen reader says of the bar."""
        return labels.progress_label(
            self.tally.completed, self.tally.total, self.tally.tasks([Phase.FAILED])
        )

    @property
    def percent(self) -> int:
        """Completed steps of 100."""
        return percent(self.tally.completed, self.tally.total)

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return self.tally.tasks()

    @property
    def succeeded(self) -> int:
        """How many of them succeeded."""
        return self.tally.tasks([Phase.SUCCEEDED, Phase.PARTIAL])

    @property
    def succeeded_percent(self) -> int:
        """The same, of 100."""
        return percent(self.succeeded, self.tasks)

    @property
    def settled_percent(self) -> int:
        """Tasks that have ended, whatever the outcome, of 100."""
        return percent(self.tally.ended, self.tasks)

    @property
    def legend(self) -> list[dict[str, Any]]:
        """The phases that tasks are in."""
        return [
            {"phase": phase.value, "kind": phase.value.lower(), "count": number, "text": text}
            | {"icon": icon(phase)}
            for phase, number, text in labels.count_labels(self.tally.by_phase())
        ]

    @property
    def may_grow(self) -> bool:
        """Whether tasks that run now may still add others."""
        return self.tally.stoppable > self.tally.waiting

    @property
    def elapsed(self) -> float | None:
        """Seconds since the start, or until the end."""
        return estimates.elapsed(self.status.started_at, self.status.settled_at, self.at)

    @property
    def duration(self) -> str:
        """The same in words."""
        return formatting.format_duration(self.elapsed)

    @property
    def eta(self) -> str:
        """The time left, roughly; empty where nobody can tell."""
        left = estimates.eta(
            self.phase,
            self.status.started_at,
            self.at,
            settled=self.tally.ended,
            steps=self.tally.steps_behind,
            total=self.tally.total,
        )
        return formatting.rough_duration(left.total_seconds()) if left is not None else ""

    @property
    def waiting(self) -> float | None:
        """Seconds for which no worker has taken any of it; None where that is nothing unusual."""
        if self.is_settled or not self.tasks or self.tally.tasks([Phase.PENDING]) < self.tasks:
            return None
        seconds = (self.at - self.status.created).total_seconds()
        return seconds if seconds >= USUAL_WAIT.total_seconds() else None

    @property
    def waiting_text(self) -> str:
        """The same in words."""
        return formatting.format_duration(self.waiting)

    @property
    def silence(self) -> str:
        """ "no sign of life for 9 min"; empty if all is well."""
        since = self.vitals.silent_since
        if since is None or self.is_settled:
            return ""
        return labels.stalled_label(int((self.at - since).total_seconds() // 60))

    @property
    def can_cancel(self) -> bool:
        """Whether the user may cancel, and there is something to cancel."""
        return self.may_cancel and not self.is_settled and self.tally.stoppable > 0

    @property
    def can_force(self) -> bool:
        """Whether the user may cancel, and asking has not been enough."""
        since = self.vitals.stopping_since
        return (
            self.may_cancel
            and not self.is_settled
            and since is not None
            and self.at - since >= FORCE_AFTER
        )

    @property
    def can_delete(self) -> bool:
        """Whether the user may delete it, and nothing runs in it any more."""
        return self.may_delete and self.is_settled

    @property
    def version(self) -> str:
        """Differs when the head has to be shown anew."""
        waiting = self.waiting
        return digest(
            (
                self.name, self.phase.value, self.state, self.is_settled, self.tally.key(),
                self.status.subject, self.status.attempts, self.status.started_at is None,
                self.eta, waiting is not None, self.silence, self.vitals.silent,
                self.can_cancel, self.can_force, self.can_delete, self.artifacts > 0,
            )
        )  # fmt: skip
