"""The effect of a failure or a cancellation on other nodes: what is skipped, what is marked."""

from __future__ import annotations

from contextlib import nullcontext
from functools import reduce
from operator import or_

from django.db.models import Q
from django.utils.timezone import now

from .. import graph
from ..db.chunks import chunked
from ..db.connections import status_atomic
from ..db.tables import artifacts, statuses
from ..fields import ERROR_ARTIFACT
from ..phases import BREAKS, NodeType, Phase
from ..tree.locking import tree_lock
from ..tree.nodes import NodeRow, StoredNode, ancestors_of, open_node, read_rows
from .notifications import SettledNode


def affects_others(node: StoredNode, outcome: Phase) -> bool:
    """Return whether this outcome of a node changes other nodes."""
    return outcome in BREAKS and not (outcome is Phase.FAILED and node.allow_failure)


def propagate(node: StoredNode, outcome: Phase, message: str = "") -> list[SettledNode]:
    """Skip what waits for a failed or canceled node, and mark the containers around it.

    Return the nodes that were skipped. Queries: none where the outcome affects no other node;
    else one for the ancestors, one for the nodes in order around them, one for each ancestor that
    changes, and two under the tree's lock for each 500 subtrees that are to be skipped.
    """
    if not affects_others(node, outcome):
        return []
    ancestors = ancestors_of(node)
    skipped = _skip_dependents(node, ancestors)
    below: StoredNode = node
    for ancestor in ancestors:
        is_spawned = ancestor.node_type == NodeType.TASK
        if below.allow_failure and (outcome is Phase.FAILED or is_spawned):
            break  # Nothing waits for a spawned task; it counts when both have ended.
        # A cancellation may have marked a failed container already, but without the reason.
        unexplained = outcome is Phase.FAILED and ancestor.caused_by_id is None
        if ancestor.phase in BREAKS[outcome] or unexplained:
            with status_atomic() if message else nullcontext():
                if _mark_container(ancestor.pk, outcome, node.pk):
                    store_error(ancestor.pk, message)
        below = ancestor
    return skipped


def mark_containers(task: StoredNode, outcome: Phase, cause: int | None) -> None:
    """Mark the containers around a task that failed or was canceled by what it has spawned.

    Nothing is skipped: Celery has gone on after the task.
    """
    for ancestor in ancestors_of(task):
        if ancestor.node_type == NodeType.TASK:
            break  # Nothing waits for what a task has spawned until that task ends, too.
        _mark_container(ancestor.pk, outcome, cause)


def _mark_container(pk: int, outcome: Phase, cause: int | None) -> bool:
    replaceable = Q(phase__in=BREAKS[outcome])
    if outcome is Phase.FAILED:  # Marked by a cancellation, without a cause.
        replaceable |= Q(phase=Phase.FAILED, caused_by__isnull=True)
    marked = {"phase": outcome, "state": outcome.state, "caused_by_id": cause}
    return bool(open_node(pk).filter(replaceable).update(**marked, modified=now()))


def prevented_by(node: StoredNode, ancestors: list[NodeRow]) -> list[NodeRow]:
    """Return the subtrees that can never run if ``node`` does not succeed. One query.

    Members of groups, of which there may be thousands, are not read: they wait for no other node.
    """
    if not ancestors:
        return []
    around = {part.pk: part for part in ancestors}
    ordered = [part.pk for part in ancestors if part.node_type != NodeType.GROUP]
    for part in read_rows(statuses().filter(Q(parent_id__in=ordered) | Q(pk=node.pk))):
        around.setdefault(part.pk, part)
    if node.pk not in around:
        return []  # It was deleted meanwhile.
    for part in sorted(around.values(), key=lambda part: part.lft):
        if part.parent_id in around:
            around[part.parent_id].children.append(part)
    dependencies = graph.dependencies(ancestors[-1], partial=True)
    return graph.prevented(dependencies, [around[node.pk]])


def _skip_dependents(cause: StoredNode, ancestors: list[NodeRow]) -> list[SettledNode]:
    if not any(part.settled_at is None for part in prevented_by(cause, ancestors)):
        return []
    with tree_lock(cause.tree_id):
        # Read again: before the lock was taken, another process may have renumbered the tree.
        prevented = prevented_by(cause, ancestors_of(cause))
        pks: list[int] = []
        for batch in chunked(prevented):  # SQLite takes a thousand conditions at most.
            ranges = [Q(lft__gte=part.lft, rght__lte=part.rght) for part in batch]
            pending = statuses().filter(tree_id=cause.tree_id, phase=Phase.PENDING)
            waiting = pending.filter(reduce(or_, ranges))
            # Nothing in these subtrees has started, so containers are skipped with their leaves.
            pks += waiting.order_by("-lft").values_list("pk", flat=True)
            skipped = {"phase": Phase.SKIPPED, "state": Phase.SKIPPED.state}
            times = {"settled_at": now(), "modified": now()}
            waiting.order_by().update(**skipped, **times, caused_by_id=cause.pk)
    return [SettledNode(pk, False) for pk in pks]


def stored_error(pk: int) -> str:
    """Return why a node failed, as stored with it; empty if nothing is."""
    texts = artifacts().filter(status_id=pk, name=ERROR_ARTIFACT).order_by("pk")
    return texts.values_list("text", flat=True).first() or ""


def store_error(pk: int, message: str) -> None:
    """Store why a node failed, unless the message is empty."""
    if message:
        artifacts().create(status_id=pk, name=ERROR_ARTIFACT, text=message)
