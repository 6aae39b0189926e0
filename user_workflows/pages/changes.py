"""What has changed on an open page, by a few queries whose cost does not grow with what is hidden.

The page says which rows it shows, and in which version. Rows are read anew by their keys, their
sums by one aggregate over the tree, and only those whose version differs are shown again. No
clock is compared, so nothing is missed and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, Max, Min, Q, Sum, Value, When
from django.db.models.functions import Least

from ..conf import settings
from ..fields import ERROR_ARTIFACT
from ..models import UserTaskArtifact, UserTaskStatus
from ..phases import WAITING, NodeType, Phase
from ..tree.bounds import within
from .counts import PhaseCounts
from .header import WorkerHealth
from .tree_rows import TreeRow

_LEAVES = Q(node_type=NodeType.TASK)
_UNSETTLED = Q(settled_at__isnull=True, ended_at__isnull=True)

_COLUMNS = (
    "pk", "uuid", "parent_id", "level", "node_type", "name", "phase", "state", "allow_failure",
    "attempts", "started_at", "settled_at", "ended_at", "last_seen_at", "caused_by__name",
    "completed_steps", "total_steps", "lft", "rght",
)  # fmt: skip


def artifact_counts(root: UserTaskStatus, pks: Collection[int] | None = None) -> dict[int, int]:
    """How many artifacts each node has left, errors not counted; by key. One query."""
    found = UserTaskArtifact.objects.exclude(name=ERROR_ARTIFACT).order_by()
    if pks is None:
        found = found.filter(status__tree_id=root.tree_id)
    else:
        found = found.filter(status__in=pks)
    return dict(found.values_list("status_id").annotate(Count("pk")))


def read_counts(node: UserTaskStatus) -> PhaseCounts:
    """The tally of a node and all below it. One query."""
    found = PhaseCounts()
    leaves = UserTaskStatus.objects.filter(within(node.pk, node.tree_id), _LEAVES)
    for phase, *numbers in _grouped_counts(leaves.order_by().values_list("phase")):
        found.add(Phase(phase), *numbers)
    return found


def _grouped_counts(groups: Any) -> Any:
    return groups.annotate(
        tasks=Count("pk"),
        unsettled=Count("pk", filter=_UNSETTLED),
        completed=Sum(Least("completed_steps", "total_steps")),
        total=Sum("total_steps"),
    )


class Snapshot:
    """The state of a tree in a few numbers: two queries, whatever its size."""

    def __init__(self, root: UserTaskStatus, at: datetime) -> None:
        silent = _LEAVES & _UNSETTLED & ~Q(phase__in=WAITING)
        silent &= Q(is_container=False, last_seen_at__lte=at - settings.LOST_AFTER)
        stopping = _LEAVES & _UNSETTLED & Q(phase=Phase.CANCELED)
        nodes = UserTaskStatus.objects.filter(tree_id=root.tree_id).order_by()
        found = nodes.aggregate(
            nodes=Count("pk"),
            changed=Max("modified"),
            seen=Max("last_seen_at"),
            silent=Count("pk", filter=silent),
            silent_since=Min("last_seen_at", filter=silent),
            stopping_since=Min("modified", filter=stopping),
        )
        left = UserTaskArtifact.objects.filter(status__tree_id=root.tree_id).order_by()
        self.artifacts = left.exclude(name=ERROR_ARTIFACT).aggregate(
            n=Count("pk"), changed=Max("modified")
        )
        self.vitals = WorkerHealth(found["silent"], found["silent_since"], found["stopping_since"])
        #: Equal as long as nothing has changed.
        self.mark: tuple[Any, ...] = (*found.values(), *self.artifacts.values())


def read_rows(
    root: UserTaskStatus, uuids: Collection[UUID], at: datetime
) -> tuple[PhaseCounts, list[TreeRow]]:
    """The tally of a whole tree, and the rows of those of its nodes that are shown now."""
    nodes = UserTaskStatus.objects.filter(tree_id=root.tree_id).order_by()
    stored: list[Any] = list(nodes.filter(uuid__in=uuids).values_list(*_COLUMNS))
    pks = [row[0] for row in stored]
    children: dict[int, int] = dict(
        nodes.filter(parent__in=pks).values_list("parent_id").annotate(Count("pk"))
    )
    artifacts = artifact_counts(root, pks)
    boxes = [row for row in stored if row[0] in children or row[4] != NodeType.TASK]
    tallies = _counts_by_container(nodes, root.pk, [(row[0], row[3], *row[-2:]) for row in boxes])
    for row in stored:
        if row[0] not in tallies:
            alone = tallies[row[0]] = PhaseCounts()
            unsettled = int(row[11] is None and row[12] is None)
            alone.add(Phase(row[6]), 1, unsettled, min(row[15], row[16]), row[16])
    rows = [
        TreeRow(
            pk=pk,
            uuid=uuid,
            parent_id=parent_id,
            level=level + 1,
            node_type=NodeType(node_type),
            name=name,
            phase=Phase(phase),
            text=state,
            allow_failure=allow_failure,
            attempts=attempts,
            started_at=started_at,
            settled_at=settled_at,
            ended_at=ended_at,
            last_seen_at=last_seen_at,
            cause=cause or "" if phase == Phase.SKIPPED else "",
            tally=tallies[pk],
            children=children.get(pk, 0),
            artifacts=artifacts.get(pk, 0),
            at=at,
        )
        for (
            pk, uuid, parent_id, level, node_type, name, phase, state, allow_failure,
            attempts, started_at, settled_at, ended_at, last_seen_at, cause, *_,
        ) in stored
    ]  # fmt: skip
    return tallies[root.pk], rows


def _counts_by_container(
    nodes: Any, root: int, boxes: list[tuple[int, int, int, int]]
) -> dict[int, PhaseCounts]:
    """The tallies of containers, given as key, level and bounds, and of the root. One aggregate.

    Each task is counted for the innermost container around it, and then for those around that.
    """
    inner = sorted(boxes, key=lambda box: -box[1])
    around = {
        pk: [other for other, _, left, right in inner if left <= lft and rght <= right]
        for pk, _, lft, rght in inner
    }
    cases = [When(lft__gte=lft, rght__lte=rght, then=Value(pk)) for pk, _, lft, rght in inner]
    box = Case(*cases, default=Value(root)) if cases else Value(root)
    cells = nodes.filter(_LEAVES).annotate(box=box).values_list("box", "phase")
    found = {pk: PhaseCounts() for pk in {root, *around}}
    for pk, phase, *numbers in _grouped_counts(cells):
        for each in {root, *around.get(pk, ())}:
            found[each].add(Phase(phase), *numbers)
    return found
