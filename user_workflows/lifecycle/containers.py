"""Containers: what they show while tasks run below them, and how they are settled.

A container is settled by an UPDATE that only one process can win, by whoever finds that it has
no open child any more; the winner goes on with its parent. Leaves commit first, so the last of
several that end at once sees that all others have ended.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from ..db.chunks import chunked
from ..db.statements import ContainerToSettle, select_container
from ..db.tables import statuses
from ..phases import BREAKS, Child, NodeType, Phase, verdict
from ..tree.ancestors import ancestors_of
from ..tree.nodes import StoredNode, TreeNode, open_node
from .notifications import SettledNode
from .steps import leaf_sums, store_sums


def mark_running(pk: int | None) -> None:
    """Shows on all containers above a leaf that something in them has started.

    Bottom-up, one statement a row, so that leaves which start at once cannot block each other.
    """
    while pk is not None:
        waiting = open_node(pk).filter(phase=Phase.PENDING)
        if not waiting.update(
            phase=Phase.RUNNING, state=Phase.RUNNING.state, started_at=now(), modified=now()
        ):
            break
        pk = statuses().filter(pk=pk).values_list("parent_id", flat=True).first()


def settle_ancestors(pk: int | None, *, started: bool = True) -> list[SettledNode]:
    """Settles a container that has no open child any more, then its parent, and so on.

    One that stays open is shown as running, if what was settled below it had ``started``.
    """
    settled = []
    while pk is not None:
        container = select_container(pk)
        if container is None:
            break
        if container.has_open_child:
            if started and container.phase == Phase.PENDING:
                mark_running(pk)
            break
        if container.node_type == NodeType.TASK and not container.has_ended:
            break  # The children of a task have ended, but not the task itself.
        if not _settle_container(container):
            break  # Someone else did, and climbs on.
        settled.append(SettledNode(pk, container.parent_id is None))
        pk = container.parent_id
    return settled


def mark_container(pk: int, outcome: Phase, cause: int | None) -> bool:
    """Shows on an open container that a leaf, its ``cause``, broke it; says whether this did."""
    breakable = Q(phase__in=BREAKS[outcome])
    if outcome is Phase.FAILED:  # Who cancels may have shown it, as seen from the leaf.
        breakable |= Q(phase=Phase.FAILED, caused_by__isnull=True)
    broken = {"phase": outcome, "state": outcome.state, "caused_by_id": cause}
    return bool(open_node(pk).filter(breakable).update(**broken, modified=now()))


def _settle_container(container: ContainerToSettle) -> bool:
    children = statuses().filter(parent_id=container.pk).order_by()
    found = [
        Child(Phase(phase), allowed, True)
        for phase, allowed in children.values_list("phase", "allow_failure").distinct()
    ]
    sums = {}
    if container.node_type == NodeType.TASK:
        found.append(Child(Phase(container.phase), False, True))  # What it did itself.
    else:
        sums = leaf_sums(container)
    phase = verdict(found)
    at = now()
    outcome: dict[str, Any] = {"phase": phase, "state": phase.state, "settled_at": at}
    if container.node_type == NodeType.TASK and phase in BREAKS and phase != container.phase:
        cause = children.filter(phase=phase).values_list("pk", flat=True).first()
        outcome["caused_by_id"] = cause
        _mark_ancestors(container, phase, cause)
    return bool(open_node(container.pk).update(**outcome, **sums, modified=at))


def _mark_ancestors(task: StoredNode, outcome: Phase, cause: int | None) -> None:
    # What was canceled of all that a task has sent counts from now on, but prevents nothing:
    # Celery goes on after the task.
    for ancestor in ancestors_of(task):
        if ancestor.node_type == NodeType.TASK:
            break  # Nobody waits for what that one has sent until it ends, too.
        mark_container(ancestor.pk, outcome, cause)


def settle_by_verdict(
    nodes: list[TreeNode], at: datetime, cause: int | None = None
) -> list[SettledNode]:
    """Gives the open containers among these nodes the verdicts that follow from their children.

    For the holder of the tree's lock. ``nodes`` stand parents first, as just read, with the new
    phases of the leaves; those that this settles are settled at ``at``. ``cause`` is the leaf
    that those are put down to which do not succeed.
    """
    changed: dict[tuple[Phase, bool], list[TreeNode]] = defaultdict(list)
    for node in reversed(nodes):
        if node.is_settled or not (node.is_container or node.children):
            continue
        children = [Child(c.phase, c.allow_failure, c.is_settled) for c in node.children]
        if not node.is_container:
            children.append(Child(node.phase, False, node.ended_at is not None))
        before, node.phase = node.phase, verdict(children)
        done = all(child.settled for child in children)
        if not (done or node.is_container):
            node.phase = before  # What a task has sent counts when all of it has ended.
        if done or node.phase is not before:
            changed[node.phase, done].append(node)
        node.settled_at = at if done else None
    mine: list[TreeNode] = []
    for (phase, done), containers in changed.items():
        outcome: dict[str, Any] = {"phase": phase, "state": phase.state, "modified": at}
        if cause is not None and phase in (Phase.FAILED, Phase.CANCELED, Phase.SKIPPED):
            outcome["caused_by_id"] = cause
        for batch in chunked(containers):
            rows = statuses().filter(pk__in=[node.pk for node in batch]).order_by()
            still_open = rows.filter(settled_at__isnull=True)
            still_open.update(**outcome, **({"settled_at": at} if done else {}))
            won = set(rows.filter(settled_at=at).values_list("pk", flat=True))
            mine += [node for node in batch if node.pk in won]
    store_sums(mine)
    mine.sort(key=lambda node: node.level, reverse=True)
    return [SettledNode(node.pk, node.parent_id is None) for node in mine]


def settle_ready(tree_id: int) -> list[SettledNode]:
    """Settles the open containers of a tree that have no open child. One query where none has.

    Whoever settles leaves inside a transaction calls this after the commit: a worker that ended
    a sibling meanwhile could not see them.
    """
    open_children = statuses().filter(parent_id=OuterRef("pk"), settled_at__isnull=True).order_by()
    ready = statuses().filter(~Exists(open_children), tree_id=tree_id, settled_at__isnull=True)
    settled: list[SettledNode] = []
    for pk in ready.filter(is_container=True).order_by("-lft").values_list("pk", flat=True):
        settled += settle_ancestors(pk, started=False)
    return settled
