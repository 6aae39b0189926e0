"""Free positions in a stored tree, for a subtree that is inserted later."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from django.db import models
from django.db.models.functions import Coalesce

from ..db.tables import statuses
from ..phases import Phase
from .integrity import renumber_tree

#: A subtree that is inserted later takes this part of the free positions of its parent.
GAP_SHARE = 1 << 12


class Slot(NamedTuple):
    """The place of a new subtree, and the node above it as it is now."""

    tree_id: int
    level: int
    lft: int
    gap: int
    phase: Phase
    """Of the node above, like all that follow."""
    is_container: bool
    task_id: str
    user_id: object
    action: str
    subject: str


@cache
def _with_last_child() -> models.QuerySet[models.Model, tuple[Any, ...]]:
    """Return nodes with the last bound that their children take; cached: it is half the cost."""
    children = statuses().filter(parent_id=models.OuterRef("pk")).order_by().values("parent_id")
    last = models.Subquery(children.annotate(last=models.Max("rght")).values("last"))
    place = ("tree_id", "level", "rght", Coalesce(last, "lft"))
    node = ("phase", "is_container", "task_id", "user_id", "action", "subject")
    return statuses().order_by().values_list(*place, *node)


def allocate_slot(parent_pk: int, size: int = 1) -> Slot:
    """Return a slot for ``size`` nodes behind the last child of a node.

    The caller holds the tree's lock. One query; where the node's gap is used up its whole tree is
    renumbered first.
    """
    parents = _with_last_child().filter(pk=parent_pk)
    while True:
        tree_id, level, rght, last, phase, *node = parents.get()
        free = rght - last - 1
        if free >= 2 * size:
            gap = max(1, free // GAP_SHARE // size - 1)
            return Slot(tree_id, level + 1, last + 1, gap, Phase(phase), *node)
        renumber_tree(tree_id)
