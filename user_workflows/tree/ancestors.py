"""The nodes on the way from a node to the root."""

from __future__ import annotations

from django.db.models import Subquery

from ..db.tables import statuses
from .nodes import NodeRow, StoredNode, read_rows


def ancestors_of(node: StoredNode) -> list[NodeRow]:
    """Return the nodes from the parent up to the root. One query, none for a root."""
    if node.parent_id is None:
        return []
    me = statuses().filter(pk=node.pk).order_by()
    above = statuses().filter(
        tree_id=node.tree_id,
        lft__lt=Subquery(me.values("lft")),
        rght__gt=Subquery(me.values("rght")),
    )
    return read_rows(above.order_by("-lft"))
