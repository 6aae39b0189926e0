"""The connection that a process of a pool keeps for tracking."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest
from celery.signals import worker_process_shutdown, worker_shutdown
from django.db import Error, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.test import override_settings

from tests.helpers import stored
from user_workflows.db import connections as keeping
from user_workflows.db.connections import close_kept_connections, keep_connections
from user_workflows.db.statements import begin_leaf, select_container, select_leaf_to_start
from user_workflows.models import UserTaskStatus
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db(transaction=True)
objects = UserTaskStatus.objects


@pytest.fixture
def nodes(db: None) -> dict[str, UserTaskStatus]:
    return stored(container("group", leaf("a"), leaf("b"), name="r"))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The connections that are opened. Celery closes the site's around each task, and so here."""
    monkeypatch.setattr(keeping, "_is_keeping", False)
    monkeypatch.setattr(keeping, "_kept", keeping._Kept())
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
    for each in keeping._kept.connections.values():
        each.close()


def end_by_server(opened: Any) -> None:
    statement, key = {
        "postgresql": ("SELECT pg_terminate_backend(%s)", "info.backend_pid"),
        "mysql": ("KILL %s", "thread_id"),
    }[connection.vendor]
    key = attrgetter(key)(opened.connection)
    with connection.cursor() as cursor:
        cursor.execute(statement, [key() if callable(key) else key])
    connections["default"].close()


def is_kept(opened: list[Any]) -> list[bool]:
    return [each is not connections["default"] for each in opened]


def test_one_connection_is_opened_for_all_statements(
    nodes: dict[str, UserTaskStatus], opened: list[Any]
) -> None:
    keep_connections()
    for name in ("a", "b"):
        row = select_leaf_to_start(nodes[name].task_id)
        assert row is not None
        assert begin_leaf(row.pk, 7, nodes[name].created)
    assert is_kept(opened) == [True]
    assert connection.connection is None
    assert set(objects.filter(name__in="ab").values_list("attempts", flat=True)) == {7}


def test_a_process_that_runs_no_tasks_uses_the_sites_connection(
    nodes: dict[str, UserTaskStatus], opened: list[Any]
) -> None:
    assert select_container(nodes["a"].pk)
    assert is_kept(opened) == [False]


def test_a_site_may_switch_it_off(nodes: dict[str, UserTaskStatus], opened: list[Any]) -> None:
    with override_settings(USER_WORKFLOWS_KEEP_CONNECTION=False):
        keep_connections()
    assert select_container(nodes["a"].pk)
    assert is_kept(opened) == [False]


def test_a_pool_of_connections_is_used_as_it_is(
    nodes: dict[str, UserTaskStatus], opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_connections()
    site = connections["default"]
    options = {**site.settings_dict["OPTIONS"], "pool": True}
    monkeypatch.setitem(site.settings_dict, "OPTIONS", options)
    assert keeping.connection_for("default") is site


def test_what_a_task_has_not_committed_is_seen_by_it(
    nodes: dict[str, UserTaskStatus], opened: list[Any]
) -> None:
    keep_connections()
    assert select_leaf_to_start("nobody's") is None
    with transaction.atomic():
        objects.filter(pk=nodes["a"].pk).update(task_id="mine")
        row = select_leaf_to_start("mine")
        assert row is not None and row.pk == nodes["a"].pk


@pytest.mark.parametrize("ended", [worker_process_shutdown, worker_shutdown])
def test_it_is_closed_when_the_worker_stops(
    nodes: dict[str, UserTaskStatus], opened: list[Any], ended: Any
) -> None:
    keep_connections()
    select_container(nodes["a"].pk)
    assert opened[0].connection is not None
    ended.send(None)
    assert opened[0].connection is None or opened[0].is_in_memory_db()


def test_a_child_leaves_its_parents_alone(
    nodes: dict[str, UserTaskStatus], opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_connections()
    select_container(nodes["a"].pk)
    with monkeypatch.context() as forked:
        forked.setattr(keeping.os, "getpid", lambda: -1)
        close_kept_connections()
        assert opened[0].connection is not None
        select_container(nodes["a"].pk)
        assert is_kept(opened) == [True, True]
    assert opened[0] is not opened[1]


def test_after_it_was_closed_it_is_opened_anew(
    nodes: dict[str, UserTaskStatus], opened: list[Any]
) -> None:
    keep_connections()
    for _ in range(2):
        select_container(nodes["a"].pk)
        close_kept_connections()
    assert is_kept(opened) == [True, True]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server.")
def test_one_that_the_server_has_ended_is_opened_anew(
    nodes: dict[str, UserTaskStatus], opened: list[Any]
) -> None:
    keep_connections()
    select_container(nodes["a"].pk)
    end_by_server(opened[0])
    with pytest.raises(Error):  # Whoever records an event tries again.
        select_container(nodes["a"].pk)
    row = select_container(nodes["a"].pk)
    assert row is not None and row.pk == nodes["a"].pk


def test_one_that_is_older_than_a_site_allows_is_opened_anew(
    nodes: dict[str, UserTaskStatus], opened: list[Any]
) -> None:
    keep_connections()
    for _ in range(2):
        select_container(nodes["a"].pk)
    opened[0].close_at = 0
    select_container(nodes["a"].pk)
    assert len(opened) == 2
