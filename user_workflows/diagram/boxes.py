"""What of a workflow is drawn: a box for each task or, in large workflows, for a whole branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

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
    """What it stands for, or the container whose other members it stands for."""
    rank: int
    """Its place in the author's order."""
    node_type: NodeType
    """TASK where it is drawn as one box, whatever it stands for."""
    phase: Phase
    counts: Counter[Phase]
    """The tasks that this one box stands for."""
    may_fail: bool
    """Whether what waits for it starts even if it fails."""
    collapsed: bool = False
    """Whether it stands for all below its node, or for all but the members beside it."""
    beside: int = 0
    """Failed members of the same group that have boxes of their own."""
    children: list[Box] = field(default_factory=list)
    parent: Box | None = None

    @property
    def allow_failure(self) -> bool:
        """For ``graph.dependencies``: as in the tree."""
        return self.node.allow_failure

    @property
    def tasks(self) -> int:
        """How many tasks it stands for."""
        return self.counts.total()

    def walk(self) -> Iterator[Box]:
        """This and all below it, in the author's order."""
        waiting = [self]
        while waiting:
            box = waiting.pop()
            yield box
            waiting += reversed(box.children)

    def hidden(self) -> Iterator[TreeNode]:
        """The nodes that it stands for and that have no boxes of their own."""
        if not self.collapsed:
            yield self.node
        elif not self.beside:
            yield from self.node.walk()
        else:
            for member in self.node.children:
                if not _broken(member):
                    yield from member.walk()


def boxes(top: TreeNode, most: int = MAX_BOXES) -> Box:
    """The tree below ``top`` as it is drawn, with at most ``most`` boxes.

    All tasks where they are so few. Else branches are opened from the top down, level by level
    and the small ones first, as long as there is room; branches of the same size are opened
    together or not at all. A group that stays closed keeps its failed members beside it, if
    they are few.
    """
    return _Boxes(top, most).nested(top)


def _broken(node: TreeNode) -> bool:
    return node.phase is Phase.FAILED


def _cost(node: TreeNode) -> int:
    """How many more boxes there are when a node is opened."""
    return len(node.children) - (node.node_type is not NodeType.TASK)


class _Boxes:
    def __init__(self, top: TreeNode, most: int) -> None:
        self.ranks = 0
        self.all = top.counts.total() <= most
        self.opened: set[TreeNode] = set()
        self.room = most - 1
        if not self.all:
            self._open(top)

    def _open(self, top: TreeNode) -> None:
        level = [top]
        while level:
            opened: list[TreeNode] = []
            for cost, alike in groupby(sorted(level, key=_cost), key=_cost):
                nodes = list(alike)
                if cost * len(nodes) <= self.room:
                    self.room -= cost * len(nodes)
                    opened += nodes
            self.opened.update(opened)
            level = [child for node in opened for child in node.children if child.children]

    def nested(self, top: TreeNode) -> Box:
        boxes: list[Box] = []
        waiting: list[tuple[TreeNode, Box | None]] = [(top, None)]
        while waiting:
            node, parent = waiting.pop()
            opened = self.all or not node.children or node in self.opened
            broken = [] if opened else self._kept(node)
            box = Box(
                node=node,
                rank=self.ranks,
                node_type=node.node_type if opened or broken else NodeType.TASK,
                phase=node.phase,
                counts=Counter({node.phase: 1}) if opened and not broken else node.counts,
                may_fail=node.allow_failure or (not opened and _all_may_fail(node.children)),
                collapsed=not opened and not broken,
                parent=parent,
            )
            boxes.append(box)
            self.ranks += 1
            if parent is not None:
                parent.children.append(box)
            if broken:
                box.children.append(self._rest(box, broken))
            inside = node.children if opened else broken
            waiting += [(child, box) for child in reversed(inside)]
        return boxes[0]

    def _kept(self, node: TreeNode) -> list[TreeNode]:
        if node.node_type is not NodeType.GROUP:
            return []
        broken = [member for member in node.children if _broken(member)]
        if not 0 < len(broken) <= min(FEW, self.room) or len(broken) == len(node.children):
            return []
        self.room -= len(broken)
        return broken

    def _rest(self, group: Box, broken: list[TreeNode]) -> Box:
        members = [member for member in group.node.children if not _broken(member)]
        counts = group.node.counts.copy()
        for member in broken:
            counts.subtract(member.counts)
        self.ranks += 1
        return Box(
            node=group.node,
            rank=self.ranks - 1,
            node_type=NodeType.TASK,
            phase=verdict(Child(m.phase, m.allow_failure, m.is_settled) for m in members),
            counts=+counts,
            may_fail=_all_may_fail(members),
            collapsed=True,
            beside=len(broken),
            parent=group,
        )


def _all_may_fail(members: list[TreeNode]) -> bool:
    return all(member.allow_failure for member in members)
