"""Tasks that make tasks while they run, on real workers: replaced, sent, added to a chord."""

from collections import Counter
from typing import Any

import pytest
from kombu.messaging import Producer

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, is_redis
from tests.acceptance.trees import (
    assert_signals_were_sent_once,
    bodies,
    drain,
    errors,
    find_leaf,
    phases,
    settled,
    step,
)
from user_workflows.canvas import chain, chord, group, tracked, workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType, Phase
from user_workflows.testing import tree_as_text
from user_workflows.tree import integrity

DONE, FAILED, SKIPPED = Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED

#: What a task becomes: the tasks that run in its place, and the number that comes of them.
BECOMES: dict[str, tuple[set[str], float]] = {
    "task": ({"g.x"}, 1),
    "chain": ({"g.x", "g.y"}, 2),
    "group": ({"g.x", "g.y"}, 3),
    "chord": ({"g.x", "g.y", "g.z"}, 3),
    "nested": ({"g.x", "g.y", "g.v", "g.z"}, 2),
    "linked": ({"g.x", "g.y", "g.v", "g.z"}, 2),
    "again": ({"g.x.x", "g.x.y"}, 2),
}


def one(name: str, number: int = 1) -> Any:
    return step(tasks.work, name, number)


#: The canvas around the task that grows, and what comes of it, given what comes of the task.
PLACES: dict[str, tuple[Any, Any]] = {
    "alone": (lambda g: g, lambda n: n),
    "in a chain": (lambda g: chain(one("a"), g, step(tasks.work, "b", 5)), lambda n: n + 5),
    "in a header": (
        lambda g: chain(chord([one("a"), g], step(tasks.work, "body")), step(tasks.work, "b")),
        lambda n: n + 1,
    ),
    "as a body": (lambda g: chain(chord([one("a"), one("c")], g), one("b")), lambda n: n + 1),
}


def sound(worker: Worker, root: UserTaskStatus) -> None:
    assert integrity.find_faults(root.tree_id) == []
    tree = root.tree()
    assert (root.completed_steps, root.total_steps) == (tree.completed_steps, tree.total_steps)
    drain(worker)
    # By tags: what a task becomes takes over its id.
    ids = {node.task_id for node in tree.walk()}
    ran = Counter(event.tag for event in worker.events() if event.task_id in ids)
    assert set(ran.values()) == {1}, tree_as_text(root)


# Without native chords each takes seconds, in which Celery polls for results.
@pytest.mark.parametrize("into", BECOMES if is_redis() else ["chain", "chord"])
@pytest.mark.parametrize("place", PLACES)
def test_a_replaced_task_contains_its_replacement(
    worker: Worker, user: Any, place: str, into: str
) -> None:
    grown, number = BECOMES[into]
    build, expected = PLACES[place]
    # A name of the node would be kept; these take the tags of what runs.
    grows = tasks.become.s(tag="g", into=into)
    root = workflow(build(grows), user=user).delay()
    after = settled(root)

    found = phases(after)
    assert set(found.values()) == {DONE}, tree_as_text(after)
    assert grown <= set(found)
    assert "g" not in found
    replaced = UserTaskStatus.objects.filter(tree_id=root.tree_id, node_type=NodeType.REPLACED)
    assert replaced.count() == (2 if into == "again" else 1)
    sound(worker, after)
    assert_signals_were_sent_once(worker, after)
    result = root.result.get(timeout=PATIENCE)
    assert tasks.total(result) == expected(number)


def test_a_task_replaced_at_a_later_attempt_contains_its_replacement(
    worker: Worker, user: Any
) -> None:
    build, expected = PLACES["in a header"]
    grows = tasks.become.s(tag="in time", into="again", failures=2)
    root = workflow(build(grows), user=user).delay()
    after = settled(root)
    drain(worker)

    names = {"a", "in time.x.x", "in time.x.y", "body", "b"}
    assert phases(after) == dict.fromkeys(names, DONE), tree_as_text(after)
    assert (after.completed_steps, after.total_steps) == (5, 5)
    assert len(worker.events("ran", "in time")) == 3
    assert len(worker.events("ran", "in time.x")) == len(worker.events("ran", "in time.x.y")) == 1
    assert integrity.find_faults(root.tree_id) == []
    assert_signals_were_sent_once(worker, after)
    assert tasks.total(root.result.get(timeout=10)) == expected(2)


