"""One writer stopped before each of its statements while another one does all its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils.timezone import now

from tests.helpers import signals
from user_workflows.lifecycle import containers, steps, transitions
from user_workflows.lifecycle.notifications import send_signals
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import TERMINAL, NodeType, Phase
from user_workflows.queues.celery import spawning
from user_workflows.testing import container, leaf
from user_workflows.tree.nodes import TreeNode

from . import jobs
from .checks import assert_announced_once, assert_bounds, assert_settled, rows_of
from .crew import Result
from .interleaving import MANY, Beside, Between, interrupted
from .planned import by_name, group_of, nested, stored

Tree = dict[str, UserTaskStatus]
Act = Callable[[Tree, str], None]


def finish(tree: Tree, name: str) -> None:
    transitions.settle(tree[name], Phase.SUCCEEDED, attempt=1)


def finish_in_transaction(tree: Tree, name: str) -> None:
    with transaction.atomic():
        finish(tree, name)
        jobs.read(tree[name].pk)  # It goes on for a while.


def fail(tree: Tree, name: str) -> None:
    transitions.settle(tree[name], Phase.FAILED, message="It broke.", attempt=1)


def give_up(tree: Tree, name: str) -> None:
    jobs.read(tree[name].pk).fail("It gave up.")
    finish(tree, name)


def retry(tree: Tree, name: str) -> None:
    transitions.retry(tree[name], 1)


def begin(tree: Tree, name: str) -> None:
    jobs.enter(tree[name].pk)


def cancel(tree: Tree, name: str) -> None:
    jobs.read(tree[name].pk).cancel()


def cancel_in_transaction(tree: Tree, name: str) -> None:
    with transaction.atomic():
        cancel(tree, name)
        jobs.read(tree[name].pk)


def send(tree: Tree, name: str) -> None:
    """The body sends a chain, for which nobody waits."""
    plan = container("chain", leaf("s1"), leaf("s2"), name="sent")
    plan.allow_failure = True
    spawning.attach_subtree(tree[name], plan)


def become(tree: Tree, name: str) -> None:
    """The task is replaced with a chain, whose last task takes over its id."""
    plan = container("chain", leaf("n1"), leaf("n2"), name="new")
    plan.children[-1].task_id = tree[name].task_id
    spawning.attach_subtree(tree[name], plan, in_place_of=0)


def send_in_vain(tree: Tree, name: str) -> None:
    """Publishing broke before ``name`` was sent."""
    fates = {tree[name].pk: Phase.FAILED}
    fates.update((tree[later].pk, Phase.SKIPPED) for later in ("body", "tail"))

    def fate(leaf: TreeNode) -> Phase | None:
        return fates.get(leaf.pk)

    transitions.close_leaves(tree["root"].pk, fate, "It could not be sent.")


def lose(tree: Tree, name: str) -> None:
    """It was not sent."""
    pk = tree[name].pk
    transitions.close_leaves(
        tree["root"].pk, lambda leaf: Phase.FAILED if leaf.pk == pk else None, "No broker."
    )


#: (this, is stopped for that): the pairs that differ in what they could do to each other.
EVERYWHERE = [
    (fail, "a", finish, "b"),
    (give_up, "a", finish, "b"),
    (fail, "a", fail, "b"),
    (finish_in_transaction, "a", finish, "b"),
    (cancel_in_transaction, "a", finish, "b"),
]
ON_POSTGRESQL = [
    (cancel, "root", retry, "b"),
    (fail, "a", fail, "a"),
    (give_up, "a", finish, "a"),
    (give_up, "a", cancel, "root"),
    (fail, "a", cancel, "header"),
    (retry, "a", cancel, "root"),
    (finish_in_transaction, "a", fail, "b"),
    (cancel, "root", finish, "a"),
    (cancel, "root", fail, "a"),
    (cancel, "root", begin, "c"),
    (cancel, "root", give_up, "b"),
    (cancel, "header", finish_in_transaction, "b"),
    (cancel_in_transaction, "header", finish, "b"),
    (begin, "b", cancel, "root"),
    (send, "a", cancel, "root"),
    (cancel, "root", send, "a"),
    (send, "a", fail, "b"),
    (fail, "b", send, "a"),
    (finish, "b", send, "a"),
    (become, "a", cancel, "root"),
    (cancel, "root", become, "a"),
    (cancel, "a", become, "a"),
    (become, "a", become, "b"),
    (become, "a", fail, "b"),
    (fail, "b", become, "a"),
    (finish, "b", become, "a"),
    (cancel, "root", cancel, "root"),
    (cancel, "header", cancel, "c"),
    (send_in_vain, "c", finish, "a"),
    (send_in_vain, "c", fail, "c"),
    (send_in_vain, "c", fail, "b"),
    (send_in_vain, "c", cancel, "root"),
    (send_in_vain, "c", give_up, "a"),
]
#: What takes no lock, so that it may come at any moment.
ON_ONE_CONNECTION = [
    (finish, "a", finish, "b"),
    (fail, "a", finish, "b"),
    (give_up, "a", finish, "b"),
    (cancel, "root", finish, "a"),
    (cancel, "root", begin, "c"),
    (send_in_vain, "c", finish, "a"),
]
Pair = tuple[Act, str, Act, str]


def _id(pair: Pair) -> str:
    return f"{pair[0].__name__} {pair[1]}, {pair[2].__name__} {pair[3]}".replace("_", " ")


@pytest.mark.parametrize("pair", EVERYWHERE, ids=_id)
def test_two_events_at_once_leave_a_consistent_tree(server: str, pair: Pair) -> None:
    _meet(pair)


@pytest.mark.parametrize("pair", ON_POSTGRESQL, ids=_id)
def test_any_two_events_at_once_leave_a_consistent_tree(postgres: str, pair: Pair) -> None:
    _meet(pair)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pair", ON_ONE_CONNECTION, ids=_id)
def test_an_event_between_the_statements_of_another_leaves_a_consistent_tree(pair: Pair) -> None:
    _meet(pair, Between)


@pytest.mark.django_db
@pytest.mark.parametrize("how", [finish, fail, cancel, lose], ids=lambda act: act.__name__)
def test_containers_made_ready_by_two_transactions_settle_after_the_commit(
    how: Act, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    tree = by_name(stored(group_of(2)))
    with signals() as heard, django_capture_on_commit_callbacks(execute=True):
        how(tree, "0")
        # A worker, which cannot see that either, ends the other leaf and finds this one open.
        beside = UserTaskStatus.objects.filter(pk=tree["1"].pk)
        beside.update(phase=Phase.SUCCEEDED, settled_at=now())
    assert_settled(tree["root"].pk)
    assert heard["stopped"] == [tree["0"].pk, tree["root"].pk]
    assert len(heard["finished"]) == 1


@pytest.mark.django_db(transaction=True)
def test_a_container_that_settles_during_a_cancellation_sends_its_signal_once() -> None:
    """By the worker that has ended its last leaf just before."""
    for at in range(MANY):
        tree = by_name(stored(nested()))
        for number in range(4):
            ended = UserTaskStatus.objects.filter(pk=tree[str(number)].pk)
            ended.update(phase=Phase.SUCCEEDED, settled_at=now())
        with signals() as heard:
            reached = interrupted(
                lambda tree=tree: cancel(tree, "root"),
                lambda tree=tree: send_signals(containers.settle_ancestors(tree["left"].pk)),
                at,
                Between,
            )
        assert heard["stopped"].count(tree["left"].pk) == 1, at
        if not reached:
            break
    assert at > 3


@pytest.mark.django_db(transaction=True)
def test_outdated_sums_do_not_replace_those_of_a_settled_container() -> None:
    for at in range(MANY):
        tree = by_name(stored(nested()))
        for number in range(3):
            finish(tree, str(number))
        if not interrupted(
            lambda tree=tree: steps.roll_up(tree["root"].pk, timedelta(0)),
            lambda tree=tree: finish(tree, "3"),
            at,
            Between,
        ):
            break
        left = UserTaskStatus.objects.get(pk=tree["left"].pk)
        assert left.completed_steps == left.total_steps == 1 + 2 + 3 + 4
    assert at > 1


def test_two_processes_that_count_at_once_leave_exact_sums(server: str) -> None:
    for at in range(MANY):
        tree = _tree(waiting=False)
        reached = interrupted(
            lambda tree=tree: tree["a"].increment_completed_steps(),
            lambda tree=tree: tree["b"].increment_completed_steps(),
            at,
        )
        if not reached:
            break
        nodes = by_name(tree["root"])
        assert [nodes[name].completed_steps for name in ("a", "b", "header", "root")] == [
            1,
            1,
            2,
            2,
        ]


def _meet(pair: Pair, how: type[Beside | Between] = Beside) -> None:
    """In chain(chord(group(a, b, c), body), tail); a and b run, and c, if named, waits."""
    act, name, other, other_name = pair
    acts = {(act, name), (other, other_name)}
    for at in range(MANY):
        tree = _tree(waiting="c" in (name, other_name) or cancel in (act, other))
        with signals() as heard:
            reached = interrupted(
                lambda tree=tree: act(tree, name),
                lambda tree=tree: other(tree, other_name),
                at,
                how,
            )
            if not reached:
                break
            try:
                _assert_nothing_lost(tree, acts)
                _go_on(tree)
                ends = [(pk, str(verdict)) for pk, verdict in heard["finished"]]
                assert_settled(tree["root"].pk)
                assert_bounds(tree["root"].pk)
                assert_announced_once([tree["root"]], [Result(None, heard["stopped"], ends)])
                _assert_explained(tree["root"].pk)
            except AssertionError as error:
                error.add_note(f"at statement {at} of the first")
                raise
    assert 0 < at < MANY - 1


def _tree(*, waiting: bool) -> Tree:
    names = "abc" if waiting else "ab"
    header = container("group", *(leaf(name, 2) for name in names), name="header")
    chord = container("chord", header, leaf("body"), name="chord")
    root = stored(container("chain", chord, leaf("tail"), name="root"))
    tree = by_name(root)
    for name in "ab":
        assert jobs.enter(tree[name].pk)
    return tree


def _assert_nothing_lost(tree: Tree, acts: set[tuple[Act, str]]) -> None:
    """No open task is in a settled container, and whoever canceled has stopped all he meant to."""
    nodes = rows_of(tree["root"].pk)
    for node in nodes.values():
        if node.settled_at is None and node.parent_id is not None:
            assert nodes[node.parent_id].settled_at is None, f"{node.name} is open in a settled one"
        canceled = {(cancel, "root"), (cancel, node.name)} & acts
        if canceled and node.node_type == NodeType.TASK:
            assert node.phase in TERMINAL, f"{node.name} is {node.phase} though it was canceled"


def _go_on(tree: Tree) -> None:
    """What runs ends, then what is left runs: the workers after the two have met."""
    for node in rows_of(tree["root"].pk).values():
        if node.node_type == NodeType.TASK and node.settled_at is None:
            transitions.settle(node, Phase.SUCCEEDED)


def _assert_explained(tree_id: int) -> None:
    nodes = rows_of(tree_id)
    errors = UserTaskArtifact.objects.filter(status__in=list(nodes), name="Error")
    texts = Counter(errors.values_list("status_id", flat=True))
    for node in nodes.values():
        expected = int(node.phase == Phase.FAILED)
        assert texts[node.pk] == expected, f"{node.name} ({node.phase}): {texts[node.pk]} errors"
        if node.phase == Phase.SKIPPED or (node.is_container and node.phase == Phase.FAILED):
            assert node.caused_by_id in nodes, f"{node.name} ({node.phase}) has no cause"
            cause = nodes[node.caused_by_id]
            assert cause.phase in (Phase.FAILED, Phase.CANCELED), f"{node.name}: {cause.name}"
