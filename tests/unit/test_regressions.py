"""What was wrong once."""

from __future__ import annotations

import json
from typing import Any

import celery
import pytest
from celery import Signature, chain, chord, group
from django.utils.timezone import now

from tests.helpers import phases, signals, stored
from tests.tasks import plain, user
from user_workflows import canvas as ours
from user_workflows.canvas import workflow
from user_workflows.lifecycle import containers, transitions
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import copying
from user_workflows.queues.celery.context import publish_untracked, publishing
from user_workflows.queues.celery.planner import plan_canvas
from user_workflows.testing import container, leaf
from user_workflows.tree import integrity

pytestmark = pytest.mark.django_db
learner = pytest.fixture(name="learner")(lambda user: user)


@pytest.mark.django_db(transaction=True)
def test_an_empty_group_in_what_is_skipped_does_not_keep_the_workflow_open() -> None:
    later = container("chain", leaf("b"), container("group", name="empty"), name="later")
    nodes = stored(container("chain", leaf("a"), later, name="root"))
    with signals() as heard:
        transitions.settle(nodes["a"], Phase.FAILED)
    assert phases(nodes["root"].pk)["later"] == "SKIPPED"
    assert not UserTaskStatus.objects.active().exists()
    assert heard["finished"] == [(nodes["root"].pk, Phase.FAILED)]


def test_callbacks_of_a_chords_members_are_planned(learner: Any) -> None:
    member = plain.s(tag="a")
    member.link(plain.s(tag="callback"))
    plan = workflow(chord([member, plain.s()], plain.s()), user=learner).plan
    assert len(list(plan.leaves())) == 4


def test_a_plain_task_may_have_an_argument_called_task(learner: Any) -> None:
    flow = workflow(plain.s(task={"task": 5}), user=learner)
    assert flow.plan.name == "plain"
    assert workflow(plain.s(task={"task": "other.name"}), user=learner).plan.name == "plain"


def test_containers_that_were_skipped_because_nothing_runs_any_more_say_why(
    learner: Any, eager: None
) -> None:
    canvas = group(
        chain(user.si(tag="a", do="raise"), user.si(tag="b")),
        chain(user.si(tag="c"), user.si(tag="d")),
    )
    with pytest.raises(Exception, match="a went wrong"):
        workflow(canvas, user=learner).delay()
    never = UserTaskStatus.objects.get(node_type="chain", phase=Phase.SKIPPED)
    assert never.caused_by is not None
    assert never.caused_by.name == "a"


def test_a_container_that_has_not_failed_is_put_down_to_nothing() -> None:
    inner = container("group", leaf("x", allow_failure=True), name="inner")
    nodes = stored(container("group", inner, leaf("z"), name="root"))
    transitions.close_leaves(nodes["root"].pk, lambda leaf: Phase.FAILED, "No broker.")
    found = {n.name: n.caused_by for n in UserTaskStatus.objects.filter(is_container=True)}
    assert phases(nodes["root"].pk)["inner"] == "PARTIAL"
    assert found == {"inner": None, "root": nodes["z"]}


def test_an_allowed_failure_is_not_the_cause_of_what_never_ran(learner: Any, eager: None) -> None:
    from user_workflows.canvas import tracked

    allowed = tracked(user.si(tag="x", do="raise"), allow_failure=True)
    canvas = group(
        allowed,
        chain(user.si(tag="a", do="raise"), user.si(tag="b")),
        user.si(tag="c"),
    )
    with pytest.raises(Exception, match="a went wrong"):
        workflow(canvas, user=learner).delay()
    never = UserTaskStatus.objects.get(name="c")
    assert never.phase == Phase.SKIPPED
    assert never.caused_by is not None
    assert never.caused_by.name == "a"


def test_an_allowed_failure_of_a_container_does_not_hide_a_cancellation() -> None:
    inner = container("group", leaf("x"), leaf("y"), name="inner", allow_failure=True)
    nodes = stored(container("group", inner, leaf("z"), name="root"))
    nodes["x"].cancel()
    transitions.settle(nodes["y"], Phase.FAILED)
    assert phases(nodes["root"].pk)["inner"] == "FAILED"
    transitions.settle(nodes["z"], Phase.SUCCEEDED)
    root = UserTaskStatus.objects.get(name="root")
    assert root.is_settled
    assert root.phase in (Phase.CANCELED, Phase.PARTIAL)


