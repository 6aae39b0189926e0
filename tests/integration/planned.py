"""The trees that the processes work on."""

from __future__ import annotations

from tests.helpers import a_user
from user_workflows.models import UserTaskStatus
from user_workflows.planning.plan import PlanNode
from user_workflows.testing import container, leaf, store_tree

#: Leaves of the inner groups of ``nested``: one for each process.
WIDTH = 8


def nested(width: int = WIDTH, *, allow_failure: bool = False) -> PlanNode:
    """chain(chord(group(group(0..), group(..7)), body), tail), with i + 1 steps in leaf ``i``."""
    leaves = [leaf(str(i), i + 1, allow_failure=allow_failure) for i in range(width)]
    half = width // 2
    left = container("group", *leaves[:half], name="left")
    right = container("group", *leaves[half:], name="right")
    header = container("group", left, right, name="header")
    chord = container("chord", header, leaf("body", 3), name="chord")
    return container("chain", chord, leaf("tail", 2), name="root")


def branches(count: int = 3, width: int = 4) -> PlanNode:
    """chain(chord(group(chain(0, group of leaves), chain(1, ...), ...), body), tail)."""
    made = []
    for i in range(count):
        inner = container("group", *(leaf(f"{i}.{j}") for j in range(width)), name=f"inner {i}")
        made.append(container("chain", leaf(f"first {i}"), inner, name=f"branch {i}"))
    header = container("group", *made, name="header")
    chord = container("chord", header, leaf("body"), name="chord")
    return container("chain", chord, leaf("tail"), name="root")


def group_of(count: int, name: str = "root") -> PlanNode:
    """A group of ``count`` tasks of two steps."""
    return container("group", *(leaf(str(i), 2) for i in range(count)), name=name)


def stored(plan: PlanNode) -> UserTaskStatus:
    """Store a plan; return its root."""
    return store_tree(plan, user=a_user())


def by_name(root: UserTaskStatus) -> dict[str, UserTaskStatus]:
    """Return all nodes of a tree, as they are stored now."""
    return {n.name: n for n in UserTaskStatus.objects.filter(tree_id=root.tree_id)}
