"""Events on leaves: started, retried, ended; and what follows from each for the tree.

Writes of a single row commit by themselves and hold no other lock. With eight processes that was
exact and free of deadlocks; locking the ancestors was not. The reaper completes what a crash
leaves between two statements.
"""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Least
from django.utils.timezone import now

from ..db.chunks import chunked
from ..db.connections import status_atomic, status_connection
from ..db.statements import begin_leaf, succeed_leaf
from ..db.tables import artifacts, statuses
from ..exceptions import TaskCanceledException
from ..fields import ERROR_ARTIFACT, MAX_TEXT_LENGTH
from ..phases import REPLACES, NodeType, Phase
from ..tree.locking import lock_rows, tree_lock, tree_lock_in_transaction
from ..tree.managers import StatusQuerySet
from ..tree.nodes import StoredNode, ancestors_of, open_node, read_tree
from . import containers, decisions, execution, propagation, steps
from .notifications import SettledNode, send_signals

if TYPE_CHECKING:
    from ..models import UserTaskStatus


def begin(node: StoredNode, attempt: int, **fresh: Any) -> bool:
    """Mark a leaf as running before its body starts, with ``fresh`` columns: see ``begin_leaf``."""
    return begin_leaf(node.pk, attempt, now(), **fresh)


def retry(node: StoredNode, attempt: int, total_steps: int | None = None) -> None:
    """Record that an attempt has asked for another one, and drop the steps it has counted."""
    waiting = _unended_leaf(node.pk, attempt).filter(phase__in=REPLACES[Phase.RETRYING])
    columns = {"state": Phase.RETRYING.state, "attempts": attempt + 1, "completed_steps": 0}
    if total_steps is not None:
        columns["total_steps"] = total_steps
    if not waiting.update(phase=Phase.RETRYING, modified=now(), **columns):
        # It has a verdict already, so the next attempt will be refused.
        settle(node, Phase.FAILED, attempt=attempt)


#: Of a leaf with spawned tasks below it, which may outlast it.
_IS_SPAWNER = {"node_type": NodeType.TASK, "is_container": True}


class LeafEnd(Enum):
    """The ways in which an event ends a leaf."""

    SETTLED = auto()
    BODY_ENDED = auto()
    """Tasks that it has spawned are below it: it is settled with the last of them."""


def settle(
    node: StoredNode,
    phase: Phase,
    *,
    message: str = "",
    attempt: int | None = None,
    abandoned: bool = False,
) -> bool:
    """End a leaf for good, propagate its failure, and settle the containers that are ready.

    Return False if it was settled already, or is at a later ``attempt``. Its phase may stay though
    it ends: see ``phases.REPLACES``. The body of an ``abandoned`` leaf was killed or never ran:
    Celery does not go on then, so a failure is not allowed where other tasks wait for the leaf.

    Queries: for a success one UPDATE of the leaf, and one SELECT of its parent, which stays open.
    """
    if abandoned and phase is Phase.FAILED and node.allow_failure:
        node = _disallow_awaited_failure(node)
    skipped: list[SettledNode] = []
    with tree_lock_in_transaction(node.tree_id):
        end = _end_in_one_statement(node, phase, message, attempt)
        if end is None and (verdict := _decide(node, phase, message, attempt)):
            # The leaf stays open until the containers around it are marked. Else the process that
            # ends its last sibling could settle them as if it had not failed, or stop below one
            # whose later members are not skipped yet, from where no process would go on.
            skipped = _propagate_and_settle(node, *verdict)
            end = _end_decided(node, attempt)
        settled = [SettledNode.of(node)] if end is LeafEnd.SETTLED else []
        settled += skipped
        if end is not None:
            top = node.parent_id if end is LeafEnd.SETTLED else node.pk
            settled += containers.settle_ancestors(top)
    send_signals(settled)
    if status_connection().in_atomic_block:
        settle_ready_after_commit(node.tree_id)
    return end is not None


def settle_ready_after_commit(tree_id: int) -> None:
    """After the commit, settle what is ready: before it, neither side saw the other's leaves."""
    transaction.on_commit(
        lambda: send_signals(containers.settle_ready(tree_id)), using=status_connection().alias
    )


