"""Legacy records: what django-user-tasks has stored, read as whole trees.

Its rows know their parents. The phases of containers, skipped tasks and the failures that caused
these are derived here by the same rules as in live trees.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict, cast
from uuid import UUID

from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from .. import graph
from ..db.chunks import chunked
from ..lifecycle import artifact_files
from ..phases import Child, NodeType, Phase, phase_of, verdict
from ..planning.plan import PlanNode

#: The most nodes that are read together, unless a single workflow has more.
MAX_BATCH_NODES = 2000
#: A workflow that was changed less than this ago may still be growing.
QUIET_FOR = timedelta(minutes=1)
#: Tasks that wait for a failed one are given up after this time. Before, they may still run: after
#: ``fail()`` and a normal return, Celery goes on with the chain.
ABANDONED_AFTER = timedelta(days=1)

#: In chains django-user-tasks stores the task itself, as ``str`` shows it.
_TASK_REPR = re.compile(r"<@task: (\S+) of ")
_NODE_TYPES = {f"celery.{kind.value}": kind for kind in NodeType}


class LegacyRow(TypedDict):
    """Columns of a status of django-user-tasks."""

    pk: int
    uuid: UUID
    user_id: int
    task_id: str
    parent_id: int | None
    is_container: bool
    task_class: str
    name: str
    state: str
    completed_steps: int
    total_steps: int
    attempts: int
    created: datetime
    modified: datetime


@dataclass(slots=True, eq=False, kw_only=True)
class LegacyNode(PlanNode):
    """A status of django-user-tasks, with those below it."""

    row: LegacyRow
    phase: Phase
    settled_at: datetime | None = None
    cause: LegacyNode | None = None
    """The task whose failure or cancellation decided this node."""

    @property
    def uuid(self) -> UUID:
        """The UUID of the status, and of its copy."""
        return self.row["uuid"]

    @property
    def is_task(self) -> bool:
        """True if its state is its own, and does not follow from its children's."""
        return self.node_type is NodeType.TASK or not self.children

    @property
    def members(self) -> list[LegacyNode]:
        """The children, by their type."""
        return cast("list[LegacyNode]", self.children)

    @property
    def steps(self) -> tuple[int, int]:
        """Completed and total steps: its own, or the sums of the tasks below it."""
        rows = [self.row]
        if not self.is_task:
            rows = [node.row for node in self.nodes() if node.node_type is NodeType.TASK]
        done = sum(min(row["completed_steps"], row["total_steps"]) for row in rows)
        return done, sum(row["total_steps"] for row in rows)

    def nodes(self) -> list[LegacyNode]:
        """Return this node and all below it, parents first."""
        return cast("list[LegacyNode]", list(self.walk()))


def legacy_statuses() -> Any:
    """Return a queryset of the statuses of django-user-tasks."""
    return artifact_files.of_user_tasks("UserTaskStatus")._default_manager.order_by()


def legacy_roots() -> Any:
    """Return a queryset of the whole workflows of django-user-tasks."""
    return legacy_statuses().filter(parent__isnull=True)


def legacy_artifacts() -> Any:
    """Return a queryset of the artifacts of django-user-tasks."""
    return artifact_files.of_user_tasks("UserTaskArtifact")._default_manager.order_by()


def in_batches(roots: list[int]) -> Iterator[list[int]]:
    """Yield the primary keys of all nodes of these workflows, a transaction's worth at a time."""
    tree_of = {pk: pk for pk in roots}
    level = roots
    while level:
        rows: list[tuple[int, int]] = []
        for batch in chunked(level):
            rows += legacy_statuses().filter(parent__in=batch).values_list("pk", "parent_id")
        tree_of.update({pk: tree_of[parent] for pk, parent in rows})
        level = [pk for pk, _ in rows]
    members: dict[int, list[int]] = defaultdict(list)
    for pk, root in tree_of.items():
        members[root].append(pk)
    part: list[int] = []
    for root in roots:
        if part and len(part) + len(members[root]) > MAX_BATCH_NODES:
            yield part
            part = []
        part = part + members[root]
    yield part


