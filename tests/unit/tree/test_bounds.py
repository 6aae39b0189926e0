"""Bounds: given, checked, mended; and trees read as a whole."""

from __future__ import annotations

import pytest

from tests.helpers import a_user, assert_tree_is_sound, queries, stored
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import spawning
from user_workflows.testing import container, leaf
from user_workflows.tree import integrity
from user_workflows.tree.bounds import NODE_GAP, assign_bounds
from user_workflows.tree.nodes import percent, read_tree
from user_workflows.tree.slots import allocate_slot

pytestmark = pytest.mark.django_db


def a_plan() -> PlanNode:
    return container(
        "chain",
        leaf("a", total_steps=3),
        container(
            "chord",
            container("group", leaf("b"), leaf("c"), name="header"),
            leaf("d"),
            name="chord",
        ),
        name="all",
    )


def fault(name: str, **columns: int) -> list[str]:
    """The faults of the tree of ``a_plan`` once these columns of a node are wrong."""
    nodes = stored(a_plan())
    UserTaskStatus.objects.filter(pk=nodes[name].pk).update(**columns)
    return integrity.find_faults(nodes["all"].pk)


@pytest.mark.parametrize("gap", [1, 2, 1000, NODE_GAP])
def test_placing_nests_every_node_in_its_parent(gap: int) -> None:
    placed = {at.node.name: at for at in assign_bounds(a_plan(), lft=5, level=2, gap=gap)}
    assert list(placed) == ["all", "a", "chord", "header", "b", "c", "d"]
    assert (placed["all"].lft, placed["all"].level) == (5, 2)
    bounds = [bound for at in placed.values() for bound in (at.lft, at.rght)]
    assert len(set(bounds)) == len(bounds)
    for at in placed.values():
        parent = placed[at.parent.name] if at.parent else None
        assert parent is None or parent.lft < at.lft < at.rght < parent.rght
        assert (
            at.rght - max([c.rght for c in placed.values() if c.parent is at.node] or [at.lft])
            == gap
        )


def test_placing_a_thousand_members_leaves_room_in_64_bits() -> None:
    plan = container("group", *(leaf(str(n)) for n in range(1000)), name="many")
    assert assign_bounds(plan)[0].rght < 2**44


def test_a_stored_tree_is_sound() -> None:
    nodes = stored(a_plan())
    assert_tree_is_sound(nodes["all"].pk)
    assert integrity.find_faults(nodes["all"].pk) == []


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("b", {"level": 1}),
        ("a", {"lft": 1}),
        ("all", {"rght": 2}),
        ("d", {"lft": 10, "rght": 9}),
        ("c", {"tree_id": 0}),
    ],
)
def test_a_wrong_column_is_a_fault_that_both_checks_see(name: str, columns: dict[str, int]) -> None:
    assert fault(name, **columns)
    tree_id = UserTaskStatus.objects.roots().get(name="all").pk
    with pytest.raises(AssertionError):
        assert_tree_is_sound(tree_id)


def test_faults_name_the_node_and_what_is_wrong() -> None:
    nodes = stored(a_plan())
    UserTaskStatus.objects.filter(pk=nodes["b"].pk).update(level=7)
    assert integrity.find_faults(nodes["all"].pk) == [f"node {nodes['b'].pk}: level 7, not 3"]


def test_a_tree_without_its_root_is_a_fault() -> None:
    assert integrity.find_faults(12345) == ["tree 12345 has no root"]


def test_overlapping_siblings_are_a_fault() -> None:
    nodes = stored(a_plan())
    lft, rght = nodes["b"].lft, nodes["b"].rght
    UserTaskStatus.objects.filter(pk=nodes["c"].pk).update(lft=lft + 2, rght=rght + 2)
    assert any("overlap" in message for message in integrity.find_faults(nodes["all"].pk))


def test_a_stray_is_a_fault() -> None:
    nodes = stored(a_plan())
    other = stored(leaf("other"))["other"]
    UserTaskStatus.objects.filter(pk=other.pk).update(tree_id=nodes["all"].pk, lft=3, rght=4)
    assert any(
        "not below its root" in message for message in integrity.find_faults(nodes["all"].pk)
    )


