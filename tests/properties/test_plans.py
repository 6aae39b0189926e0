"""Random canvases, planned and stored: nothing is lost, moved or miscounted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given, settings

from tests.helpers import assert_tree_is_sound
from tests.properties import canvases, oracle
from user_workflows import graph
from user_workflows.canvas import workflow
from user_workflows.queues.celery import submission
from user_workflows.tree import integrity
from user_workflows.tree.nodes import read_tree

pytestmark = pytest.mark.django_db
many = settings(max_examples=4 * settings.default.max_examples)


def outline(node: Any) -> Any:
    """Kinds and names in the author's order; of containers only the names that were given."""
    kind = str(node.node_type)
    children = [outline(child) for child in node.children]
    if kind == "task":
        return node.name
    return (kind, node.name if node.named else None, children)


def expected(item: oracle.Item) -> Any:
    if item.kind == "task":
        return item.name
    named = item.name if item.name[:1] == "c" or item.name.startswith("group") else None
    return (item.kind, named, [expected(child) for child in item.children])


@many
@given(shape=canvases.shapes(long_callbacks=True))
def test_a_plan_has_every_task_in_the_authors_order(user: Any, shape: canvases.Shape) -> None:
    names: dict[str, str] = {}
    flow = workflow(canvases.canvas(shape), user=user)
    item = canvases.as_shown(canvases.item(shape))
    plain = {leaf.task_id for leaf in flow.plan.leaves() if leaf.task_class.endswith("plain")}
    for planned, seen in zip(flow.plan.leaves(), item.leaves(), strict=True):
        names[planned.task_id] = seen.name
        assert planned.name == ("plain" if planned.task_id in plain else seen.name)
        planned.name = seen.name
        assert planned.total_steps == seen.steps
        assert planned.allow_failure == seen.allowed
    assert len(names) == len(item.leaves())
    assert outline(flow.plan) == expected(item)
    assert flow.plan.total_steps == oracle.sums(item)[1]
    for node in flow.plan.walk():
        assert node.name
        assert "(" not in node.name


@many
@given(shape=canvases.shapes(long_callbacks=True))
def test_the_callers_canvas_is_left_as_it_was(user: Any, shape: canvases.Shape) -> None:
    canvas = canvases.canvas(shape)
    before = copy.deepcopy(dict(canvas))
    first, second = workflow(canvas, user=user), workflow(canvas, user=user)
    assert dict(canvas) == before
    ids = [{n.task_id for n in flow.plan.walk()} for flow in (first, second)]
    assert not ids[0] & ids[1]
    assert len(ids[0]) == sum(1 for _ in first.plan.walk())


@many
@given(shape=canvases.shapes(empty_groups=True, long_callbacks=True))
def test_a_stored_tree_is_sound_and_reads_back_as_it_was_planned(
    user: Any, shape: canvases.Shape
) -> None:
    item = canvases.item(shape)
    with transaction.atomic():
        root = submission.store_plan(canvases.plan(item), user_id=user.pk)
        assert_tree_is_sound(root.tree_id)
        assert integrity.find_faults(root.tree_id) == []
        tree = read_tree(root.tree_id)
        assert tree is not None
        for node, seen in zip(tree.walk(), item.walk(), strict=True):
            assert (node.name, node.level) == (seen.name, len(seen.path()))
            assert node.total_steps == oracle.sums(seen)[1]
            assert node.phase == oracle.phase(seen)
            assert node.is_settled == oracle.is_settled(seen)
        transaction.set_rollback(True)


@many
@given(shape=canvases.shapes(empty_groups=True, long_callbacks=True))
def test_the_graph_gives_the_leaves_that_a_failure_prevents(shape: canvases.Shape) -> None:
    item = canvases.item(shape)
    plan = canvases.plan(item)
    dependencies = graph.dependencies(plan)
    leaves = {leaf.name: leaf for leaf in plan.leaves()}
    for seen in item.leaves():
        prevented = {leaf.name for leaf in graph.prevented(dependencies, [leaves[seen.name]])}
        assert prevented == {leaf.name for leaf in oracle.followers(seen)}
    assert dependencies.number_of_edges() <= 4 * sum(1 for _ in plan.walk())
