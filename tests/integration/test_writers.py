"""Eight processes insert rows, submit workflows and count steps at the same time."""

from __future__ import annotations

import pytest

from tests.helpers import a_user
from user_workflows.models import UserTaskStatus
from user_workflows.testing import container, leaf

from . import jobs
from .checks import assert_bounds, rows_of
from .crew import Crew
from .planned import by_name, group_of, nested, stored

objects = UserTaskStatus.objects


def test_rows_inserted_into_one_tree_at_once_get_distinct_bounds(crew: Crew) -> None:
    """Deep enough that the gaps are used up, and the tree is numbered anew in between."""
    root = stored(nested())
    nodes = by_name(root)
    before = {n.pk: (n.lft, n.rght) for n in nodes.values()}
    parents = [nodes[name].pk for name in ("root", "left", "0", "header")]

    results = crew.run(jobs.insert, root.pk, parents, 14)

    made = [pk for result in results for pk in result.value]
    assert objects.filter(tree_id=root.pk).count() == len(nodes) + 8 * 14
    assert set(made) <= set(rows_of(root.pk))
    assert_bounds(root.pk)
    after = {n.pk: (n.lft, n.rght) for n in objects.filter(pk__in=before)}
    assert after != before, "the gaps were never used up"


def test_workflows_submitted_at_once_are_separate_trees(crew: Crew) -> None:
    results = crew.run(jobs.submit, a_user().pk, 100)

    made = [pk for result in results for pk in result.value]
    trees = dict(objects.filter(parent=None).values_list("pk", "tree_id"))
    assert len(set(made)) == 800
    assert trees == {pk: pk for pk in made}
    assert objects.count() == 800 + 400 * 2
    below = objects.exclude(parent=None).values_list("tree_id", "parent_id")
    assert all(tree_id == parent_id for tree_id, parent_id in below)


@pytest.mark.parametrize("buffered", [True, False])
def test_steps_counted_in_eight_processes_add_up(crew: Crew, buffered: bool) -> None:
    """In the leaves, in what is read of the tree, and in the stored sums."""
    leaves = [leaf(str(i), 1000) for i in range(9)]
    inner = container("group", *leaves, name="inner")
    root = stored(container("chain", inner, leaf("last", 1), name="root"))
    pks = [by_name(root)[str(i)].pk for i in range(9)]

    crew.run(jobs.count_steps, pks, 15, buffered)

    nodes = by_name(root)
    assert [nodes[str(i)].completed_steps for i in range(9)] == [15] * 8 + [8 * 15]
    assert root.tree().completed_steps == 16 * 15
    assert nodes["inner"].completed_steps == 16 * 15
    assert nodes["root"].completed_steps == 16 * 15


def test_a_group_counted_in_eight_processes_ends_with_exact_sums(crew: Crew) -> None:
    root = stored(group_of(8))
    pks = {name: n.pk for name, n in by_name(root).items()}
    crew.run(jobs.count_steps, [pks[str(i)] for i in range(8)], 1, True)

    crew.run(jobs.settle_again, [pk for name, pk in pks.items() if name != "root"])

    nodes = by_name(root)
    assert nodes["root"].settled_at is not None
    assert nodes["root"].completed_steps == 16
