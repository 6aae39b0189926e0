"""What the failure of one task means for the others, on real workers."""

from typing import Any

import pytest

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, is_redis
from tests.acceptance.trees import (
    assert_signals_were_sent_once,
    bodies,
    caused,
    errors,
    find_leaf,
    phases,
    settled,
    step,
)
from user_workflows.canvas import chain, chord, group, workflow
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text
from user_workflows.tree import integrity

DONE, FAILED, SKIPPED = Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED
#: The ways to fail, and the words that the user reads then.
WAYS = {
    "boom": "The oven is cold.",
    "fail_work": "The oven is cold.",
    "say_failed": "There is no flour.",
}


def one(name: str) -> Any:
    return step(tasks.work, name, 1)


def plain(name: str) -> Any:
    return step(tasks.add, name, 1)


#: The canvas around the task that fails, and what becomes of its other tasks.
PLACES: dict[str, tuple[Any, dict[str, Phase]]] = {
    "alone": (lambda x: x, {}),
    "chain": (
        lambda x: chain(one("a"), x, plain("b"), one("c")),
        {"a": DONE, "b": SKIPPED, "c": SKIPPED},
    ),
    "group": (lambda x: group(one("a"), x, plain("b")), {"a": DONE, "b": DONE}),
    "chord header": (
        lambda x: chain(chord([one("a"), x, plain("b")], one("body")), plain("after")),
        {"a": DONE, "b": DONE, "body": SKIPPED, "after": SKIPPED},
    ),
    "chord body": (
        lambda x: chain(chord([one("a"), plain("b")], x), one("after")),
        {"a": DONE, "b": DONE, "after": SKIPPED},
    ),
    "before a group": (
        lambda x: chain(x, group(one("a"), plain("b")), one("after")),
        {"a": SKIPPED, "b": SKIPPED, "after": SKIPPED},
    ),
    "branch of a group": (
        lambda x: group(chain(x, one("a")), chain(one("b"), plain("c"))),
        {"a": SKIPPED, "b": DONE, "c": DONE},
    ),
    "chain in a chord header": (
        lambda x: chord([chain(x, one("a")), chain(one("b"), one("c"))], one("body")),
        {"a": SKIPPED, "b": DONE, "c": DONE, "body": SKIPPED},
    ),
    # Celery leaves the outer body pending for ever here.
    "chord in a chord header": (
        lambda x: chord([chord([x, one("a")], one("inner")), one("b")], one("outer")),
        {"a": DONE, "inner": SKIPPED, "b": DONE, "outer": SKIPPED},
    ),
    "deep below": (
        lambda x: chain(
            one("a"),
            group(chain(one("b"), chord([one("c"), chain(x, one("d"))], one("e"))), one("f")),
            one("g"),
        ),
        {"a": DONE, "b": DONE, "c": DONE, "d": SKIPPED, "e": SKIPPED, "f": DONE, "g": SKIPPED},
    ),
}


@pytest.mark.parametrize("way", WAYS if is_redis() else ["boom"])
@pytest.mark.parametrize("place", PLACES)
def test_a_failure_stops_what_waits_for_it_and_nothing_else(
    worker: Worker, user: Any, place: str, way: str
) -> None:
    build, others = PLACES[place]
    root = settled(workflow(build(step(getattr(tasks, way), "x")), user=user).delay())

    assert phases(root) == {**others, "x": FAILED}, tree_as_text(root)
    assert root.phase == FAILED
    assert caused(root) == {name: "x" for name, phase in others.items() if phase is SKIPPED}
    ran = {"x", *(name for name, phase in others.items() if phase is DONE)}
    assert bodies(worker, root) == dict.fromkeys(ran, 1), tree_as_text(root)
    assert errors(find_leaf(root, "x")) == [WAYS[way]]
    assert errors(root) == [WAYS[way]]
    assert [failure.name for failure in root.failures()] == ["x"]
    assert root.completed_steps <= root.total_steps == len(others) + 1
    assert integrity.find_faults(root.tree_id) == []
    assert_signals_were_sent_once(worker, root)


@pytest.mark.parametrize("worker", ["threads", "solo"], indirect=True)
@pytest.mark.parametrize("place", ["chain", "chord header", "deep below"])
def test_a_failure_means_the_same_in_other_pools(worker: Worker, user: Any, place: str) -> None:
    test_a_failure_stops_what_waits_for_it_and_nothing_else(worker, user, place, "boom")
    test_a_failure_stops_what_waits_for_it_and_nothing_else(worker, user, place, "say_failed")


def test_two_failures_in_a_group_are_both_stored_and_one_is_the_cause(
    worker: Worker, user: Any
) -> None:
    header = [step(tasks.boom, "x"), step(tasks.fail_work, "y"), one("a")]
    root = settled(workflow(chord(header, one("body")), user=user).delay())

    assert phases(root) == {"x": FAILED, "y": FAILED, "a": DONE, "body": SKIPPED}
    assert {failure.name for failure in root.failures()} == {"x", "y"}
    assert caused(root)["body"] in ("x", "y")
    assert len(errors(root)) == 1
    assert_signals_were_sent_once(worker, root)


@pytest.mark.parametrize("way", ["fail_work", "say_failed"])
def test_a_chain_goes_on_after_a_task_that_may_fail(worker: Worker, user: Any, way: str) -> None:
    may_fail = step(getattr(tasks, way), "x", allow_failure=True)
    root = workflow(chain(one("a"), may_fail, step(tasks.work, "b", 5)), user=user).delay()
    after = settled(root)

    assert phases(after) == {"a": DONE, "x": FAILED, "b": DONE}, tree_as_text(after)
    assert after.phase == Phase.PARTIAL
    assert bodies(worker, after) == {"a": 1, "x": 1, "b": 1}
    if way == "fail_work":
        assert root.result.get(timeout=PATIENCE) == 5


def test_a_chord_body_runs_after_a_header_that_may_fail(worker: Worker, user: Any) -> None:
    header = [one("a"), step(tasks.fail_work, "x", allow_failure=True), plain("b")]
    root = workflow(chord(header, step(tasks.work, "body")), user=user).delay()
    after = settled(root)

    assert phases(after) == {"a": DONE, "x": FAILED, "b": DONE, "body": DONE}
    assert after.phase == Phase.PARTIAL
    assert root.result.get(timeout=PATIENCE) == 2
    assert [failure.name for failure in after.failures()] == ["x"]
    assert errors(find_leaf(after, "x")) == ["The oven is cold."]
