"""The boxes of a drawing: one for each task or, in large workflows, for a whole branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, groupby

from ..phases import Child, NodeType, Phase, verdict
from ..tree.nodes import TreeNode

#: Boxes in one drawing. Where there would be more, branches become one box each.
MAX_BOXES = 200
#: Failed members that a group keeps visible when it becomes one box.
FEW = 5


@dataclass(slots=True, eq=False)
class Box:
    """A node as it is drawn. Nested like the tree; containers that are not boxes frame others."""

    node: TreeNode
    """The node that the box stands for, or the container whose other members it stands for."""
    rank: int
    """The place in the author's order."""
    node_type: NodeType
    """TASK for everything that is drawn as one box."""
    phase: Phase
    counts: Counter[Phase]
    """The tasks that this one box stands for."""
    may_fail: bool
    """True if what waits for it starts even if it fails."""
    collapsed: bool = False
    """True if the box stands for all below its node, or for all but the members beside it."""
    beside: int = 0
    """Failed members of the same group that have boxes of their own."""
    children: list[Box] = field(default_factory=list)
    parent: Box | None = None

    @property
    def allow_failure(self) -> bool:
        """True if the node may fail; ``graph.dependencies`` asks for it."""
        return self.node.allow_failure

    @property
    def tasks(self) -> int:
        """The number of tasks that the box stands for."""
        return self.counts.total()

    def walk(self) -> Iterator[Box]:
        """Yield this box and all below it, in the author's order."""
        stack = [self]
        while stack:
            box = stack.pop()
            yield box
            stack += reversed(box.children)

    def hidden(self) -> Iterator[TreeNode]:
        """Yield the nodes that the box stands for and that have no boxes of their own."""
        if not self.collapsed:
            yield self.node
        elif not self.beside:
            yield from self.node.walk()
        else:
            for member in self.node.children:
                if member.phase is not Phase.FAILED:
                    yield from member.walk()


def boxes(top: TreeNode, limit: int = MAX_BOXES) -> Box:
    """Return the tree below ``top`` as nested boxes, of which at most ``limit`` are drawn.

    Each task gets a box where they are so few. Else branches are opened from the top down, level
    by level and the small ones first, as long as boxes are left; branches of the same size are
    opened together or not at all. A group that stays closed keeps its failed members beside it,
    if they are few.
    """
    return _Boxes(top, limit).nested(top)


def _cost(node: TreeNode) -> int:
    """Return how many more boxes are drawn when a node is opened."""
    return len(node.children) - (node.node_type is not NodeType.TASK)


class _Boxes:
    def __init__(self, top: TreeNode, limit: int) -> None:
        self.ranks = count()
        self.all_open = top.counts.total() <= limit
        self.opened: set[TreeNode] = set()
        self.left = limit - 1
        if not self.all_open:
            self._open(top)

    def _open(self, top: TreeNode) -> None:
        level = [top]
        while level:
            opened: list[TreeNode] = []
            for cost, group in groupby(sorted(level, key=_cost), key=_cost):
                nodes = list(group)
                if cost * len(nodes) <= self.left:
                    self.left -= cost * len(nodes)
                    opened += nodes
            self.opened.update(opened)
            level = [child for node in opened for child in node.children if child.children]

    def nested(self, top: TreeNode) -> Box:
        boxes: list[Box] = []
        stack: list[tuple[TreeNode, Box | None]] = [(top, None)]
        while stack:
            node, parent = stack.pop()
            opened = self.all_open or not node.children or node in self.opened
            failed = [] if opened else self._failed_beside(node)
            box = Box(
                node=node,
                rank=next(self.ranks),
                node_type=node.node_type if opened or failed else NodeType.TASK,
                phase=node.phase,
                counts=Counter({node.phase: 1}) if opened and not failed else node.counts,
                may_fail=node.allow_failure
                or (not opened and all(child.allow_failure for child in node.children)),
                collapsed=not opened and not failed,
                parent=parent,
            )
            boxes.append(box)
            if parent is not None:
                parent.children.append(box)
            if failed:
                box.children.append(self._rest(box, failed))
            inside = node.children if opened else failed
            stack += [(child, box) for child in reversed(inside)]
        return boxes[0]

    def _failed_beside(self, node: TreeNode) -> list[TreeNode]:
        if node.node_type is not NodeType.GROUP:
            return []
        failed = [member for member in node.children if member.phase is Phase.FAILED]
        if not 0 < len(failed) <= min(FEW, self.left) or len(failed) == len(node.children):
            return []
        self.left -= len(failed)
        return failed

    def _rest(self, group: Box, failed: list[TreeNode]) -> Box:
        members = [member for member in group.node.children if member.phase is not Phase.FAILED]
        counts = group.node.counts.copy()
        for member in failed:
            counts.subtract(member.counts)
        phase = verdict(Child(m.phase, m.allow_failure, m.is_settled) for m in members)
        return Box(
            group.node, next(self.ranks), NodeType.TASK, phase, +counts, parent=group,
            may_fail=all(m.allow_failure for m in members), collapsed=True, beside=len(failed),
        )  # fmt: skip
