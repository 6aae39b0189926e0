"""Events on leaves: started, counted, failed, ended; and all that follows from each.

Writes of a single row commit by themselves and hold no other lock: that gave exact results and
no deadlock with eight processes, where locking the ancestors did not. What a crash leaves between
two steps the reaper completes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from typing import Any

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
from ..tree.ancestors import ancestors_of
from ..tree.locking import lock_rows, tree_lock, tree_lock_in_transaction
from ..tree.nodes import StoredNode, TreeNode, open_node, read_tree
from . import containers, execution, propagation, steps
from .notifications import SettledNode, send_signals


def begin(node: StoredNode, attempt: int, **fresh: Any) -> bool:
    """A worker starts the body of a leaf. Returns False if it must not: see the row why.

    Arguments:
        attempt: which attempt this is, from 1. Of a message that was delivered twice at the same
            moment only one starts the body.
        fresh: columns to set anew, where an earlier attempt has changed them.
    """
    return begin_leaf(node.pk, attempt, now(), **fresh)


def retry(node: StoredNode, attempt: int, total_steps: int | None = None) -> None:
    """An attempt ended by asking for another one; the steps it had counted are dropped."""
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
        # A verdict stands already, so the next attempt will be refused.
        settle(node, Phase.FAILED, attempt=attempt)


def settle(
    node: Any,
    phase: Phase,
    *,
    message: str = "",
    attempt: int | None = None,
    abandoned: bool = False,
) -> bool:
    """A leaf has ended for good: settles it, and whatever is thereby decided or settled.

    ``abandoned`` says that its body did not end by itself: it was killed, or never ran. Celery
    does not go on then, so a failure is not allowed where something waits for the leaf.

    Returns False, and changes nothing, where it was settled already or by an older attempt.
    Queries where all is well: 1 for the leaf and 1 to see that its parent is still open.
    """
    if (
        abandoned
        and phase is Phase.FAILED
        and node.allow_failure
        and propagation.prevented_by(node, ancestors_of(node))
    ):
        open_node(node.pk).update(allow_failure=False, modified=now())
        node.allow_failure = False
    with tree_lock_in_transaction(node.tree_id):
        ended, up, settled = _end_leaf(node, phase, message, attempt)
        settled += containers.settle_ancestors(up)
    send_signals(settled)
    if status_connection().in_atomic_block:
        settle_ready_after_commit(node.tree_id)
    return ended


def settle_ready_after_commit(tree_id: int) -> None:
    """After the commit, settles what neither of two sides could see was ready.

    The side in a transaction did not see the leaves that a worker ended meanwhile, nor the
    worker those of the transaction.
    """
    transaction.on_commit(
        lambda: send_signals(containers.settle_ready(tree_id)), using=status_connection().alias
    )


def change_phase(status: Any, phase: Phase, state: str | None = None, *, message: str = "") -> None:
    """A state given to a node through its model instance, which then shows what was stored.

    While the node's body runs, a final phase is only its verdict: the node is settled when
    Celery reports the end of the body. Else it is settled at once.
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


def start(status: Any) -> None:
    """Marks the task of this instance as started, unless it was canceled."""
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


def rename(status: Any, name: str) -> None:
    """Renames a node, and those above it that were not named by the caller."""
    name = name[:MAX_TEXT_LENGTH]
    status.apply_row(name=name)
    if status.pk is None:
        return
    with tree_lock_in_transaction(status.tree_id):
        statuses().filter(pk=status.pk).update(name=name, modified=now())
        for ancestor in ancestors_of(status):
            statuses().filter(pk=ancestor.pk, is_named=False).update(name=name, modified=now())


def refresh_instance(status: Any) -> None:
    """Reads into an instance what may have been written behind it."""
    columns = (
        "phase", "state", "completed_steps", "total_steps", "attempts",
        "modified", "started_at", "ended_at", "settled_at", "caused_by_id",
    )  # fmt: skip
    row = statuses().filter(pk=status.pk).order_by().values(*columns).first()
    if row is not None:
        status.apply_row(**row)


def _end_is_pending(status: Any) -> bool:
    """Whether the end of this node is still to come: of its body, or of its children."""
    if execution.find(status.pk):
        return True
    if status.is_container and statuses().filter(parent_id=status.pk, settled_at=None).exists():
        return True
    in_worker = open_node(status.pk).filter(phase=Phase.RUNNING, last_seen_at__isnull=False)
    return bool(in_worker.exists())


def _outcome_columns(phase: Phase) -> dict[str, Any]:
    done = F("total_steps") if phase is Phase.SUCCEEDED else Least("completed_steps", "total_steps")
    return {"phase": phase, "state": phase.state, "completed_steps": done}


def _unended_leaf(pk: Any, attempts: Any = None) -> Any:
    upto = {} if attempts is None else {"attempts__lte": attempts}
    return open_node(pk).filter(ended_at__isnull=True, **upto)


def _unended_plain_leaf(pk: Any, attempts: Any = None) -> Any:
    return _unended_leaf(pk, attempts).exclude(node_type=NodeType.TASK, is_container=True)


