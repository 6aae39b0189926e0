"""Steps and texts: of a body in this process, coalesced; of anything else, written at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, transaction
from django.utils.timezone import now

from tests.helpers import queries, stored
from tests.unit.writers import PausedWriter
from user_workflows.db.connections import status_connection
from user_workflows.exceptions import TaskCanceledException
from user_workflows.lifecycle import containers, execution, progress, steps, transitions
from user_workflows.lifecycle.execution import Execution, ProgressDelta
from user_workflows.lifecycle.progress import ProgressWriter
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import spawning
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db


@pytest.fixture
def nodes(db: None) -> dict[str, UserTaskStatus]:
    return stored(
        container(
            "group",
            container("chain", leaf("a", total_steps=5), leaf("b"), name="c"),
            leaf("d", total_steps=4),
            name="r",
        )
    )


@pytest.fixture
def status(nodes: dict[str, UserTaskStatus]) -> UserTaskStatus:
    return nodes["a"]


@pytest.fixture
def writer() -> Iterator[PausedWriter]:
    """The writer of this process, whose thread does not start."""
    with progress.use_writer(PausedWriter()) as writer:
        yield writer


@pytest.fixture
def run(
    status: UserTaskStatus, writer: PausedWriter, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Execution]:
    """A body of ``a`` that runs in a worker, as far as progress knows; no thread writes for it."""
    monkeypatch.setattr(progress, "WRITE_INTERVAL", 60)
    transitions.begin(status, 1, last_seen_at=now())
    transitions.refresh_instance(status)
    run = Execution(status, 1, buffered=True)
    execution.register(run)
    yield run
    execution.unregister(run)


def steps_of(status: UserTaskStatus) -> tuple[int, int]:
    found = UserTaskStatus.objects.get(pk=status.pk)
    return found.completed_steps, found.total_steps


class TestExecution:
    """What is counted is written once, whatever goes wrong."""

    @pytest.fixture
    def alone(self) -> Execution:
        return Execution(SimpleNamespace(pk=1, tree_id=1), 1, buffered=True)

    def test_taken_progress_is_not_taken_again(self, alone: Execution) -> None:
        alone.add(completed=2, total=3, state="x")
        assert alone.has_unwritten
        assert alone.take() == ProgressDelta(2, 3, "x")
        assert not alone.take()
        assert not alone.has_unwritten

    def test_progress_that_is_put_back_comes_before_what_was_reported_later(
        self, alone: Execution
    ) -> None:
        alone.add(completed=2, state="early")
        taken = alone.take()
        alone.add(completed=1, state="late")
        alone.put_back(taken)
        assert alone.take() == ProgressDelta(3, 0, "late")
        alone.put_back(taken)
        assert alone.take() == ProgressDelta(2, 0, "early")
        alone.add(total=1)
        alone.put_back(ProgressDelta(total=2))
        assert alone.take() == ProgressDelta(total=3)

    @pytest.mark.parametrize("noted", [{"completed": 1}, {"total": 1}, {"state": ""}], ids=str)
    def test_each_kind_of_progress_is_unwritten_until_it_is_taken(
        self, alone: Execution, noted: dict[str, Any]
    ) -> None:
        alone.add(**noted)
        assert alone.has_unwritten
        assert alone.take()

    def test_counters_of_two_loops_add_up(self, alone: Execution) -> None:
        first, second = alone.counter(), alone.counter()
        first.done, second.done = 3, 4
        assert alone.take().completed == 7
        first.done += 1
        assert alone.take().completed == 1
        assert alone.has_unwritten

    def test_an_unregistered_execution_is_not_found(self, alone: Execution) -> None:
        later = Execution(alone.node, 2, buffered=True)
        execution.register(alone)
        execution.register(later)
        execution.unregister(alone)
        assert execution.find(1) is later
        execution.unregister(later)
        assert execution.find(1) is None
        assert execution.find(None) is None


class TestInAWorker:
    def test_steps_in_a_worker_cost_no_query_each(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        with queries(0):
            for _ in range(100):
                status.increment_completed_steps()
        assert steps_of(status) == (0, 5)
        assert status.completed_steps == 100
        progress.flush(run)
        assert steps_of(status) == (100, 5)

    def test_a_text_is_written_with_the_steps_before_it(
        self, status: UserTaskStatus, run: Execution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress, "WRITE_INTERVAL", 0)
        status.increment_completed_steps(2)
        status.set_state("Half way")
        found = UserTaskStatus.objects.get(pk=status.pk)
        assert status.state == "Half way"
        progress.flush(run)
        found.refresh_from_db()
        assert (found.completed_steps, found.state) == (2, "Half way")

    def test_a_loop_in_a_worker_costs_no_query_an_item(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        with queries(0):
            assert list(progress.track(status, range(5))) == list(range(5))
        progress.flush(run)
        assert steps_of(status) == (5, 5)
        assert status.completed_steps == 5

    def test_a_loop_wakes_the_writer_and_counts_an_item_after_its_body(
        self, status: UserTaskStatus, run: Execution, writer: PausedWriter
    ) -> None:
        for item in progress.track(status, range(5)):
            if item == 2:
                break
        assert writer.wakes
        progress.flush(run)
        assert steps_of(status) == (2, 5)

    @pytest.mark.parametrize("has_row_locks", [True, False])
    def test_a_verdict_in_a_transaction_of_the_task_is_deferred_if_it_would_hold_a_lock(
        self,
        status: UserTaskStatus,
        run: Execution,
        writer: PausedWriter,
        has_row_locks: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        features = status_connection().features
        with monkeypatch.context() as patched, transaction.atomic():
            if has_row_locks != features.has_select_for_update:
                patched.setattr(features, "has_select_for_update", has_row_locks)
            status.fail("No flour.")
        assert status.phase == Phase.FAILED
        found = UserTaskStatus.objects.get(pk=status.pk)
        assert found.phase == (Phase.RUNNING if has_row_locks else Phase.FAILED)
        assert bool(writer.wakes) == has_row_locks
        progress.flush(run)
        found.refresh_from_db()
        assert found.phase == Phase.FAILED
        assert run.phase is Phase.FAILED

    def test_progress_that_could_not_be_written_is_kept(
        self, status: UserTaskStatus, run: Execution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        status.increment_completed_steps(3)
        with monkeypatch.context() as patched:

            def away() -> Any:
                raise DatabaseError("away")

            patched.setattr(progress, "now", away)
            with pytest.raises(DatabaseError):
                progress.flush(run)
        progress.flush(run)
        assert steps_of(status) == (3, 5)

    def test_steps_of_an_older_attempt_are_dropped(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        status.increment_completed_steps(2)
        progress.flush(run)
        assert steps_of(status) == (2, 5)
        status.increment_completed_steps(3)
        transitions.retry(status, 1)
        assert steps_of(status) == (0, 5)
        progress.flush(run)
        assert steps_of(status) == (0, 5)

    def test_a_loop_stops_when_the_task_was_canceled(
        self, status: UserTaskStatus, run: Execution, nodes: dict[str, UserTaskStatus]
    ) -> None:
        done = []
        with pytest.raises(TaskCanceledException):
            for item in progress.track(status, range(5)):
                done.append(item)
                if item == 1:
                    nodes["r"].cancel()
                    progress.flush(run)
        assert done == [0, 1]
        assert status.phase == Phase.CANCELED

    def test_a_canceled_task_stops_at_its_next_step(
        self, status: UserTaskStatus, run: Execution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        UserTaskStatus.objects.get(pk=status.pk).cancel()
        monkeypatch.setattr(progress, "WRITE_INTERVAL", 0)
        with pytest.raises(TaskCanceledException, match="a was canceled"):
            status.increment_completed_steps()

    def test_totals_and_texts_are_written_at_once(
        self, status: UserTaskStatus, run: Execution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(status_connection(), "in_atomic_block", False)
        status.increment_completed_steps(1)
        assert steps_of(status) == (0, 5)
        status.increment_total_steps(2)
        assert steps_of(status) == (1, 7)
        status.set_state("Half way")
        assert UserTaskStatus.objects.get(pk=status.pk).state == "Half way"

    @pytest.mark.parametrize("buffered", [False, True], ids=["at once", "in a worker"])
    def test_a_canceled_task_may_raise_its_total_but_not_set_a_text(
        self, status: UserTaskStatus, buffered: bool, request: pytest.FixtureRequest
    ) -> None:
        run = request.getfixturevalue("run") if buffered else None
        transitions.begin(status, 2, last_seen_at=now())
        UserTaskStatus.objects.get(pk=status.pk).cancel()
        status.increment_total_steps(2)
        with pytest.raises(TaskCanceledException):
            status.set_state("More")
        assert (run is None) or run.phase is Phase.CANCELED

    def test_progress_in_a_transaction_of_the_task_is_left_to_the_thread(
        self,
        status: UserTaskStatus,
        run: Execution,
        writer: PausedWriter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        status.increment_completed_steps()
        assert writer.wakes == 1  # Later, for it is too early.
        monkeypatch.setattr(progress, "WRITE_INTERVAL", 0)
        status.increment_completed_steps()
        assert writer.wakes == 2
        assert steps_of(status) == (0, 5)

    def test_steps_are_written_once_in_each_interval(
        self, status: UserTaskStatus, run: Execution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(status_connection(), "in_atomic_block", False)
        run.checked_at -= 100
        for expected in (1, 1, 1):
            status.increment_completed_steps()
            assert steps_of(status) == (expected, 5)

    def test_a_failed_write_is_not_tried_again_at_each_step(
        self,
        status: UserTaskStatus,
        run: Execution,
        writer: PausedWriter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        done: list[str] = []

        def away(run: Execution) -> None:
            done.append("try")
            raise OperationalError

        monkeypatch.setattr(status_connection(), "in_atomic_block", False)
        monkeypatch.setattr(status_connection(), "close", lambda: done.append("close"))
        writer.on_wake = lambda: done.append("wake")
        monkeypatch.setattr(progress, "flush", away)
        run.checked_at -= 100
        status.increment_completed_steps()
        assert done == ["try", "close", "wake"]
        status.increment_completed_steps()
        assert done == ["try", "close", "wake", "wake"]
        assert not progress.try_to_flush(run)

    def test_two_writes_for_one_task_are_made_one_after_the_other(
        self, run: Execution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else an older text could replace a newer one."""
        others: list[threading.Thread] = []

        def check(run: Execution) -> None:
            if not others:
                others.append(threading.Thread(target=progress.flush, args=(run,), daemon=True))
                others[0].start()
                others[0].join(0.05)
                assert others[0].is_alive()

        monkeypatch.setattr(progress, "_read_phase", check)
        progress.flush(run)
        others[0].join(5)
        assert not others[0].is_alive()

    def test_progress_of_a_settled_task_is_not_written(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        transitions.settle(status, Phase.FAILED, attempt=1)
        run.add(completed=1, total=2, state="More")
        progress.flush(run)
        found = UserTaskStatus.objects.get(pk=status.pk)
        assert (found.completed_steps, found.total_steps, found.state) == (0, 5, "Failed")

    def test_a_text_after_the_verdict_is_not_shown(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        containers.mark_running(status.parent_id)
        UserTaskStatus.objects.filter(pk=status.pk).update(allow_failure=True)
        UserTaskStatus.objects.get(pk=status.pk).fail("No flour.")
        run.add(state="More")
        progress.flush(run)
        assert UserTaskStatus.objects.get(pk=status.pk).state == "Failed"
        assert not UserTaskStatus.objects.filter(state="More").exists()

    def test_a_flush_shows_the_text_on_the_chain_and_finishing_stores_the_sums(
        self, status: UserTaskStatus, run: Execution, nodes: dict[str, UserTaskStatus]
    ) -> None:
        containers.mark_running(status.parent_id)
        run.add(completed=2, state="Reading")
        progress.flush(run)
        found = dict(UserTaskStatus.objects.values_list("name", "state"))
        assert (found["a"], found["c"], found["r"]) == ("Reading", "Reading", "In Progress")
        for done in (2, 3):  # The last time it is not put off.
            progress.finish()
            assert (steps_of(nodes["c"]), steps_of(nodes["r"])) == ((done, 6), (done, 10))
            run.add(completed=1)
            progress.flush(run)
        progress.finish()
        with queries(0):
            progress.finish()

    def test_the_writer_writes_progress_when_its_interval_is_over(
        self, status: UserTaskStatus, run: Execution, writer: PausedWriter
    ) -> None:
        run.add(completed=1)
        writer.write_due()
        assert steps_of(status) == (0, 5)
        run.checked_at -= 100
        writer.write_due()
        assert steps_of(status) == (1, 5)

    def test_a_deferred_event_that_could_not_be_written_is_tried_again_first(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        tries: list[str] = []

        def first(status: UserTaskStatus) -> None:
            tries.append("first")
            if len(tries) == 1:
                raise DatabaseError("away")

        run.deferred.append(first)
        run.deferred.append(lambda status: tries.append("second"))
        with pytest.raises(DatabaseError):
            progress.flush(run)
        progress.flush(run)
        assert tries == ["first", "first", "second"]

    def test_progress_of_a_deleted_node_is_dropped(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        UserTaskStatus.objects.filter(pk=status.pk).delete()
        run.deferred.append(lambda status: status.fail("No flour."))
        run.add(completed=1, state="More")
        progress.flush(run)
        assert run.phase is Phase.RUNNING


@pytest.mark.django_db(transaction=True)
class TestWriterThread:
    """It writes what a task leaves unwritten, when that is silent or in a transaction."""

    @pytest.fixture
    def writer(self) -> Iterator[ProgressWriter]:
        # One of its own: that of other tests may be in a pause as long as theirs.
        with progress.use_writer(ProgressWriter()) as writer:
            yield writer

    @pytest.fixture
    def run(
        self,
        nodes: dict[str, UserTaskStatus],
        writer: ProgressWriter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Execution]:
        monkeypatch.setattr(progress, "WRITE_INTERVAL", 0.01)
        monkeypatch.setattr(progress, "HEARTBEAT_INTERVAL", 60)
        status = nodes["a"]
        transitions.begin(status, 1, last_seen_at=now() - timedelta(days=1))
        run = Execution(status, 1, buffered=True)
        execution.register(run)
        yield run
        execution.unregister(run)
        progress.finish()

    def soon(self, condition: Callable[[], bool]) -> None:
        for _ in range(1000):
            if condition():
                return
            sleep(0.01)
        pytest.fail("It has not come to that.")

    def test_the_thread_writes_the_steps_of_a_loop_while_it_runs(
        self, run: Execution, nodes: dict[str, UserTaskStatus]
    ) -> None:
        counter = run.counter()
        progress.start_heartbeat(run)
        for done in (1, 3):
            counter.done = done
            self.soon(lambda done=done: steps_of(nodes["a"]) == (done, 5))

    def test_the_thread_stores_sums_when_the_interval_is_over(
        self,
        run: Execution,
        nodes: dict[str, UserTaskStatus],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(progress, "ROLL_UP_INTERVAL", timedelta(seconds=0.1))
        UserTaskStatus.objects.filter(pk=nodes["r"].pk).update(rolled_up_at=now())
        UserTaskStatus.objects.filter(pk=nodes["a"].pk).update(completed_steps=4)
        progress.roll_up(run.tree_id)
        self.soon(lambda: steps_of(nodes["r"]) == (4, 10))

    def test_the_thread_goes_on_when_the_database_was_away(
        self,
        run: Execution,
        writer: ProgressWriter,
        nodes: dict[str, UserTaskStatus],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        write, tries = writer.write_due, []

        def away_at_first() -> None:
            tries.append(True)
            if len(tries) < 3:
                raise OperationalError
            write()

        closed: list[int] = []
        close_all = SimpleNamespace(close_all=lambda: closed.append(len(tries)))
        monkeypatch.setattr(progress, "connections", close_all)
        monkeypatch.setattr(writer, "write_due", away_at_first)
        run.add(completed=2)
        progress.start_heartbeat(run)
        self.soon(lambda: steps_of(nodes["a"]) == (2, 5))
        assert closed[:2] == [1, 2]
        self.soon(lambda: closed[-1] > 2)  # As it does when there is nothing to write.

    def test_the_thread_writes_once_however_often_it_is_woken(
        self, run: Execution, writer: ProgressWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks: list[bool] = []
        monkeypatch.setattr(progress, "WRITE_INTERVAL", 0.1)
        monkeypatch.setattr(writer, "write_due", lambda: looks.append(True))
        for _ in range(10):
            progress.start_heartbeat(run)
            sleep(0.01)
        assert len(looks) <= 5

    def test_sums_that_could_not_be_stored_are_tried_again(
        self, run: Execution, nodes: dict[str, UserTaskStatus], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*args: Any, **kwargs: Any) -> bool:
            raise OperationalError

        UserTaskStatus.objects.filter(pk=nodes["a"].pk).update(completed_steps=4)
        with progress.use_writer(PausedWriter()) as paused:
            progress.roll_up(run.tree_id)
            with monkeypatch.context() as patched:
                patched.setattr(steps, "roll_up", away)
                with pytest.raises(OperationalError):
                    paused.write_due()
            paused.write_due()
        assert steps_of(nodes["r"]) == (4, 10)

    def test_the_thread_writes_heartbeats_of_a_task_without_progress(
        self,
        run: Execution,
        nodes: dict[str, UserTaskStatus],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(progress, "HEARTBEAT_INTERVAL", 0.02)
        progress.start_heartbeat(run)
        begun = now()
        for _ in range(2):
            self.soon(
                lambda begun=begun: UserTaskStatus.objects.get(pk=run.pk).last_seen_at > begun
            )
            begun = now()

    def test_waking_the_writer_starts_a_thread_in_each_process(
        self, run: Execution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[int] = []
        pid = os.getpid()

        class Watched(ProgressWriter):
            def run(self) -> None:
                started.append(os.getpid())

        writer = Watched()
        for process in (pid, pid + 1):
            monkeypatch.setattr(progress.os, "getpid", lambda process=process: process)
            writer.wake()
            writer.wake()
            self.soon(lambda process=process: process in started)
        assert started == [pid, pid + 1]


class TestHeartbeats:
    """A body that says nothing is seen to run all the same, at the price of few writes."""

    LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.fixture(autouse=True)
    def silent(self, status: UserTaskStatus, run: Execution) -> None:
        UserTaskStatus.objects.filter(pk=status.pk).update(last_seen_at=self.LONG_AGO)

    @pytest.fixture
    def clock(self, run: Execution, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        # From a round number: fractions of a second must add up.
        clock = SimpleNamespace(seconds=0.0)
        run.seen_at = run.checked_at = clock.seconds
        monkeypatch.setattr(progress, "monotonic", lambda: clock.seconds)
        return clock

    def is_seen(self, status: UserTaskStatus) -> bool:
        return UserTaskStatus.objects.get(pk=status.pk).last_seen_at != self.LONG_AGO

    def test_heartbeats_are_written_every_thirty_seconds(
        self, status: UserTaskStatus, writer: PausedWriter, clock: SimpleNamespace
    ) -> None:
        written = []
        for _ in range(1200):  # For five minutes.
            clock.seconds += 0.25
            with queries() as sql:
                writer.write_due()
            written += [each for each in sql if "last_seen_at" in each]
        assert len(written) == 10
        assert self.is_seen(status)

    def test_a_heartbeat_that_could_not_be_written_comes_when_the_database_is_back(
        self,
        status: UserTaskStatus,
        writer: PausedWriter,
        clock: SimpleNamespace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        clock.seconds += progress.HEARTBEAT_INTERVAL

        def away() -> Any:
            raise OperationalError("away")

        with monkeypatch.context() as patched:
            patched.setattr(progress, "statuses", away)
            with pytest.raises(OperationalError):
                writer.write_due()
        assert not self.is_seen(status)
        writer.write_due()
        assert self.is_seen(status)

    def test_a_heartbeat_is_not_set_back_with_the_clock_of_the_host(
        self,
        status: UserTaskStatus,
        writer: PausedWriter,
        clock: SimpleNamespace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        begun = now()
        for module in (progress, execution):
            monkeypatch.setattr(module, "now", lambda: begun - timedelta(hours=1))
        clock.seconds += progress.HEARTBEAT_INTERVAL
        writer.write_due()
        last_seen_at = UserTaskStatus.objects.get(pk=status.pk).last_seen_at
        assert last_seen_at is not None
        assert last_seen_at > begun - timedelta(minutes=1)

    def test_a_heartbeat_is_written_though_progress_cannot_be(
        self,
        status: UserTaskStatus,
        run: Execution,
        writer: PausedWriter,
        clock: SimpleNamespace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def broken(run: Execution) -> None:
            raise DatabaseError("cannot be stored")

        monkeypatch.setattr(progress, "flush", broken)
        clock.seconds += 2 * progress.WRITE_INTERVAL
        run.add(completed=1)
        with pytest.raises(DatabaseError):
            writer.write_due()
        assert self.is_seen(status)

    def test_written_progress_counts_as_a_heartbeat(
        self, status: UserTaskStatus, run: Execution
    ) -> None:
        run.add(completed=1)
        progress.flush(run)
        assert self.is_seen(status)

    def test_a_heartbeat_changes_modified(
        self, status: UserTaskStatus, writer: PausedWriter, clock: SimpleNamespace
    ) -> None:
        """A page shows that a task is silent."""
        before = UserTaskStatus.objects.get(pk=status.pk).modified
        clock.seconds += progress.HEARTBEAT_INTERVAL
        writer.write_due()
        assert UserTaskStatus.objects.get(pk=status.pk).modified > before

    def test_an_eager_task_has_no_heartbeats(
        self, status: UserTaskStatus, run: Execution, writer: PausedWriter, clock: SimpleNamespace
    ) -> None:
        run.buffered = False
        clock.seconds += progress.HEARTBEAT_INTERVAL
        writer.write_due()
        assert not self.is_seen(status)

    def test_a_settled_task_has_no_heartbeats(
        self, status: UserTaskStatus, run: Execution, writer: PausedWriter, clock: SimpleNamespace
    ) -> None:
        transitions.settle(status, Phase.SUCCEEDED, attempt=1)
        clock.seconds += progress.HEARTBEAT_INTERVAL
        writer.write_due()
        assert not self.is_seen(status)


class TestTotals:
    """A loop announces its items; the total grows only if the task has announced too few."""

    @pytest.mark.parametrize(
        ("items", "is_sized", "total", "expected"),
        [
            (3, True, None, (3, 5)),
            (5, True, None, (5, 5)),
            (9, True, None, (9, 9)),
            (0, True, None, (0, 5)),
            (3, True, 4, (3, 5)),
            (3, False, None, (3, 5)),
            (9, False, None, (9, 5)),
            (3, False, 8, (3, 8)),
        ],
    )
    @pytest.mark.parametrize("buffered", [False, True], ids=["at once", "in a worker"])
    def test_a_loop_raises_the_total_only_if_the_task_has_announced_too_few(
        self,
        items: int,
        is_sized: bool,
        total: int | None,
        expected: tuple[int, int],
        buffered: bool,
        status: UserTaskStatus,
        request: pytest.FixtureRequest,
    ) -> None:
        run = request.getfixturevalue("run") if buffered else None
        list(progress.track(status, range(items) if is_sized else iter(range(items)), total))
        if run:
            progress.flush(run)
        assert steps_of(status) == expected

    def test_totals_of_two_loops_add_up(self, status: UserTaskStatus) -> None:
        list(progress.track(status, range(5)))
        list(progress.track(status, range(4)))
        assert steps_of(status) == (9, 9)


class TestUnbuffered:
    """Outside of a worker's body: in eager mode, in a view, in a shell."""

    def test_an_unbuffered_loop_counts_an_item_after_its_body(self, status: UserTaskStatus) -> None:
        seen = []
        for _ in progress.track(status, range(3)):
            seen.append(steps_of(status)[0])
        assert seen == [0, 1, 2]
        assert steps_of(status)[0] == 3

    def test_a_loop_that_is_left_does_not_count_its_last_item(self, status: UserTaskStatus) -> None:
        for item in progress.track(status, range(5)):
            if item == 2:
                break
        assert steps_of(status) == (2, 5)

    def test_a_loop_that_raises_keeps_the_steps_before(self, status: UserTaskStatus) -> None:
        with pytest.raises(ValueError, match="here"):
            for item in progress.track(status, range(5)):
                if item == 3:
                    raise ValueError("here")
        assert steps_of(status) == (3, 5)

    def test_a_loop_stops_when_its_task_is_canceled(
        self, status: UserTaskStatus, nodes: dict[str, UserTaskStatus]
    ) -> None:
        done = []
        with pytest.raises(TaskCanceledException):
            for item in progress.track(status, range(5)):
                done.append(item)
                nodes["r"].cancel()
        assert done == [0]

    def test_unbuffered_steps_are_added_to_containers_at_once(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["a"].increment_completed_steps(2)
        nodes["d"].increment_total_steps(6)
        assert steps_of(nodes["c"]) == (2, 6)
        assert steps_of(nodes["r"]) == (2, 16)

    def test_more_steps_than_the_total_are_shown_as_all(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["a"].increment_completed_steps(99)
        assert nodes["a"].tree().completed_steps == 5
        assert nodes["a"].percent == 100
        assert steps_of(nodes["r"]) == (5, 10)

    def test_success_completes_the_steps_and_failure_does_not(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["a"].increment_completed_steps(1)
        nodes["a"].succeed()
        nodes["d"].increment_completed_steps(1)
        nodes["d"].fail("x")
        assert steps_of(nodes["a"]) == (5, 5)
        assert steps_of(nodes["d"]) == (1, 4)
        assert steps_of(nodes["r"]) == (6, 10)

    def test_an_unsaved_instance_makes_no_query(self) -> None:
        status = UserTaskStatus(name="x", total_steps=2)
        with queries(0):
            status.start()
            status.set_state("On")
            status.increment_completed_steps()
            status.increment_total_steps(3)
            status.set_name("y")
            status.succeed()
            status.cancel()
        assert (status.name, status.completed_steps, status.total_steps) == ("y", 1, 5)
        assert status.phase == Phase.SUCCEEDED


class TestStoredSums:
    """What lists of workflows read, and sort by."""

    EVERY = timedelta(seconds=1)

    @pytest.fixture
    def counted(self, nodes: dict[str, UserTaskStatus]) -> dict[str, UserTaskStatus]:
        """``a`` has done more than it has announced, and nobody has added it up."""
        UserTaskStatus.objects.filter(name="a").update(completed_steps=7)
        return nodes

    def test_a_roll_up_writes_the_sums_that_have_changed(
        self, counted: dict[str, UserTaskStatus]
    ) -> None:
        with queries(3 + 2):
            assert steps.roll_up(counted["r"].pk, self.EVERY)
        assert (steps_of(counted["c"]), steps_of(counted["r"])) == ((5, 6), (5, 10))
        assert steps_of(counted["a"]) == (7, 5)
        UserTaskStatus.objects.filter(name="d").update(completed_steps=1)
        with queries(3 + 1):
            assert steps.roll_up(counted["r"].pk, timedelta(0))
        assert (steps_of(counted["c"]), steps_of(counted["r"])) == ((5, 6), (6, 10))

    def test_a_second_roll_up_within_the_interval_is_left_for_later(
        self, counted: dict[str, UserTaskStatus]
    ) -> None:
        root = UserTaskStatus.objects.filter(name="r")
        root.update(rolled_up_at=now() - self.EVERY / 2)
        with queries(2):
            assert not steps.roll_up(counted["r"].pk, self.EVERY)
        assert steps_of(counted["r"]) == (0, 10)
        root.update(rolled_up_at=now() - self.EVERY * 2)
        assert steps.roll_up(counted["r"].pk, self.EVERY)
        assert steps_of(counted["r"]) == (5, 10)
        assert not steps.roll_up(counted["r"].pk, self.EVERY)

    def test_steps_of_spawned_tasks_count_above_their_parent_only(
        self, counted: dict[str, UserTaskStatus]
    ) -> None:
        spawning.attach_subtree(counted["a"], leaf("sent", total_steps=9))
        steps.roll_up(counted["r"].pk, self.EVERY)
        assert (steps_of(counted["a"]), steps_of(counted["c"])) == ((7, 5), (5, 15))

    def test_a_roll_up_of_a_single_task_or_a_settled_workflow_costs_one_query(
        self, counted: dict[str, UserTaskStatus]
    ) -> None:
        alone = stored(leaf("alone"))["alone"]
        with queries(1):
            assert steps.roll_up(alone.pk, self.EVERY)
        counted["r"].cancel()
        with queries(1):
            assert steps.roll_up(counted["r"].pk, self.EVERY)

    def test_storing_sums_above_a_root_or_a_settled_tree_reads_ancestors_only(
        self, counted: dict[str, UserTaskStatus]
    ) -> None:
        alone = stored(leaf("alone"))["alone"]
        with queries(0):
            steps.store_sums_above(alone)
        counted["r"].cancel()
        with queries(2):
            steps.store_sums_above(counted["a"])


class TestTexts:
    def test_a_text_is_shown_on_chains_up_to_the_next_group(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["a"].set_state("Reading")
        found = dict(UserTaskStatus.objects.values_list("name", "state"))
        assert found == {
            "a": "Reading", "c": "Reading", "r": "In Progress", "b": "Pending", "d": "Pending"
        }  # fmt: skip

    def test_a_text_changes_modified_of_the_containers_that_show_it(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["a"].set_state("Reading")
        before = UserTaskStatus.objects.get(name="c").modified
        nodes["a"].set_state("Writing")
        assert UserTaskStatus.objects.get(name="c").modified > before

    def test_a_text_is_not_shown_above_the_group(self) -> None:
        inner = container("chain", leaf("a"), name="inner")
        nodes = stored(container("chain", container("group", inner, name="group"), name="outer"))
        nodes["a"].set_state("Reading")
        found = dict(UserTaskStatus.objects.values_list("name", "state"))
        assert found == {
            "a": "Reading", "inner": "Reading", "group": "In Progress", "outer": "In Progress"
        }  # fmt: skip

    def test_a_text_does_not_replace_the_verdict_of_a_container(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        nodes["a"].start()
        UserTaskStatus.objects.filter(name="c").update(phase=Phase.FAILED, state="Failed")
        nodes["a"].set_state("Reading")
        assert UserTaskStatus.objects.get(name="c").state == "Failed"

    def test_loaded_parents_show_the_text_of_their_child(self) -> None:
        inner = container("chain", leaf("a"), name="inner")
        stored(container("chain", inner, name="outer"))
        status = UserTaskStatus.objects.select_related("parent__parent").get(name="a")
        status.set_state("Reading")
        assert status.parent is not None and status.parent.parent is not None
        assert (status.parent.state, status.parent.parent.state) == ("Reading", "Reading")

    def test_a_text_on_a_canceled_container_raises_nothing(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        transitions.begin(nodes["a"], 1, last_seen_at=now())
        nodes["c"].cancel()
        nodes["c"].set_state("More")
        assert nodes["c"].state == "Canceled"

    def test_a_text_on_a_settled_task_is_ignored(self, status: UserTaskStatus) -> None:
        status.succeed()
        status.set_state("More")
        assert status.state == "Succeeded"
        assert not UserTaskStatus.objects.filter(state="More").exists()

    def test_a_text_on_a_canceled_task_raises(self, status: UserTaskStatus) -> None:
        status.cancel()
        with pytest.raises(TaskCanceledException):
            status.set_state("More")
        with pytest.raises(TaskCanceledException):
            status.start()

    def test_a_name_is_given_to_ancestors_that_were_not_named_by_the_caller(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        UserTaskStatus.objects.filter(name="r").update(is_named=True)
        nodes["a"].set_name("new")
        assert {n.name for n in UserTaskStatus.objects.all()} == {"r", "new", "b", "d"}
        assert UserTaskStatus.objects.get(pk=nodes["c"].pk).name == "new"
