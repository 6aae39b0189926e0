"""What a caller may rely on: his canvas, his options, his errbacks, his results."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import chain as celerys_chain
from celery import chord as celerys_chord
from celery import group as celerys_group
from django.conf import settings

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, until
from tests.acceptance.shapes import CELERYS, MAPPED, SHAPES, Parts
from tests.acceptance.trees import bodies, drain, find_leaf, phases, settled, step
from user_workflows.canvas import chain, group, workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text
from user_workflows.tree import integrity

REUSABLE = [name for name in SHAPES if "generator" not in name and name not in MAPPED]


@pytest.mark.parametrize("name", REUSABLE)
def test_the_callers_canvas_is_left_as_it_was(worker: Worker, user: Any, name: str) -> None:
    canvas = SHAPES[name](Parts(name, CELERYS, user_tasks=True))
    before, same = copy.deepcopy(canvas), json.dumps(canvas)
    flow = workflow(canvas, user=user)
    assert list(flow.plan.leaves())
    assert canvas == before
    assert json.dumps(canvas) == same


@pytest.mark.parametrize("name", ["single user task", "nested three deep", "links"])
def test_a_canvas_submitted_twice_gives_two_workflows(worker: Worker, user: Any, name: str) -> None:
    canvas = SHAPES[name](Parts(f"{name}, twice", CELERYS, user_tasks=True))
    same = json.dumps(canvas)
    roots = [settled(workflow(canvas, user=user).delay()) for _ in range(2)]
    ids = [{leaf.task_id for leaf in root.tree().leaves()} for root in roots]

    assert json.dumps(canvas) == same
    assert not ids[0] & ids[1]
    assert worker.ran(*ids[0], *ids[1]) == dict.fromkeys(ids[0] | ids[1], 1)


def test_a_workflow_made_of_a_generator_can_be_submitted_twice(worker: Worker, user: Any) -> None:
    def numbers() -> Iterator[Any]:
        return (tasks.work.s(number) for number in range(4))

    flow = workflow(celerys_chord(numbers(), tasks.work.s()), user=user)
    results = []
    for _ in range(2):
        root = flow.delay()
        assert len(list(settled(root).tree().leaves())) == 5
        results.append(root.result.get(timeout=PATIENCE))
    assert results == [6, 6]


@pytest.mark.parametrize("whose", [celerys_group, group], ids=["celery's", "ours"])
def test_one_signature_used_three_times_runs_three_times(
    worker: Worker, user: Any, whose: Callable[..., Any]
) -> None:
    """In plain Celery the three run under one id, and two results are lost."""
    same = tasks.work.s(1)
    root = workflow(whose([same, same, same]), user=user).delay()
    ids = {leaf.task_id for leaf in settled(root).tree().leaves()}

    assert root.result.get(timeout=PATIENCE) == [1, 1, 1]
    assert worker.ran(*ids) == dict.fromkeys(ids, 1)
    assert len(ids) == 3


def test_chunks_within_a_canvas_succeed(worker: Worker, user: Any) -> None:
    """They run as one task of Celery's that sends others."""
    canvas = group(tasks.add.chunks([(n, n) for n in range(4)], 2), step(tasks.work, "a", 1))
    root = settled(workflow(canvas, user=user).delay())

    assert {leaf.phase for leaf in root.tree().leaves()} == {Phase.SUCCEEDED}, tree_as_text(root)
    assert integrity.find_faults(root.tree_id) == []
    assert len(list(root.tree().walk())) < 10


# -- options --------------------------------------------------------------------------------------


def test_options_of_a_task_reach_its_message(worker: Worker, user: Any) -> None:
    queued = step(tasks.describe, "queued").set(queue=worker.other_queue, priority=3)
    late = step(tasks.describe, "late").set(countdown=0.5, expires=60)
    begun = time.time()
    root = settled(workflow(chain(queued, late), user=user).delay())
    messages = {tag: worker.events("message", tag)[0] for tag in ("queued", "late")}

    assert phases(root) == {"queued": Phase.SUCCEEDED, "late": Phase.SUCCEEDED}
    assert messages["queued"].more["queue"] == worker.other_queue
    assert messages["queued"].more["priority"] == 3
    assert messages["queued"].more["eta"] is None
    assert messages["late"].more["queue"] == worker.queue
    assert messages["late"].more["eta"] and messages["late"].more["expires"]
    assert messages["late"].at >= begun + 0.5


def test_options_of_the_submission_reach_the_first_message(worker: Worker, user: Any) -> None:
    flow = workflow(step(tasks.describe, "submitted"), user=user)
    begun = time.time()
    root = settled(flow.apply_async(countdown=0.5, queue=worker.other_queue, priority=5))
    message = worker.events("message", "submitted")[0]

    assert message.task_id == root.task_id
    assert (message.more["queue"], message.more["priority"]) == (worker.other_queue, 5)
    assert message.at >= begun + 0.5


def test_a_given_task_id_becomes_that_of_the_last_task(worker: Worker, user: Any) -> None:
    given = f"given-{time.time()}"
    canvas = chain(step(tasks.add, "a", 1), step(tasks.work, "b", 2))
    root = settled(workflow(canvas, user=user).apply_async(task_id=given))
    assert find_leaf(root, "b").task_id == given
    assert worker.ran(given) == {given: 1}


