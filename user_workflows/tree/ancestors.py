"""The nodes on the way from a leaf to the root, and those that stand beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Subquery

from ..db.tables import statuses
from ..phases import NodeType
from .nodes import StoredNode


@dataclass(slots=True, eq=False)
class Part:
    """A node in the part of a tree that lies around the way from a leaf to the root."""

    pk: int
    parent_id: int | None
    tree_id: int
    lft: int
    rght: int
    phase: str
    allow_failure: bool
    settled_at: Any
    ended_at: Any
    stored_type: str
    caused_by_id: int | None
    children: list[Part] = field(default_factory=list)

    @property
    def node_type(self) -> NodeType:
        """A node whose children were not read stands for all of them."""
        return NodeType(self.stored_type) if self.children else NodeType.TASK


_PART = (
    "pk", "parent_id", "tree_id", "lft", "rght",
    "phase", "allow_failure", "settled_at", "ended_at", "node_type", "caused_by_id",
)  # fmt: skip


def parts(query: Any) -> list[Part]:
    """What a query finds, in tree order."""
    return [Part(*row) for row in query.order_by("lft").values_list(*_PART)]


def ancestors_of(node: StoredNode) -> list[Part]:
    """From the parent up to the root. One query, none for a root."""
    if node.parent_id is None:
        return []
    me = statuses().filter(pk=node.pk).order_by()
    above = statuses().filter(
        tree_id=node.tree_id,
        lft__lt=Subquery(me.values("lft")),
        rght__gt=Subquery(me.values("rght")),
    )
    return parts(above)[::-1]
