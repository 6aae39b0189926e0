"""Random canvases, run in eager mode inside a transaction as in a ``TestCase``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import celery
import pytest
from django.db import transaction
from hypothesis import given

from tests import tasks
from tests.helpers import assert_tree_is_sound, signals
from tests.properties import canvases, oracle
from user_workflows.canvas import workflow
from user_workflows.models import UserTaskStatus
from user_workflows.tree.nodes import TreeNode

pytestmark = pytest.mark.django_db


def pairs(tree: Any, item: oracle.Item) -> Iterator[tuple[Any, oracle.Item]]:
    return zip(tree.walk(), item.walk(), strict=True)


@pytest.mark.skipif(celery.VERSION < (5, 7), reason="eager groups in groups ran in another order")
@given(shape=canvases.shapes(8))
def test_a_canvas_run_eagerly_leaves_the_tree_that_the_oracle_expects(
    user: Any, eager: None, shape: canvases.Shape
) -> None:
    item = canvases.as_shown(canvases.item(shape))
    expected_to_run = oracle.run_eagerly(item)
    flow = workflow(canvases.canvas(shape), user=user)
    tasks.CALLS.clear()
    before = set(UserTaskStatus.objects.roots().values_list("pk", flat=True))
    with transaction.atomic(), signals() as heard:
        try:
            flow.delay()
        except tasks.Boom:
            assert any(leaf.fate == "raise" for leaf in item.leaves())
        assert expected_to_run == tasks.CALLS
        root = UserTaskStatus.objects.roots().exclude(pk__in=before).get()
        tree = root.tree()
        assert_tree_is_sound(root.tree_id)
        rows = UserTaskStatus.objects.in_bulk([node.pk for node in tree.walk()])
        failed = {
            node.pk for node, seen in pairs(tree, item)
            if seen.kind == "task" and seen.phase == "FAILED" and not seen.allowed
        }  # fmt: skip
        for node, seen in pairs(tree, item):
            where = f"{seen.name} of {shape}"
            assert node.phase == oracle.phase(seen), where
            assert node.state == node.phase.state, where
            assert node.is_settled, where
            assert (node.completed_steps, node.total_steps) == oracle.sums(seen), where
            assert rows[node.pk].completed_steps == node.completed_steps, where
            assert rows[node.pk].total_steps == node.total_steps, where
            if not node.is_container and node.phase == "SKIPPED":
                assert node.caused_by_id in failed, where
            if node.is_container and node.phase == "FAILED":
                assert node.caused_by_id in failed, where
        assert_signals_were_sent_once_in_order(heard, tree)
        transaction.set_rollback(True)


def assert_signals_were_sent_once_in_order(heard: dict[str, list[Any]], tree: TreeNode) -> None:
    """Each node once, children before parents; the root's verdict once."""
    order = {pk: place for place, pk in enumerate(heard["stopped"])}
    assert sorted(heard["stopped"]) == sorted(node.pk for node in tree.walk())
    for node in tree.walk():
        for child in node.children:
            assert order[child.pk] < order[node.pk]
    assert heard["finished"] == [(tree.pk, tree.phase)]