def test_renumbering_mends_any_bounds_by_the_parents_and_touches_no_other_tree() -> None:
    nodes, other = stored(a_plan()), stored(container("group", leaf("x"), leaf("y")))
    tree = UserTaskStatus.objects.filter(tree_id=nodes["all"].pk)
    tree.exclude(pk=nodes["all"].pk).update(tree_id=0, lft=1, rght=1, level=9)
    before = list(UserTaskStatus.objects.filter(pk__in=[n.pk for n in other.values()]).values())
    integrity.renumber_tree(nodes["all"].pk)
    assert integrity.find_faults(nodes["all"].pk) == []
    assert_tree_is_sound(nodes["all"].pk)
    after = list(UserTaskStatus.objects.filter(pk__in=[n.pk for n in other.values()]).values())
    assert after == before


def test_renumbering_keeps_the_order() -> None:
    nodes = stored(a_plan())
    UserTaskStatus.objects.filter(tree_id=nodes["all"].pk).update(rght=1)
    integrity.renumber_tree(nodes["all"].pk)
    tree = nodes["all"].tree()
    assert [found.name for found in tree.walk()] == [at.name for at in a_plan().walk()]


def test_renumbering_a_sound_tree_writes_nothing() -> None:
    nodes = stored(a_plan())
    with queries() as sql:
        integrity.renumber_tree(nodes["all"].pk)
    assert not [query for query in sql if query.startswith("UPDATE")]


def test_room_is_behind_the_last_child() -> None:
    nodes = stored(a_plan())
    room = allocate_slot(nodes["header"].pk, size=3)
    assert (room.tree_id, room.level) == (nodes["all"].pk, 3)
    assert nodes["c"].rght < room.lft
    assert room.lft + 3 * (room.gap + 1) < nodes["header"].rght


def test_a_full_node_makes_room_by_renumbering_its_tree() -> None:
    root = stored(container("group", leaf("a", task_id="a"), name="full"))["full"]
    for n in range(40):
        UserTaskStatus.objects.create(
            user=root.user, parent=root, task_id=f"n{n}", task_class="t", name="n", total_steps=1
        )
    assert_tree_is_sound(root.pk)
    names = [child.task_id for child in root.get_children()]
    assert names == ["a", *(f"n{n}" for n in range(40))]


def test_a_node_without_a_gap_at_all_makes_room_too() -> None:
    root = stored(container("group", name="tight"))["tight"]
    UserTaskStatus.objects.filter(pk=root.pk).update(rght=2)
    room = allocate_slot(root.pk, size=500)
    assert room.gap >= 1
    root.refresh_from_db()
    assert room.lft + 500 * (room.gap + 1) < root.rght


def test_reading_a_tree_takes_one_query_and_sums_the_leaves_of_now() -> None:
    nodes = stored(a_plan())
    UserTaskStatus.objects.filter(pk=nodes["a"].pk).update(completed_steps=9)
    UserTaskStatus.objects.filter(pk=nodes["b"].pk).update(completed_steps=1)
    with queries(1):
        tree = nodes["all"].tree()
    assert (tree.completed_steps, tree.total_steps, tree.percent) == (4, 6, 66)
    assert tree.counts == {Phase.PENDING: 4}
    assert [child.name for child in tree.children] == ["a", "chord"]
    assert [found.name for found in tree.leaves()] == ["a", "b", "c", "d"]


def test_reading_a_branch_leaves_the_rest_out() -> None:
    branch = stored(a_plan())["chord"].tree()
    assert [found.name for found in branch.walk()] == ["chord", "header", "b", "c", "d"]


def test_a_deleted_tree_is_said_to_be_gone() -> None:
    root = stored(a_plan())["all"]
    UserTaskStatus.objects.filter(pk=root.pk).delete()
    assert read_tree(root.pk) is None
    with pytest.raises(UserTaskStatus.DoesNotExist):
        root.tree()


@pytest.mark.parametrize(
    ("completed", "total", "expected"),
    [(0, 0, 0), (0, 3, 0), (299, 300, 99), (3, 3, 100), (9, 3, 100)],
)
def test_percent_is_100_only_when_all_is_done(completed: int, total: int, expected: int) -> None:
    assert percent(completed, total) == expected


