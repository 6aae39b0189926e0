"""Canceling what real workers are busy with."""

from collections.abc import Callable
from typing import Any

import pytest
from celery import current_app
from celery.result import AsyncResult

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, until
from tests.acceptance.trees import bodies, caused, drain, errors, find_leaf, phases, settled, step
from user_workflows.canvas import chain, chord, group, workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text

DONE, CANCELED, SKIPPED = Phase.SUCCEEDED, Phase.CANCELED, Phase.SKIPPED


@pytest.mark.parametrize("worker", ["prefork", "threads", "solo"], indirect=True)
def test_canceling_a_chain_stops_its_running_task_at_the_next_progress_call(
    worker: Worker, user: Any
) -> None:
    canvas = chain(step(tasks.work, "a"), step(tasks.hold, "stopped"), step(tasks.work, "c"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "stopped")
    cancellation = UserTaskStatus.objects.get(pk=root.pk).cancel()
    asked = UserTaskStatus.objects.get(pk=root.pk)
    worker.let_go("stopped")
    root = settled(root)

    assert (cancellation.pending, cancellation.running, cancellation.finished) == (1, 1, 1)
    assert asked.phase == CANCELED
    assert not asked.is_settled
    assert phases(root) == {"a": DONE, "stopped": CANCELED, "c": CANCELED}, tree_as_text(root)
    assert root.phase == CANCELED
    assert bodies(worker, root) == {"a": 1, "stopped": 1}
    assert worker.events("released", "stopped")
    assert not worker.events("went on", "stopped")
    assert_finished_once(worker, root)


def test_a_task_that_ignores_its_cancellation_stays_canceled_and_nothing_follows(
    worker: Worker, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate alone must hold: the workers are not told."""
    monkeypatch.setattr(current_app.control, "revoke", lambda *args, **kwargs: None)
    canvas = chain(step(tasks.hold_plain, "deaf"), step(tasks.add, "b"), step(tasks.add, "c"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "deaf")
    root.cancel()
    worker.let_go("deaf")
    after = settled(root)

    assert set(phases(after).values()) == {CANCELED}, tree_as_text(after)
    assert bodies(worker, after) == {"deaf": 1}
    assert AsyncResult(find_leaf(after, "b").task_id, app=worker.app).state == "REVOKED"
    assert AsyncResult(find_leaf(after, "c").task_id, app=worker.app).state == "REVOKED"
    assert_finished_once(worker, after)


@pytest.mark.parametrize("told", [True, False], ids=["workers told", "gate alone"])
def test_canceled_chord_headers_that_wait_never_run_and_all_is_settled_at_once(
    worker: Worker, user: Any, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    if not told:
        monkeypatch.setattr(current_app.control, "revoke", lambda *args, **kwargs: None)
    for countdown in (1, 5, 25):
        header = [step(tasks.work, name).set(countdown=countdown) for name in "abc"]
        canvas = chain(chord(header, step(tasks.work, "body")), step(tasks.add, "d"))
        root = workflow(canvas, user=user).delay()
        if UserTaskStatus.objects.get(pk=root.pk).cancel().pending == 5:
            break  # Else this machine was too slow: they ran before they could be canceled.
    after = UserTaskStatus.objects.get(pk=root.pk)
    assert after.is_settled and after.finished_sent_at
    tasks.add.s().apply_async(countdown=countdown + 0.3).get(timeout=PATIENCE)

    assert set(phases(after).values()) == {CANCELED}, tree_as_text(after)
    assert not bodies(worker, after)


def test_canceling_a_branch_leaves_the_others_and_skips_what_waits_for_it(
    worker: Worker, user: Any
) -> None:
    branch = chain(step(tasks.hold, "branch"), step(tasks.work, "next"), name="The branch")
    canvas = chain(group(branch, step(tasks.work, "sibling", 1)), step(tasks.work, "after"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "branch")
    UserTaskStatus.objects.get(tree_id=root.tree_id, name="The branch").cancel()
    worker.let_go("branch")
    root = settled(root)

    assert phases(root) == {
        "branch": CANCELED, "next": CANCELED, "sibling": DONE, "after": SKIPPED,
    }, tree_as_text(root)  # fmt: skip
    assert set(caused(root)) == {"after"}
    assert bodies(worker, root) == {"branch": 1, "sibling": 1}
    assert_finished_once(worker, root)


def test_a_task_that_takes_its_cancellation_for_an_error_stays_canceled(
    worker: Worker, user: Any
) -> None:
    canvas = chain(step(tasks.hold_on, "clings"), step(tasks.add, "b"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "clings")
    UserTaskStatus.objects.get(pk=root.pk).cancel()
    worker.let_go("clings")
    after = settled(root)

    [caught] = worker.events("caught", "clings")
    assert caught.more["error"] == "TaskCanceledException"
    assert phases(after) == {"clings": CANCELED, "b": CANCELED}, tree_as_text(after)
    assert after.phase == CANCELED
    assert errors(find_leaf(after, "clings")) == errors(after) == []
    assert bodies(worker, after) == {"clings": 1}
    assert_finished_once(worker, after)


def test_a_cancellation_holds_when_workers_that_were_all_down_come_up(
    private: Callable[..., Worker], user: Any
) -> None:
    worker = private()
    worker.kill()
    header = [step(tasks.work, "user"), step(tasks.add, "plain"), step(tasks.prepared, "prepared")]
    canvases = [
        chord(header, step(tasks.work, "body")),
        group(chain(step(tasks.work, "a"), step(tasks.add, "b")), step(tasks.add, "c")),
        step(tasks.work, "alone"),
    ]
    roots = [workflow(canvas, user=user).delay() for canvas in canvases]
    done = [UserTaskStatus.objects.get(pk=root.pk).cancel() for root in roots]
    after = [settled(root, timeout=1) for root in roots]
    worker.start()
    drain(worker)

    assert [c.pending for c in done] == [4, 3, 1]
    assert {phase for root in after for phase in phases(root).values()} == {CANCELED}
    assert worker.events("ran") == [e for e in worker.events("ran") if e.tag == ""]
    assert not worker.events("before_start")
    # Nothing waits in vain, in Celery either.
    for name in ("user", "plain", "prepared", "body"):
        result = AsyncResult(find_leaf(after[0], name).task_id, app=worker.app)
        until(result.ready, f"a result of {name}")
        assert not result.successful()


@pytest.mark.parametrize("worker", ["threads", "solo"], indirect=True)
def test_force_in_a_pool_that_cannot_kill_asks_the_task_to_stop(worker: Worker, user: Any) -> None:
    canvas = chain(step(tasks.hold, "unkillable"), step(tasks.work, "b"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "unkillable")
    done = UserTaskStatus.objects.get(pk=root.pk).cancel(force=True)
    worker.let_go("unkillable")
    after = settled(root)

    assert (done.pending, done.running) == (1, 1)
    assert phases(after) == {"unkillable": CANCELED, "b": CANCELED}, tree_as_text(after)
    assert worker.events("released", "unkillable")
    assert not worker.events("went on", "unkillable")
    assert bodies(worker, after) == {"unkillable": 1}
    assert_finished_once(worker, after)


def test_a_forced_cancellation_ends_a_task_that_makes_no_progress_call(
    worker: Worker, user: Any
) -> None:
    header = [step(tasks.hold_plain, "forced"), step(tasks.add, "a", 1)]
    root = workflow(chord(header, step(tasks.work, "body")), user=user).delay()
    worker.wait_for("ran", "forced")
    UserTaskStatus.objects.get(pk=root.pk).cancel(force=True)
    root = settled(root)

    assert phases(root)["forced"] == phases(root)["body"] == CANCELED, tree_as_text(root)
    assert bodies(worker, root)["body"] == 0


def assert_finished_once(worker: Worker, root: UserTaskStatus) -> None:
    finished = [e for e in worker.events("finished") if e.task_id == root.task_id]
    assert [event.more["phase"] for event in finished] == [CANCELED]


def test_signals_are_sent_once_though_two_processes_settle(worker: Worker, user: Any) -> None:
    """The submitting process cancels what waits, the worker ends what runs."""
    canvas = chain(step(tasks.hold, "last"), step(tasks.work, "b"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "last")
    find_leaf(root, "b").cancel()
    worker.let_go("last")
    root = settled(root)

    assert phases(root) == {"last": DONE, "b": CANCELED}, tree_as_text(root)
    assert_finished_once(worker, root)
    assert [e.task_id for e in worker.events("stopped")].count(find_leaf(root, "last").task_id) == 1