class _Leaf(NamedTuple):
    pk: int
    tree_id: int
    parent_id: int | None
    allow_failure: bool


def _disallow_awaited_failure(node: StoredNode) -> StoredNode:
    if not propagation.prevented_by(node, ancestors_of(node)):
        return node
    open_node(node.pk).update(allow_failure=False, modified=now())
    return _Leaf(node.pk, node.tree_id, node.parent_id, allow_failure=False)


def _end_in_one_statement(
    node: StoredNode, phase: Phase, message: str, attempt: int | None
) -> LeafEnd | None:
    """End a leaf if that affects no other; a process killed here leaves nothing half-written."""
    at = now()
    if phase is Phase.SUCCEEDED and not message:
        settled = succeed_leaf(node.pk, at, attempt)
    elif propagation.affects_others(node, phase):
        return None
    else:
        plain = _unended_leaf(node.pk, attempt).exclude(**_IS_SPAWNER)
        settled = _write_verdict(plain, phase, message, node.pk, settled_at=at)
    if settled:
        return LeafEnd.SETTLED
    spawner = _unended_leaf(node.pk, attempt).filter(**_IS_SPAWNER)
    ended = _write_verdict(spawner, phase, message, node.pk, ended_at=at)
    return LeafEnd.BODY_ENDED if ended else None


def _decide(
    node: StoredNode, phase: Phase, message: str, attempt: int | None
) -> tuple[Phase, str] | None:
    """Give a leaf its verdict; return that or the one it has, and the reason. None if it ended."""
    leaf = _unended_leaf(node.pk, attempt)
    if _write_verdict(leaf, phase, message, node.pk):
        return phase, message
    # From its body or from a cancellation, which may not have propagated it yet.
    stored = leaf.values_list("phase", flat=True).first()
    if stored is None:
        return None
    return Phase(stored), propagation.stored_error(node.pk) if stored == Phase.FAILED else ""


def _end_decided(node: StoredNode, attempt: int | None) -> LeafEnd | None:
    counted, leaf = Least("completed_steps", "total_steps"), _unended_leaf(node.pk, attempt)
    plain, spawner = leaf.exclude(**_IS_SPAWNER), leaf.filter(**_IS_SPAWNER)
    if plain.update(settled_at=now(), modified=now(), completed_steps=counted):
        return LeafEnd.SETTLED
    return LeafEnd.BODY_ENDED if spawner.update(ended_at=now(), modified=now()) else None


def _propagate_and_settle(node: StoredNode, outcome: Phase, message: str) -> list[SettledNode]:
    skipped = propagation.propagate(node, outcome, message)
    return skipped and skipped + containers.settle_ready(node.tree_id)


def _unended_leaf(pk: int, attempt: int | None) -> StatusQuerySet:
    """Return the row of a leaf, unless it has ended or the attempt is older than its last."""
    leaf = open_node(pk).filter(ended_at__isnull=True)
    return leaf if attempt is None else leaf.filter(attempts__lte=attempt)


def _write_verdict(
    leaf: StatusQuerySet, phase: Phase, message: str, pk: int, **columns: datetime
) -> bool:
    """Give a leaf its verdict and the reason; return False if it may not replace its phase."""
    done = F("total_steps") if phase is Phase.SUCCEEDED else Least("completed_steps", "total_steps")
    verdict = {"phase": phase, "state": phase.state, "completed_steps": done, "modified": now()}
    with status_atomic() if message else nullcontext():
        written = bool(leaf.filter(phase__in=REPLACES[phase]).update(**verdict, **columns))
        if written:
            propagation.store_error(pk, message)
    return written


def change_phase(
    status: UserTaskStatus, phase: Phase, state: str | None = None, *, message: str = ""
) -> None:
    """Give a node a new phase through its instance, which then shows what was stored.

    While the node's body runs, a final phase is only its verdict: the node is settled when Celery
    reports the end of the body. Else it is settled at once.
    """
    if status.pk is None:
        status.apply_row(phase=phase, state=state or phase.state)
        return
    if phase.is_terminal:
        if _end_is_pending(status):
            with tree_lock_in_transaction(status.tree_id):
                is_written = _write_verdict(open_node(status.pk), phase, message, status.pk)
                skipped = _propagate_and_settle(status, phase, message) if is_written else []
            send_signals(skipped)
        else:
            settle(status, phase, message=message)
            steps.store_sums_above(status)
    elif phase is Phase.RETRYING:
        retry(status, status.attempts)
    else:
        running = open_node(status.pk).filter(phase__in=REPLACES[Phase.RUNNING])
        if running.update(phase=phase, state=state or phase.state, modified=now()):
            containers.mark_running(status.parent_id)
    refresh_instance(status)


