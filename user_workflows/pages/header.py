"""The header of the page of a workflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractUser, AnonymousUser

from ..conf import settings
from ..models import UserTaskStatus
from ..permissions import may
from ..phases import WAITING, Phase
from ..reports import formatting, labels
from ..tree import estimates
from ..tree.nodes import TreeNode, percent
from .node_summary import ICONS, NodeSummary
from .versions import digest

#: How long tasks that were asked to stop may take before force is offered.
FORCE_AFTER = timedelta(seconds=10)
#: How long a workflow may wait for a worker before the page says so.
USUAL_WAIT = timedelta(seconds=5)


@dataclass(slots=True, eq=False)
class WorkerHealth:
    """Signs that a worker is gone, or does not stop."""

    stalled: int = 0
    """Running tasks without a heartbeat for ``USER_WORKFLOWS_LOST_AFTER``."""
    stalled_since: datetime | None = None
    """The oldest last heartbeat of these."""
    stopping_since: datetime | None = None
    """The time at which the first of the canceled tasks that still run was canceled."""


def worker_health(top: TreeNode, at: datetime) -> WorkerHealth:
    """Return the worker health of a tree that was read at the time ``at``."""
    health = WorkerHealth()
    stalled_before = at - settings.LOST_AFTER
    for node in top.walk():
        if node.is_container or node.settled_at is not None or node.ended_at is not None:
            continue
        if node.phase is Phase.CANCELED:
            health.stopping_since = min(health.stopping_since or node.modified, node.modified)
        seen = node.last_seen_at
        if seen and seen <= stalled_before and node.phase not in WAITING and not node.children:
            health.stalled += 1
            health.stalled_since = min(health.stalled_since or seen, seen)
    return health


@dataclass(slots=True, eq=False, kw_only=True)
class Header(NodeSummary[UserTaskStatus]):
    """A whole workflow in a few words and one bar."""

    user: AbstractUser | AnonymousUser
    health: WorkerHealth
    artifacts: int = 0
    may_cancel: bool = field(init=False)
    may_delete: bool = field(init=False)

    def __post_init__(self) -> None:
        self.may_cancel = may(self.user, "cancel", self.node)
        self.may_delete = may(self.user, "delete", self.node)

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return self.counts.tasks()

    @property
    def succeeded_percent(self) -> int:
        """Succeeded tasks of 100."""
        return percent(self.counts.tasks([Phase.SUCCEEDED, Phase.PARTIAL]), self.tasks)

    @property
    def settled_percent(self) -> int:
        """Tasks that have ended, whatever the outcome, of 100."""
        return percent(self.counts.ended, self.tasks)

    @property
    def legend(self) -> list[dict[str, str]]:
        """The phases that tasks are in."""
        return [
            {"kind": phase.value.lower(), "icon": ICONS[phase], "text": text}
            for phase, text in labels.count_labels(self.counts.tasks_by_phase()).items()
        ]

    @property
    def may_grow(self) -> bool:
        """True if tasks that run now may still add others."""
        return self.counts.stoppable > self.counts.waiting

    @property
    def eta(self) -> str:
        """The estimated time left as a label; empty where there is no estimate."""
        left = estimates.eta(
            self.phase, self.node.started_at, self.at,
            settled=self.counts.ended, steps=self.counts.passed_steps, total=self.total,
        )  # fmt: skip
        return formatting.rough_duration(left.total_seconds()) if left is not None else ""

    @property
    def waiting(self) -> float | None:
        """Seconds for which no worker has taken any task; None where that is nothing unusual."""
        if self.is_settled or not self.tasks or self.counts.tasks([Phase.PENDING]) < self.tasks:
            return None
        seconds = (self.at - self.node.created).total_seconds()
        return seconds if seconds >= USUAL_WAIT.total_seconds() else None

    @property
    def stalled(self) -> str:
        """The label of stalled tasks: "no heartbeat for 9 min 00 s"; empty if all is well."""
        since = self.health.stalled_since
        if since is None or self.is_settled:
            return ""
        return labels.stalled_label(int((self.at - since).total_seconds() // 60))

    @property
    def can_cancel(self) -> bool:
        """True if the user may cancel, and there is something to cancel."""
        return self.may_cancel and not self.is_settled and self.counts.stoppable > 0

    @property
    def can_force(self) -> bool:
        """True if the user may cancel, and canceled tasks do not stop."""
        since = self.health.stopping_since
        is_late = since is not None and self.at - since >= FORCE_AFTER
        return self.may_cancel and not self.is_settled and is_late

    @property
    def can_delete(self) -> bool:
        """True if the user may delete the workflow, and nothing runs in it any more."""
        return self.may_delete and self.is_settled

    @property
    def version(self) -> str:
        """A text that differs when the header has to be shown again."""
        node = self.node
        return digest(
            self.name, self.phase.value, self.state, self.is_settled, self.counts.key(),
            node.subject, node.attempts, node.started_at is None,
            self.eta, self.waiting is not None, self.stalled, self.health.stalled,
            self.can_cancel, self.can_force, self.can_delete, self.artifacts > 0,
        )  # fmt: skip
