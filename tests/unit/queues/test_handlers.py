"""What a worker does with messages, and what becomes of the nodes; Celery's own tracer runs them.

Each write commits by itself, as in a worker, and no thread writes beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Task, chain, chord, current_app, group, shared_task
from celery.exceptions import Ignore, WorkerLostError
from celery.result import AsyncResult
from celery.signals import before_task_publish, task_failure, task_revoked, task_unknown
from celery.states import PENDING, REVOKED
from django.db import OperationalError, transaction
from django.utils.timezone import now

from tests.helpers import a_user, deliver, phases, queries, work
from tests.tasks import CALLS, Boom, Named, following, owned, plain, user
from tests.unit.writers import PausedWriter
from user_workflows import workflow_finished
from user_workflows.canvas import tracked, workflow
from user_workflows.db.connections import status_connection
from user_workflows.exceptions import TaskCanceledException
from user_workflows.lifecycle import cancellation, execution, progress, steps, transitions
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import gate, handlers, patches, recording, spawning
from user_workflows.queues.celery.context import HEADER, WHOLE
from user_workflows.queues.celery.recording import RETRY_DELAYS, recorded
from user_workflows.testing import leaf

pytestmark = pytest.mark.django_db(transaction=True)

#: What the bodies of ``acting`` and ``prepared`` do, by their tags.
BODIES: dict[str, Callable[[Any], Any]] = {}


@shared_task(bind=True, base=Named)
def acting(self: Any, *values: Any, tag: str = "", steps: int = 5) -> Any:
    """Does what the test says."""
    CALLS.append(tag)
    return BODIES[tag](self) if tag in BODIES else tag


@shared_task(bind=True)
def plainly(self: Any, *values: Any, tag: str = "") -> Any:
    """The same for a plain task."""
    CALLS.append(tag)
    return BODIES[tag](self) if tag in BODIES else tag


class Prepared(Named):
    """Has a ``before_start`` of its own, which calls Celery's."""

    abstract = True

    def before_start(self, *given: Any) -> None:
        super().before_start(*given)
        CALLS.append("before_start")


@shared_task(bind=True, base=Prepared)
def prepared(self: Any, *values: Any, tag: str = "", steps: int = 1) -> None:
    """A task with a ``before_start`` of its own."""
    CALLS.append(tag)


class Hasty(Named):
    """Has a ``before_start`` of its own, which does not call Celery's."""

    abstract = True

    def before_start(self, *given: Any) -> None:
        CALLS.append("before_start")


@shared_task(bind=True, base=Hasty)
def hasty(self: Any, *values: Any, tag: str = "", steps: int = 1) -> None:
    """A task whose ``before_start`` would bypass the gate."""
    CALLS.append(tag)


@pytest.fixture(autouse=True)
def bodies() -> Iterator[dict[str, Callable[[Any], Any]]]:
    BODIES.clear()
    with progress.use_writer(PausedWriter()):
        yield BODIES
    BODIES.clear()


def submitted(canvas: Any) -> UserTaskStatus:
    """The root of a workflow that waits at the broker."""
    root: UserTaskStatus = workflow(canvas, user=a_user()).delay()
    return root


@pytest.fixture
def root(sent: list[str]) -> UserTaskStatus:
    """``a``, which has five steps, then ``b``."""
    root = submitted(chain(acting.si(tag="a"), acting.si(tag="b")))
    sent.clear()
    return root


def row(name: str) -> UserTaskStatus:
    return UserTaskStatus.objects.get(name=name)


def result(name: str) -> Any:
    return AsyncResult(row(name).task_id).state


def killed(task: Any, task_id: str, **request: Any) -> None:
    """What a worker says when a process of its pool has died; itself it runs no task."""
    task.push_request(id=task_id, **request)
    try:
        overdue(task, task_id)
    finally:
        task.pop_request()


def overdue(task: Any, task_id: str) -> None:
    """The same for a process that it is about to kill; then it does not say what was asked."""
    task_failure.send(sender=task, task_id=task_id, exception=WorkerLostError("killed"))


