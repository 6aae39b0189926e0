"""Verifying and repairing the bounds of one stored tree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..db.tables import statuses
from .bounds import assign_bounds


@dataclass(slots=True, eq=False)
class Skeleton:
    """A node with nothing but its place, as stored."""

    pk: int
    parent_id: int | None
    tree_id: int
    lft: int
    rght: int
    level: int
    children: list[Skeleton] = field(default_factory=list)


_PLACE = ("pk", "parent_id", "tree_id", "lft", "rght", "level")


def read_skeleton(tree_id: int) -> Skeleton | None:
    """One tree by its ``parent`` column alone, in the order it has; a query per 500 parents."""
    rows = statuses().order_by("lft", "pk").values_list(*_PLACE)
    root = next((Skeleton(*row) for row in rows.filter(pk=tree_id)), None)
    parents = {root.pk: root} if root else {}
    seen = set(parents)  # A damaged tree may lead in a circle.
    while parents:
        pks = list(parents)
        children = [
            Skeleton(*row)
            for start in range(0, len(pks), 500)
            for row in rows.filter(parent_id__in=pks[start : start + 500])
        ]
        children = [child for child in children if child.pk not in seen]
        seen.update(child.pk for child in children)
        for child in children:
            parents[child.parent_id or 0].children.append(child)
        parents = {child.pk: child for child in children}
    return root


def find_faults(tree_id: int) -> list[str]:
    """What is wrong with the bounds of one tree, in words; empty if nothing is."""
    root = read_skeleton(tree_id)
    if root is None:
        return [f"tree {tree_id} has no root"]
    messages = []
    if root.parent_id is not None:
        messages.append(f"node {root.pk}: gives its pk to the tree but has a parent")
    strays = set(statuses().filter(tree_id=tree_id).values_list("pk", flat=True))
    seen: Counter[int] = Counter()
    stack: list[tuple[Skeleton, Skeleton | None]] = [(root, None)]
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
    """Numbers one tree anew from its ``parent`` column, in the order it has, with fresh gaps.

    For the holder of the tree's lock. Cost: one query to read, one UPDATE per 500 nodes.
    """
    root = read_skeleton(tree_id)
    if root is None:
        return
    changed = []
    for node, _parent, lft, rght, level in assign_bounds(root):
        if (node.tree_id, node.lft, node.rght, node.level) != (tree_id, lft, rght, level):
            changed.append(
                statuses().model(pk=node.pk, tree_id=tree_id, lft=lft, rght=rght, level=level)
            )
    statuses().bulk_update(changed, ["tree_id", "lft", "rght", "level"], batch_size=500)
