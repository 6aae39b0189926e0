"""What ends, settles and fails in random trees, against definitions that are slow and obvious."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from user_workflows.lifecycle import decisions
from user_workflows.lifecycle.decisions import Change
from user_workflows.phases import TERMINAL, Child, NodeType, Phase, verdict
from user_workflows.tree.nodes import TreeNode

many = settings(max_examples=4 * settings.default.max_examples)

AT = datetime(2026, 1, 1, tzinfo=UTC)
CONTAINERS = [NodeType.CHAIN, NodeType.GROUP, NodeType.CHORD]
OUTCOMES = [None, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED, Phase.SKIPPED]

Outcomes = dict[int, Phase | None]


def made(node_type: NodeType, children: list[TreeNode], **columns: object) -> TreeNode:
    blank = {field.name: None for field in fields(TreeNode) if field.name != "_counts"}
    node = TreeNode(**{**blank, "pk": 0, "uuid": UUID(int=0), "node_type": node_type, **columns})
    node.children = children
    return node


@st.composite
def nodes(draw: st.DrawFn, depth: int = 3) -> TreeNode:
    """A tree in any state, also in some that no events lead to."""
    is_task = depth == 0 or draw(st.booleans())
    spawns = is_task and depth > 0 and draw(st.integers(0, 5)) == 0
    members = st.lists(nodes(depth=depth - 1), max_size=4) if not is_task or spawns else st.just([])
    phase = draw(st.sampled_from(Phase))
    has_ended = phase in TERMINAL and draw(st.booleans())
    return made(
        NodeType.TASK if is_task else draw(st.sampled_from(CONTAINERS)),
        draw(members),
        phase=phase,
        allow_failure=draw(st.integers(0, 3)) == 0,
        settled_at=AT if has_ended and draw(st.booleans()) else None,
        ended_at=AT if has_ended else None,
        caused_by_id=draw(st.sampled_from([None, 1])),
    )


@st.composite
def trees(draw: st.DrawFn) -> tuple[TreeNode, Outcomes]:
    """A tree, and an outcome for some of its tasks."""
    tree, keys = draw(nodes()), count(1)
    for node in tree.walk():
        node.pk = next(keys)
    outcome = st.sampled_from(OUTCOMES)
    return tree, {node.pk: draw(outcome) for node in tree.walk() if not node.is_container}


def snapshot(tree: TreeNode) -> list[object]:
    return [(node.pk, node.phase, node.settled_at, node.ended_at) for node in tree.walk()]


def end_of(leaf: TreeNode, outcome: Phase | None) -> Phase | None:
    """The phase that a leaf is closed with; None if it stays as it is."""
    if leaf.settled_at or outcome is None:
        return None
    if leaf.phase is Phase.PENDING:
        return outcome
    if leaf.phase in (Phase.RUNNING, Phase.RETRYING) and outcome is not Phase.SKIPPED:
        return outcome
    if leaf.phase is Phase.SUCCEEDED and outcome is Phase.FAILED:
        return outcome  # An exception after ``succeed()``.
    return leaf.phase


def after(node: TreeNode, outcomes: Outcomes) -> Child:
    """What a node is in the end, told from all that is below it, again and again."""
    end = None if node.is_container else end_of(node, outcomes[node.pk])
    if end is not None or node.settled_at:
        return Child(end or node.phase, node.allow_failure, True)
    if not node.is_container and not node.children:
        return Child(node.phase, node.allow_failure, False)
    children = [after(child, outcomes) for child in node.children]
    if node.is_container:
        settled = all(child.settled for child in children)
        return Child(verdict(children), node.allow_failure, settled)
    if node.ended_at and all(child.settled for child in children):
        of_its_own = Child(node.phase, False, True)
        return Child(verdict([*children, of_its_own]), node.allow_failure, True)
    return Child(node.phase, node.allow_failure, False)


def applied(node: TreeNode, changes: dict[int, Change]) -> TreeNode:
    """A copy of a tree with the changes made in it."""
    copy = replace(node, children=[applied(child, changes) for child in node.children])
    if node.pk in changes:
        copy.phase = changes[node.pk].phase
        copy.settled_at = AT if changes[node.pk].settles else None
    return copy


def closing_of(tree: TreeNode, outcomes: Outcomes) -> decisions.Closing:
    outcome_of: Callable[[TreeNode], Phase | None] = lambda leaf: outcomes[leaf.pk]  # noqa: E731
    return decisions.close_leaves(tree, outcome_of)


def tasks_of(tree: TreeNode) -> Iterator[TreeNode]:
    return (node for node in tree.walk() if not node.is_container)


@many
@given(drawn=trees())
def test_leaves_with_an_outcome_are_settled_with_it_or_the_verdict_they_have(
    drawn: tuple[TreeNode, Outcomes],
) -> None:
    tree, outcomes = drawn
    before = snapshot(tree)
    closing = closing_of(tree, outcomes)
    assert [(change.node.pk, change.phase) for change in closing.leaves] == [
        (leaf.pk, end) for leaf in tasks_of(tree) if (end := end_of(leaf, outcomes[leaf.pk]))
    ]
    assert all(change.settles for change in closing.leaves)
    assert snapshot(tree) == before


@many
@given(drawn=trees())
def test_containers_above_closed_leaves_get_the_verdict_of_their_children(
    drawn: tuple[TreeNode, Outcomes],
) -> None:
    tree, outcomes = drawn
    closing = closing_of(tree, outcomes)
    changes = {change.node.pk: change for change in (*closing.leaves, *closing.containers)}
    assert len(changes) == len(closing.leaves) + len(closing.containers)
    for node in tree.walk():
        expected = after(node, outcomes)
        if (expected.phase, expected.settled) == (node.phase, node.is_settled):
            assert node.pk not in changes
        else:
            assert changes[node.pk][1:] == (expected.phase, expected.settled)


@many
@given(drawn=trees())
def test_containers_after_their_changes_need_no_other(drawn: tuple[TreeNode, Outcomes]) -> None:
    tree, outcomes = drawn
    closing = closing_of(tree, outcomes)
    changes = {change.node.pk: change for change in (*closing.leaves, *closing.containers)}
    changed = applied(tree, changes)
    assert decisions.settle_containers(list(changed.walk())) == []


@many
@given(drawn=trees())
def test_changes_of_containers_come_children_first(drawn: tuple[TreeNode, Outcomes]) -> None:
    tree, outcomes = drawn
    seen: set[int] = set()
    for change in closing_of(tree, outcomes).containers:
        assert not seen & {node.pk for node in tree.walk() if change.node in node.children}
        seen.add(change.node.pk)


@many
@given(drawn=trees())
def test_the_cause_is_the_first_failure_that_is_not_allowed_and_new_ones_go_before_old(
    drawn: tuple[TreeNode, Outcomes],
) -> None:
    tree, outcomes = drawn
    counting = [leaf for leaf in tasks_of(tree) if not leaf.allow_failure]
    closed = [leaf for leaf in counting if end_of(leaf, outcomes[leaf.pk]) is Phase.FAILED]
    failed = closed or [leaf for leaf in counting if leaf.phase is Phase.FAILED]
    assert closing_of(tree, outcomes).cause == (failed[0].pk if failed else None)


@many
@given(drawn=trees())
def test_new_failures_are_unexplained_and_so_are_failed_containers_without_a_cause(
    drawn: tuple[TreeNode, Outcomes],
) -> None:
    tree, outcomes = drawn
    expected = set()
    for node in tree.walk():
        if after(node, outcomes).phase is not Phase.FAILED or node.settled_at:
            continue
        if node.is_container and node.caused_by_id is None:
            expected.add(node.pk)
        closes_failed = not node.is_container and end_of(node, outcomes[node.pk]) is Phase.FAILED
        if closes_failed and node.phase is not Phase.FAILED:
            expected.add(node.pk)
    found = closing_of(tree, outcomes).unexplained
    assert len(found) == len(set(found))
    assert set(found) == expected