def test_a_callback_that_fails_leaves_what_follows_alone() -> None:
    nodes = stored(
        container(
            "chain",
            container("link", leaf("a"), leaf("cb", allow_failure=True)),
            leaf("b"),
            name="root",
        )
    )
    transitions.settle(nodes["a"], Phase.SUCCEEDED)
    transitions.settle(nodes["cb"], Phase.FAILED)
    transitions.settle(nodes["b"], Phase.SUCCEEDED)
    root = UserTaskStatus.objects.get(name="root")
    assert (root.phase, root.is_settled) == (Phase.PARTIAL, True)


def test_canceling_a_task_with_a_callback_that_waits_settles_what_had_started_behind_it() -> None:
    link = container("link", leaf("a"), leaf("cb"), name="link")
    later = container("chain", leaf("b"), leaf("c"), name="later")
    nodes = stored(container("chain", link, later, name="root"))
    transitions.settle(nodes["a"], Phase.SUCCEEDED)
    transitions.settle(nodes["b"], Phase.SUCCEEDED)
    nodes["link"].cancel()
    containers.settle_ready(nodes["root"].pk)  # As the commit does.
    assert not UserTaskStatus.objects.active().exists()
    assert phases(nodes["root"].pk)["c"] == "SKIPPED"


def test_a_row_that_was_read_before_its_tree_was_numbered_anew_still_finds_its_subtree() -> None:
    nodes = stored(
        container("group", container("chain", leaf("a"), leaf("b"), name="c"), leaf("d"), name="r")
    )
    UserTaskStatus.objects.filter(tree_id=nodes["r"].pk).exclude(pk=nodes["r"].pk).update(rght=0)
    integrity.renumber_tree(nodes["r"].pk)
    assert nodes["c"].counts() == {Phase.PENDING: 2}
    assert [n.name for n in nodes["c"].tree().walk()] == ["c", "a", "b"]
    assert publishing().submission is None


def test_a_branch_that_was_canceled_before_its_turn_is_settled_with_what_is_skipped() -> None:
    chord = container("chord", container("group", leaf("c"), name="h"), leaf("d"), name="later")
    branch = container("chain", leaf("b"), chord, name="branch")
    nodes = stored(container("chain", leaf("a"), branch, name="root"))
    nodes["later"].cancel()
    nodes["a"].cancel()
    assert phases(nodes["root"].pk)["b"] == "SKIPPED"
    assert not UserTaskStatus.objects.active().exists()


def test_a_task_that_counted_on_after_its_verdict_is_stored_with_all_its_steps_at_most() -> None:
    status = stored(leaf("a", total_steps=2))["a"]
    transitions.begin(status, 1, last_seen_at=now())
    status.increment_completed_steps(3)
    UserTaskStatus.objects.get(pk=status.pk).cancel()
    transitions.settle(status, Phase.FAILED, attempt=1)
    status.refresh_from_db()
    assert (status.phase, status.is_settled) == (Phase.CANCELED, True)
    assert (status.completed_steps, status.total_steps) == (2, 2)


def test_what_waits_for_a_long_chain_is_skipped_whatever_the_database_can_take_at_once() -> None:
    steps = [leaf(str(number)) for number in range(1200)]
    nodes = stored(container("chain", *steps, name="root"))
    transitions.settle(nodes["0"], Phase.FAILED)
    found = UserTaskStatus.objects.get(name="root").counts()
    assert found == {Phase.FAILED: 1, Phase.SKIPPED: 1199}
    assert not UserTaskStatus.objects.active().exists()


@pytest.mark.parametrize("kind", [celery, ours], ids=["celery's", "ours"])
def test_a_chord_in_a_group_between_the_steps_of_a_body_can_be_sent_by_a_worker(kind: Any) -> None:
    inner = kind.group(kind.chord([plain.si(), plain.si()], plain.s()), plain.si())
    chain_within = kind.chain(plain.s(), inner, plain.s())
    canvas = copying.copy_canvas(kind.chord([plain.si(), plain.si()], chain_within))
    plan_canvas(canvas)
    received = Signature.from_dict(json.loads(json.dumps(canvas)), app=plain.app)
    assert publish_untracked(received.apply_async).id
