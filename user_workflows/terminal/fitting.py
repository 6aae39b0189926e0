"""Which nodes of a tree to show where there is no room for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ..tree.nodes import TreeNode


class Fitting:
    """Nodes of a tree that are shown, and the lines that they take.

    A shown node takes a line (or more, if it has something to say). Where some children of a
    node are shown and some are not, one line more counts those that are not.
    """

    def __init__(self, nodes: Mapping[int, TreeNode], lines: Mapping[int, int], root: int) -> None:
        self.nodes = nodes
        self.lines = lines
        self.shown = {root}
        self._visible: Counter[int] = Counter()

    def show(self, node: TreeNode, room: int) -> int:
        """Shows a node and all above it if that takes at most ``room`` lines; how many it took."""
        new = []
        while node.pk not in self.shown:
            new.append(node)
            node = self.nodes[node.parent_id or 0]
        takes = sum(self.lines[part.pk] for part in new)
        takes += sum(len(part.children) > 1 for part in new[1:])
        takes += self._counts(node, 1) - self._counts(node, 0)
        if not new or takes > room:
            return 0
        self.shown.update(part.pk for part in new)
        self._visible.update(part.parent_id or 0 for part in new)
        return takes

    def _counts(self, node: TreeNode, more: int) -> bool:
        return 0 < self._visible[node.pk] + more < len(node.children)


def fitting(
    nodes: Mapping[int, TreeNode],
    lines: Mapping[int, int],
    room: int,
    *,
    failed: Iterable[TreeNode],
    running: Iterable[TreeNode],
) -> set[int] | None:
    """The nodes to show in ``room`` lines below the root; None if all of them fit.

    Arguments:
        nodes: the tree, by primary key, the root first.
        lines: how many lines each of them takes.
        failed: the first is shown whatever it takes; of the others as many as leave half of the
            room, and more if there is some left.
        running: what is shown then. Others follow where there is room, from the root downwards.
    """
    root = next(iter(nodes))
    if sum(lines.values()) - lines[root] <= room:
        return None
    found = Fitting(nodes, lines, root)
    failed = list(failed)
    others = sorted(nodes.values(), key=lambda node: node.level)
    half = room // 2
    for wanted, kept in ((failed[:1], 0), (failed, half), (running, 0), (failed, 0), (others, 0)):
        for node in wanted:
            if room <= kept:
                break
            room -= found.show(node, room - kept)
    return found.shown
