"""Statements on nodes that are compiled once and then sent with other values each time.

Nine tenths of the processor time of a task's start and end went into building and compiling the
same few querysets again. What is sent for each task is therefore a function of its values:

    @Select
    def leaf(task_id):
        return statuses().filter(task_id=task_id).order_by().values_list("pk", "phase")

    @Update
    def rename(pk, modified, **names):
        return statuses().filter(pk=pk).order_by(), {"modified": modified, **names}

    row = leaf(task_id="...")
    found = rename(pk=row.pk, modified=now(), name="Export")

The function is asked for its queryset with a ``Parameter`` in place of each value, once for each
database and each choice of names. A value is named after the column that it is compared with or
stored in. Nothing in the function may depend on a value, or on the time: an attempt to calculate
with one fails, and so does a statement that is not the same twice or leaves a value out.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from django.db import connections, router, transaction
from django.db.models import Value
from django.db.models.sql import UpdateQuery
from django.utils.timezone import now

from .connections import kept_connections
from .tables import statuses
from .timestamps import restamp_if_slow


class Parameter(Value):
    """Stands for a value that comes later."""

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        """A placeholder, and what belongs there."""
        meta = statuses().model._meta
        field = meta.pk if self.value == "pk" else meta.get_field(self.value)
        return "%s", [Place(self.value, field)]

    def _refuse(self, *args: Any) -> NoReturn:
        raise TypeError(f"A statement must not depend on a value, here {self.value}.")

    __int__ = __float__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __str__ = __format__ = _refuse


class Place(NamedTuple):
    """Where in a statement a value belongs, and the column that knows how it is stored."""

    name: str
    field: Any


class Compiled(NamedTuple):
    """A statement in the words of one database."""

    sql: str
    values: tuple[Any, ...]
    """What is sent with it, with places to be filled."""
    converted: tuple[tuple[int, Any], ...] = ()
    """What is selected and not given as Python has it: dates, on some databases."""
    row: Any = None
    """Makes a row of their values."""

    def send(self, cursor: Any, values: dict[str, Any], connection: Any) -> None:
        """Fills the places and runs the statement."""
        if None in values.values():
            raise ValueError("NULL is not compared as other values are: leave it out.")
        cursor.execute(
            self.sql,
            tuple(
                [
                    known.field.get_db_prep_value(values[known.name], connection)
                    if type(known) is Place
                    else known
                    for known in self.values
                ]
            ),
        )


class Statement:
    """What ``Select`` and ``Update`` have in common."""

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build
        self._compiled: dict[tuple[str, ...], Compiled] = {}

    def _for(self, connection: Any, values: dict[str, Any]) -> Compiled:
        key = (connection.alias, *values)
        if key not in self._compiled:
            compiled, again = (self._compile(connection, values) for _ in range(2))
            if compiled[:2] != again[:2]:
                raise TypeError(f"{self._build.__name__} depends on something, such as the time.")
            missing = set(values) - {v.name for v in compiled.values if isinstance(v, Place)}
            if missing:
                raise TypeError(f"{self._build.__name__} does not use {sorted(missing)}.")
            self._compiled[key] = compiled
        return self._compiled[key]

    def _compile(self, connection: Any, names: Any) -> Compiled:
        built = self._build(**{name: Parameter(name) for name in names})
        return self._in_words(built, connection)

    def _in_words(self, built: Any, connection: Any) -> Compiled:
        raise NotImplementedError


class Select(Statement):
    """A function that makes ``values_list()`` becomes one that returns the first row of it."""

    def __call__(self, **values: Any) -> Any:
        """The first row with the names of its columns, or None."""
        connection = kept_connections.instead_of(connections[router.db_for_read(statuses().model)])
        compiled = self._for(connection, values)
        with connection.cursor() as cursor:
            compiled.send(cursor, values, connection)
            found = cursor.fetchone()
        if found is None:
            return None
        row = list(found)
        for at, column in compiled.converted:
            for convert in _converters(column, connection):
                row[at] = convert(row[at], column, connection)
        return compiled.row(*row)

    def _in_words(self, built: Any, connection: Any) -> Compiled:
        compiler = built.query.get_compiler(connection=connection)
        sql, values = compiler.as_sql()
        columns = enumerate(column for column, *_ in compiler.select)
        converted = tuple((at, of) for at, of in columns if _converters(of, connection))
        return Compiled(sql, tuple(values), converted, namedtuple("Row", built._fields))


def _converters(column: Any, connection: Any) -> list[Callable[[Any, Any, Any], Any]]:
    # Not kept: they would keep alive the connection of the thread that was the first.
    return [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]


class Update(Statement):
    """A function that makes rows and their new columns becomes one that stores them.

    As with the ``update()`` of a queryset, what is seen late is dated when it is seen.
    """

    def __call__(self, *, pk: int, modified: datetime, **values: Any) -> bool:
        """Whether there was such a row."""
        begun = now()
        values.update(pk=pk, modified=modified)
        connection = kept_connections.instead_of(connections[router.db_for_write(statuses().model)])
        compiled = self._for(connection, values)
        with (
            transaction.mark_for_rollback_on_error(using=connection.alias),
            connection.cursor() as cursor,
        ):
            compiled.send(cursor, values, connection)
            found = bool(cursor.rowcount)
        if found:
            restamp_if_slow(modified, begun, connection.alias, pk=pk)
        return found

    def _in_words(self, built: Any, connection: Any) -> Compiled:
        rows, columns = built
        query = rows.query.chain(UpdateQuery)
        query.add_update_values(columns)
        query.clear_select_clause()
        sql, values = query.get_compiler(connection=connection).as_sql()
        return Compiled(sql, tuple(values))