# -- errbacks -------------------------------------------------------------------------------------

ERRBACKS: dict[str, Callable[[Any, Any], Any]] = {
    "task": lambda x, errback: x.on_error(errback),
    "chain": lambda x, errback: celerys_chain(tasks.add.s(1), x).on_error(errback),
    "chord": lambda x, errback: celerys_chord([x, tasks.add.s(1)], tasks.add.s().on_error(errback)),
}


@pytest.mark.parametrize("errback", ["on_error", "on_error_of"])
@pytest.mark.parametrize("place", ERRBACKS)
def test_errbacks_run_as_in_plain_celery_and_are_no_nodes(
    worker: Worker, user: Any, place: str, errback: str
) -> None:
    def canvas(tag: str) -> Any:
        return ERRBACKS[place](
            tasks.boom.s(), getattr(tasks, errback).s(tag=f"{tag}, {place}, {errback}")
        )

    def called(tag: str) -> int:
        return len(worker.events("errback", f"{tag}, {place}, {errback}"))

    canvas("plain").apply_async()
    root = settled(workflow(canvas("tracked"), user=user).delay())
    until(lambda: called("plain") and called("tracked"), "the errbacks")
    drain(worker)

    assert called("plain") == called("tracked") == 1
    assert root.phase == Phase.FAILED
    assert not any("on_error" in leaf.task_class for leaf in root.tree().leaves())


# -- sent without workflow() ----------------------------------------------------------------------


def one(user: Any, name: str, *values: Any, task: Any = tasks.work) -> Any:
    return task.s(*values, tag=name, user_id=user.pk)


SENT: dict[str, tuple[Callable[[Any], Any], float | list[float], set[str]]] = {
    "task": (lambda u: one(u, "a", 1).apply_async(), 1, {"a"}),
    "delay": (lambda u: tasks.work.delay(1, tag="a", user_id=u.pk), 1, {"a"}),
    "chain": (
        lambda u: celerys_chain(one(u, "a", 1), one(u, "b", 2), one(u, "c")).delay(),
        3,
        {"a", "b", "c"},
    ),
    "pipe": (lambda u: (one(u, "a", 1) | one(u, "b", 2)).delay(), 3, {"a", "b"}),
    "group": (lambda u: celerys_group(one(u, "a", 1), one(u, "b", 2)).delay(), [1, 2], {"a", "b"}),
    "chord": (
        lambda u: celerys_chord([one(u, "a", 1), one(u, "b", 2)], one(u, "c")).delay(),
        3,
        {"a", "b", "c"},
    ),
    "chord(header)(body)": (
        lambda u: celerys_chord([one(u, "a", 1), one(u, "b", 2)])(one(u, "c")),
        3,
        {"a", "b", "c"},
    ),
    "mixed": (
        lambda u: celerys_chain(
            tasks.add.s(1), celerys_group(one(u, "a", 1), tasks.add.s(2)), one(u, "b")
        ).delay(),
        5,
        {"a", "b"},
    ),
}


@pytest.mark.parametrize("worker", ["prefork", "protocol-1"], indirect=True)
@pytest.mark.parametrize("way", SENT)
def test_user_tasks_sent_by_themselves_become_one_tree(worker: Worker, user: Any, way: str) -> None:
    send, expected, names = SENT[way]
    last = UserTaskStatus.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    result = send(user)
    assert result.get(timeout=PATIENCE) == expected
    (root,) = UserTaskStatus.objects.roots().filter(pk__gt=last)
    root = settled(root)

    assert phases(root) == dict.fromkeys(names, Phase.SUCCEEDED), tree_as_text(root)
    assert root.phase == Phase.SUCCEEDED
    assert bodies(worker, root) == dict.fromkeys(names, 1)
    assert integrity.find_faults(root.tree_id) == []


@pytest.mark.parametrize("worker", ["prefork", "protocol-1"], indirect=True)
def test_the_failure_of_a_plain_member_skips_what_follows(worker: Worker, user: Any) -> None:
    canvas = celerys_chain(one(user, "a", 1), tasks.boom.s(), one(user, "b"), one(user, "c"))
    result = canvas.apply_async()
    with pytest.raises(ValueError, match="oven"):
        result.parent.parent.get(timeout=PATIENCE)
    root = settled(UserTaskStatus.objects.roots().latest("pk"))

    assert phases(root) == {"a": Phase.SUCCEEDED, "b": Phase.SKIPPED, "c": Phase.SKIPPED}
    assert root.phase not in (Phase.SUCCEEDED, Phase.PARTIAL)


def test_without_a_known_user_the_task_runs_untracked(worker: Worker, user: Any) -> None:
    assert not getattr(settings, "USER_WORKFLOWS_STRICT", False)
    before = UserTaskStatus.objects.count()
    assert tasks.work.delay(4, user_id=0).get(timeout=PATIENCE) == 4
    assert tasks.work.delay(5).get(timeout=PATIENCE) == 5
    assert UserTaskStatus.objects.count() == before
