"""Containers: the phase they show while tasks run below them, and how they are settled.

A container is settled by one conditional UPDATE, which only one process can win. The winner goes
on with the parent. Leaves commit first, so of several that end at once the last one sees that all
others have ended.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from ..db.chunks import chunked
from ..db.statements import ContainerToSettle, select_container
from ..db.tables import statuses
from ..phases import BREAKS, Child, NodeType, Phase, verdict
from ..tree.nodes import TreeNode, open_node
from .decisions import Change, grouped
from .notifications import SettledNode
from .propagation import mark_containers
from .steps import leaf_sums, store_sums

if TYPE_CHECKING:
    from ..models import UserTaskStatus


def mark_running(pk: int | None) -> None:
    """Mark a container and those above it as running, up to the first that is marked already.

    Bottom-up, one statement a row, so that leaves which start at once cannot block each other.
    """
    running = {"phase": Phase.RUNNING, "state": Phase.RUNNING.state}
    while pk is not None:
        waiting = open_node(pk).filter(phase=Phase.PENDING)
        if not waiting.update(**running, started_at=now(), modified=now()):
            break
        pk = statuses().filter(pk=pk).values_list("parent_id", flat=True).first()


def set_state_of_ancestors(status: UserTaskStatus, text: str) -> None:
    """Show a task's text on the running chains and chords around it, as far as the next group."""
    parent_id, parent = status.parent_id, _loaded_parent(status)
    while parent_id is not None:
        above = statuses().filter(pk=parent_id, phase=Phase.RUNNING)
        above = above.exclude(node_type=NodeType.GROUP).order_by()
        if not above.update(state=text, modified=now()):
            break
        if parent is not None:
            parent.apply_row(state=text)
            parent = _loaded_parent(parent)
        parent_id = statuses().filter(pk=parent_id).values_list("parent_id", flat=True).first()


def _loaded_parent(status: UserTaskStatus) -> UserTaskStatus | None:
    is_loaded = type(status).parent.is_cached(status)
    return cast("UserTaskStatus", status.parent) if is_loaded else None


def settle_ancestors(pk: int | None, *, started: bool = True) -> list[SettledNode]:
    """Settle a container that has no open child, then its parent, and so on; return those.

    The first one that stays open is marked as running, if what settled below it had ``started``.
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
        if not _settle(container):
            break  # Another process has settled it, and goes on from there.
        settled.append(SettledNode.of(container))
        pk = container.parent_id
    return settled


def _settle(container: ContainerToSettle) -> bool:
    children = statuses().filter(parent_id=container.pk).order_by()
    outcomes = [
        Child(Phase(phase), allowed, True)
        for phase, allowed in children.values_list("phase", "allow_failure").distinct()
    ]
    columns: dict[str, int | None] = {}
    if container.node_type != NodeType.TASK:
        columns, phase = {**leaf_sums(container)}, verdict(outcomes)
    else:
        phase = verdict([*outcomes, Child(Phase(container.phase), False, True)])
        if phase in BREAKS and phase != container.phase:
            cause = children.filter(phase=phase).values_list("pk", flat=True).first()
            columns["caused_by_id"] = cause
            mark_containers(container, phase, cause)
    at = now()
    settled = {"phase": phase, "state": phase.state, "settled_at": at, "modified": at}
    return bool(open_node(container.pk).update(**settled, **columns))


def write_verdicts(
    changes: list[Change], at: datetime, cause: int | None = None
) -> list[SettledNode]:
    """Store what was decided for open containers, and return those that it settled ``at`` now.

    For the holder of the tree's lock, under which it was decided. ``cause`` is the leaf by which
    they fail. Queries: two for each 500 that change alike, one for each 500 that settle.
    """
    written: list[TreeNode] = []
    for (phase, settles), containers in grouped(changes).items():
        columns: dict[str, object] = {"phase": phase, "state": phase.state, "modified": at}
        if settles:
            columns["settled_at"] = at
        if cause is not None and phase in (Phase.FAILED, Phase.CANCELED, Phase.SKIPPED):
            columns["caused_by_id"] = cause
        for batch in chunked(containers):
            rows = statuses().filter(pk__in=[node.pk for node in batch]).order_by()
            rows.filter(settled_at__isnull=True).update(**columns)
            pks = set(rows.filter(settled_at=at).values_list("pk", flat=True))
            written += [node for node in batch if node.pk in pks]
    store_sums(written)
    written.sort(key=lambda node: node.level, reverse=True)
    return [SettledNode.of(node) for node in written]


def settle_ready(tree_id: int) -> list[SettledNode]:
    """Settle the open containers of a tree that have no open child. One query if there are none.

    For after the commit of a transaction that has settled leaves: a worker that ended a sibling
    meanwhile could not see them.
    """
    open_children = statuses().filter(parent_id=OuterRef("pk"), settled_at__isnull=True).order_by()
    ready = statuses().filter(~Exists(open_children), tree_id=tree_id, settled_at__isnull=True)
    settled: list[SettledNode] = []
    for pk in ready.filter(is_container=True).order_by("-lft").values_list("pk", flat=True):
        settled += settle_ancestors(pk, started=False)
    return settled
