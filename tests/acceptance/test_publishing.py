"""When messages are sent, and what becomes of a workflow whose messages could not be sent."""

from typing import Any

import pytest
from django.db import transaction
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from tests.acceptance import tasks
from tests.acceptance.harness import PATIENCE, Worker, make_app
from tests.acceptance.trees import bodies, caused, errors, find_leaf, phases, settled, step
from user_workflows.canvas import chain, chord, group, workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text
from user_workflows.tree import integrity

DONE, FAILED, SKIPPED = Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED


def one(name: str) -> Any:
    return step(tasks.work, name, 1)


def test_in_a_transaction_publishing_waits_for_the_commit(worker: Worker, user: Any) -> None:
    with transaction.atomic():
        root = workflow(chain(one("a"), one("b")), user=user).delay()
        early = root.result.id
        assert not bodies(worker, root)
        assert set(phases(root).values()) == {Phase.PENDING}
    after = settled(root)

    assert phases(after) == {"a": DONE, "b": DONE}
    assert early == root.result.id == find_leaf(after, "b").task_id
    assert root.result.get(timeout=PATIENCE) == 2


def test_after_a_rollback_nothing_is_published(worker: Worker, user: Any) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        root = workflow(group(one("rolled"), one("back")), user=user).delay()
        raise ZeroDivisionError
    bodies_of_a_later_one = settled(workflow(one("later"), user=user).delay())

    assert bodies(worker, bodies_of_a_later_one) == {"later": 1}
    assert not worker.events("ran", "rolled") + worker.events("ran", "back")
    assert not UserTaskStatus.objects.filter(tree_id=root.pk).exists()


def test_a_broker_that_is_away_fails_the_workflow_with_a_message(worker: Worker, user: Any) -> None:
    away = make_app(worker.queue, broker_url="redis://127.0.0.1:1/0", task_publish_retry=False)
    away.conf.update(broker_transport_options={"max_retries": 0, "socket_connect_timeout": 1})
    away.set_current()
    flow = workflow(chain(one("a"), group(one("b"), one("c")), one("d")), user=user)
    with pytest.raises(OperationalError):
        flow.delay()
    worker.app.set_current()
    root = settled(UserTaskStatus.objects.roots().latest("pk"))

    assert phases(root) == {"a": FAILED, "b": SKIPPED, "c": SKIPPED, "d": SKIPPED}, tree_as_text(
        root
    )
    assert set(caused(root).values()) == {"a"}
    assert root.phase == FAILED
    assert "could not be sent" in errors(root)[0]
    assert errors(find_leaf(root, "a")) == errors(root)


BREAKING: dict[str, tuple[Any, int, dict[str, Phase]]] = {
    "group": (
        lambda: group(one("a"), one("b"), one("c"), one("d")),
        2,
        {"a": DONE, "b": DONE, "c": FAILED, "d": FAILED},
    ),
    "chord": (
        lambda: chain(chord([one("a"), one("b"), one("c")], one("body")), one("after")),
        2,
        {"a": DONE, "b": DONE, "c": FAILED, "body": SKIPPED, "after": SKIPPED},
    ),
    "chains in a group": (
        lambda: group(chain(one("a"), one("b")), chain(one("c"), one("d"))),
        1,
        {"a": DONE, "b": DONE, "c": FAILED, "d": SKIPPED},
    ),
    "chord in a chord": (
        lambda: chord([chord([one("a"), one("b")], one("c")), one("d")], one("e")),
        1,
        {"a": DONE, "b": FAILED, "c": SKIPPED, "d": FAILED, "e": SKIPPED},
    ),
    "chain": (lambda: chain(one("a"), one("b")), 0, {"a": FAILED, "b": SKIPPED}),
}


@pytest.mark.parametrize("shape", BREAKING)
def test_a_broker_that_breaks_part_way_leaves_no_task_open(
    worker: Worker, user: Any, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    build, sent, expected = BREAKING[shape]
    flow = workflow(build(), user=user)
    publish, taken = Producer.publish, []

    def breaking(self: Any, body: Any, **kwargs: Any) -> Any:
        if len(taken) == sent:
            raise OperationalError("The broker is on fire.")
        if kwargs["headers"]["task"] != "celery.chord_unlock":
            taken.append(body)
        return publish(self, body, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Producer, "publish", breaking)
        with pytest.raises(OperationalError, match="on fire"):
            flow.delay()
    root = settled(UserTaskStatus.objects.roots().latest("pk"))

    assert phases(root) == expected, tree_as_text(root)
    assert root.phase == FAILED
    failed = [find_leaf(root, name) for name, phase in expected.items() if phase is FAILED]
    for node in failed:
        assert errors(node) == ["It could not be sent to the workers: The broker is on fire."]
    assert all(name in {node.name for node in failed} for name in caused(root).values())
    ran = {name for name, phase in expected.items() if phase is DONE}
    assert bodies(worker, root) == dict.fromkeys(ran, 1)
    assert integrity.find_faults(root.tree_id) == []
