"""The ways in which a task can end that its own code has no part in, and retries."""

from datetime import timedelta
from typing import Any

import pytest
from celery import signature
from django.db import transaction
from django.utils.timezone import now

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker
from tests.acceptance.trees import (
    assert_signals_were_sent_once,
    bodies,
    errors,
    find_leaf,
    phases,
    settled,
    step,
)
from user_workflows.canvas import chain, chord, tracked, workflow
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text

DONE, FAILED, SKIPPED = Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        (tasks.dawdle, {"soft_time_limit": 1}, "longer than"),
        (tasks.dawdle, {"time_limit": 1}, "longer than the 1 seconds"),
        (tasks.die, {}, "process that ran it has died"),
        (tasks.add, {"expires": timedelta(seconds=-5)}, "not started in time"),
    ],
    ids=["soft time limit", "hard time limit", "process killed", "expired"],
)
def test_a_task_ended_from_outside_fails_once_with_a_message(
    worker: Worker, user: Any, task: Any, options: dict[str, Any], words: str
) -> None:
    given = {k: now() + v if k == "expires" else v for k, v in options.items()}
    header = [step(task, "x").set(**given), step(tasks.add, "a", 1)]
    root = settled(workflow(chain(chord(header, step(tasks.work, "b"))), user=user).delay())

    assert phases(root) == {"x": FAILED, "a": DONE, "b": SKIPPED}, tree_as_text(root)
    assert words in " ".join(errors(find_leaf(root, "x")))
    assert len(errors(find_leaf(root, "x"))) == len(errors(root)) == 1
    assert bodies(worker, root)["b"] == 0
    assert_signals_were_sent_once(worker, root)


def test_a_task_whose_process_is_killed_runs_again_when_its_message_is_redelivered(
    worker: Worker, user: Any
) -> None:
    header = [step(tasks.die_once, "reborn", 1, steps=2), step(tasks.add, "a", 1)]
    root = workflow(chord(header, step(tasks.work, "b")), user=user).delay()
    after = settled(root)

    assert phases(after) == {"reborn": DONE, "a": DONE, "b": DONE}, tree_as_text(after)
    assert find_leaf(after, "reborn").attempts == 2
    assert errors(find_leaf(after, "reborn")) == []
    assert (after.completed_steps, after.total_steps) == (4, 4)
    assert bodies(worker, after) == {"reborn": 2, "a": 1, "b": 1}
    assert_signals_were_sent_once(worker, after)


def test_a_task_that_the_worker_does_not_know_fails(worker: Worker, user: Any) -> None:
    unknown = tracked(signature("no.such.task", app=worker.app), name="x")
    root = settled(workflow(chain(unknown, step(tasks.work, "b")), user=user).delay())

    assert phases(root) == {"x": FAILED, "b": SKIPPED}, tree_as_text(root)
    assert errors(root) == ["The workers do not know the task no.such.task."]


def test_a_task_revoked_before_it_started_is_canceled(worker: Worker, user: Any) -> None:
    with transaction.atomic():
        root = workflow(chain(step(tasks.work, "x"), step(tasks.work, "b")), user=user).delay()
        worker.revoke(find_leaf(root, "x").task_id)
    root = settled(root)

    assert phases(root) == {"x": Phase.CANCELED, "b": SKIPPED}, tree_as_text(root)
    assert root.phase == Phase.CANCELED
    assert not bodies(worker, root)


def test_a_task_terminated_by_hand_is_canceled(worker: Worker, user: Any) -> None:
    running = step(tasks.hold_plain, "terminated")
    root = workflow(chain(running, step(tasks.work, "b")), user=user).delay()
    worker.wait_for("ran", "terminated")
    worker.app.control.revoke(find_leaf(root, "terminated").task_id, terminate=True)
    root = settled(root)

    assert phases(root) == {"terminated": Phase.CANCELED, "b": SKIPPED}, tree_as_text(root)
    assert bodies(worker, root) == {"terminated": 1}


def test_a_before_start_of_the_tasks_own_is_called_and_does_not_get_past_the_gate(
    worker: Worker, user: Any
) -> None:
    good = chain(step(tasks.prepared, "own-good", 1), step(tasks.add, "a", 1))
    bad = chain(step(tasks.say_failed, "x"), step(tasks.prepared, "own-bad"))
    good_root = settled(workflow(good, user=user).delay())
    bad_root = settled(workflow(bad, user=user).delay())

    assert phases(good_root) == {"own-good": DONE, "a": DONE}
    assert len(worker.events("before_start", "own-good")) == 1
    assert phases(bad_root) == {"x": FAILED, "own-bad": SKIPPED}
    assert bodies(worker, bad_root) == {"x": 1}


# -- retries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["prefork", "threads"], indirect=True)
@pytest.mark.parametrize("failures", [1, 2])
def test_a_task_that_succeeds_at_a_later_attempt_is_succeeded(
    worker: Worker, user: Any, failures: int
) -> None:
    flaky = step(tasks.flaky, "x", 4, failures=failures)
    root = workflow(chain(flaky, step(tasks.work, "b", 1)), user=user).delay()
    after = settled(root)

    assert phases(after) == {"x": DONE, "b": DONE}, tree_as_text(after)
    assert find_leaf(after, "x").attempts == failures + 1
    assert bodies(worker, after) == {"x": failures + 1, "b": 1}
    assert (after.completed_steps, after.total_steps) == (4, 4)
    assert root.result.get(timeout=PATIENCE) == 5
    assert_signals_were_sent_once(worker, after)


def test_the_steps_of_earlier_attempts_are_not_counted(worker: Worker, user: Any) -> None:
    flaky = step(tasks.flaky, "x", steps=9, failures=5)
    root = settled(workflow(chain(flaky, step(tasks.work, "b")), user=user).delay())
    failed = find_leaf(root, "x")

    assert phases(root) == {"x": FAILED, "b": SKIPPED}, tree_as_text(root)
    assert failed.attempts == 3
    assert (failed.completed_steps, failed.total_steps) == (2, 9)
    assert (root.completed_steps, root.total_steps) == (2, 10)
    assert errors(failed) == ["Not this time."]
    assert bodies(worker, root) == {"x": 3}


def test_a_plain_task_that_is_retried_counts_its_attempts(worker: Worker, user: Any) -> None:
    header = [step(tasks.ask_again, "x", 2, failures=2), step(tasks.add, "a", 1)]
    root = workflow(chord(header, step(tasks.work, "body")), user=user).delay()
    after = settled(root)

    assert phases(after) == {"x": DONE, "a": DONE, "body": DONE}, tree_as_text(after)
    assert find_leaf(after, "x").attempts == 3
    assert root.result.get(timeout=PATIENCE) == 3
    assert bodies(worker, after) == {"x": 3, "a": 1, "body": 1}
