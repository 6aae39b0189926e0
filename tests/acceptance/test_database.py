"""Workers whose database goes away: no state is lost, and no task is kept from running."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, until
from tests.acceptance.trees import bodies, find_leaf, phases, settled, step
from user_workflows.canvas import chain, chord, workflow
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text


@pytest.fixture(autouse=True)
def postgresql(db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("ends connections in PostgreSQL's way")


@pytest.mark.parametrize("worker", ["prefork", "threads"], indirect=True)
def test_a_connection_that_was_ended_does_not_lose_the_final_state(
    worker: Worker, user: Any
) -> None:
    canvas = chain(step(tasks.cut_off, "cut", 1, steps=3), step(tasks.work, "b", 1))
    root = workflow(canvas, user=user).delay()
    after = settled(root)

    assert worker.events("cut off", "cut")
    assert phases(after) == {"cut": Phase.SUCCEEDED, "b": Phase.SUCCEEDED}, tree_as_text(after)
    assert after.completed_steps == after.total_steps == 4
    assert root.result.get(timeout=PATIENCE) == 2


@contextmanager
def refusing_others() -> Iterator[None]:
    """The test database ends all connections but this one, and takes no new ones."""
    name = connection.settings_dict["NAME"]
    allow = f"ALTER DATABASE {connection.ops.quote_name(name)} ALLOW_CONNECTIONS"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (own,) = cursor.fetchone()
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"{allow} false")
        try:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> %s",
                [name, own],
            )
            yield
        finally:
            cursor.execute(f"{allow} true")


def test_a_database_that_is_away_for_a_moment_does_not_lose_states(
    worker: Worker, user: Any
) -> None:
    header = [step(tasks.hold_plain, name, 1, go="moment") for name in ("m1", "m2")]
    root = workflow(chord(header, step(tasks.work, "body", 1)), user=user).delay()
    for name in ("m1", "m2"):
        worker.wait_for("ran", name)
    with refusing_others():
        worker.let_go("moment")
        until(lambda: worker.log.read_text().count("Retrying in") >= 2, "two refusals")
    after = settled(root)

    assert set(phases(after).values()) == {Phase.SUCCEEDED}, tree_as_text(after)
    assert bodies(worker, after) == {"m1": 1, "m2": 1, "body": 1}
    assert root.result.get(timeout=PATIENCE) == 3


@pytest.mark.parametrize("worker", ["no-database"], indirect=True)
def test_a_worker_without_a_database_still_runs_tasks(worker: Worker, user: Any) -> None:
    plain = chord([tasks.add.s(1), tasks.add.s(2)], tasks.add.s()).apply_async()
    canvas = chain(step(tasks.add, "a", 1), step(tasks.add, "b", 2))
    root = workflow(canvas, user=user).delay()

    assert plain.get(timeout=PATIENCE) == 3
    assert root.result.get(timeout=PATIENCE) == 3
    assert worker.ran(find_leaf(root, "a").task_id, find_leaf(root, "b").task_id).total() == 2
    root.cancel()


@pytest.mark.parametrize("worker", ["no-database"], indirect=True)
def test_a_failure_without_a_database_is_celerys_own(worker: Worker, user: Any) -> None:
    root = workflow(chain(step(tasks.boom, "x"), step(tasks.add, "never")), user=user).delay()
    with pytest.raises(ValueError, match="oven"):
        root.result.parent.get(timeout=PATIENCE)
    assert not worker.events("ran", "never")
    root.cancel()
