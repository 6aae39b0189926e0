"""The nested tree, read in one query with live sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.utils.timezone import now

from ..db.connections import has_psycopg
from ..db.tables import statuses
from ..phases import NodeType, Phase
from . import estimates
from .bounds import within


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
        """How many leaves of this subtree are in which phase."""
        if self._counts is None:  # Of leaves there may be very many.
            self._counts = Counter() if self.is_container else Counter({self.phase: 1})
        return self._counts

    @property
    def is_container(self) -> bool:
        """Whether this node stands for others rather than for a task."""
        return self.node_type is not NodeType.TASK

    @property
    def is_settled(self) -> bool:
        """Whether nothing below this node can run any more."""
        return self.settled_at is not None

    @property
    def percent(self) -> int:
        """Completed steps of 100; 100 only when all are."""
        return percent(self.completed_steps, self.total_steps)

    def walk(self) -> Iterator[TreeNode]:
        """This node and all below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[TreeNode]:
        """The tasks of this subtree."""
        return (node for node in self.walk() if not node.is_container)

    def duration(self, at: datetime | None = None) -> float | None:
        """Seconds from the start until it settled, or until ``at`` (default: now)."""
        return estimates.elapsed(self.started_at, self.settled_at, at or now())

    def eta(self, at: datetime | None = None) -> timedelta | None:
        """The time left as far as one can tell: see ``estimates``."""
        leaves = list(self.leaves())
        waited_for = [leaf for leaf in leaves if not leaf.is_settled]
        left = sum(leaf.total_steps - leaf.completed_steps for leaf in waited_for)
        total = sum(leaf.total_steps for leaf in leaves)
        return estimates.eta(
            self.phase,
            self.started_at,
            at or now(),
            settled=len(leaves) - len(waited_for),
            steps=total - left,
            total=total,
        )


def percent(completed: int, total: int) -> int:
    """Completed steps of 100, rounded down; 0 where there is nothing to do."""
    return min(completed, total) * 100 // total if total else 0


#: By what is stored. To call an enumeration takes twenty times as long as to look it up here.
_MEMBERS: dict[str, Any] = {member.value: member for member in (*NodeType, *Phase)}


_COLUMNS = tuple(f for f in TreeNode.__dataclass_fields__ if f not in ("children", "_counts"))


def read_tree(tree_id: int, top: int | None = None) -> TreeNode | None:
    """The nested tree, or the subtree below the node with the key ``top``, in one query.

    Sums and counts are made of the leaves as they are now, not of stored columns. Returns None
    where there is no such tree.
    """
    query = statuses().filter(within(top or tree_id, tree_id)).order_by("lft")
    nodes: dict[int, TreeNode] = {}
    for row in _rows(query.values_list(*_COLUMNS)):
        node = TreeNode(*row)
        node.node_type, node.phase = _MEMBERS[node.node_type], _MEMBERS[node.phase]
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


def _rows(query: Any) -> Any:
    """The rows of a query for values. On PostgreSQL psycopg parses dates, in C.

    Django's own way of it is written in Python and took most of the time in which a tree is read.
    """
    connection = connections[query.db]
    if not (settings.USE_TZ and has_psycopg(connection)):
        return query
    from psycopg.types.datetime import TimestamptzLoader

    with connection.cursor() as cursor:
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(*query.query.get_compiler(connection=connection).as_sql())
        return cursor.fetchall()


class StoredNode(Protocol):
    """A stored node: an instance of the model or a row of it."""

    @property
    def pk(self) -> Any: ...
    @property
    def tree_id(self) -> Any: ...
    @property
    def parent_id(self) -> Any: ...
    @property
    def allow_failure(self) -> Any: ...


def open_node(pk: int) -> Any:
    """The row of a node, unless it is settled: what each UPDATE of one starts from."""
    return statuses().filter(pk=pk, settled_at__isnull=True).order_by()
