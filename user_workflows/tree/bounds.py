"""Bounds of nodes.

``parent`` is the truth; ``lft``, ``rght``, ``tree_id`` and ``level`` are an index over it, with
gaps for tasks that are spawned later. ``tree_id`` is the root's own primary key: MPTT's MAX+1 gave
187 duplicates among 800 roots that were created concurrently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from django.db import models

from ..db.tables import statuses

#: Positions that each node keeps free behind its last child.
NODE_GAP = 1 << 32


class Nested(Protocol):
    """Anything that has children of its own kind."""

    @property
    def children(self) -> Sequence[Self]: ...


T = TypeVar("T", bound=Nested)


class Placed(NamedTuple, Generic[T]):
    """A node and where it stands in its tree."""

    node: T
    parent: T | None
    lft: int
    rght: int
    level: int


def assign_bounds(node: T, *, lft: int = 1, level: int = 0, gap: int = NODE_GAP) -> list[Placed[T]]:
    """Return bounds for a nested node and all below it, parents first.

    Each node is left ``gap`` (at least 1) positions behind its last child.
    """
    placed: list[Placed[T]] = []
    position = lft - 1
    # Not by recursion: a task that sends itself again and again makes trees of any depth.
    waiting: list[tuple[T, T | None, int] | int] = [(node, None, level)]
    while waiting:
        item = waiting.pop()
        if isinstance(item, int):
            position += gap
            placed[item] = placed[item]._replace(rght=position)
            continue
        each, parent, level = item
        position += 1
        waiting.append(len(placed))
        placed.append(Placed(each, parent, position, 0, level))
        waiting += [(child, each, level + 1) for child in reversed(each.children)]
    return placed


def within(pk: int, tree_id: int, prefix: str = "") -> models.Q:
    """Return the condition for the nodes of a subtree, by the bounds that its top has then.

    An instance's own may be old: a tree is renumbered when a node in it has no free slot.
    """
    in_tree = models.Q(**{f"{prefix}tree_id": tree_id})
    if pk == tree_id:
        return in_tree
    top = statuses().filter(pk=pk).order_by()
    lft, rght = models.Subquery(top.values("lft")), models.Subquery(top.values("rght"))
    return in_tree & models.Q(**{f"{prefix}lft__gte": lft, f"{prefix}rght__lte": rght})
