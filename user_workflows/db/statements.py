"""The five statements of a task's start and end, as SQL.

To build and compile their querysets took nine tenths of the processor time of both
(docs/explanation/performance.md). They are the same on all databases; ``{nodes}`` is the table of
nodes. Tests compare each with the queryset that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils.timezone import is_naive, make_aware, now

from .connections import connection_for
from .tables import statuses
from .timestamps import restamp_if_slow

if TYPE_CHECKING:
    from ..models import UserTaskStatus

SELECT_LEAF_TO_START = """\
SELECT leaf.id, leaf.tree_id, leaf.parent_id, leaf.phase, parent.phase,
       leaf.attempts, leaf.replaced_nesting, leaf.allow_failure, leaf.last_seen_at IS NOT NULL
FROM {nodes} leaf LEFT JOIN {nodes} parent ON parent.id = leaf.parent_id
WHERE leaf.task_id = %s"""


class LeafToStart(NamedTuple):
    """The columns of a task's node that the gate and its execution need."""

    pk: int
    tree_id: int
    parent_id: int | None
    phase: str
    parent_phase: str | None
    attempts: int
    replaced_nesting: int
    allow_failure: bool
    was_seen: bool
    """True if a worker has started its body before."""


def select_leaf_to_start(task_id: str) -> LeafToStart | None:
    """Return the node of the Celery task ``task_id``. One query."""
    row = _select_one(SELECT_LEAF_TO_START, task_id)
    return LeafToStart(*row[:7], *map(bool, row[7:])) if row else None


SELECT_CONTAINER = """\
SELECT id, tree_id, parent_id, node_type, phase, allow_failure, ended_at IS NOT NULL,
       EXISTS (SELECT 1 FROM {nodes} child
               WHERE child.parent_id = container.id AND child.settled_at IS NULL)
FROM {nodes} container
WHERE id = %s"""


class ContainerToSettle(NamedTuple):
    """The columns that it takes to settle a container, or a task with tasks below it."""

    pk: int
    tree_id: int
    parent_id: int | None
    node_type: str
    phase: str
    allow_failure: bool
    has_ended: bool
    """Of a task with tasks below it: whether its own body has."""
    has_open_child: bool


def select_container(pk: int) -> ContainerToSettle | None:
    """Return a container, and whether anything in it is open. One query."""
    row = _select_one(SELECT_CONTAINER, pk)
    return ContainerToSettle(*row[:5], *map(bool, row[5:])) if row else None


SELECT_NODE = "SELECT {columns} FROM {nodes} WHERE id = %s"


def select_node(pk: int) -> UserTaskStatus | None:
    """Return a fresh instance of a node, as the manager's ``get()`` would. One query."""
    model = statuses().model
    fields, alias = model._meta.concrete_fields, router.db_for_read(model)
    names = [field.attname for field in fields]
    row = _select_one(SELECT_NODE.replace("{columns}", ", ".join(names)), pk)
    if row is None:
        return None
    connection = connections[alias]
    values = [_to_python(*pair, connection) for pair in zip(fields, row, strict=True)]
    return model.from_db(alias, names, values)


BEGIN_LEAF = """\
UPDATE {nodes}
SET phase = 'RUNNING', state = 'In Progress', attempts = %s, modified = %s,
    started_at = COALESCE(started_at, %s),
    last_seen_at = COALESCE(%s, last_seen_at),
    completed_steps = COALESCE(%s, completed_steps),
    total_steps = COALESCE(%s, total_steps)
WHERE id = %s AND settled_at IS NULL
  AND phase IN ('PENDING', 'RETRYING', 'RUNNING')
  AND (phase IN ('PENDING', 'RETRYING') OR attempts < %s OR last_seen_at IS NULL)"""


def begin_leaf(
    pk: int,
    attempt: int,
    at: datetime,
    *,
    last_seen_at: datetime | None = None,
    completed_steps: int | None = None,
    total_steps: int | None = None,
) -> bool:
    """Mark an open leaf as running; return False, and change nothing, if it must not start.

    Of a message that was delivered twice only one starts the body: the later one finds an attempt
    that is running already. Columns that are None stay as they are.
    """
    fresh = (last_seen_at, completed_steps, total_steps)
    return _update_one(BEGIN_LEAF, pk, at, attempt, at, at, *fresh, pk, attempt)


SUCCEED_LEAF = """\
UPDATE {nodes}
SET phase = 'SUCCEEDED', state = 'Succeeded', completed_steps = total_steps,
    modified = %s, settled_at = %s
WHERE id = %s AND settled_at IS NULL AND ended_at IS NULL
  AND phase IN ('PENDING', 'RETRYING', 'RUNNING')
  AND NOT (node_type = 'task' AND is_container)
  AND attempts <= COALESCE(%s, attempts)"""


def succeed_leaf(pk: int, at: datetime, attempt: int | None = None) -> bool:
    """Settle an open leaf as succeeded, as nearly all of them end.

    Return False, and change nothing, where it has ended, was decided otherwise, has tasks below it
    or is at a later attempt than ``attempt``.
    """
    return _update_one(SUCCEED_LEAF, pk, at, at, at, pk, attempt)


@contextmanager
def _send(alias: str, sql: str, key: int | str, *values: object) -> Iterator[CursorWrapper]:
    if key is None:
        raise ValueError("No row has NULL for its key.")
    connection = connection_for(alias)
    adapt = connection.ops.adapt_datetimefield_value
    table = connection.ops.quote_name(statuses().model._meta.db_table)
    sent: list[Any] = [adapt(item) if isinstance(item, datetime) else item for item in values]
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("{nodes}", table), sent)
        yield cursor


def _select_one(sql: str, key: int | str) -> tuple[Any, ...] | None:
    with _send(router.db_for_read(statuses().model), sql, key, key) as cursor:
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _update_one(sql: str, pk: int, modified: datetime, *values: object) -> bool:
    """Send an UPDATE of one row as a queryset would; return whether it found the row."""
    begun, alias = now(), router.db_for_write(statuses().model)
    rollback = transaction.mark_for_rollback_on_error(using=alias)
    with rollback, _send(alias, sql, pk, *values) as cursor:
        found = bool(cursor.rowcount)
    if found:
        restamp_if_slow(modified, begun, alias, pk=pk)
    return found


def _to_python(field: Any, value: object, connection: BaseDatabaseWrapper) -> object:
    """Return what the ORM would have on an instance for a value that came from a cursor."""
    field = getattr(field, "target_field", field)  # A site's users may have keys of any kind.
    if hasattr(field, "from_db_value"):
        return field.from_db_value(value, None, connection)
    value = field.to_python(value)
    if isinstance(value, datetime) and settings.USE_TZ and is_naive(value):
        return make_aware(value, connection.timezone)  # Of databases that know no time zones.
    return value
