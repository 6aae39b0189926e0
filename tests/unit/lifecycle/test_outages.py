"""Clocks that are set back, databases that go away under a body, tasks replaced after a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import chain, shared_task
from celery.result import allow_join_result
from django.db import OperationalError
from django.utils.timezone import now

from tests.helpers import phases, stored
from tests.tasks import CALLS, Named, user
from tests.unit.writers import PausedWriter
from user_workflows.canvas import tracked, workflow
from user_workflows.db.connections import status_connection
from user_workflows.lifecycle import execution, progress, steps, transitions
from user_workflows.lifecycle.execution import Execution
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.reports import tree_json
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db
learner = pytest.fixture(name="learner")(lambda user: user)

HOUR = timedelta(hours=1)


# -- clocks ---------------------------------------------------------------------------------------


def test_the_duration_of_a_task_that_started_in_the_future_is_zero() -> None:
    nodes = stored(container("group", leaf("a"), name="r"))
    UserTaskStatus.objects.filter(pk=nodes["a"].pk).update(
        started_at=now() + HOUR, settled_at=now()
    )
    [found] = nodes["r"].tree().leaves()
    assert found.duration() == 0


def test_sums_are_stored_though_the_last_roll_up_is_dated_in_the_future() -> None:
    nodes = stored(container("group", leaf("a", total_steps=3), name="r"))
    UserTaskStatus.objects.filter(pk=nodes["r"].pk).update(rolled_up_at=now() + HOUR)
    UserTaskStatus.objects.filter(pk=nodes["a"].pk).update(completed_steps=2)
    assert steps.roll_up(nodes["r"].pk, every=timedelta(seconds=0.5))
    assert UserTaskStatus.objects.get(pk=nodes["r"].pk).completed_steps == 2


def test_a_version_of_the_future_has_the_whole_tree_read_again() -> None:
    nodes = stored(container("group", leaf("a"), name="r"))
    tree = nodes["r"].tree()
    assert tree_json.changed_nodes(tree, now() + HOUR) is None
    assert (
        tree_json.changed_nodes(tree, tree_json.parse_version(tree_json.current_version()))
        is not None
    )


def test_a_task_that_started_in_the_future_fails_like_any_other() -> None:
    nodes = stored(container("chain", leaf("a"), leaf("b"), name="r"))
    transitions.begin(nodes["a"], 1, last_seen_at=now() + HOUR)
    UserTaskStatus.objects.filter(pk=nodes["a"].pk).update(started_at=now() + HOUR)
    assert transitions.settle(nodes["a"], Phase.FAILED, attempt=1)
    assert phases(nodes["r"].pk) == {"r": "FAILED", "a": "FAILED", "b": "SKIPPED"}


# -- databases ------------------------------------------------------------------------------------


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Execution]:
    """The body of a task in a worker, as far as progress knows, out of any transaction."""
    nodes = stored(leaf("a", total_steps=9))
    monkeypatch.setattr(progress, "WRITE_INTERVAL", 0)
    monkeypatch.setattr(status_connection(), "in_atomic_block", False)
    monkeypatch.setattr(status_connection(), "close", lambda: None)
    transitions.begin(nodes["a"], 1, last_seen_at=now())
    run = Execution(nodes["a"], 1, buffered=True)
    execution.register(run)
    with progress.use_writer(PausedWriter()):
        yield run
    execution.unregister(run)


def test_progress_reported_while_the_database_is_away_is_written_later(
    running: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = running.node

    def away(*args: Any) -> None:
        raise OperationalError("the server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(progress, "statuses", away)
        status.increment_completed_steps(2)
        status.set_state("Kneading")
        status.increment_total_steps(1)
    status.increment_completed_steps()
    found = UserTaskStatus.objects.get(pk=status.pk)
    assert (found.completed_steps, found.total_steps) == (3, 10)
    assert found.state == "Kneading"


# -- two workers ----------------------------------------------------------------------------------


def test_a_message_delivered_twice_at_once_starts_one_body() -> None:
    status = stored(leaf("a"))["a"]
    assert transitions.begin(status, 1, last_seen_at=now())
    assert not transitions.begin(status, 1, last_seen_at=now())
    assert transitions.begin(status, 2, last_seen_at=now())


# -- replacing ------------------------------------------------------------------------------------


@shared_task(bind=True, base=Named)
def failing_then_becoming(self: Any, *, tag: str = "", steps: int = 1) -> Any:
    """Says that it failed, then replaces itself all the same."""
    CALLS.append(tag)
    self.status.fail("There is no flour.")
    with allow_join_result():
        return self.replace(user.si(tag="x"))


@shared_task(bind=True, base=Named)
def becoming_one_that_fails(
    self: Any, *, tag: str = "", steps: int = 1, plainly: bool = False
) -> Any:
    """Replaces itself with a chain, whose first or last task fails."""
    CALLS.append(tag)
    parts = [user.si(tag="x"), user.si(tag="y", do="raise")]
    with allow_join_result():
        return self.replace(chain(*(reversed(parts) if plainly else parts)))


@pytest.mark.usefixtures("eager")
class TestReplacing:
    def test_replacing_a_failed_task_raises_and_skips_its_successor(self, learner: Any) -> None:
        canvas = chain(failing_then_becoming.si(tag="a"), user.si(tag="b"))
        with pytest.raises(RuntimeError, match="nothing can take its place"):
            workflow(canvas, user=learner).delay()
        root = UserTaskStatus.objects.roots().get()
        assert CALLS == ["a"]
        assert phases(root.pk)["a"] == "FAILED"
        assert phases(root.pk)["b"] == "SKIPPED"
        texts = root.failures()[0].artifacts.values_list("text", flat=True)
        assert list(texts) == ["There is no flour."]

    def test_the_last_task_of_a_replacement_inherits_allow_failure(self, learner: Any) -> None:
        allowed = tracked(becoming_one_that_fails.si(tag="a"), allow_failure=True)
        root = workflow(chain(allowed, user.si(tag="b")), user=learner).delay()
        assert CALLS == ["a", "x", "y", "b"]
        found = phases(root.pk)
        assert (found["y"], found["b"]) == ("FAILED", "SUCCEEDED")
        root.refresh_from_db()
        assert root.phase == Phase.PARTIAL
        assert root.is_settled
