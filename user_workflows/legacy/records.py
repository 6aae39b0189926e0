"""What django-user-tasks has stored, read as whole trees, and what follows from them.

Its rows know their parents. The phases of containers, what was skipped, and by whose failure, are
derived here by the same rules as in live trees.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from .. import graph
from ..db.chunks import chunked
from ..lifecycle import artifact_files
from ..phases import Child, NodeType, Phase, phase_of, verdict
from ..planning.plan import PlanNode

#: Nodes that are read together, but that a larger workflow is read as a whole.
MAX_BATCH_NODES = 2000
#: A workflow in which something was changed later than this ago may still be growing.
QUIET_FOR = timedelta(minutes=1)
#: What waits for a failed task is over by then: after ``fail()`` and a normal return it may run.
ABANDONED_AFTER = timedelta(days=1)

#: In chains django-user-tasks stores the task itself, as ``str`` shows it.
_SHOWN_TASK = re.compile(r"<@task: (\S+) of ")
_NODE_TYPES = {f"celery.{kind.value}": kind for kind in NodeType}
_COLUMNS = (
    "pk", "uuid", "user_id", "task_id", "parent_id", "is_container", "task_class", "name", "state",
    "completed_steps", "total_steps", "attempts", "created", "modified",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class LegacyNode(PlanNode):
    """A status of django-user-tasks, with those below it."""

    row: dict[str, Any] = field(default_factory=dict)
    phase: Phase = Phase.PENDING
    settled_at: datetime | None = None
    cause: LegacyNode | None = None
    """The task whose failure or cancellation decided this node."""

    @property
    def uuid(self) -> UUID:
        """That of the status, and of its copy."""
        return cast(UUID, self.row["uuid"])

    @property
    def is_task(self) -> bool:
        """Whether its state is its own, and does not follow from its children's."""
        return self.node_type is NodeType.TASK or not self.children

    @property
    def steps(self) -> tuple[int, int]:
        """Completed and total: its own, or the sums of the tasks below it."""
        rows = [self.row]
        if not self.is_task:
            rows = [node.row for node in self.nodes() if node.node_type is NodeType.TASK]
        done = sum(min(row["completed_steps"], row["total_steps"]) for row in rows)
        return done, sum(row["total_steps"] for row in rows)

    def nodes(self) -> list[Any]:
        """This one and all below it, parents first."""
        return list(self.walk())


# -- reading --------------------------------------------------------------------------------------


def legacy_statuses() -> Any:
    """Queries on the statuses of django-user-tasks."""
    return artifact_files.of_user_tasks("UserTaskStatus")._default_manager.order_by()


def legacy_artifacts() -> Any:
    """Queries on its artifacts."""
    return artifact_files.of_user_tasks("UserTaskArtifact")._default_manager.order_by()


def in_batches(roots: list[int]) -> Iterator[list[int]]:
    """The keys of all nodes of these workflows, in parts that one transaction may hold."""
    tree_of = {pk: pk for pk in roots}
    level = roots
    while level:
        rows = [
            row
            for batch in chunked(level)
            for row in legacy_statuses().filter(parent__in=batch).values_list("pk", "parent_id")
        ]
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
    """The whole trees that consist of these rows, siblings in the order they were made in."""
    found: dict[int, LegacyNode] = {}
    for batch in chunked(sorted(pks)):
        for row in legacy_statuses().filter(pk__in=batch).order_by("pk").values(*_COLUMNS):
            found[row["pk"]] = _legacy_node(row)
    roots = []
    for node in found.values():
        parent = found.get(node.row["parent_id"])
        if parent is not None:
            parent.children.append(node)
        elif node.row["parent_id"] is None:
            roots.append(node)
    return roots


def _legacy_node(row: dict[str, Any]) -> LegacyNode:
    shown = _SHOWN_TASK.match(row["task_class"])
    task_class = shown[1] if shown else row["task_class"]
    default = NodeType.GROUP if row["is_container"] else NodeType.TASK
    return LegacyNode(
        node_type=_NODE_TYPES.get(task_class, default),
        task_id=row["task_id"],
        name=row["name"],
        task_class=task_class,
        total_steps=row["total_steps"],
        row=row,
        phase=phase_of(row["state"]),
    )


def orphans() -> list[UUID]:
    """The statuses whose container is gone."""
    above = legacy_statuses().filter(pk=OuterRef("parent_id"))
    lost = legacy_statuses().filter(~Exists(above), parent_id__isnull=False)
    return list(lost.order_by("pk").values_list("uuid", flat=True))


# -- deciding -------------------------------------------------------------------------------------


def is_over(root: LegacyNode) -> bool:
    """Whether nothing in a workflow will change any more; names what will never run as skipped."""
    nodes = root.nodes()
    quiet = now() - max(node.row["modified"] for node in nodes)
    tasks = [node for node in nodes if node.is_task]
    waiting = {node for node in tasks if not node.phase.is_terminal}
    if not waiting or quiet < ABANDONED_AFTER:
        return not waiting and quiet >= QUIET_FOR
    dependencies = graph.dependencies(root)
    broken = [node for node in tasks if node.phase in (Phase.FAILED, Phase.CANCELED)]
    for cause in sorted(broken, key=lambda node: node.row["modified"]):
        for node in waiting.intersection(graph.prevented(dependencies, [cause])):
            if node.phase is Phase.PENDING:
                node.phase, node.cause = Phase.SKIPPED, cause
                waiting.discard(node)
        if not waiting:
            return True
    return False


def derive_verdicts(root: LegacyNode) -> int:
    """Derives verdicts and causes; how many containers said something else."""
    corrected = 0
    for node in reversed(root.nodes()):
        if node.is_task:
            node.settled_at = (node.cause or node).row["modified"]
        if not node.children:
            if node.phase in (Phase.FAILED, Phase.CANCELED):
                node.cause = node
            continue
        children = [Child(child.phase, False, True) for child in node.children]
        times = [child.settled_at for child in node.children]
        if node.is_task:  # A task with tasks below it.
            children.append(Child(node.phase, False, True))
            times.append(node.settled_at)
        node.settled_at, node.phase = max(times), verdict(children)
        corrected += node.phase is not phase_of(node.row["state"])
        node.cause = _cause(node)
    return corrected


def _cause(node: LegacyNode) -> LegacyNode | None:
    alike = {
        Phase.FAILED: (Phase.FAILED,),
        Phase.CANCELED: (Phase.CANCELED, Phase.SKIPPED),
        Phase.SKIPPED: (Phase.SKIPPED,),
    }.get(node.phase, ())
    causes = [child.cause for child in node.children if child.phase in alike and child.cause]
    return min(causes, key=lambda cause: cause.row["modified"], default=None)
