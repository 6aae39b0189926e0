"""The reads of an open page: a few queries, whose cost does not grow with what is hidden.

The page sends which rows it shows, and in which version. Rows are read again by their keys, their
sums by one aggregate over the tree, and only those whose version differs are rendered. No clock
is compared, so nothing is missed and nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import Case, Count, Max, Min, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Least

from ..conf import settings
from ..fields import ERROR_ARTIFACT
from ..models import UserTaskArtifact, UserTaskStatus
from ..phases import WAITING, NodeType, Phase
from ..tree.bounds import within
from .counts import PhaseCounts
from .header import WorkerHealth
from .node_summary import NodeColumns
from .tree_rows import TreeRow

_LEAVES = Q(node_type=NodeType.TASK)
_UNSETTLED = Q(settled_at__isnull=True, ended_at__isnull=True)
#: Of the tasks of one phase: the arguments of ``PhaseCounts.add``.
_SUMS = {
    "tasks": Count("pk"),
    "unsettled": Count("pk", filter=_UNSETTLED),
    "completed": Sum(Least("completed_steps", "total_steps")),
    "total": Sum("total_steps"),
}


def artifact_counts(root: UserTaskStatus, pks: Collection[int] | None = None) -> dict[int, int]:
    """Return the number of artifacts of each node, or of those in ``pks``, by key. One query.

    Error messages are not counted.
    """
    found = UserTaskArtifact.objects.exclude(name=ERROR_ARTIFACT).order_by()
    is_wanted = Q(status__tree_id=root.tree_id) if pks is None else Q(status__in=pks)
    return dict(found.filter(is_wanted).values_list("status_id").annotate(Count("pk")))


def read_counts(node: UserTaskStatus) -> PhaseCounts:
    """Return the phase counts of a node and all below it. One query."""
    counts = PhaseCounts()
    leaves = UserTaskStatus.objects.filter(within(node.pk, node.tree_id), _LEAVES)
    for phase, *sums in leaves.order_by().values_list("phase").annotate(**_SUMS):
        counts.add(Phase(phase), *sums)
    return counts


class Snapshot:
    """The state of a tree in a few numbers: two queries, whatever its size."""

    def __init__(self, root: UserTaskStatus, at: datetime) -> None:
        stalled = _LEAVES & _UNSETTLED & ~Q(phase__in=WAITING)
        stalled &= Q(is_container=False, last_seen_at__lte=at - settings.LOST_AFTER)
        stopping = _LEAVES & _UNSETTLED & Q(phase=Phase.CANCELED)
        nodes = UserTaskStatus.objects.filter(tree_id=root.tree_id).order_by()
        found = nodes.aggregate(
            nodes=Count("pk"),
            changed=Max("modified"),
            seen=Max("last_seen_at"),
            stalled=Count("pk", filter=stalled),
            stalled_since=Min("last_seen_at", filter=stalled),
            stopping_since=Min("modified", filter=stopping),
        )
        artifacts = UserTaskArtifact.objects.filter(status__tree_id=root.tree_id).order_by()
        plain = artifacts.exclude(name=ERROR_ARTIFACT)
        left = plain.aggregate(count=Count("pk"), changed=Max("modified"))
        self.artifacts: int = left["count"]
        self.health = WorkerHealth(
            found["stalled"], found["stalled_since"], found["stopping_since"]
        )
        #: Equal as long as nothing has changed.
        self.fingerprint: tuple[object, ...] = (*found.values(), *left.values())


def read_rows(
    root: UserTaskStatus, uuids: Collection[UUID], at: datetime
) -> tuple[PhaseCounts, list[TreeRow]]:
    """Return the phase counts of a whole tree, and the rows of those nodes that still exist.

    Queries: 4.
    """
    nodes = UserTaskStatus.objects.filter(tree_id=root.tree_id).order_by()
    found = nodes.filter(uuid__in=uuids).values_list(*NodeColumns._fields)
    stored = [NodeColumns(*row) for row in found]
    pks = [row.pk for row in stored]
    children = dict(nodes.filter(parent__in=pks).values_list("parent_id").annotate(Count("pk")))
    artifacts = artifact_counts(root, pks)
    containers = [row for row in stored if row.pk in children or row.node_type != NodeType.TASK]
    counts = _container_counts(nodes, root.pk, containers)
    for row in stored:
        if row.pk not in counts:
            completed = min(row.completed_steps, row.total_steps)
            unsettled = int(row.settled_at is None and row.ended_at is None)
            counts[row.pk] = PhaseCounts()
            counts[row.pk].add(Phase(row.phase), 1, unsettled, completed, row.total_steps)
    rows = [
        TreeRow(
            node=row, at=at, counts=counts[row.pk], level=row.level + 1,
            children=children.get(row.pk, 0), artifacts=artifacts.get(row.pk, 0),
            caused_by=row.caused_by__name,
        )
        for row in stored
    ]  # fmt: skip
    return counts[root.pk], rows


def _container_counts(
    nodes: QuerySet[UserTaskStatus], root: int, containers: list[NodeColumns]
) -> dict[int, PhaseCounts]:
    """Return the phase counts of containers and of the root, by key. One aggregate.

    Each task is counted for the innermost container around it, and then for those around that.
    """
    inner = sorted(containers, key=lambda row: -row.level)
    around = {
        row.pk: [each.pk for each in inner if each.lft <= row.lft and row.rght <= each.rght]
        for row in inner
    }
    cases = [When(lft__gte=row.lft, rght__lte=row.rght, then=Value(row.pk)) for row in inner]
    innermost = Case(*cases, default=Value(root)) if cases else Value(root)
    groups = nodes.filter(_LEAVES).annotate(innermost=innermost).values_list("innermost", "phase")
    counts = {pk: PhaseCounts() for pk in {root, *around}}
    for innermost_pk, phase, *sums in groups.annotate(**_SUMS):
        for pk in {root, *around.get(innermost_pk, ())}:
            counts[pk].add(Phase(phase), *sums)
    return counts
