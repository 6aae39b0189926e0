"""Events on leaves: started, retried, ended; and what follows from each for the tree.

Writes of a single row commit by themselves and hold no other lock. With eight processes that gave
exact results and no deadlock, where locking the ancestors did not. What a crash leaves between two
statements is completed by the reaper.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Coalesce, Least
from django.utils.timezone import now

from ..db.chunks import chunked
from ..db.connections import status_connection
from ..db.statements import Update
from ..db.tables import artifacts, statuses
from ..exceptions import TaskCanceledException
from ..fields import ERROR_ARTIFACT, MAX_TEXT_LENGTH
from ..phases import REPLACES, WAITING, NodeType, Phase
from ..tree.ancestors import ancestors_of
from ..tree.locking import lock_rows, tree_lock, tree_lock_in_transaction
from ..tree.nodes import StoredNode, open_node, read_tree
from . import containers, decisions, execution, leaves, propagation, steps
from .notifications import SettledNode, send_signals

if TYPE_CHECKING:
    from ..models import UserTaskStatus


def begin(node: StoredNode, attempt: int, **fresh: object) -> bool:
    """Mark a leaf as running before its body starts; return False if it must not start.

    Of a message that was delivered twice at the same moment, only one may start the ``attempt``.
    ``fresh`` are columns to reset, which an earlier attempt has changed.
    """
    at = now()
    return _begin_leaf(pk=node.pk, attempts=attempt, started_at=at, modified=at, **fresh)


@Update
def _begin_leaf(pk: Any, attempts: Any, started_at: Any, **columns: Any) -> Any:
    new = Q(phase__in=WAITING) | Q(attempts__lt=attempts) | Q(last_seen_at__isnull=True)
    return open_node(pk).filter(new, phase__in=REPLACES[Phase.RUNNING]), {
        "phase": Phase.RUNNING,
        "state": Phase.RUNNING.state,
        "attempts": attempts,
        "started_at": Coalesce("started_at", started_at),
        **columns,
    }


def retry(node: StoredNode, attempt: int, total_steps: int | None = None) -> None:
    """Record that an attempt has asked for another one, and drop the steps it has counted."""
    fresh = {} if total_steps is None else {"total_steps": total_steps}
    waiting = open_node(node.pk).filter(attempts__lte=attempt, ended_at__isnull=True)
    if not waiting.filter(phase__in=REPLACES[Phase.RETRYING]).update(
        phase=Phase.RETRYING,
        state=Phase.RETRYING.state,
        attempts=attempt + 1,
        completed_steps=0,
        modified=now(),
        **fresh,
    ):
        # It has a verdict already, so the next attempt will be refused.
        settle(node, Phase.FAILED, attempt=attempt)


class LeafEnd(Enum):
    """How an event has ended a leaf."""

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

    Args:
        node: the leaf.
        phase: its outcome; its phase may stay nevertheless: see ``phases.REPLACES``.
        message: why it failed.
        attempt: the attempt that has ended; None for whichever is the last.
        abandoned: whether its body was killed or never ran. Celery does not go on then, so a
            failure is not allowed where other tasks wait for the leaf.

    Returns:
        Whether this call has ended it: not if it was settled already, or ``attempt`` is older.

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
        upto = {} if attempt is None else {"attempts": attempt}
        settled = _succeed_leaf(pk=node.pk, modified=at, settled_at=at, **upto)
    elif propagation.affects_others(node, phase):
        return None
    else:
        plain = leaves.unended_plain_leaf(node.pk, attempt)
        settled = leaves.write_verdict(plain, phase, message, node.pk, settled_at=at)
    if settled:
        return LeafEnd.SETTLED
    spawner = leaves.unended_spawner(node.pk, attempt)
    ended = leaves.write_verdict(spawner, phase, message, node.pk, ended_at=at)
    return LeafEnd.BODY_ENDED if ended else None


def _decide(
    node: StoredNode, phase: Phase, message: str, attempt: int | None
) -> tuple[Phase, str] | None:
    """Give a leaf its verdict; return that or the one it has, and the reason. None if it ended."""
    leaf = leaves.unended_leaf(node.pk, attempt)
    if leaves.write_verdict(leaf, phase, message, node.pk):
        return phase, message
    # From its body or from a cancellation, which may not have propagated it yet.
    stored = leaf.values_list("phase", flat=True).first()
    if stored is None:
        return None
    return Phase(stored), propagation.stored_error(node.pk) if stored == Phase.FAILED else ""


def _end_decided(node: StoredNode, attempt: int | None) -> LeafEnd | None:
    counted = Least("completed_steps", "total_steps")
    plain = leaves.unended_plain_leaf(node.pk, attempt)
    if plain.update(settled_at=now(), modified=now(), completed_steps=counted):
        return LeafEnd.SETTLED
    spawner = leaves.unended_spawner(node.pk, attempt)
    return LeafEnd.BODY_ENDED if spawner.update(ended_at=now(), modified=now()) else None


def _propagate_and_settle(node: StoredNode, outcome: Phase, message: str) -> list[SettledNode]:
    skipped = propagation.propagate(node, outcome, message)
    return skipped and skipped + containers.settle_ready(node.tree_id)


@Update
def _succeed_leaf(pk: Any, modified: Any, settled_at: Any, **attempts: Any) -> Any:
    """The end of nearly all leaves."""
    unlike = leaves.unended_plain_leaf(pk, **attempts).filter(phase__in=REPLACES[Phase.SUCCEEDED])
    return unlike, {
        **leaves.outcome_columns(Phase.SUCCEEDED),
        "modified": modified,
        "settled_at": settled_at,
    }


# -- through an instance of the model -------------------------------------------------------------


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
            _write_verdict_in_body(status, phase, message)
        else:
            settle(status, phase, message=message)
            steps.store_sums_above(status)
    elif phase is Phase.RETRYING:
        retry(status, status.attempts)
    elif (
        open_node(status.pk)
        .filter(phase__in=REPLACES[Phase.RUNNING])
        .update(phase=phase, state=state or phase.state, modified=now())
    ):
        containers.mark_running(status.parent_id)
    refresh_instance(status)


def start(status: UserTaskStatus) -> None:
    """Mark the task of this instance as running.

    Raises:
        TaskCanceledException: it was canceled.
    """
    if status.pk is None:
        status.apply_row(phase=Phase.RUNNING, state=Phase.RUNNING.state)
        return
    with tree_lock_in_transaction(status.tree_id):
        begun = begin(status, status.attempts)
        if begun:
            containers.mark_running(status.parent_id)
    refresh_instance(status)
    if not begun and status.phase == Phase.CANCELED and status.node_type == NodeType.TASK:
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


def _write_verdict_in_body(node: StoredNode, phase: Phase, message: str) -> None:
    with tree_lock_in_transaction(node.tree_id):
        if not leaves.write_verdict(open_node(node.pk), phase, message, node.pk):
            return
        skipped = _propagate_and_settle(node, phase, message)
    send_signals(skipped)


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
            cause = closing.cause if phase is Phase.SKIPPED else None
            columns = {} if cause is None else {"caused_by_id": cause}
            for batch in chunked([leaf.pk for leaf in ended]):
                statuses().filter(pk__in=batch, settled_at__isnull=True).order_by().update(
                    phase=phase, state=phase.state, settled_at=at, modified=at, **columns
                )
        settled = [SettledNode.of(change.node) for change in closing.leaves]
        settled += containers.write_verdicts(closing.containers, at, closing.cause)
        if message:
            error = partial(artifacts().model, name=ERROR_ARTIFACT, text=message)
            errors = [error(status_id=pk) for pk in closing.unexplained]
            artifacts().bulk_create(errors, batch_size=500)
    send_signals(settled)
    settle_ready_after_commit(tree_id)