# -- reading --------------------------------------------------------------------------------------


def test_a_subtree_is_read_without_the_nodes_of_another_tree_that_stand_there_too() -> None:
    nodes = stored(a_plan())
    other = container(
        "chain", leaf("x"), container("group", leaf("y"), leaf("z"), name="g"), name="other"
    )
    stored(other)
    assert [n.name for n in nodes["chord"].tree().walk()] == ["chord", "header", "b", "c", "d"]
    found = UserTaskStatus.objects.filter(pk=nodes["chord"].pk).with_subtree()
    assert [n.name for n in found] == ["chord", "header", "b", "c", "d"]


def test_a_subtree_is_in_tree_order_whenever_its_nodes_were_made() -> None:
    nodes = stored(a_plan())
    spawning.attach_subtree(nodes["b"], leaf("later"))
    found = UserTaskStatus.objects.filter(pk=nodes["header"].pk).with_subtree()
    assert [n.name for n in found] == ["header", "b", "later", "c"]
    assert [n.name for n in nodes["header"].tree().walk()] == ["header", "b", "later", "c"]


def test_the_latest_is_the_users_own_workflow_of_those_of_one_time_the_last() -> None:
    first, second = stored(leaf("1"))["1"], stored(container("chain", leaf("2"), name="r"))["r"]
    another = stored(leaf("3"))["3"]
    UserTaskStatus.objects.filter(pk=another.pk).update(user=a_user("another"))
    assert UserTaskStatus.objects.latest_for(first.user) == second
    UserTaskStatus.objects.update(created=first.created)
    assert UserTaskStatus.objects.latest_for(first.user) == second


# -- damage ---------------------------------------------------------------------------------------


def test_a_tree_that_leads_in_a_circle_is_a_fault() -> None:
    nodes = stored(a_plan())
    UserTaskStatus.objects.filter(pk=nodes["all"].pk).update(parent=nodes["a"])
    [message] = integrity.find_faults(nodes["all"].pk)
    assert message == f"node {nodes['all'].pk}: gives its pk to the tree but has a parent"


def test_what_begins_before_its_parent_or_where_it_ends_is_a_fault() -> None:
    nodes = stored(a_plan())
    header, b, c = (nodes[name] for name in ("header", "b", "c"))
    rows = UserTaskStatus.objects.filter(pk=b.pk)
    rows.update(lft=header.lft - 1)
    assert f"node {b.pk}: not within its parent {header.pk}" in integrity.find_faults(b.tree_id)
    rows.update(lft=b.rght, rght=b.rght)
    assert f"node {b.pk}: lft {b.rght} is not below rght {b.rght}" in integrity.find_faults(
        b.tree_id
    )
    assert f"bound {b.rght} is taken 2 times" in integrity.find_faults(b.tree_id)
    rows.update(lft=b.lft, rght=c.lft)
    assert f"nodes {b.pk} and {c.pk}: overlap" in integrity.find_faults(b.tree_id)


def test_each_of_many_parents_is_looked_into() -> None:
    chains = [container("chain", leaf(str(number)), name=f"c{number}") for number in range(501)]
    nodes = stored(container("group", *chains, name="wide"))
    assert integrity.find_faults(nodes["wide"].pk) == []


@pytest.mark.parametrize("free", [1, 2])
def test_there_is_room_for_one_where_two_bounds_are_free(free: int) -> None:
    nodes = stored(a_plan())
    last = UserTaskStatus.objects.filter(pk=nodes["d"].pk)
    last.update(rght=nodes["d"].lft + free + 1)
    with queries() as sent:
        allocate_slot(nodes["d"].pk)
    assert (len(sent) == 1) == (free == 2)
    spawning.attach_subtree(last.get(), leaf("new"))
    assert_tree_is_sound(nodes["all"].pk)


def test_what_is_inserted_later_has_room_of_its_own() -> None:
    above = stored(a_plan())["b"]
    for number in range(3):  # Below that a tree is numbered anew.
        with queries(1):
            allocate_slot(above.pk)
        above = spawning.attach_subtree(above, leaf(str(number)))
