"""The choice of the nodes to show where not all lines of a tree fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..tree.nodes import TreeNode


class Fitting:
    """The nodes of a tree that are shown, and the lines that they take.

    A shown node takes a line, or more if it has a message. Where some children of a node are
    shown and some are not, one line more counts those that are not.
    """

    def __init__(self, nodes: Mapping[int, TreeNode], lines: Mapping[int, int], root: int) -> None:
        self.nodes, self.lines = nodes, lines
        self.shown = {root}
        self._visible: Counter[int] = Counter()

    def show(self, node: TreeNode, free: int) -> int:
        """Show a node and all above it if ``free`` lines suffice; return how many that took."""
        new = []
        while node.pk not in self.shown:
            new.append(node)
            node = self.nodes[node.parent_id or 0]
        takes = sum(self.lines[part.pk] for part in new)
        takes += sum(len(part.children) > 1 for part in new[1:])
        takes += self._counts(node, 1) - self._counts(node, 0)
        if not new or takes > free:
            return 0
        self.shown.update(part.pk for part in new)
        self._visible.update(part.parent_id or 0 for part in new)
        return takes

    def _counts(self, node: TreeNode, more: int) -> bool:
        return 0 < self._visible[node.pk] + more < len(node.children)


def fitting(
    nodes: Mapping[int, TreeNode], lines: Mapping[int, int], free: int,
    *, failed: list[TreeNode], running: list[TreeNode],
) -> set[int] | None:  # fmt: skip
    """Return the keys of the nodes to show in ``free`` lines below the root; None if all fit.

    ``nodes`` is the tree by primary key, the root first, and ``lines`` what each node takes. The
    first failed node is shown whatever it takes; of the others as many as leave half of the lines,
    and more if some are left in the end. Running ones are next, then others from the root down.
    """
    root = next(iter(nodes))
    if sum(lines.values()) - lines[root] <= free:
        return None
    found = Fitting(nodes, lines, root)
    others = sorted(nodes.values(), key=lambda node: node.level)
    half = free // 2
    for wanted, kept in ((failed[:1], 0), (failed, half), (running, 0), (failed, 0), (others, 0)):
        for node in wanted:
            if free <= kept:
                break
            free -= found.show(node, free - kept)
    return found.shown
