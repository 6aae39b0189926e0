"""The trees that the processes work on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tests.helpers import a_user
from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import submission

#: Leaves of the inner groups of ``nested``: one for each process.
WIDTH = 8


def leaf(name: str, steps: int = 1, **options: Any) -> PlanNode:
    """A task; the id it runs under is its own, whatever its name."""
    return PlanNode(NodeType.TASK, str(uuid4()), name, total_steps=steps, **options)


def container(kind: NodeType, name: str, children: Sequence[PlanNode]) -> PlanNode:
    """A chain, group or chord."""
    steps = sum(child.total_steps for child in children)
    return PlanNode(kind, str(uuid4()), name, total_steps=steps, children=list(children))


def nested(width: int = WIDTH, *, allow_failure: bool = False) -> PlanNode:
    """chain(chord(group(group(0..), group(..7)), body), tail), with i + 1 steps in leaf ``i``."""
    leaves = [leaf(str(i), i + 1, allow_failure=allow_failure) for i in range(width)]
    half = width // 2
    left = container(NodeType.GROUP, "left", leaves[:half])
    right = container(NodeType.GROUP, "right", leaves[half:])
    header = container(NodeType.GROUP, "header", [left, right])
    chord = container(NodeType.CHORD, "chord", [header, leaf("body", 3)])
    return container(NodeType.CHAIN, "root", [chord, leaf("tail", 2)])


def branches(count: int = 3, width: int = 4) -> PlanNode:
    """chain(chord(group(chain(0, group of leaves), chain(1, ...), ...), body), tail)."""
    made = []
    for i in range(count):
        inner = container(NodeType.GROUP, f"inner {i}", [leaf(f"{i}.{j}") for j in range(width)])
        made.append(container(NodeType.CHAIN, f"branch {i}", [leaf(f"first {i}"), inner]))
    header = container(NodeType.GROUP, "header", made)
    chord = container(NodeType.CHORD, "chord", [header, leaf("body")])
    return container(NodeType.CHAIN, "root", [chord, leaf("tail")])


def group_of(count: int, name: str = "root") -> PlanNode:
    """A group of ``count`` tasks of two steps."""
    return container(NodeType.GROUP, name, [leaf(str(i), 2) for i in range(count)])


def stored(plan: PlanNode) -> UserTaskStatus:
    """The root of the plan's tree, in the database."""
    return submission.store_plan(plan, user_id=a_user().pk)


def by_name(root: UserTaskStatus) -> dict[str, UserTaskStatus]:
    """All nodes of a tree, as they are stored now."""
    return {n.name: n for n in UserTaskStatus.objects.filter(tree_id=root.tree_id)}
