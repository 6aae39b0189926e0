"""What a failure or a cancellation means for others: who is skipped, what shows the break."""

from __future__ import annotations

from contextlib import nullcontext
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q
from django.utils.timezone import now

from .. import graph
from ..db.chunks import chunked
from ..db.connections import status_atomic
from ..db.tables import artifacts, statuses
from ..fields import ERROR_ARTIFACT
from ..phases import BREAKS, NodeType, Phase
from ..tree.ancestors import ancestors_of
from ..tree.locking import tree_lock
from ..tree.nodes import NodeRow, StoredNode, read_rows
from .containers import mark_container
from .notifications import SettledNode


def affects_others(node: StoredNode, outcome: Phase) -> bool:
    """Whether this outcome of a node means anything for others."""
    return outcome in BREAKS and not (outcome is Phase.FAILED and node.allow_failure)


def propagate(node: StoredNode, outcome: Phase, message: str = "") -> list[SettledNode]:
    """Skips what waited for a broken node and shows the break in all that contains it.

    Returns the nodes that were settled by that. Queries: none where the outcome breaks nothing;
    else one for the ancestors, one for what stands in order around them, one for each ancestor
    that changes, and two under the tree's lock for each 500 parts that are to be skipped.
    """
    if not affects_others(node, outcome):
        return []
    ancestors = ancestors_of(node)
    skipped = _skip_dependents(node, ancestors)
    broken: Any = node
    for ancestor in ancestors:
        if outcome is Phase.FAILED and broken.allow_failure:
            break
        if ancestor.node_type == NodeType.TASK and broken.allow_failure:
            break  # Nobody waits for what a task has sent; it counts when both have ended.
        _mark_ancestor(ancestor, node, outcome, message)
        broken = ancestor
    return skipped


def _mark_ancestor(container: NodeRow, cause: StoredNode, outcome: Phase, message: str) -> None:
    # Who cancels may have shown a failure already, as seen from the leaf, without the reason.
    unexplained = outcome is Phase.FAILED and container.caused_by_id is None
    if container.phase not in BREAKS[outcome] and not unexplained:
        return
    with status_atomic() if message else nullcontext():
        if mark_container(container.pk, outcome, cause.pk):
            store_error(container.pk, message)


def prevented_by(node: StoredNode, ancestors: list[NodeRow]) -> list[NodeRow]:
    """The subtrees that can never run when ``node`` does not succeed. One query.

    Only what stands in order around the way to the root is read: the members of groups, which
    may be thousands, wait for nobody.
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
        # Once more: until the lock was taken the tree could be numbered anew.
        blocked = prevented_by(cause, ancestors_of(cause))
        pks: list[int] = []
        for batch in chunked(blocked):  # SQLite takes a thousand conditions at most.
            ranges = [Q(lft__gte=part.lft, rght__lte=part.rght) for part in batch]
            waiting = statuses().filter(
                reduce(or_, ranges),
                tree_id=cause.tree_id,
                phase=Phase.PENDING,
            )
            # Nothing in what is blocked has started, so containers are skipped with their leaves.
            pks += waiting.order_by("-lft").values_list("pk", flat=True)
            waiting.order_by().update(
                phase=Phase.SKIPPED,
                state=Phase.SKIPPED.state,
                caused_by_id=cause.pk,
                settled_at=now(),
                modified=now(),
            )
    return [SettledNode(pk, False) for pk in pks]


def stored_error(pk: int) -> str:
    """Why a node failed, as it was stored with it."""
    texts = artifacts().filter(status_id=pk, name=ERROR_ARTIFACT).order_by("pk")
    return texts.values_list("text", flat=True).first() or ""


def store_error(pk: int, message: str) -> None:
    """Stores why a node failed, if there is anything to say."""
    if message:
        artifacts().create(status_id=pk, name=ERROR_ARTIFACT, text=message)