def start(status: UserTaskStatus) -> None:
    """Mark the task of this instance as running, or raise TaskCanceledException."""
    if status.pk is None:
        status.apply_row(phase=Phase.RUNNING, state=Phase.RUNNING.state)
        return
    with tree_lock_in_transaction(status.tree_id):
        begun = begin(status, status.attempts)
        if begun:
            containers.mark_running(status.parent_id)
    refresh_instance(status)
    if not begun:
        raise_if_canceled(status)


def raise_if_canceled(status: UserTaskStatus) -> None:
    """Raise ``TaskCanceledException`` if the task of this instance was canceled."""
    if status.phase == Phase.CANCELED and status.node_type == NodeType.TASK:
        raise TaskCanceledException(f"{status.name} was canceled.")


def rename(status: UserTaskStatus, name: str) -> None:
    """Rename a node, and its ancestors that were not named by the caller."""
    name = name[:MAX_TEXT_LENGTH]
    status.apply_row(name=name)
    if status.pk is None:
        return
    with tree_lock_in_transaction(status.tree_id):
        statuses().filter(pk=status.pk).update(name=name, modified=now())
        for ancestor in ancestors_of(status):
            statuses().filter(pk=ancestor.pk, is_named=False).update(name=name, modified=now())


def refresh_instance(status: UserTaskStatus) -> None:
    """Read into an instance the columns that events write. One query."""
    columns = (
        "phase", "state", "completed_steps", "total_steps", "attempts",
        "modified", "started_at", "ended_at", "settled_at", "caused_by_id",
    )  # fmt: skip
    row = statuses().filter(pk=status.pk).order_by().values(*columns).first()
    if row is not None:
        status.apply_row(**row)


def _end_is_pending(status: UserTaskStatus) -> bool:
    """Return whether the end of a node's body or children is still to be reported."""
    if execution.find(status.pk):
        return True
    if status.is_container and statuses().filter(parent_id=status.pk, settled_at=None).exists():
        return True
    in_worker = open_node(status.pk).filter(phase=Phase.RUNNING, last_seen_at__isnull=False)
    return bool(in_worker.exists())


def close_leaves(tree_id: int, outcome_of: decisions.OutcomeOf, message: str) -> None:
    """Settle the open leaves of a tree that ``outcome_of`` gives an outcome, and their containers.

    ``message`` is stored with those that fail. Queries: a few for each 500 leaves and containers.
    """
    at = now()
    with tree_lock(tree_id):
        # No worker may change a leaf between the decision and its write.
        lock_rows(statuses().filter(tree_id=tree_id, settled_at__isnull=True))
        tree = read_tree(tree_id)
        closing = decisions.close_leaves(tree, outcome_of) if tree is not None else None
        if closing is None or not closing.leaves:
            return
        for (phase, _), ended in decisions.grouped(closing.leaves).items():
            columns = {"phase": phase, "state": phase.state, "settled_at": at, "modified": at}
            if phase is Phase.SKIPPED and closing.cause is not None:
                columns["caused_by_id"] = closing.cause
            for batch in chunked([leaf.pk for leaf in ended]):
                leaves = statuses().filter(pk__in=batch, settled_at__isnull=True)
                leaves.order_by().update(**columns)
        settled = [SettledNode.of(change.node) for change in closing.leaves]
        settled += containers.write_verdicts(closing.containers, at, closing.cause)
        if message:
            error = partial(artifacts().model, name=ERROR_ARTIFACT, text=message)
            errors = [error(status_id=pk) for pk in closing.unexplained]
            artifacts().bulk_create(errors, batch_size=500)
    send_signals(settled)
    settle_ready_after_commit(tree_id)