def read_trees(pks: list[int]) -> list[LegacyNode]:
    """Return the whole trees that consist of these rows, siblings in order of creation."""
    found: dict[int, LegacyNode] = {}
    for batch in chunked(sorted(pks)):
        rows = legacy_statuses().filter(pk__in=batch).order_by("pk")
        for row in rows.values(*LegacyRow.__annotations__):
            found[row["pk"]] = _legacy_node(row)
    roots = []
    for node in found.values():
        parent_id = node.row["parent_id"]
        if parent_id is None:
            roots.append(node)
        elif parent_id in found:
            found[parent_id].children.append(node)
    return roots


def _legacy_node(row: LegacyRow) -> LegacyNode:
    task_repr = _TASK_REPR.match(row["task_class"])
    task_class = task_repr[1] if task_repr else row["task_class"]
    default = NodeType.GROUP if row["is_container"] else NodeType.TASK
    return LegacyNode(
        node_type=_NODE_TYPES.get(task_class, default), task_class=task_class,
        task_id=row["task_id"], name=row["name"], total_steps=row["total_steps"],
        phase=phase_of(row["state"]), row=row,
    )  # fmt: skip


def orphans() -> list[UUID]:
    """Return the statuses whose container does not exist any more."""
    above = legacy_statuses().filter(pk=OuterRef("parent_id"))
    lost = legacy_statuses().filter(~Exists(above), parent_id__isnull=False)
    return list(lost.order_by("pk").values_list("uuid", flat=True))


def skip_abandoned(root: LegacyNode) -> bool:
    """Mark tasks as skipped that will never run; return whether the whole workflow is over."""
    nodes = root.nodes()
    quiet = now() - max(node.row["modified"] for node in nodes)
    tasks = [node for node in nodes if node.is_task]
    waiting = {node for node in tasks if not node.phase.is_terminal}
    if not waiting or quiet < ABANDONED_AFTER:
        return not waiting and quiet >= QUIET_FOR
    dependencies = graph.dependencies(root)
    failed = [node for node in tasks if node.phase in (Phase.FAILED, Phase.CANCELED)]
    for cause in sorted(failed, key=lambda node: node.row["modified"]):
        for node in waiting.intersection(graph.prevented(dependencies, [cause])):
            if node.phase is Phase.PENDING:
                node.phase, node.cause = Phase.SKIPPED, cause
                waiting.discard(node)
        if not waiting:
            return True
    return False


def derive_verdicts(root: LegacyNode) -> int:
    """Set phases, causes and settling times; return how many stored states were corrected."""
    corrected = 0
    for node in reversed(root.nodes()):
        settled_at = (node.cause or node).row["modified"]
        if not node.children:
            node.settled_at = settled_at
            if node.phase in (Phase.FAILED, Phase.CANCELED):
                node.cause = node
            continue
        children = [Child(child.phase, False, True) for child in node.members]
        times = [child.settled_at for child in node.members if child.settled_at]
        if node.is_task:  # A task with tasks below it.
            children.append(Child(node.phase, False, True))
            times.append(settled_at)
        node.settled_at, node.phase = max(times), verdict(children)
        corrected += node.phase is not phase_of(node.row["state"])
        node.cause = _cause(node)
    return corrected


def _cause(node: LegacyNode) -> LegacyNode | None:
    alike: tuple[Phase, ...] = {
        Phase.FAILED: (Phase.FAILED,),
        Phase.CANCELED: (Phase.CANCELED, Phase.SKIPPED),
        Phase.SKIPPED: (Phase.SKIPPED,),
    }.get(node.phase, ())
    causes = [child.cause for child in node.members if child.phase in alike and child.cause]
    return min(causes, key=lambda cause: cause.row["modified"], default=None)
