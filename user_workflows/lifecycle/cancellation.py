"""Canceling a workflow, or a branch of one.

The database decides: the gate before each task's body asks it. Telling the workers is left to
whoever listens to ``revoked``, after the commit, and only makes it quicker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Case, DateTimeField, Q, Value, When
from django.dispatch import Signal
from django.utils.timezone import now

from ..db.connections import status_connection
from ..db.tables import statuses
from ..phases import WAITING, NodeType, Phase
from ..tree.locking import tree_lock
from . import transitions
from .notifications import send_signals

#: Tasks that need not be kept, or with ``terminate`` are to be killed. Arguments: ``task_ids``.
tasks_revoked = Signal()


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancellation did to the tasks below a node."""

    pending: int = 0
    """Tasks that will not start."""
    running: int = 0
    """Tasks that were asked to stop, or terminated."""
    finished: int = 0
    """Tasks that had ended before, and stay as they are."""


def cancel(status: Any, *, force: bool = False) -> Cancellation:
    """Cancels the open nodes below and including a node: see ``UserTaskStatus.cancel``.

    Cost: a dozen queries under the tree's lock whatever the number of nodes, and three for each
    container above that is settled by it.
    """
    if status.pk is None:
        return Cancellation()
    at = now()
    canceled = {"phase": Phase.CANCELED, "state": Phase.CANCELED.state, "modified": at}
    with tree_lock(status.tree_id):
        bounds = statuses().filter(pk=status.pk).order_by().values_list("lft", "rght").first()
        if bounds is None:
            return Cancellation()
        subtree = Q(tree_id=status.tree_id, lft__gte=bounds[0], rght__lte=bounds[1])
        leaves = statuses().filter(subtree, node_type=NodeType.TASK).order_by()
        open_leaves = leaves.filter(settled_at__isnull=True, ended_at__isnull=True)
        finished = leaves.exclude(settled_at__isnull=True, ended_at__isnull=True).count()
        # A leaf may start or ask for a retry at this moment. One UPDATE decides by each row as it
        # finds it; between two of them a leaf could slip through. MySQL assigns from left to
        # right, so what looks at the phase stands before it.
        not_in_worker = Q(phase__in=WAITING) | Q(phase=Phase.RUNNING, last_seen_at__isnull=True)
        struck = open_leaves.filter(phase__in=WAITING | {Phase.RUNNING}).update(
            settled_at=_at(at, not_in_worker & Q(is_container=False)),
            ended_at=_at(at, not_in_worker & Q(is_container=True)),
            **canceled,
        )
        pending = leaves.filter(Q(settled_at=at) | Q(ended_at=at)).count()
        running = struck - pending
        settled = transitions.settle_canceled(status, at) if struck else []
        if force:  # Also those that were asked before and have not stopped.
            running = open_leaves.filter(phase=Phase.CANCELED).count()
    _revoke(leaves.filter(settled_at=at), terminate=False)
    if force:
        _revoke(open_leaves.filter(phase=Phase.CANCELED), terminate=True)
    transitions.refresh_instance(status)
    send_signals(settled)
    transitions.settle_ready_after_commit(status.tree_id)
    return Cancellation(pending, running, finished)


def _at(at: datetime, condition: Q) -> Case:
    return Case(When(condition, then=Value(at)), output_field=DateTimeField())


def _revoke(leaves: Any, *, terminate: bool) -> None:
    task_ids = list(leaves.values_list("task_id", flat=True))
    if task_ids:

        def tell() -> None:  # No partial: Django asks what failed for its name.
            tasks_revoked.send(Cancellation, task_ids=task_ids, terminate=terminate)

        transaction.on_commit(tell, using=status_connection().alias, robust=True)
