"""The tree of a workflow before it is stored: what will run, under which ids, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from ..phases import NodeType


@dataclass(slots=True, eq=False)
class PlanNode:
    """One node of a planned workflow; a leaf is one Celery task."""

    node_type: NodeType
    """What part of the canvas this is."""
    task_id: str
    """The id the task will run under; containers have ids of their own."""
    name: str = ""
    """What the user reads."""
    named: bool = False
    """Whether the caller gave the name with ``name=``, so that ``set_name`` keeps off it."""
    task_class: str = ""
    """The task's registered name, or ``celery.chain`` and the like."""
    total_steps: int = 0
    """Steps of a leaf; a container's are the sum of its leaves'."""
    allow_failure: bool = False
    """Whether the workflow goes on when this node fails."""
    children: list[Self] = field(default_factory=list)
    """In the author's order."""

    @property
    def is_container(self) -> bool:
        """Whether this node stands for others rather than for a task."""
        return self.node_type is not NodeType.TASK

    def walk(self) -> Iterator[Self]:
        """This node and all below it, parents first, in the author's order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[Self]:
        """The tasks of this subtree, in the author's order."""
        return (node for node in self.walk() if not node.is_container)