def test_a_redelivered_message_of_a_replaced_task_adds_nothing(
    worker: Worker, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas = chord(
        [one("a"), tasks.become.s(tag="comes twice", into="held")], step(tasks.work, "body")
    )
    publish, sent = Producer.publish, []

    def note(self: Any, body: Any, **kwargs: Any) -> Any:
        sent.append((body, kwargs))
        return publish(self, body, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Producer, "publish", note)
        root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "comes twice.x")
    again = [(b, k) for b, k in sent if k["headers"]["task"] == tasks.become.name]
    with worker.app.producer_pool.acquire() as producer:
        publish(producer, again[0][0], **again[0][1])
    tasks.add.si().apply_async().get(timeout=PATIENCE)  # The other process of the pool has it.
    before = phases(root)
    worker.let_go("comes twice.x")
    after = settled(root)

    names = {"a", "comes twice.x", "comes twice.y", "body"}
    assert set(before) == names, tree_as_text(root)
    assert phases(after) == dict.fromkeys(names, DONE), tree_as_text(after)
    assert after.total_steps == 4
    sound(worker, after)
    assert len(worker.events("ran", "comes twice")) == 1
    assert tasks.total(root.result.get(timeout=10)) == 3


@pytest.mark.parametrize("place", ["in a chain", "in a header"])
def test_a_replacement_that_fails_stops_what_waits_for_the_task(
    worker: Worker, user: Any, place: str
) -> None:
    build, _ = PLACES[place]
    root = settled(workflow(build(tasks.become.s(tag="g", into="failing")), user=user).delay())
    found = phases(root)

    assert (found["g.x"], found["g.y"], found["a"]) == (FAILED, SKIPPED, DONE), tree_as_text(root)
    assert (found["b"], found.get("body", SKIPPED)) == (SKIPPED, SKIPPED)
    assert root.phase == FAILED
    assert errors(find_leaf(root, "g.x")) == ["The oven is cold."]
    sound(worker, root)


def test_a_replacement_whose_process_is_killed_fails_at_once(worker: Worker, user: Any) -> None:
    canvas = chain(tasks.become.s(tag="g", into="dying"), one("b"))
    root = settled(workflow(canvas, user=user).delay())

    assert phases(root) == {"die": FAILED, "b": SKIPPED}, tree_as_text(root)
    assert "process that ran it has died" in " ".join(errors(find_leaf(root, "die")))
    sound(worker, root)


def test_a_replacement_may_fail_where_the_task_might(worker: Worker, user: Any) -> None:
    grows = tracked(tasks.become.s(tag="g", into="failing"), allow_failure=True)
    root = settled(workflow(group(grows, one("a")), user=user).delay())

    assert phases(root) == {"g.x": FAILED, "g.y": SKIPPED, "a": DONE}, tree_as_text(root)
    sound(worker, root)


@pytest.mark.parametrize("what", BECOMES if is_redis() else ["chain", "chord"])
def test_spawned_tasks_are_below_their_parent_and_nothing_waits_for_them(
    worker: Worker, user: Any, what: str
) -> None:
    grown, _ = BECOMES[what]
    canvas = chain(step(tasks.send, "g", 3, what=what), step(tasks.work, "b", 4))
    root = workflow(canvas, user=user).delay()
    after = settled(root)

    found = phases(after)
    assert set(found.values()) == {DONE}, tree_as_text(after)
    assert grown | {"g", "b"} <= set(found)
    sender = find_leaf(after, "g")
    assert sender.is_container
    assert all(find_leaf(after, name).is_descendant_of(sender) for name in grown)
    assert root.result.get(timeout=PATIENCE) == 7
    sound(worker, after)
    assert_signals_were_sent_once(worker, after)


def test_a_failed_spawned_task_makes_the_workflow_partial(worker: Worker, user: Any) -> None:
    canvas = chain(step(tasks.send, "g", what="failing"), one("b"))
    root = settled(workflow(canvas, user=user).delay())

    expected = {"g": Phase.PARTIAL, "g.x": FAILED, "g.y": SKIPPED, "b": DONE}
    assert phases(root) == expected, tree_as_text(root)
    assert root.phase == Phase.PARTIAL
    sound(worker, root)


def test_tasks_added_to_a_chord_are_waited_for(worker: Worker, user: Any) -> None:
    if not is_redis():
        pytest.skip("Celery can add to a chord with results in Redis only")
    canvas = chord([one("a"), step(tasks.add_more, "g", 5)], step(tasks.work, "body"))
    root = workflow(canvas, user=user).delay()
    after = settled(root)

    assert phases(after) == dict.fromkeys(("a", "g", "g.x", "g.y", "body"), DONE), tree_as_text(
        after
    )
    assert root.result.get(timeout=PATIENCE) == 36
    sound(worker, after)


def test_canceling_a_replaced_task_cancels_its_replacement(worker: Worker, user: Any) -> None:
    canvas = chain(tasks.become.s(tag="g", into="chain"), step(tasks.hold, "held"), one("b"))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("ran", "held")
    UserTaskStatus.objects.get(pk=root.pk).cancel()
    worker.let_go("held")
    after = settled(root)

    expected = {"g.x": DONE, "g.y": DONE, "held": Phase.CANCELED, "b": Phase.CANCELED}
    assert phases(after) == expected, tree_as_text(after)
    assert after.phase == Phase.CANCELED
    assert "b" not in bodies(worker, after)
