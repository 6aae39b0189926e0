"""The tree of a workflow before it is stored: tasks, their ids and their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from ..phases import NodeType


@dataclass(slots=True, eq=False)
class PlanNode:
    """One node of a planned workflow; a leaf is one Celery task."""

    node_type: NodeType
    """The part of the canvas that this node stands for."""
    task_id: str
    """The id the task will run under; containers have ids of their own."""
    name: str = ""
    """The name that the user reads."""
    named: bool = False
    """True if ``name=`` has given the name, so that ``set_name`` leaves it alone."""
    task_class: str = ""
    """The task's registered name, or ``celery.chain`` and the like."""
    total_steps: int = 0
    """Steps of a leaf; a container's are the sum of its leaves'."""
    allow_failure: bool = False
    """True if the workflow goes on when this node fails."""
    children: list[Self] = field(default_factory=list)
    """In the author's order."""

    @property
    def is_container(self) -> bool:
        """True if this node stands for others rather than for a task."""
        return self.node_type is not NodeType.TASK

    def walk(self) -> Iterator[Self]:
        """Yield this node and all below it, parents first, in the author's order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[Self]:
        """Return the tasks of this subtree, in the author's order."""
        return (node for node in self.walk() if not node.is_container)
