"""Cancelling a workflow, a branch, a task; twice; too late; inside a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.utils.timezone import now

from tests.helpers import assert_tree_is_sound, phases, queries, signals, stored
from user_workflows.lifecycle import cancellation, transitions
from user_workflows.lifecycle.cancellation import Cancellation
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import spawning
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db

Nodes = dict[str, UserTaskStatus]


@pytest.fixture
def nodes(db: None) -> Nodes:
    """a -> (b1 -> b2 | c) -> d: ``a`` is done, ``b1`` runs in a worker."""
    header = container(
        "group", container("chain", leaf("b1"), leaf("b2"), name="b"), leaf("c"), name="header"
    )
    nodes = stored(
        container("chain", leaf("a"), container("chord", header, leaf("d"), name="chord"), name="r")
    )
    transitions.settle(nodes["a"], Phase.SUCCEEDED)
    transitions.begin(nodes["b1"], 1, last_seen_at=now())
    return nodes


@pytest.fixture
def told() -> Iterator[list[tuple[set[str], bool]]]:
    """What the workers are told: which tasks, by name, and whether to kill them."""
    heard: list[tuple[set[str], bool]] = []

    def hear(task_ids: list[str], terminate: bool, **kwargs: Any) -> None:
        names = dict(UserTaskStatus.objects.values_list("task_id", "name"))
        heard.append(({names[task_id] for task_id in task_ids}, terminate))

    receivers = cancellation.tasks_revoked.receivers
    cancellation.tasks_revoked.receivers = []
    cancellation.tasks_revoked.connect(hear)
    yield heard
    cancellation.tasks_revoked.receivers = receivers
    cancellation.tasks_revoked.sender_receivers_cache.clear()


def test_canceling_a_workflow_cancels_waiting_tasks_and_asks_running_ones_to_stop(
    nodes: Nodes,
) -> None:
    assert nodes["r"].cancel() == Cancellation(pending=3, running=1, finished=1)
    found = phases(nodes["r"].pk)
    assert found.pop("a") == "SUCCEEDED"
    assert set(found.values()) == {"CANCELED"}
    open_nodes = {n.name for n in UserTaskStatus.objects.active()}
    assert open_nodes == {"b1", "b", "header", "chord", "r"}
    assert nodes["r"].phase == Phase.CANCELED


def test_a_canceled_workflow_settles_when_its_running_task_has_stopped(nodes: Nodes) -> None:
    nodes["r"].cancel()
    with signals() as heard:
        transitions.settle(nodes["b1"], Phase.SUCCEEDED, attempt=1)
    assert phases(nodes["r"].pk)["b1"] == "CANCELED"
    assert not UserTaskStatus.objects.active().exists()
    assert heard["stopped"] == [nodes[name].pk for name in ("b1", "b", "header", "chord", "r")]
    assert heard["finished"] == [(nodes["r"].pk, Phase.CANCELED)]


def test_canceling_twice_sends_each_signal_once_children_first(nodes: Nodes) -> None:
    transitions.settle(nodes["b1"], Phase.SUCCEEDED, attempt=1)
    with signals() as heard:
        nodes["r"].cancel()
        nodes["r"].cancel()
    assert sorted(heard["stopped"]) == sorted(
        n.pk for n in nodes.values() if n.name not in ("a", "b1")
    )
    order = heard["stopped"].index
    for name, parent in [("b2", "b"), ("b", "header"), ("header", "chord"), ("chord", "r")]:
        assert order(nodes[name].pk) < order(nodes[parent].pk)
    assert heard["finished"] == [(nodes["r"].pk, Phase.CANCELED)]


def test_canceling_a_branch_leaves_its_siblings_alone_and_skips_its_successors(
    nodes: Nodes,
) -> None:
    assert nodes["b"].cancel() == Cancellation(pending=1, running=1, finished=0)
    assert phases(nodes["r"].pk) == {
        "r": "CANCELED", "a": "SUCCEEDED", "chord": "CANCELED", "header": "CANCELED",
        "b": "CANCELED", "b1": "CANCELED", "b2": "CANCELED", "c": "PENDING", "d": "SKIPPED",
    }  # fmt: skip
    assert UserTaskStatus.objects.get(name="d").caused_by == nodes["b"]
    transitions.settle(nodes["b1"], Phase.FAILED, attempt=1, message="canceled")
    transitions.settle(nodes["c"], Phase.SUCCEEDED)
    root = UserTaskStatus.objects.get(name="r")
    assert (root.phase, root.is_settled) == (Phase.CANCELED, True)


def test_canceling_one_task_skips_its_successor_and_leaves_others_running(nodes: Nodes) -> None:
    assert nodes["c"].cancel() == Cancellation(pending=1)
    found = phases(nodes["r"].pk)
    assert (found["c"], found["d"], found["b1"]) == ("CANCELED", "SKIPPED", "RUNNING")


def test_a_task_that_waits_for_its_next_attempt_is_canceled_at_once(nodes: Nodes) -> None:
    transitions.retry(nodes["b1"], 1)
    assert nodes["r"].cancel() == Cancellation(pending=4, finished=1)
    assert not UserTaskStatus.objects.active().exists()


def test_canceling_again_changes_nothing(nodes: Nodes) -> None:
    nodes["r"].cancel()
    before = list(UserTaskStatus.objects.order_by("pk").values())
    assert nodes["r"].cancel() == Cancellation(finished=4)
    assert list(UserTaskStatus.objects.order_by("pk").values()) == before


def test_tasks_that_have_ended_keep_their_phase(nodes: Nodes) -> None:
    assert nodes["a"].cancel() == Cancellation(finished=1)
    assert nodes["a"].phase == Phase.SUCCEEDED
    alone = stored(leaf("z"))["z"]
    alone.fail("x")
    assert alone.cancel() == Cancellation(finished=1)
    assert alone.phase == Phase.FAILED


def test_canceling_a_deleted_or_unsaved_node_does_nothing(nodes: Nodes) -> None:
    UserTaskStatus.objects.filter(pk=nodes["r"].pk).delete()
    assert nodes["b"].cancel() == Cancellation()
    assert UserTaskStatus().cancel() == Cancellation()


def test_canceling_a_failed_workflow_cancels_the_rest_and_keeps_it_failed(nodes: Nodes) -> None:
    transitions.settle(nodes["b1"], Phase.FAILED, attempt=1)
    assert nodes["r"].cancel() == Cancellation(pending=1, finished=4)
    root = UserTaskStatus.objects.get(name="r")
    assert (root.phase, root.is_settled, root.caused_by) == (Phase.FAILED, True, nodes["b1"])


def test_workers_are_told_once_after_the_commit(
    nodes: Nodes, told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        nodes["r"].cancel()
        assert told == []
    assert told == [({"b2", "c", "d"}, False)]


def test_force_terminates_running_tasks(
    nodes: Nodes, told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        nodes["r"].cancel(force=True)
    assert told == [({"b2", "c", "d"}, False), ({"b1"}, True)]


def test_force_terminates_tasks_that_were_asked_to_stop_before(
    nodes: Nodes, told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    nodes["r"].cancel()
    with django_capture_on_commit_callbacks(execute=True):
        assert nodes["r"].cancel(force=True) == Cancellation(running=1, finished=4)
    assert told == [({"b1"}, True)]


def test_a_retrying_task_settles_with_the_running_task_that_it_has_spawned(
    nodes: Nodes,
) -> None:
    sent = spawning.attach_subtree(nodes["b1"], leaf("sent"))
    transitions.begin(sent, 1, last_seen_at=now())
    transitions.retry(nodes["b1"], 1)
    assert nodes["r"].cancel() == Cancellation(pending=4, running=1, finished=1)
    assert not UserTaskStatus.objects.get(name="b1").is_settled
    transitions.settle(sent, Phase.SUCCEEDED, attempt=1)
    assert not UserTaskStatus.objects.active().exists()


def test_a_canceled_spawned_task_marks_its_ancestors_when_its_parent_ends(nodes: Nodes) -> None:
    sent = spawning.attach_subtree(nodes["b1"], leaf("sent", allow_failure=True))
    sent.cancel()
    unlike = phases(nodes["r"].pk)
    assert unlike.pop("sent") == "CANCELED"
    assert "CANCELED" not in unlike.values()
    transitions.settle(nodes["b1"], Phase.SUCCEEDED)
    found = phases(nodes["r"].pk)
    shown = {name for name, phase in found.items() if phase == "CANCELED"}
    assert shown == {"sent", "b1", "b", "header", "chord", "r"}
    assert found["b2"] == found["d"] == "PENDING"  # Celery goes on.
    causes = UserTaskStatus.objects.exclude(name="sent").filter(phase=Phase.CANCELED)
    assert set(causes.values_list("caused_by", flat=True)) == {sent.pk}
    for name in ("b2", "c", "d"):
        transitions.begin(nodes[name], 1, last_seen_at=now())
        transitions.settle(nodes[name], Phase.SUCCEEDED)
    assert UserTaskStatus.objects.get(name="r").is_settled
    assert UserTaskStatus.objects.get(name="r").phase == Phase.CANCELED


def test_a_canceled_spawned_task_does_not_mark_its_parent_when_another_leaf_fails(
    nodes: Nodes,
) -> None:
    spawning.attach_subtree(nodes["b1"], leaf("sent", allow_failure=True)).cancel()
    fate = {"c": Phase.FAILED}
    transitions.close_leaves(nodes["r"].pk, lambda found: fate.get(found.name), "It was not sent.")
    found = phases(nodes["r"].pk)
    assert (found["b1"], found["b"], found["r"]) == ("RUNNING", "RUNNING", "FAILED")


def test_force_terminates_a_spawned_task_but_not_its_parent_that_has_ended(
    nodes: Nodes, told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    sent = spawning.attach_subtree(nodes["b1"], leaf("sent"))
    transitions.begin(sent, 1, last_seen_at=now())
    nodes["b1"].cancel()
    transitions.settle(nodes["b1"], Phase.SUCCEEDED, attempt=1)
    told.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert nodes["b"].cancel(force=True) == Cancellation(running=1, finished=2)
    assert told == [({"sent"}, True)]


@pytest.mark.parametrize("verdict", [Phase.SUCCEEDED, Phase.FAILED])
def test_force_does_not_terminate_a_task_that_has_its_verdict(
    nodes: Nodes, told: Any, verdict: Phase, django_capture_on_commit_callbacks: Any
) -> None:
    transitions.change_phase(nodes["b1"], verdict)
    with django_capture_on_commit_callbacks(execute=True):
        assert nodes["r"].cancel(force=True).running == 0
    assert [terminate for _, terminate in told] == [False]
    assert phases(nodes["r"].pk)["b1"] == verdict


def test_a_task_that_was_started_by_hand_settles_at_once(nodes: Nodes) -> None:
    nodes["c"].start()
    assert nodes["c"].cancel() == Cancellation(pending=1)
    assert UserTaskStatus.objects.get(name="c").is_settled


def test_a_running_task_does_not_settle_with_the_canceled_task_that_it_has_spawned(
    nodes: Nodes,
) -> None:
    spawning.attach_subtree(nodes["b1"], leaf("sent"))
    nodes["r"].cancel()
    assert UserTaskStatus.objects.get(name="sent").is_settled
    assert not UserTaskStatus.objects.get(name="b1").is_settled
    transitions.settle(nodes["b1"], Phase.SUCCEEDED, attempt=1)
    assert not UserTaskStatus.objects.active().exists()


def test_a_failed_task_with_an_open_spawned_task_stays_failed(nodes: Nodes) -> None:
    spawning.attach_subtree(nodes["b1"], leaf("sent"))
    transitions.settle(nodes["b1"], Phase.FAILED, attempt=1)
    nodes["r"].cancel()
    assert phases(nodes["r"].pk)["b1"] == "FAILED"
    assert not UserTaskStatus.objects.active().exists()


def test_steps_of_spawned_tasks_count_in_the_root_but_not_in_their_parent(nodes: Nodes) -> None:
    spawning.attach_subtree(nodes["b1"], leaf("sent", total_steps=9))
    transitions.retry(nodes["b1"], 1)
    nodes["r"].cancel()
    own = UserTaskStatus.objects.get(name="b1")
    assert (own.is_settled, own.total_steps) == (True, 1)
    assert UserTaskStatus.objects.get(name="r").total_steps == 5 + 9


def test_signals_of_children_come_first_whatever_their_phases() -> None:
    """A branch that was canceled stands before one in which something had failed."""
    canceled = container("group", leaf("a"), leaf("b"), name="canceled")
    failed = container("group", leaf("x"), leaf("y"), name="failed")
    nodes = stored(container("group", canceled, failed, name="r"))
    transitions.settle(nodes["x"], Phase.FAILED)
    with signals() as heard:
        nodes["r"].cancel()
    assert phases(nodes["r"].pk)["canceled"] == "CANCELED"
    assert heard["stopped"][-1] == nodes["r"].pk


def test_the_number_of_queries_does_not_grow_with_the_number_of_tasks() -> None:
    counts = []
    for size in (10, 400):
        header = container("group", *(leaf(f"{size}.{n}") for n in range(size)), name=f"h{size}")
        root = stored(container("chord", header, leaf(f"e{size}"), name=f"r{size}"))[f"r{size}"]
        with queries() as sql:
            root.cancel()
        counts.append(len(sql))
        assert_tree_is_sound(root.pk)
    assert counts[1] <= counts[0] + 2


def test_saving_the_state_canceled_cancels_the_task(nodes: Nodes) -> None:
    nodes["c"].state = "Canceled"
    nodes["c"].save()
    assert phases(nodes["r"].pk)["d"] == "SKIPPED"
    assert UserTaskStatus.objects.get(name="c").is_settled


@pytest.mark.django_db(transaction=True)
def test_canceling_succeeds_while_the_broker_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(current_app.control, "revoke", away)
    nodes = stored(container("chain", leaf("a"), leaf("b"), name="r"))
    cancellation = nodes["r"].cancel()
    assert cancellation.pending == 2
    assert set(phases(nodes["r"].pk).values()) == {"CANCELED"}