def why(name: str) -> list[str]:
    found = UserTaskArtifact.objects.filter(status__name=name, name="Error")
    return list(found.values_list("text", flat=True))


# -- the database is away -------------------------------------------------------------------------


class TestADatabaseThatIsAway:
    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        paused: list[float] = []
        monkeypatch.setattr(recording.time, "sleep", paused.append)
        return paused

    @pytest.fixture
    def closed(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        closed: list[bool] = []
        monkeypatch.setattr(status_connection(), "close", lambda: closed.append(True))
        return closed

    @staticmethod
    def back_after(failures: int, error: type[Exception] = OperationalError) -> Any:
        tries: list[int] = []

        @recorded("the test")
        def write() -> int:
            tries.append(1)
            if len(tries) <= failures:
                raise error("away")
            return len(tries)

        return write

    def test_a_write_is_tried_again_on_a_fresh_connection(
        self, pauses: list[float], closed: list[bool]
    ) -> None:
        assert self.back_after(2)() == 3
        assert pauses == list(RETRY_DELAYS[:2])
        assert closed == [True, True]

    def test_at_last_it_is_left_to_the_reaper(self, pauses: list[float], caplog: Any) -> None:
        assert self.back_after(99)() is None
        assert pauses == list(RETRY_DELAYS)
        assert "Could not record the test" in caplog.text

    def test_in_a_transaction_it_is_not_tried_again(
        self, pauses: list[float], closed: list[bool], caplog: Any
    ) -> None:
        with transaction.atomic():
            assert self.back_after(1)() is None
        assert (pauses, closed) == ([], [])
        assert "Could not record the test" in caplog.text

    def test_what_no_wait_can_mend_is_not_tried_again(
        self, pauses: list[float], caplog: Any
    ) -> None:
        assert self.back_after(1, ValueError)() is None
        assert pauses == []
        assert "Could not record the test" in caplog.text

    def test_a_task_whose_start_could_not_be_noted_runs_and_ends_all_the_same(
        self, root: UserTaskStatus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(task_id: str) -> Any:
            raise ValueError

        with monkeypatch.context() as patched:
            patched.setattr(gate, "select_leaf_to_start", broken)
            work(root, "a")
        assert CALLS == ["a"]
        assert phases(root.pk)["a"] == "SUCCEEDED"
        progress.finish()
        assert UserTaskStatus.objects.get(pk=root.pk).completed_steps == 5


# -- messages -------------------------------------------------------------------------------------


class TestHeaders:
    @pytest.fixture
    def messages(self, sent: list[str]) -> Iterator[list[dict[str, Any]]]:
        """What describes each task that is sent: in protocol 1 its body."""
        messages: list[dict[str, Any]] = []

        def note(headers: Any = None, body: Any = None, **kwargs: Any) -> None:
            messages.append(dict(body if isinstance(body, dict) else headers))

        before_task_publish.connect(note)
        yield messages
        before_task_publish.disconnect(note)

    @pytest.mark.parametrize("protocol", [1, 2])
    def test_a_message_says_which_workflow_it_belongs_to(
        self, protocol: int, messages: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        amqp = current_app.amqp
        monkeypatch.setattr(amqp, "create_task_message", amqp.task_protocols[protocol])
        root = submitted(plain.si(tag="a"))
        [message] = messages
        assert (message[HEADER], message[WHOLE]) == (root.tree_id, True)

    def test_a_message_of_nobodys_says_nothing(self, messages: list[dict[str, Any]]) -> None:
        following.apply_async((1,), {"tag": "a"})
        [message] = messages
        assert HEADER not in message


# -- the gate -------------------------------------------------------------------------------------


class TestTheGate:
    def test_it_is_put_before_each_task_once(self) -> None:
        patches.gate_registered_tasks()
        before = (Task.before_start, prepared.before_start, plain.before_start)
        patches.install()
        patches.gate_registered_tasks()
        assert before == (Task.before_start, prepared.before_start, plain.before_start)

    def test_a_task_passes_it_once_though_its_own_before_start_calls_celerys(
        self, sent: list[str]
    ) -> None:
        patches.gate_registered_tasks()
        root = submitted(prepared.si(tag="a"))
        work(root, "a")
        assert CALLS == ["before_start", "a"]
        assert (row("a").phase, row("a").attempts) == (Phase.SUCCEEDED, 1)

    def test_a_before_start_of_its_own_does_not_get_past_it(self, sent: list[str]) -> None:
        patches.gate_registered_tasks()
        root = submitted(chain(hasty.si(tag="a"), hasty.si(tag="b")))
        work(root, "a")
        assert CALLS == ["before_start", "a"]
        root.cancel()
        work(root, "b")
        assert CALLS == ["before_start", "a"]

    def test_a_task_of_no_workflow_passes_it_for_nothing(
        self, root: UserTaskStatus, django_assert_num_queries: Any
    ) -> None:
        task_id = row("a").task_id
        with django_assert_num_queries(0):
            deliver(plain.name, task_id, "p", root, **{HEADER: None})
        assert CALLS == ["p"]

    def test_what_was_canceled_leaves_nothing_pending_and_calls_no_errback(
        self, root: UserTaskStatus, sent: list[str]
    ) -> None:
        root.cancel()
        task_id = row("a").task_id
        following = [acting.si(tag="b").set(task_id=row("b").task_id)]
        errbacks = [plain.si(tag="errback")]
        with queries(1):
            deliver(acting.name, task_id, "a", root, chain=following, errbacks=errbacks)
        assert (CALLS, sent) == ([], [])
        assert (result("a"), result("b")) == (REVOKED, REVOKED)

    def test_what_is_skipped_is_refused_likewise(self, root: UserTaskStatus) -> None:
        BODIES["a"] = lambda task: task.status.fail("No flour.")
        work(root, "a")
        work(root, "b")
        assert CALLS == ["a"]
        assert result("b") == REVOKED

    def test_what_has_ended_before_is_refused_and_its_result_stays(
        self, root: UserTaskStatus
    ) -> None:
        work(root, "a")
        work(root, "a", redelivered=True)
        assert CALLS == ["a"]
        transitions.settle(row("b"), Phase.SUCCEEDED)
        work(root, "b")
        assert CALLS == ["a"]
        assert result("b") == PENDING

    def test_a_verdict_from_elsewhere_is_enough(self, root: UserTaskStatus) -> None:
        """A task that was canceled while it ran, whose message comes again."""
        transitions.begin(row("a"), 1, last_seen_at=now())
        root.cancel()
        work(root, "a", redelivered=True)
        assert CALLS == []

    def test_one_that_is_canceled_at_this_moment_is_refused(
        self, root: UserTaskStatus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin = transitions.begin

        def canceled_before(*args: Any, **given: Any) -> bool:
            root.cancel()
            return begin(*args, **given)

        monkeypatch.setattr(transitions, "begin", canceled_before)
        work(root, "a")
        assert CALLS == []
        assert result("a") == REVOKED

    def test_a_backend_that_is_away_does_not_let_it_in(
        self, root: UserTaskStatus, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        def away(*args: Any, **kwargs: Any) -> None:
            raise ConnectionError

        monkeypatch.setattr(type(acting.backend), "mark_as_failure", away)
        root.cancel()
        work(root, "a")
        assert CALLS == []
        assert "Could not tell the result backend of the Canceled task" in caplog.text

    def test_in_eager_mode_there_is_no_backend_to_tell(
        self, eager: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[Any] = []
        monkeypatch.setattr(
            acting.backend, "mark_as_failure", lambda *given, **_: told.append(given)
        )
        BODIES["a"] = lambda task: task.status.fail("No flour.")
        submitted(chain(acting.si(tag="a"), acting.si(tag="b")))
        assert CALLS == ["a"]
        assert row("b").phase == Phase.SKIPPED
        assert told == []

    def test_a_user_task_is_found_by_its_id_though_its_message_says_nothing(
        self, root: UserTaskStatus
    ) -> None:
        """As those that were sent before the site moved here."""
        work(root, "a", **{HEADER: None})
        assert phases(root.pk)["a"] == "SUCCEEDED"

    def test_signs_of_life_are_given_from_the_start(self, root: UserTaskStatus) -> None:
        woken: list[bool] = []
        BODIES["a"] = lambda task: woken.append(False)
        with progress.use_writer(PausedWriter(on_wake=lambda: woken.append(True))):
            work(root, "a")
        assert woken[:2] == [True, False]

    def test_the_start_is_shown_on_all_that_contains_it(self, sent: list[str]) -> None:
        seen: list[dict[str, str]] = []
        root = submitted(chain(group(acting.si(tag="a"), acting.si(tag="b")), acting.si(tag="c")))
        before = now()
        BODIES["a"] = lambda task: seen.append(phases(root.pk))
        work(root, "a")
        assert sorted(seen[0].values()) == ["PENDING"] * 2 + ["RUNNING"] * 3
        for node in UserTaskStatus.objects.filter(is_container=True):
            assert node.started_at is not None
            assert node.started_at > before
            assert node.modified > before


# -- attempts -------------------------------------------------------------------------------------


class TestAttempts:
    def test_a_message_that_comes_again_is_the_next_attempt(self, root: UserTaskStatus) -> None:
        seen: list[UserTaskStatus] = []
        BODIES["a"] = lambda task: seen.append(row("a"))
        transitions.begin(row("a"), 1, last_seen_at=now())
        steps.add_steps(row("a"), completed=3, total=4)
        work(root, "a", redelivered=True)
        [found] = seen
        assert (found.attempts, found.completed_steps, found.total_steps) == (2, 0, 5)

    def test_an_attempt_after_a_redelivery_is_later_than_it(self, root: UserTaskStatus) -> None:
        """The message still says that it is the first one."""
        transitions.begin(row("a"), 3, last_seen_at=now())
        work(root, "a", redelivered=True)
        assert CALLS == ["a"]
        assert row("a").attempts == 4

    def test_a_retry_is_counted_once(self, root: UserTaskStatus) -> None:
        transitions.begin(row("a"), 1, last_seen_at=now())
        transitions.retry(row("a"), 1)
        work(root, "a", retries=1)
        assert row("a").attempts == 2

    def test_a_retry_may_come_before_the_word_of_it(self, root: UserTaskStatus) -> None:
        transitions.begin(row("a"), 1, last_seen_at=now())
        work(root, "a", retries=1)
        assert (row("a").phase, row("a").attempts) == (Phase.SUCCEEDED, 2)

    def test_a_retry_whose_first_attempt_nobody_noted(self, root: UserTaskStatus) -> None:
        work(root, "a", retries=1)
        assert row("a").attempts == 2

    def test_a_retry_that_was_asked_for_elsewhere(self, root: UserTaskStatus) -> None:
        row("a").retry()
        work(root, "a")
        assert row("a").attempts == 2

    def test_the_steps_of_an_attempt_that_asks_for_another_are_dropped(
        self, root: UserTaskStatus
    ) -> None:
        def ask(task: Any) -> None:
            task.status.increment_total_steps(2)
            task.status.increment_completed_steps()
            raise task.retry(countdown=0)

        BODIES["a"] = ask
        work(root, "a")
        found = row("a")
        assert (found.phase, found.attempts) == (Phase.RETRYING, 2)
        assert (found.completed_steps, found.total_steps) == (0, 5)
        assert execution.all_running() == []

    def test_a_body_that_says_it_failed_gets_no_other_attempt(self, root: UserTaskStatus) -> None:
        def fail(task: Any) -> None:
            task.status.fail("No flour.")
            raise task.retry(countdown=0)

        BODIES["a"] = fail
        work(root, "a")
        work(root, "a", retries=1)
        assert CALLS == ["a"]
        assert phases(root.pk)["b"] == "SKIPPED"
        assert not UserTaskStatus.objects.active().exists()

    def test_an_attempt_that_was_overtaken_gets_no_other(self, root: UserTaskStatus) -> None:
        transitions.begin(row("a"), 3, last_seen_at=now())
        transitions.retry(row("a"), 2)
        assert (row("a").phase, row("a").attempts) == (Phase.RUNNING, 3)

    def test_a_body_that_another_attempt_has_overtaken_ends_nothing(
        self, root: UserTaskStatus
    ) -> None:
        BODIES["a"] = lambda task: transitions.begin(row("a"), 2, last_seen_at=now())
        work(root, "a")
        assert phases(root.pk)["a"] == "RUNNING"


# -- ends -----------------------------------------------------------------------------------------


class TestEnds:
    def test_what_was_counted_is_written_before_the_end(self, root: UserTaskStatus) -> None:
        def count(task: Any) -> None:
            task.status.increment_completed_steps(2)
            raise Boom("went wrong")

        BODIES["a"] = count
        work(root, "a")
        assert (row("a").phase, row("a").completed_steps) == (Phase.FAILED, 2)
        assert why("a") == ["went wrong"]

    def test_the_sums_of_what_contains_it_follow(self, root: UserTaskStatus) -> None:
        work(root, "a")
        progress.finish()
        assert UserTaskStatus.objects.get(pk=root.pk).completed_steps == 5

    def test_in_eager_mode_they_follow_at_once(self, eager: None) -> None:
        seen: list[int] = []
        BODIES["b"] = lambda task: seen.append(UserTaskStatus.objects.roots().get().completed_steps)
        submitted(chain(acting.si(tag="a"), acting.si(tag="b")))
        assert seen == [5]

    @pytest.mark.parametrize("retries", [False, True], ids=["end", "retry in vain"])
    def test_what_a_receiver_sends_is_no_part_of_what_has_ended(
        self, sent: list[str], retries: bool
    ) -> None:
        def fail(task: Any) -> None:
            task.status.fail("No flour.")
            if retries:
                raise task.retry(countdown=0)

        def finished(sender: Any, **kwargs: Any) -> None:
            plainly.delay(tag="mail")

        BODIES["a"] = fail
        root = submitted(acting.si(tag="a"))
        workflow_finished.connect(finished)
        try:
            work(root, "a")
        finally:
            workflow_finished.disconnect(finished)
        assert len(sent) == 2 + retries
        assert phases(root.pk) == {"a": "FAILED"}

    def test_what_a_body_said_in_its_transaction_is_written_before_the_next_attempt(
        self, root: UserTaskStatus
    ) -> None:
        def fail(task: Any) -> None:
            run = execution.find(task.status.pk)
            assert run is not None
            run.deferred.append(lambda status: status.fail("No flour."))
            raise task.retry(countdown=0)

        BODIES["a"] = fail
        work(root, "a")
        assert phases(root.pk)["b"] == "SKIPPED"
        assert why("a") == ["No flour."]

    def test_a_body_that_stops_because_it_is_canceled_has_not_failed(
        self, root: UserTaskStatus
    ) -> None:
        def stop(task: Any) -> None:
            raise TaskCanceledException("a was canceled.")

        BODIES["a"] = stop
        work(root, "a")
        assert phases(root.pk) == {root.name: "CANCELED", "a": "CANCELED", "b": "SKIPPED"}
        assert why("a") == []

    @pytest.mark.parametrize("propagates", [False, True])
    def test_in_eager_mode_neither(self, eager: None, propagates: bool) -> None:
        def stop(task: Any) -> None:
            raise TaskCanceledException("a was canceled.")

        BODIES["a"] = stop
        current_app.conf.task_eager_propagates = propagates
        try:
            with pytest.raises(TaskCanceledException):
                submitted(chain(acting.si(tag="a"), acting.si(tag="b")))
        finally:
            current_app.conf.task_eager_propagates = False
        root = UserTaskStatus.objects.roots().get()
        assert phases(root.pk) == {root.name: "CANCELED", "a": "CANCELED", "b": "SKIPPED"}

    def test_a_body_that_asks_celery_to_ignore_it_goes_on_elsewhere(
        self, root: UserTaskStatus
    ) -> None:
        def ignore(task: Any) -> None:
            raise Ignore

        BODIES["a"] = ignore
        work(root, "a")
        assert phases(root.pk)["a"] == "RUNNING"
        assert execution.all_running() == []

    def test_a_verdict_settles_nothing_while_the_body_runs(self, root: UserTaskStatus) -> None:
        seen: list[bool] = []

        def say(task: Any) -> None:
            task.status.fail("No flour.")
            task.status.succeed()
            seen.append(row("a").is_settled)

        BODIES["a"] = say
        work(root, "a")
        assert seen == [False]
        assert phases(root.pk)["a"] == "FAILED"

    def test_one_that_has_given_its_verdict_before_is_settled(self, root: UserTaskStatus) -> None:
        def ignore(task: Any) -> None:
            task.status.fail("No flour.")
            raise Ignore

        BODIES["a"] = ignore
        work(root, "a")
        assert not UserTaskStatus.objects.active().exists()
        assert why("a") == ["No flour."]

    def test_a_verdict_that_was_not_shown_yet_is_shown_at_the_end_with_its_reason(
        self, root: UserTaskStatus
    ) -> None:
        """The process that gave it has died in between."""
        transitions.begin(row("a"), 1, last_seen_at=now())
        UserTaskStatus.objects.filter(name="a").update(phase=Phase.FAILED)
        for name, text in [("Log", "All is well."), ("Error", "No flour."), ("Error", "Nor salt.")]:
            row("a").add_artifact(name, text=text)
        transitions.settle(row("a"), Phase.SUCCEEDED)
        assert phases(root.pk) == {root.name: "FAILED", "a": "FAILED", "b": "SKIPPED"}
        assert why(root.name) == ["No flour."]

    @pytest.mark.parametrize("task", [acting, plainly], ids=["user task", "plain task"])
    @pytest.mark.parametrize("begun", [True, False], ids=["running", "not begun"])
    @pytest.mark.parametrize("is_overdue", [True, False], ids=["overdue", "killed"])
    def test_a_process_that_was_killed_fails_its_task_once(
        self, sent: list[str], task: Any, begun: bool, is_overdue: bool
    ) -> None:
        root = submitted(chain(tracked(task.si(), name="a"), tracked(task.si(), name="b")))
        if begun:
            transitions.begin(row("a"), 1, last_seen_at=now())
        if is_overdue:
            overdue(task, row("a").task_id)
        killed(task, row("a").task_id, **{HEADER: root.tree_id})
        assert phases(root.pk) == {root.name: "FAILED", "a": "FAILED", "b": "SKIPPED"}
        assert why("a") == ["The process that ran it has died: killed"]

    def test_a_killed_process_is_no_failure_that_is_allowed(self, sent: list[str]) -> None:
        """Celery does not go on behind it, as it would if the body had failed."""
        root = submitted(chain(tracked(acting.si(tag="a"), allow_failure=True), user.si(tag="b")))
        killed(acting, row("a").task_id)
        assert phases(root.pk)["b"] == "SKIPPED"
        assert UserTaskStatus.objects.get(pk=root.pk).phase == Phase.FAILED

    def test_a_task_that_was_replaced_and_its_heir_are_told_apart(
        self, root: UserTaskStatus
    ) -> None:
        task_id = row("a").task_id
        transitions.begin(row("a"), 1, last_seen_at=now())
        spawning.attach_subtree(row("a"), leaf("heir", task_id=task_id), in_place_of=0)
        killed(acting, task_id)  # The one that was replaced had not told the broker yet.
        assert phases(root.pk)["heir"] == "PENDING"
        killed(acting, task_id, replaced_task_nesting=1)
        assert phases(root.pk)["heir"] == "FAILED"
        assert not UserTaskStatus.objects.active().exists()

    def test_the_connections_of_a_worker_are_closed_before_its_pool_forks(
        self, root: UserTaskStatus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed: list[bool] = []
        close_all = SimpleNamespace(close_all=lambda: closed.append(True))
        monkeypatch.setattr(handlers, "connections", close_all)
        task_id = row("a").task_id
        with transaction.atomic():
            overdue(acting, task_id)
        assert closed == []
        BODIES["p"] = lambda task: overdue(acting, task_id)
        deliver(plainly.name, "p", "p", root, **{HEADER: None})
        assert closed == []
        overdue(acting, task_id)
        assert closed == [True]

    def test_what_an_untracked_task_does_is_nobodys(self, root: UserTaskStatus) -> None:
        node = row("a")
        request = SimpleNamespace(id=node.task_id)
        task_revoked.send(sender=plain, request=request, terminated=True, expired=False)
        task_unknown.send(sender=None, name="x", id=node.task_id, message=SimpleNamespace())
        assert phases(root.pk)["a"] == "PENDING"


class TestRevoked:
    def revoke(self, root: UserTaskStatus, *, expired: bool) -> None:
        request = SimpleNamespace(id=row("a").task_id, **{HEADER: root.tree_id})
        task_revoked.send(
            sender=acting, request=request, terminated=False, signum=None, expired=expired
        )

    def test_one_that_was_revoked_is_canceled(self, root: UserTaskStatus) -> None:
        self.revoke(root, expired=False)
        assert phases(root.pk) == {root.name: "CANCELED", "a": "CANCELED", "b": "SKIPPED"}

    def test_one_that_came_too_late_has_failed_in_words(self, root: UserTaskStatus) -> None:
        self.revoke(root, expired=True)
        assert phases(root.pk)["a"] == "FAILED"
        assert why("a") == ["It was not started in time."]

    def test_one_that_no_worker_knows_has_failed_in_words(self, root: UserTaskStatus) -> None:
        message = SimpleNamespace(headers={HEADER: root.tree_id})
        task_unknown.send(sender=None, name="x", id=row("a").task_id, message=message)
        assert why("a") == ["The workers do not know the task x."]

    def test_workers_are_told_in_bundles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[Any] = []

        def revoke(ids: list[str], **given: Any) -> None:
            told.append((ids, given))

        monkeypatch.setattr(current_app.control, "revoke", revoke)
        monkeypatch.setattr(handlers, "MAX_REVOKED_IDS", 2)
        cancellation.tasks_revoked.send(None, task_ids=["1", "2", "3"], terminate=True)
        assert told == [(["1", "2"], {"terminate": True}), (["3"], {"terminate": True})]


# -- canvases without workflow() ------------------------------------------------------------------


class TestPlainMembers:
    """They have no node; when one fails, what waits for it is skipped all the same."""

    @pytest.fixture
    def captured(self, sent: list[str]) -> UserTaskStatus:
        """``a`` has ended; a plain task, then ``b`` and ``c`` are to follow."""
        learner = a_user()
        a, b, c = (owned.si(learner.pk, tag=tag) for tag in "abc")
        chain(a, plainly.si(tag="p"), b, c).delay()
        root = UserTaskStatus.objects.roots().get()
        transitions.settle(row("a"), Phase.SUCCEEDED)
        return root

    def fail(self, root: UserTaskStatus, **following: Any) -> None:
        def fail(task: Any) -> None:
            raise Boom

        BODIES["p"] = fail
        deliver(plainly.name, "p", "p", root, **{WHOLE: False, **following})

    @pytest.mark.parametrize("how", ["chain", "callbacks", "chord"])
    def test_what_waits_is_skipped_however_the_message_says_it(
        self, captured: UserTaskStatus, how: str
    ) -> None:
        b, c = (owned.si(1, tag=tag).set(task_id=row(tag).task_id) for tag in "bc")
        self.fail(captured, **{how: chord([b], c) if how == "chord" else [b, c]})
        assert {name: phases(captured.pk)[name] for name in "abc"} == {
            "a": "SUCCEEDED", "b": "SKIPPED", "c": "SKIPPED",
        }  # fmt: skip
        assert not UserTaskStatus.objects.active().exists()

    def test_what_does_not_wait_for_it_goes_on(self, captured: UserTaskStatus) -> None:
        self.fail(captured, chain=[owned.si(1, tag="c").set(task_id=row("c").task_id)])
        assert (phases(captured.pk)["b"], phases(captured.pk)["c"]) == ("PENDING", "SKIPPED")

    def test_one_of_no_workflow_is_killed_without_a_word(self, db: None, caplog: Any) -> None:
        with queries(1):
            overdue(plainly, "p")
        assert caplog.text == ""
