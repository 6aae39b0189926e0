"""What goes wrong outside of tasks: workers are killed, services restart, messages are lost.

Each test says what the user sees, and that nothing is left hanging.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from kombu.messaging import Producer

from tests.acceptance import tasks
from tests.acceptance.harness import Worker, until
from tests.acceptance.services import PostgreSQL, Redis
from tests.acceptance.trees import caused, drain, errors, find_leaf, phases, settled, step
from user_workflows.canvas import chain, chord, group, workflow
from user_workflows.maintenance import reaper
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text
from user_workflows.tree import integrity

DONE, FAILED, SKIPPED = Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED

#: Seconds without an answer after which Redis' messages are delivered again. Workers look for them
#: when they start, and then so rarely that a test cannot wait for it.
VISIBILITY = 2
LATE = {
    "task_acks_late": True,
    "broker_transport_options": {"visibility_timeout": VISIBILITY, "unacked_mutex_expire": 1},
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What takes the reaper minutes and hours elsewhere takes it seconds here."""
    for name in ("GRACE", "UNTAKEN_AFTER"):
        monkeypatch.setattr(reaper, name, timedelta(seconds=0.5))
    with override_settings(
        USER_WORKFLOWS_LOST_AFTER=timedelta(seconds=1),
        USER_WORKFLOWS_MESSAGE_LOST_AFTER=timedelta(seconds=1),
    ):
        yield


def reaped(root: UserTaskStatus) -> UserTaskStatus:
    """The root, once the reaper has found what was lost."""

    def over() -> UserTaskStatus | None:
        reaper.reap()
        return UserTaskStatus.objects.filter(pk=root.pk, settled_at__isnull=False).first()

    return until(over, f"the reaper to settle\n{tree_as_text(root)}")


# -- workers --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_the_task_of_a_killed_worker_is_lost(private: Any, user: Any) -> None:
    worker = private()
    canvas = chain(group(step(tasks.hold, "lost"), step(tasks.add, "a", 1)), step(tasks.work, "b"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "lost")
    until(lambda: phases(root)["a"] is DONE, "the other task to end")
    worker.kill()
    after = reaped(root)

    assert phases(after) == {"lost": FAILED, "a": DONE, "b": SKIPPED}, tree_as_text(after)
    assert errors(find_leaf(after, "lost"))[0].startswith("Lost: no heartbeat for")
    assert caused(after) == {"b": "lost"}
    worker.start()
    worker.let_go("lost")
    drain(worker)
    assert len(worker.events("ran", "lost")) == 1
    assert not worker.events("ran", "b")


def test_a_killed_worker_with_late_acknowledgement_runs_the_task_again(
    private: Any, user: Any
) -> None:
    worker = private(conf=LATE)
    canvas = chain(step(tasks.hold, "again", 1, steps=3), step(tasks.work, "b", 1))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "again")
    worker.kill()
    time.sleep(VISIBILITY)
    worker.start()
    until(lambda: len(worker.events("ran", "again")) == 2, "a second delivery")
    worker.let_go("again")
    after = settled(root)

    assert phases(after) == {"again": DONE, "b": DONE}, tree_as_text(after)
    assert find_leaf(after, "again").attempts == 2
    assert (after.completed_steps, after.total_steps) == (4, 4)
    assert len(worker.events("ran", "b")) == 1


def test_a_task_that_runs_again_after_a_kill_spawns_its_subtree_once(
    private: Any, user: Any
) -> None:
    worker = private(conf=LATE)
    grows = tasks.become.s(tag="again", into="again", go="again")
    root = workflow(chord([step(tasks.work, "a", 1), grows], tasks.work.s(tag="body")), user=user)
    root = root.delay()
    worker.wait_for("ran", "again")
    until(lambda: phases(root)["a"] is DONE, "the other task to end")
    worker.kill()
    time.sleep(VISIBILITY)
    worker.start()
    until(lambda: len(worker.events("ran", "again")) == 2, "a second delivery")
    worker.let_go("again")
    after = settled(root)
    drain(worker)

    names = {"a", "again.x.x", "again.x.y", "body"}
    assert phases(after) == dict.fromkeys(names, DONE), tree_as_text(after)
    assert after.total_steps == after.completed_steps == 4
    assert integrity.find_faults(root.tree_id) == []
    assert len(worker.events("ran", "again.x")) == len(worker.events("ran", "body")) == 1


