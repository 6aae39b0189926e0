"""Statements that are compiled once answer as querysets do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any

import pytest
from django.db import DatabaseError, Error, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.utils.timezone import now

from tests.helpers import queries, stored
from user_workflows.db import statements
from user_workflows.db.connections import KeptConnections, keep_connections
from user_workflows.db.statements import Select, Update
from user_workflows.db.tables import statuses
from user_workflows.models import UserTaskStatus
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db
objects = UserTaskStatus.objects
IN_MEMORY = connection.vendor == "sqlite"
COLUMNS = ("pk", "uuid", "is_container", "created", "settled_at", "parent__created", "phase")


def by_task_id(task_id: Any) -> Any:
    return statuses().filter(task_id=task_id).order_by().values_list(*COLUMNS)


def store(pk: Any, **columns: Any) -> Any:
    return statuses().filter(pk=pk, settled_at__isnull=True).order_by(), columns


@pytest.fixture
def nodes(db: None) -> dict[str, UserTaskStatus]:
    return stored(container("group", leaf("a"), leaf("b"), name="r"))


def test_a_row_is_as_the_queryset_has_it(nodes: dict[str, UserTaskStatus]) -> None:
    select = Select(by_task_id)
    for name in ("a", "b", "a"):
        task_id = nodes[name].task_id
        row, expected = select(task_id=task_id), by_task_id(task_id).get()
        assert row == expected
        assert [type(value) for value in row] == [type(value) for value in expected]
        assert row.parent__created == nodes["r"].created
    assert select(task_id="nobody's") is None


def test_columns_are_stored_as_the_fields_have_them(nodes: dict[str, UserTaskStatus]) -> None:
    update, at = Update(store), now()
    long = "x" * 10_000
    assert update(pk=nodes["a"].pk, modified=at, name=long, is_named=True, last_seen_at=at)
    found = objects.get(pk=nodes["a"].pk)
    assert (found.modified, found.last_seen_at, found.is_named) == (at, at, True)
    assert found.name == long[: len(found.name)] and len(found.name) < 10_000
    assert objects.get(pk=nodes["b"].pk).name == "b"
    # Other names, other statement.
    assert update(pk=nodes["b"].pk, modified=at, attempts=7)
    assert objects.get(pk=nodes["b"].pk).attempts == 7
    assert not update(pk=10**9, modified=at, attempts=7)


def test_one_query_each_which_wrappers_see(nodes: dict[str, UserTaskStatus]) -> None:
    select, seen = Select(by_task_id), []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(params)
        return execute(sql, params, many, context)

    for name in ("a", "b"):
        with queries(1), connection.execute_wrapper(watch):
            select(task_id=nodes[name].task_id)
    assert seen == [(nodes["a"].task_id,), (nodes["b"].task_id,)]


def test_the_queryset_is_made_for_the_first_call_alone(nodes: dict[str, UserTaskStatus]) -> None:
    made: list[Any] = []

    def counted(task_id: Any) -> Any:
        made.append(task_id)
        return by_task_id(task_id)

    select = Select(counted)
    select(task_id="a")
    first = len(made)
    select(task_id="b")
    assert len(made) == first


def test_an_error_spoils_the_transaction_as_an_update_does(
    nodes: dict[str, UserTaskStatus],
) -> None:
    def broken(*args: Any) -> Any:
        raise DatabaseError

    update = Update(store)
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
        with pytest.raises(DatabaseError), connection.execute_wrapper(broken):
            update(pk=nodes["a"].pk, modified=now(), attempts=2)
        objects.count()


def of_a_value(pk: Any, modified: Any) -> Any:
    return statuses().filter(pk=int(pk)), {"modified": modified}


def of_the_time(pk: Any, modified: Any) -> Any:
    return statuses().filter(pk=pk, created__lt=now()), {"modified": modified}


def without_a_value(pk: Any, modified: Any) -> Any:
    return statuses().filter(pk=pk), {"attempts": 1}


@pytest.mark.parametrize("build", [of_a_value, of_the_time, without_a_value])
def test_what_is_not_the_same_each_time_is_refused(build: Any) -> None:
    with pytest.raises(TypeError):
        Update(build)(pk=1, modified=now())


def test_null_is_refused() -> None:
    missing: Any = None
    with pytest.raises(ValueError, match="NULL"):
        Select(by_task_id)(task_id=missing)


def test_threads_share_a_statement(nodes: dict[str, UserTaskStatus]) -> None:
    """What one has compiled holds no connection of it."""
    select = Select(by_task_id)
    select(task_id=nodes["a"].task_id)
    kept: list[Any] = [part for compiled in select._compiled.values() for part in compiled]
    assert not [part for part in kept if part is connection or part is connection.ops]
    done: list[Any] = []

    def other() -> None:
        done.append(select(task_id="nobody's"))
        connection.close()

    if connection.vendor != "sqlite":
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert done == [None]
    assert isinstance(select(task_id=nodes["a"].task_id).created, datetime)


def end_by_server(opened: Any) -> None:
    statement, key = {
        "postgresql": ("SELECT pg_terminate_backend(%s)", "info.backend_pid"),
        "mysql": ("KILL %s", "thread_id"),
    }[connection.vendor]
    key = attrgetter(key)(opened.connection)
    with connection.cursor() as cursor:
        cursor.execute(statement, [key() if callable(key) else key])
    connections["default"].close()


@pytest.mark.django_db(transaction=True)
class TestInAWorkersProcess:
    """Celery closes the site's connection before and after each task."""

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
        """The connections that are opened; the site's is closed before."""
        monkeypatch.setattr(KeptConnections, "is_on", False)
        kept = KeptConnections()
        monkeypatch.setattr(statements, "kept_connections", kept)
        opened: list[Any] = []

        def note(connection: Any, **kwargs: Any) -> None:
            opened.append(connection)

        connection_created.connect(note)
        site = connections["default"]
        before, site.connection = site.connection, None  # SQLite's memory is not to be closed.
        yield opened
        connection_created.disconnect(note)
        if site.connection is not None:
            site.connection.close()
        site.connection = before
        for each in kept._connections.values():
            each.close()

    def test_one_connection_is_opened_for_all_statements(
        self, nodes: dict[str, UserTaskStatus], opened: list[Any]
    ) -> None:
        keep_connections()
        select, update = Select(by_task_id), Update(store)
        for name in ("a", "b"):
            row = select(task_id=nodes[name].task_id)
            assert update(pk=row.pk, modified=now(), attempts=7)
        assert len(opened) == 1
        assert connection.connection is None
        assert set(objects.filter(name__in="ab").values_list("attempts", flat=True)) == {7}

    def test_elsewhere_the_sites_is(
        self, nodes: dict[str, UserTaskStatus], opened: list[Any]
    ) -> None:
        assert Select(by_task_id)(task_id=nodes["a"].task_id)
        assert [each is connections["default"] for each in opened] == [True]

    def test_what_a_task_has_not_committed_is_seen_by_it(
        self, nodes: dict[str, UserTaskStatus], opened: list[Any]
    ) -> None:
        keep_connections()
        select = Select(by_task_id)
        select(task_id="nobody's")
        with transaction.atomic():
            objects.filter(pk=nodes["a"].pk).update(task_id="mine")
            assert select(task_id="mine").pk == nodes["a"].pk

    @pytest.mark.skipif(IN_MEMORY, reason="A database in memory is never closed.")
    def test_one_that_the_server_has_ended_is_opened_anew(
        self, nodes: dict[str, UserTaskStatus], opened: list[Any]
    ) -> None:
        keep_connections()
        select = Select(by_task_id)
        select(task_id="nobody's")
        end_by_server(opened[0])
        with pytest.raises(Error):  # Whoever records an event tries again.
            select(task_id=nodes["a"].task_id)
        assert select(task_id=nodes["a"].task_id).pk == nodes["a"].pk

    @pytest.mark.skipif(IN_MEMORY, reason="A database in memory is never closed.")
    def test_one_that_is_older_than_a_site_allows_is_opened_anew(
        self, nodes: dict[str, UserTaskStatus], opened: list[Any]
    ) -> None:
        keep_connections()
        select = Select(by_task_id)
        for _ in range(2):
            select(task_id="nobody's")
        opened[0].close_at = 0
        select(task_id="nobody's")
        assert len(opened) == 2
