"""Canceling a workflow, or a branch of one.

The database decides: the gate before each task's body reads it. The receivers of
``tasks_revoked``, called after the commit, tell the workers, which only makes it quicker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Case, DateTimeField, Q, QuerySet, Value, When
from django.dispatch import Signal
from django.utils.timezone import now

from ..db.connections import status_connection
from ..db.tables import statuses
from ..phases import WAITING, NodeType, Phase
from ..tree.locking import tree_lock
from ..tree.nodes import StoredNode, read_tree
from . import containers, decisions, propagation, transitions
from .notifications import SettledNode, send_signals

if TYPE_CHECKING:
    from ..models import UserTaskStatus

#: Sent with the ``task_ids`` of tasks that need not be kept, or are to be killed (``terminate``).
tasks_revoked = Signal()


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The tasks below a canceled node, by what the cancellation did to them."""

    pending: int = 0
    """Tasks that will not start."""
    running: int = 0
    """Tasks that were asked to stop, or terminated."""
    finished: int = 0
    """Tasks that had ended before, and stay as they are."""


def cancel(status: UserTaskStatus, *, force: bool = False) -> Cancellation:
    """Cancel the open nodes below and including a node: see ``UserTaskStatus.cancel``.

    Queries: a dozen under the tree's lock whatever the number of nodes, and three for each
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
        changed = open_leaves.filter(phase__in=WAITING | {Phase.RUNNING}).update(
            settled_at=_at_if(at, not_in_worker & Q(is_container=False)),
            ended_at=_at_if(at, not_in_worker & Q(is_container=True)),
            **canceled,
        )
        pending = leaves.filter(Q(settled_at=at) | Q(ended_at=at)).count()
        running = changed - pending
        settled = _settle_containers(status, at) if changed else []
        if force:  # Also those that were asked before and have not stopped.
            running = open_leaves.filter(phase=Phase.CANCELED).count()
    _revoke(leaves.filter(settled_at=at), terminate=False)
    if force:
        _revoke(open_leaves.filter(phase=Phase.CANCELED), terminate=True)
    transitions.refresh_instance(status)
    send_signals(settled)
    transitions.settle_ready_after_commit(status.tree_id)
    return Cancellation(pending, running, finished)


def _at_if(at: datetime, condition: Q) -> Case:
    return Case(When(condition, then=Value(at)), output_field=DateTimeField())


def _settle_containers(node: StoredNode, at: datetime) -> list[SettledNode]:
    """Settle or mark the containers of canceled leaves; return those settled, leaves included."""
    tree = read_tree(node.tree_id, node.pk)
    if tree is None:
        return []
    nodes = list(tree.walk())
    settled = [SettledNode.of(found) for found in nodes if found.settled_at == at]
    changes = decisions.settle_containers(nodes)
    settled += containers.write_verdicts(changes, at)
    top = decisions.Change(tree, tree.phase, tree.is_settled)
    if changes and changes[-1].node is tree:
        top = changes[-1]
    skipped = propagation.propagate(node, Phase.CANCELED) if top.phase is Phase.CANCELED else []
    settled += skipped
    if top.settles:
        settled += containers.settle_ancestors(node.parent_id)
    if skipped:
        settled += containers.settle_ready(node.tree_id)
    return settled


def _revoke(leaves: QuerySet[UserTaskStatus], *, terminate: bool) -> None:
    task_ids = list(leaves.values_list("task_id", flat=True))
    if task_ids:

        def send() -> None:  # Not a partial: Django logs the __qualname__ of what has failed.
            tasks_revoked.send(Cancellation, task_ids=task_ids, terminate=terminate)

        transaction.on_commit(send, using=status_connection().alias, robust=True)
