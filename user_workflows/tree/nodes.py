"""Stored nodes as they are read: a nested tree with live sums, in one query, or plain rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.db.models import Model, QuerySet, Subquery
from django.utils.timezone import now

from ..db.connections import has_psycopg
from ..db.tables import statuses
from ..phases import NodeType, Phase
from . import estimates
from .bounds import within
from .managers import StatusQuerySet

Row = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class TreeNode:
    """A node as read from the database, with its children and with live sums."""

    pk: int
    uuid: UUID
    task_id: str
    parent_id: int | None
    level: int
    node_type: NodeType
    task_class: str
    name: str
    state: str
    phase: Phase
    allow_failure: bool
    completed_steps: int
    total_steps: int
    attempts: int
    created: datetime
    modified: datetime
    started_at: datetime | None
    settled_at: datetime | None
    ended_at: datetime | None
    last_seen_at: datetime | None
    caused_by_id: int | None
    children: list[TreeNode] = field(default_factory=list)
    """In the author's order."""
    _counts: Counter[Phase] | None = None

    @property
    def counts(self) -> Counter[Phase]:
        """The number of leaves of this subtree in each phase."""
        if self._counts is None:  # Of leaves there may be very many.
            self._counts = Counter() if self.is_container else Counter({self.phase: 1})
        return self._counts

    @property
    def is_container(self) -> bool:
        """True for what stands for other nodes rather than for a task."""
        return self.node_type is not NodeType.TASK

    @property
    def is_settled(self) -> bool:
        """True when nothing in this subtree can run any more."""
        return self.settled_at is not None

    @property
    def percent(self) -> int:
        """Completed steps of 100; 100 only when all are completed."""
        return percent(self.completed_steps, self.total_steps)

    def walk(self) -> Iterator[TreeNode]:
        """Yield this node and all below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[TreeNode]:
        """Return the tasks of this subtree."""
        return (node for node in self.walk() if not node.is_container)

    def duration(self, at: datetime | None = None) -> float | None:
        """Return the seconds from the start until it settled, or until ``at`` (default: now)."""
        return estimates.elapsed(self.started_at, self.settled_at, at or now())

    def eta(self, at: datetime | None = None) -> timedelta | None:
        """Estimate the remaining time: see ``estimates``."""
        leaves = list(self.leaves())
        unsettled = [leaf for leaf in leaves if not leaf.is_settled]
        left = sum(leaf.total_steps - leaf.completed_steps for leaf in unsettled)
        total, settled = sum(leaf.total_steps for leaf in leaves), len(leaves) - len(unsettled)
        times = (self.started_at, at or now())
        return estimates.eta(self.phase, *times, settled=settled, steps=total - left, total=total)


def percent(completed: int, total: int) -> int:
    """Return the completed steps of 100, rounded down; 0 where there is nothing to do."""
    return min(completed, total) * 100 // total if total else 0


#: By what is stored: to call an enumeration takes twenty times as long as to look it up here.
_NODE_TYPES = {str(member.value): member for member in NodeType}
_PHASES = {str(member.value): member for member in Phase}

_TREE_COLUMNS = [column.name for column in fields(TreeNode)][:-2]


def read_tree(tree_id: int, top: int | None = None) -> TreeNode | None:
    """Return the nested tree, or the subtree below the node with the key ``top``. One query.

    Sums and counts are made of the leaves as they are now, not of stored columns. Returns None
    where there is no such tree.
    """
    query = statuses().filter(within(top or tree_id, tree_id)).order_by("lft")
    nodes: dict[int, TreeNode] = {}
    for row in _fetch(query.values_list(*_TREE_COLUMNS)):
        node = TreeNode(*row)
        node.node_type, node.phase = _NODE_TYPES[node.node_type], _PHASES[node.phase]
        nodes[node.pk] = node
        if node.parent_id in nodes:
            nodes[node.parent_id].children.append(node)
    for node in reversed(nodes.values()):
        _sum_up(node)
    return next(iter(nodes.values()), None)


def _sum_up(node: TreeNode) -> None:
    if node.is_container:
        node.completed_steps = node.total_steps = 0
    else:
        node.completed_steps = min(node.completed_steps, node.total_steps)
    for child in node.children:
        node.completed_steps += child.completed_steps
        node.total_steps += child.total_steps
        if child.children or child.is_container:
            node.counts.update(child.counts)
        else:
            node.counts[child.phase] += 1


def _fetch(rows: QuerySet[Model, Row]) -> Iterable[Row]:
    connection = connections[rows.db]
    if not (settings.USE_TZ and has_psycopg(connection)):
        return rows
    with connection.execute_wrapper(_parse_timestamps_in_c):
        return list(rows)


def _parse_timestamps_in_c(
    execute: Callable[..., object], sql: str, params: object, many: bool, context: dict[str, Any]
) -> object:
    """Have psycopg parse the timestamps of a query, in C.

    Django's own way of it is written in Python and took most of the time in which a tree is read.
    """
    from psycopg.types.datetime import TimestamptzLoader

    context["cursor"].adapters.register_loader("timestamptz", TimestamptzLoader)
    return execute(sql, params, many, context)


class StoredNode(Protocol):
    """A stored node: an instance of the model, or a row with at least these columns."""

    @property
    def pk(self) -> int: ...
    @property
    def tree_id(self) -> int: ...
    @property
    def parent_id(self) -> int | None: ...
    @property
    def allow_failure(self) -> bool: ...


@dataclass(slots=True, eq=False)
class NodeRow:
    """A row of the table as far as bounds and order are concerned, without steps and sums."""

    pk: int
    parent_id: int | None
    tree_id: int
    lft: int
    rght: int
    level: int
    node_type: NodeType
    phase: str
    allow_failure: bool
    settled_at: datetime | None
    caused_by_id: int | None
    children: list[NodeRow] = field(default_factory=list)
    """Those that were read as well."""


_ROW_COLUMNS = [column.name for column in fields(NodeRow)][:-1]


def read_rows(query: QuerySet[Model]) -> list[NodeRow]:
    """Return the nodes that a query finds, in its order."""
    rows = [NodeRow(*row) for row in query.values_list(*_ROW_COLUMNS)]
    for row in rows:
        row.node_type = _NODE_TYPES[row.node_type]
    return rows


def ancestors_of(node: StoredNode) -> list[NodeRow]:
    """Return the nodes from the parent up to the root. One query, none for a root."""
    if node.parent_id is None:
        return []
    me = statuses().filter(pk=node.pk).order_by()
    lft, rght = Subquery(me.values("lft")), Subquery(me.values("rght"))
    above = statuses().filter(tree_id=node.tree_id, lft__lt=lft, rght__gt=rght)
    return read_rows(above.order_by("-lft"))


def open_node(pk: int) -> StatusQuerySet:
    """Return the row of a node, unless it is settled: each UPDATE of one starts from it."""
    return statuses().filter(pk=pk, settled_at__isnull=True).order_by()
