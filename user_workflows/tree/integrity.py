"""Verifying and repairing the bounds of one stored tree."""

from __future__ import annotations

from collections import Counter

from ..db.chunks import chunked
from ..db.tables import statuses
from .bounds import assign_bounds
from .nodes import NodeRow, read_rows


def read_by_parents(tree_id: int) -> NodeRow | None:
    """Return a nested tree by its ``parent`` column alone, children in the order of their bounds.

    One query for each 500 parents.
    """
    rows = statuses().order_by("lft", "pk")
    root = next(iter(read_rows(rows.filter(pk=tree_id))), None)
    parents = {root.pk: root} if root else {}
    seen = set(parents)  # A damaged tree may lead in a circle.
    while parents:
        children = [
            child
            for pks in chunked(list(parents))
            for child in read_rows(rows.filter(parent_id__in=pks))
            if child.pk not in seen
        ]
        seen.update(child.pk for child in children)
        for child in children:
            parents[child.parent_id or 0].children.append(child)
        parents = {child.pk: child for child in children}
    return root


def find_faults(tree_id: int) -> list[str]:
    """Return a message for each fault in the bounds of one tree."""
    root = read_by_parents(tree_id)
    if root is None:
        return [f"tree {tree_id} has no root"]
    messages = []
    if root.parent_id is not None:
        messages.append(f"node {root.pk}: gives its pk to the tree but has a parent")
    strays = set(statuses().filter(tree_id=tree_id).values_list("pk", flat=True))
    seen: Counter[int] = Counter()
    stack: list[tuple[NodeRow, NodeRow | None]] = [(root, None)]
    while stack:
        node, parent = stack.pop()
        strays.discard(node.pk)
        seen.update((node.lft, node.rght))
        stack.extend((child, node) for child in node.children)
        expected = parent.level + 1 if parent else 0
        if node.tree_id != tree_id:
            messages.append(f"node {node.pk}: tree_id {node.tree_id}, not its root's pk")
        if node.level != expected:
            messages.append(f"node {node.pk}: level {node.level}, not {expected}")
        if node.lft >= node.rght:
            messages.append(f"node {node.pk}: lft {node.lft} is not below rght {node.rght}")
        if parent and not (parent.lft < node.lft and node.rght < parent.rght):
            messages.append(f"node {node.pk}: not within its parent {parent.pk}")
        for before, after in zip(node.children, node.children[1:], strict=False):
            if before.rght >= after.lft:
                messages.append(f"nodes {before.pk} and {after.pk}: overlap")
    messages += [f"node {pk}: in this tree, but not below its root" for pk in sorted(strays)]
    messages += [f"bound {bound} is taken {n} times" for bound, n in seen.items() if n > 1]
    return messages


def renumber_tree(tree_id: int) -> None:
    """Renumber one tree by its ``parent`` column, in the order it has, with fresh gaps.

    The caller holds the tree's lock. One query for each 500 parents, one UPDATE for each 500 nodes.
    """
    root = read_by_parents(tree_id)
    if root is None:
        return
    changed = [
        statuses().model(pk=node.pk, tree_id=tree_id, lft=lft, rght=rght, level=level)
        for node, _parent, lft, rght, level in assign_bounds(root)
        if (node.tree_id, node.lft, node.rght, node.level) != (tree_id, lft, rght, level)
    ]
    statuses().bulk_update(changed, ["tree_id", "lft", "rght", "level"], batch_size=500)
