"""Writing a tree: few queries, whatever its size."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from tests.helpers import a_user, assert_tree_is_sound, queries
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import submission
from user_workflows.testing import container, leaf
from user_workflows.tree import inserting

pytestmark = pytest.mark.django_db


def expected_queries(plan: PlanNode) -> int:
    """Two for the root and one for each further level; more where the database can do no more.

    Where rows can be streamed in: one for the keys, and one for all rows.
    """
    if inserting._can_copy():
        return 2
    levels: list[int] = []
    nodes = [plan]
    while nodes:
        levels.append(len(nodes))
        nodes = [child for node in nodes for child in node.children]
    fields = [f for f in UserTaskStatus._meta.concrete_fields if not f.primary_key]
    widest = min(
        inserting.MAX_ROWS_PER_INSERT, connection.ops.bulk_batch_size(fields, [None] * max(levels))
    )
    inserts = sum(ceil(size / widest) for size in levels)
    features = connection.features
    read = 0 if features.can_return_rows_from_bulk_insert else len(levels)
    return 1 + inserts + read


@pytest.mark.parametrize(
    ("plan", "levels"),
    [
        (leaf("a"), 1),
        (container("chain", leaf("a"), leaf("b")), 2),
        (container("chord", container("group", leaf("a"), leaf("b")), leaf("c")), 3),
        (
            container(
                "chain",
                *(
                    container("chord", container("group", leaf(f"{n}")), leaf(f"{n}b"))
                    for n in range(9)
                ),
            ),
            4,
        ),
    ],
    ids=["a task", "a chain", "a chord", "nine chords"],
)
def test_a_tree_costs_two_queries_and_one_for_each_level_below(plan: PlanNode, levels: int) -> None:
    user = a_user()
    if connection.features.can_return_rows_from_bulk_insert and not inserting._can_copy():
        assert expected_queries(plan) == 1 + levels
    with queries(expected_queries(plan)):
        root = submission.store_plan(plan, user_id=user.pk)
    assert_tree_is_sound(root.tree_id)


def test_a_chord_of_a_thousand_costs_no_more_but_where_the_database_limits_a_query() -> None:
    plan = container(
        "chord", container("group", *(leaf(str(n)) for n in range(1000)), name="h"), leaf("body")
    )
    user = a_user()
    if connection.vendor == "postgresql":
        assert expected_queries(plan) == 2
    with queries(expected_queries(plan)):
        root = submission.store_plan(plan, user_id=user.pk)
    assert_tree_is_sound(root.tree_id)
    names = UserTaskStatus.objects.filter(parent__name="h").values_list("name", flat=True)
    assert list(names) == [str(n) for n in range(1000)]


def test_the_root_that_is_returned_is_as_stored() -> None:
    root = submission.store_plan(container("group", leaf("a", total_steps=3)), user_id=a_user().pk)
    fresh = UserTaskStatus.objects.get(pk=root.pk)
    for field in UserTaskStatus._meta.concrete_fields:
        assert getattr(root, field.attname) == getattr(fresh, field.attname), field.attname
    with queries(0):
        root.save()
    root.subject = "x"
    root.save()
    assert_tree_is_sound(root.pk)


def test_the_tree_id_is_the_roots_key() -> None:
    roots = [submission.store_plan(leaf(str(n)), user_id=a_user().pk) for n in range(3)]
    assert [root.tree_id for root in roots] == [root.pk for root in roots]


def test_empty_containers_are_settled_at_once_and_announced() -> None:
    plan = container(
        "chain", leaf("a"), container("group", container("group", name="inner"), name="outer")
    )
    root = submission.store_plan(plan, user_id=a_user().pk)
    found: dict[str, Any] = {n.name: n for n in UserTaskStatus.objects.filter(tree_id=root.pk)}
    for name in ("inner", "outer"):
        assert (found[name].phase, found[name].is_settled) == (Phase.SUCCEEDED, True)
    assert not found[root.name].is_settled


def test_both_ways_to_write_a_tree_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With texts that a database cannot hold, and such as mean something in a stream of rows."""
    if not inserting._can_copy():
        pytest.skip("This database has one way only.")
    texts = ["nul \x00", "tab \t", "line\nline", "\\N", "\\.", "long " * 100, "\ud800", "\u00e9"]
    own = {"id", "uuid", "task_id", "parent_id", "tree_id", "created", "modified"}
    found: list[list[dict[str, Any]]] = []
    for copies in (True, False):
        monkeypatch.setattr(inserting, "_can_copy", lambda copies=copies: copies)
        leaves = [leaf(f"{copies} {n}", total_steps=n) for n in range(len(texts))]
        for planned, text in zip(leaves, texts, strict=True):
            planned.name = planned.task_class = text
        header = container("group", *leaves, name="all")
        header.named = True
        plan = container("chain", header, leaf(f"b {copies}"))
        plan.children[1].name = "b"
        plan.name = "chain"
        root = submission.store_plan(plan, user_id=a_user().pk, action="a", subject="\t")
        assert not root._state.adding
        nodes = UserTaskStatus.objects.filter(tree_id=root.pk).order_by("lft")
        found.append([{k: v for k, v in n.items() if k not in own} for n in nodes.values()])
        assert_tree_is_sound(root.tree_id)
    assert found[0] == found[1]


def test_the_model_draws_no_warnings_on_any_database() -> None:
    assert UserTaskStatus.check(databases=["default"]) == []


def test_an_id_that_is_taken_is_an_integrity_error() -> None:
    submission.store_plan(leaf("taken", task_id="taken"), user_id=a_user().pk)
    with pytest.raises(IntegrityError), transaction.atomic():
        submission.store_plan(
            container("group", leaf("free"), leaf("taken", task_id="taken")), user_id=a_user().pk
        )
    assert UserTaskStatus.objects.count() == 1
