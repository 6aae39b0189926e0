"""A tree as far as a client wants to see it, and what has changed in it since it last looked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, DecimalField, Func, Max, Sum
from django.utils.timezone import make_naive, now

from ..db.tables import statuses
from ..db.timestamps import SLOW_WRITE
from ..phases import Phase
from ..tree.bounds import within
from ..tree.nodes import TreeNode

#: How far a version reaches back before the read that it is given with. What was dated before the
#: read may be committed after it: by transactions as long as ``trees.LONG``, and by hosts whose
#: clocks differ by as much.
VERSION_MARGIN = 2 * SLOW_WRITE
#: Of more nodes than these a delta says only that the tree is to be read again.
MAX_CHANGED = 1000


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """How much of a tree to show."""

    depth: int = 3
    """Levels below the top."""
    children: int = 50
    """Children of each container."""
    phases: Collection[Phase] = ()
    """Only nodes with tasks in one of these phases below them; empty for all."""
    after: UUID | None = None
    """Begin behind this child of the top."""


def nested_json(top: TreeNode, bounds: TreeLimits) -> dict[str, Any]:
    """The subtree below ``top``, nested, as JSON can hold it.

    Each node with children that are not shown says how many in ``left_out``, and after which
    child they begin: they are had by an outline of that node.

    Raises:
        ValueError: ``bounds.after`` is no child of ``top``.
    """
    uuids = {node.pk: node.uuid for node in top.walk()}
    skipped = 0
    if bounds.after is not None:
        places = [child.uuid for child in top.children]
        skipped = places.index(bounds.after) + 1
    return _shown(top, bounds, uuids, bounds.depth, skipped)


def _shown(
    node: TreeNode, bounds: TreeLimits, uuids: dict[int, UUID], depth: int, skipped: int = 0
) -> dict[str, Any]:
    found = node.children[skipped:]
    if bounds.phases:
        found = [c for c in found if any(c.counts[phase] for phase in bounds.phases)]
    shown = found[: bounds.children] if depth > 0 else []
    row = node_json(node, uuids)
    row["children"] = [_shown(child, bounds, uuids, depth - 1) for child in shown]
    row["left_out"] = {
        "children": len(found) - len(shown),
        "after": str(shown[-1].uuid) if shown and len(found) > len(shown) else None,
    }
    return row


def node_json(node: TreeNode, uuids: dict[int, UUID]) -> dict[str, Any]:
    """One node without its children. ``uuids`` are those of the nodes that it may refer to."""
    return {
        "uuid": str(node.uuid),
        "parent": _text(uuids.get(node.parent_id or 0)),
        "node_type": node.node_type.value,
        "name": node.name,
        "task_class": node.task_class,
        "phase": node.phase.value,
        "state": node.state,
        "completed_steps": node.completed_steps,
        "total_steps": node.total_steps,
        "percent": node.percent,
        "attempts": node.attempts,
        "allow_failure": node.allow_failure,
        "caused_by": _text(uuids.get(node.caused_by_id or 0)),
        "started": _time(node.started_at),
        "settled": _time(node.settled_at),
        "last_seen": _time(node.last_seen_at),
        "counts": {phase.value: count for phase, count in node.counts.items()},
    }


def changed_nodes(top: TreeNode, since: datetime) -> list[dict[str, Any]] | None:
    """The nodes that have changed since a version, and all above them, parents first.

    None where they are so many that the tree is better read again, or where the clock was set
    back since then. Some may be told twice: a version reaches back a little.
    """
    if since > now():
        return None
    nodes = list(top.walk())
    told: set[int] = set()
    for node in reversed(nodes):
        below = any(child.pk in told for child in node.children)
        if below or node.modified >= since or node.created >= since:
            told.add(node.pk)
    if len(told) > MAX_CHANGED:
        return None
    uuids = {node.pk: node.uuid for node in nodes}
    return [node_json(node, uuids) for node in nodes if node.pk in told]


class _Microseconds(Func):
    """A time as a number; on SQLite, whose numbers have 64 bits, that within 11 days."""

    output_field = DecimalField(max_digits=40, decimal_places=6)
    template = "EXTRACT(EPOCH FROM %(expressions)s)"

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "TIMESTAMPDIFF(MICROSECOND, '2000-01-01', %(expressions)s)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        time, fraction = "strftime('%%%%s', %(expressions)s)", "substr(%(expressions)s, 21)"
        template = f"({time} %%%% 1000000 * 1000000 + CAST({fraction} AS INTEGER))"
        return self.as_sql(compiler, connection, template=template, **context)


def fingerprint(node: Any) -> list[str]:
    """What is another one when anything in the subtree of a node has changed.

    A settled one never changes. For an open one this is one query, which reads no node: each
    change dates one anew, and so moves the sum of their dates.
    """
    if node.settled_at is not None:
        return [node.modified.isoformat()]
    nodes = statuses().filter(within(node.pk, node.tree_id)).order_by()
    found = nodes.aggregate(
        count=Count("pk"), last=Max("modified"), dates=Sum(_Microseconds("modified"))
    )
    return [str(value) for value in found.values()]


def current_version() -> str:
    """The version of a tree that is about to be read."""
    return str(int((now() - VERSION_MARGIN).timestamp() * 1_000_000))


def parse_version(version: str) -> datetime:
    """From when on changes are to be told to who has this version.

    Raises:
        ValueError: it is none.
    """
    try:
        found = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(version))
        return found if settings.USE_TZ else make_naive(found)
    except OverflowError as error:
        raise ValueError(version) from error


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