@pytest.mark.usefixtures("impatient")
def test_after_the_reapers_verdict_a_late_delivery_is_refused(private: Any, user: Any) -> None:
    worker = private(conf=LATE)
    root = workflow(chain(step(tasks.hold, "late"), step(tasks.work, "b")), user=user).delay()
    worker.wait_for("ran", "late")
    worker.kill()
    after = reaped(root)
    worker.start()
    worker.let_go("late")
    drain(worker)

    assert phases(after) == {"late": FAILED, "b": SKIPPED}, tree_as_text(after)
    assert len(worker.events("ran", "late")) == 1
    assert phases(root) == phases(after)


def test_a_message_that_comes_twice_runs_once(
    worker: Worker, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Producer.publish

    def twice(self: Any, body: Any, **kwargs: Any) -> Any:
        publish(self, body, **kwargs)
        return publish(self, body, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Producer, "publish", twice)
        root = workflow(step(tasks.hold, "twice", steps=2), user=user).delay()
    worker.wait_for("ran", "twice")
    worker.let_go("twice")
    after = settled(root)
    drain(worker)

    assert after.phase == DONE
    assert (after.completed_steps, after.total_steps) == (2, 2)
    # At the same instant one is refused; a moment later it is the next attempt.
    assert len(worker.events("ran", "twice")) == find_leaf(after, "twice").attempts
    assert len([e for e in worker.events("stopped") if e.task_id == after.task_id]) == 1


def test_of_two_workers_with_the_same_task_the_later_attempt_counts(
    private: Any, user: Any
) -> None:
    first, second = private("first"), private("second")
    tasks_of_both = chain(step(tasks.hold, "both", steps=2), step(tasks.work, "b"))
    publish, taken = Producer.publish, []

    def note(self: Any, body: Any, **kwargs: Any) -> Any:
        taken.append((body, kwargs))
        return publish(self, body, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Producer, "publish", note)
        root = workflow(tasks_of_both, user=user).delay()
    first.wait_for("ran", "both")
    with first.app.producer_pool.acquire() as producer:
        body, kwargs = taken[0]
        publish(producer, body, **kwargs)
    until(lambda: len(first.events("ran", "both")) == 2, "the second run")
    second.let_go("both")
    after = settled(root)
    drain(first)

    assert phases(after) == {"both": DONE, "b": DONE}, tree_as_text(after)
    assert find_leaf(after, "both").attempts == 2
    assert len([e for e in first.events("finished") if e.task_id == after.task_id]) == 1
    assert len(first.events("ran", "b")) <= 2


# -- messages -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_message_with_a_malformed_body_fails_its_task_as_not_taken(
    worker: Worker, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Producer.publish

    def mangled(self: Any, body: Any, **kwargs: Any) -> Any:
        broken = {
            "serializer": None,
            "content_type": "application/json",
            "content_encoding": "utf-8",
        }
        return publish(self, b'[["cut off', **{**kwargs, **broken})

    with monkeypatch.context() as patched:
        patched.setattr(Producer, "publish", mangled)
        canvas = chain(step(tasks.work, "mangled"), step(tasks.work, "b"))
        root = workflow(canvas, user=user).delay()
    after = reaped(root)

    assert phases(after) == {"mangled": FAILED, "b": SKIPPED}, tree_as_text(after)
    assert errors(find_leaf(after, "mangled"))[0].startswith("Lost: no worker has taken it since")
    drain(worker)
    assert not worker.events("ran", "mangled")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis for broker and results."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = Redis(directory)
    server.start()
    with override_settings(CELERY_BROKER_URL=server.url, CELERY_RESULT_BACKEND=server.url):
        yield server
    server.stop()


def on(redis: Redis) -> dict[str, str]:
    return {"TEST_BROKER_URL": redis.url, "TEST_RESULT_BACKEND": redis.url}


@pytest.mark.usefixtures("impatient")
def test_a_workflow_whose_messages_the_broker_has_lost_is_settled_by_the_reaper(
    redis: Redis, private: Any, user: Any
) -> None:
    worker = private(environment=on(redis))
    header = [step(tasks.hold, "h1", 1), step(tasks.hold, "h2", 1, go="h1")]
    root = workflow(chord(header, step(tasks.work, "body")), user=user).delay()
    for name in ("h1", "h2"):
        worker.wait_for("ran", name)
    redis.stop()
    redis.start()
    worker.let_go("h1")
    until(lambda: [*phases(root).values()].count(DONE) == 2, "the header to end")
    after = reaped(root)

    # Redis has forgotten how many of the header were done, or will: nobody sends the body.
    assert phases(after)["body"] in (FAILED, DONE), tree_as_text(after)
    if phases(after)["body"] is FAILED:
        assert errors(find_leaf(after, "body"))[0].startswith("Lost: no worker has taken it since")
    assert settled(workflow(step(tasks.add, "next", 1), user=user).delay()).phase == DONE


@pytest.mark.usefixtures("impatient")
def test_messages_that_the_broker_has_lost_fail_when_the_site_says_so(
    redis: Redis, private: Any, user: Any
) -> None:
    worker = private(environment=on(redis))
    worker.kill()
    root = workflow(chain(step(tasks.work, "x"), step(tasks.work, "b")), user=user).delay()
    redis.stop()
    redis.start()
    worker.start()
    with override_settings(USER_WORKFLOWS_MESSAGE_LOST_AFTER=None):
        report = until(lambda: (r := reaper.reap()).waiting and r, "the reaper's report")
        assert report.waiting == [find_leaf(root, "x").uuid]
        assert set(phases(root).values()) == {Phase.PENDING}
    after = reaped(root)

    assert phases(after) == {"x": FAILED, "b": SKIPPED}, tree_as_text(after)
    assert not worker.events("ran", "x")


# -- the database ---------------------------------------------------------------------------------


@pytest.fixture
def postgresql(db: None, tmp_path: Path) -> Iterator[PostgreSQL]:
    """A PostgreSQL that holds the tables while the test runs."""
    directory = tmp_path / "postgresql"
    directory.mkdir()
    server = PostgreSQL(directory)
    server.start()
    before = dict(connection.settings_dict)
    if connection.vendor != "postgresql":
        pytest.skip("the other tests run on another database")
    connection.close()
    connection.settings_dict.update(
        HOST="127.0.0.1", PORT=server.port, USER="postgres", PASSWORD="", NAME="postgres"
    )
    call_command("migrate", verbosity=0)
    yield server
    connection.close()
    connection.settings_dict.update(before)
    server.stop()


def test_a_database_that_restarts_under_running_tasks_loses_nothing(
    postgresql: PostgreSQL, private: Any, django_user_model: Any
) -> None:
    user = django_user_model.objects.create_user("restart")
    worker = private(pool="threads")
    counting = [step(tasks.tracked_loop, name, steps=60, pause=0.05) for name in ("t1", "t2")]
    root = workflow(chord(counting, step(tasks.work, "body")), user=user).delay()
    for name in ("t1", "t2"):
        worker.wait_for("ran", name)
    until(lambda: root.tree().completed_steps > 5, "some progress")
    connection.close()
    postgresql.stop()
    postgresql.start()
    after = settled(root)

    assert set(phases(after).values()) == {DONE}, tree_as_text(after)
    assert (after.completed_steps, after.total_steps) == (121, 121)
    assert len(worker.events("ran", "body")) == 1