def _end_leaf(
    node: StoredNode, phase: Phase, message: str, attempt: int | None
) -> tuple[bool, int | None, list[SettledNode]]:
    """Whether this call ended the leaf, where to climb from then, and what it settled.

    A leaf that breaks what contains it stays open until the break is shown there: else whoever
    ends its last sibling could settle containers that do not show it yet, or stop below one
    whose later steps are not skipped yet, and nobody would go on from there.
    """
    me, at = SettledNode(node.pk, node.parent_id is None), now()
    succeeds = phase is Phase.SUCCEEDED and not message
    if succeeds and succeed_leaf(node.pk, at, attempt):
        return True, node.parent_id, [me]
    going, plain = _unended_leaf(node.pk, attempt), _unended_plain_leaf(node.pk, attempt)
    grown = going.filter(node_type=NodeType.TASK, is_container=True)
    if not propagation.affects_others(
        node, phase
    ):  # In one statement: who dies here is not taken for lost.
        if not succeeds and _write_verdict(plain, node, phase, message, settled_at=at):
            return True, node.parent_id, [me]
        if _write_verdict(grown, node, phase, message, ended_at=at):
            return True, node.pk, []
    if not _write_verdict(going, node, phase, message):
        # It has one already: from the body, or from someone who canceled it. Whoever gave it
        # may not have shown it yet.
        before = going.values_list("phase", flat=True).first()
        if before is None:
            return False, None, []
        phase, message = (
            Phase(before),
            propagation.stored_error(node.pk) if before == Phase.FAILED else "",
        )
    skipped = _propagate_and_settle(node, phase, message)
    counted = Least("completed_steps", "total_steps")
    if plain.update(settled_at=now(), modified=now(), completed_steps=counted):
        return True, node.parent_id, [me, *skipped]
    # A task that has tasks below it is settled with the last of them.
    ended = grown.update(ended_at=now(), modified=now())
    return bool(ended), node.pk if ended else None, skipped


def _propagate_and_settle(node: StoredNode, outcome: Phase, message: str) -> list[SettledNode]:
    skipped = propagation.propagate(node, outcome, message)
    return skipped and skipped + containers.settle_ready(node.tree_id)


def _write_verdict(
    leaf: Any, node: StoredNode, phase: Phase, message: str, **columns: datetime
) -> bool:
    """Decides what an open leaf is; says whether this call did."""
    with status_atomic() if message else nullcontext():
        unlike = leaf.filter(phase__in=REPLACES[phase])
        given = bool(unlike.update(**_outcome_columns(phase), modified=now(), **columns))
        if given:
            propagation.store_error(node.pk, message)
    return given


def _write_verdict_in_body(node: StoredNode, phase: Phase, message: str) -> None:
    """Gives a verdict to a leaf whose body still runs."""
    with tree_lock_in_transaction(node.tree_id):
        if not _write_verdict(open_node(node.pk), node, phase, message):
            return
        skipped = _propagate_and_settle(node, phase, message)
    send_signals(skipped)


def settle_canceled(node: StoredNode, at: datetime) -> list[SettledNode]:
    """Shows on all containers that leaves below ``node`` were canceled, and settled at ``at``.

    For the holder of the tree's lock. Returns the nodes that were settled by it.
    """
    tree = read_tree(node.tree_id, node.pk)
    if tree is None:
        return []
    nodes = list(tree.walk())
    settled = [SettledNode(n.pk, n.parent_id is None) for n in nodes if n.settled_at == at]
    settled += containers.settle_by_verdict(nodes, at)
    skipped = propagation.propagate(node, Phase.CANCELED) if tree.phase is Phase.CANCELED else []
    settled += skipped
    if tree.settled_at is not None:
        settled += containers.settle_ancestors(node.parent_id)
    if skipped:
        settled += containers.settle_ready(node.tree_id)
    return settled


def close_leaves(tree_id: int, fate: Callable[[TreeNode], Phase | None], message: str) -> None:
    """Settles all open leaves of a tree that ``fate`` gives a phase, and what follows from it.

    Leaves that fail are explained with ``message``; those that are skipped are put down to the
    first failed leaf of the tree. Cost: a few queries for each 500 leaves and containers.
    """
    at = now()
    with tree_lock(tree_id):
        # Nobody is to change one of these between the look at it and the verdict.
        lock_rows(statuses().filter(tree_id=tree_id, settled_at__isnull=True))
        tree = read_tree(tree_id)
        if tree is None:
            return
        nodes = list(tree.walk())
        leaves = [node for node in nodes if not node.is_container]
        fated: dict[Phase, list[TreeNode]] = defaultdict(list)
        told: set[int] = set()
        for leaf in leaves:
            phase = fate(leaf) if leaf.settled_at is None else None
            if phase is not None:
                # What it has come to already, in its body or by being canceled, sticks.
                sticks = leaf.phase not in REPLACES[phase]
                told |= {leaf.pk} if sticks else set()
                fated[leaf.phase if sticks else phase].append(leaf)
        if not fated:
            return
        failed = [*fated[Phase.FAILED], *(n for n in leaves if n.phase is Phase.FAILED)]
        causes = [leaf.pk for leaf in failed if not leaf.allow_failure]
        for phase, ended in fated.items():
            for leaf in ended:
                leaf.phase, leaf.settled_at = phase, at
            cause = {"caused_by_id": causes[0]} if phase is Phase.SKIPPED and causes else {}
            for batch in chunked([leaf.pk for leaf in ended]):
                statuses().filter(pk__in=batch, settled_at__isnull=True).order_by().update(
                    phase=phase, state=phase.state, settled_at=at, modified=at, **cause
                )
        explained = [leaf.pk for leaf in fated[Phase.FAILED] if leaf.pk not in told]
        settled = [SettledNode(n.pk, n.parent_id is None) for n in leaves if n.settled_at == at]
        above = [node for node in nodes if node.is_container and not node.is_settled]
        settled += containers.settle_by_verdict(nodes, at, causes[0] if causes else None)
        if message:
            unexplained = (node for node in above if node.caused_by_id is None)
            explained += [node.pk for node in unexplained if node.phase is Phase.FAILED]
        artifact = artifacts().model
        artifacts().bulk_create(
            [artifact(status_id=pk, name=ERROR_ARTIFACT, text=message) for pk in explained],
            batch_size=500,
        )
    send_signals(settled)
    settle_ready_after_commit(tree_id)
