"""Rows made and changed in the plain Django way, as in django-user-tasks."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import gettext_lazy

from tests.helpers import a_user, assert_tree_is_sound, phases, queries, signals, stored
from user_workflows.exceptions import TreeOperationRefused
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db


def create(**columns: Any) -> UserTaskStatus:
    number = UserTaskStatus.objects.count()
    given = {"task_id": f"id{number}", "task_class": "t", "name": "old", "total_steps": 2}
    return UserTaskStatus.objects.create(user=a_user(), **{**given, **columns})


def fresh(status: UserTaskStatus) -> UserTaskStatus:
    return UserTaskStatus.objects.get(pk=status.pk)


# -- new rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "phase", "settled"),
    [
        ("Pending", Phase.PENDING, False),
        ("In Progress", Phase.RUNNING, False),
        ("Retrying", Phase.RETRYING, False),
        ("Succeeded", Phase.SUCCEEDED, True),
        ("Failed", Phase.FAILED, True),
        ("Canceled", Phase.CANCELED, True),
        ("Sending messages", Phase.RUNNING, False),
    ],
)
def test_a_new_rows_phase_follows_from_its_state(state: str, phase: Phase, settled: bool) -> None:
    status = fresh(create(state=state))
    assert (status.state, status.phase, status.is_settled) == (state, phase, settled)


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({}, "task"),
        ({"is_container": True}, "group"),
        ({"task_class": "celery.chain", "is_container": True}, "chain"),
        ({"task_class": "celery.chord"}, "chord"),
        ({"task_class": "celery.group"}, "group"),
    ],
)
def test_a_new_rows_kind_follows_from_its_class(columns: dict[str, Any], kind: str) -> None:
    status = fresh(create(**columns))
    assert status.node_type == kind
    assert status.is_container == (kind != "task")


def test_new_children_are_put_behind_their_siblings() -> None:
    root = create(is_container=True)
    branch = create(is_container=True, parent=root)
    names = ["a", "b", "c"]
    for name in names:
        create(parent=branch, name=name)
    create(parent=root, name="last")
    assert_tree_is_sound(root.pk)
    assert [child.name for child in branch.get_children()] == names
    assert [child.name for child in root.get_children()] == ["old", "last"]
    assert fresh(branch).level == 1


def test_a_new_root_has_a_tree_of_its_own() -> None:
    for root in (create(), create()):
        assert fresh(root).tree_id == root.tree_id == root.pk
        assert_tree_is_sound(root.pk)


def test_a_child_may_be_made_with_a_parent_that_was_read_long_ago() -> None:
    root = create(is_container=True)
    other = fresh(root)
    for _ in range(3):
        create(parent=root)
        create(parent=other)
    assert_tree_is_sound(root.pk)


def test_a_child_of_a_child_that_was_a_task_makes_it_a_container() -> None:
    root = create()
    child = create(parent=root)
    create(parent=child)
    assert fresh(root).is_container
    assert fresh(child).is_container
    assert_tree_is_sound(root.pk)


# -- changed rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("Succeeded", Phase.SUCCEEDED),
        ("Failed", Phase.FAILED),
        ("Canceled", Phase.CANCELED),
    ],
)
def test_a_final_state_settles_the_node_and_what_contains_it(state: str, phase: Phase) -> None:
    nodes = stored(container("chain", leaf("a", total_steps=3), leaf("b"), name="root"))
    with signals() as heard:
        nodes["a"].state = state
        nodes["a"].save()
    assert (fresh(nodes["a"]).phase, fresh(nodes["a"]).is_settled) == (phase, True)
    if phase is Phase.SUCCEEDED:
        assert fresh(nodes["a"]).completed_steps == 3
        assert phases(nodes["root"].pk)["root"] == "RUNNING"
        assert fresh(nodes["root"]).completed_steps == 3
    else:
        assert phases(nodes["root"].pk) == {"root": phase, "a": phase, "b": "SKIPPED"}
        assert sorted(heard["stopped"]) == sorted(n.pk for n in nodes.values())
        assert heard["finished"] == [(nodes["root"].pk, phase)]


def test_a_text_of_its_own_says_that_it_is_running() -> None:
    nodes = stored(container("group", leaf("a"), name="root"))
    nodes["a"].state = "Sending messages"
    nodes["a"].save()
    assert (nodes["a"].phase, nodes["a"].state_text) == (Phase.RUNNING, "Sending messages")
    assert phases(nodes["root"].pk) == {"root": "RUNNING", "a": "RUNNING"}


def test_a_settled_node_does_not_change_by_its_state() -> None:
    status = create()
    status.succeed()
    status.state = "Failed"
    status.save()
    assert (fresh(status).state, status.state) == ("Succeeded", "Succeeded")


def test_only_changed_columns_are_written() -> None:
    status = create()
    stale = fresh(status)
    status.increment_completed_steps()
    stale.name = "new"
    stale.save()
    assert (fresh(status).completed_steps, fresh(status).name) == (1, "new")


def test_a_stale_instance_that_was_not_changed_writes_nothing() -> None:
    status = create()
    stale = fresh(status)
    status.start()
    status.succeed()
    with queries(0):
        stale.save()
    assert fresh(status).phase == Phase.SUCCEEDED


def test_a_stale_state_that_was_not_changed_does_not_come_back() -> None:
    status = create()
    stale = fresh(status)
    status.succeed()
    stale.action = "x"
    stale.save()
    assert (fresh(status).state, fresh(status).action) == ("Succeeded", "x")


def test_saving_notes_when() -> None:
    status = create()
    before = fresh(status).modified
    status.subject = "x"
    status.save()
    assert fresh(status).modified > before


def test_update_fields_leaves_the_other_columns_alone() -> None:
    status = create()
    status.name, status.action, status.state = "new", "x", "Failed"
    status.save(update_fields=["name"])
    assert (fresh(status).name, fresh(status).action, fresh(status).state) == ("new", "", "Pending")


@pytest.mark.parametrize("fields", [["user"], ["user_id"]])
def test_update_fields_may_name_a_relation_or_its_column(fields: list[str]) -> None:
    status = create()
    status.user = a_user("other")
    status.save(update_fields=fields)
    assert fresh(status).user == a_user("other")


def test_update_fields_may_be_the_state() -> None:
    status = create()
    status.state, status.name = "Succeeded", "new"
    status.save(update_fields={"state"})
    assert (fresh(status).phase, fresh(status).name) == (Phase.SUCCEEDED, "old")


def test_what_update_fields_left_out_is_written_by_the_next_save() -> None:
    status = create()
    status.name, status.action = "new", "x"
    status.save(update_fields=["name"])
    status.save()
    assert fresh(status).action == "x"


def test_an_instance_with_few_columns_is_saved_too() -> None:
    status = UserTaskStatus.objects.only("name").get(pk=create().pk)
    status.name = "new"
    status.save()
    assert fresh(status).name == "new"


def test_refreshing_one_column_keeps_what_was_changed_in_others() -> None:
    status = create()
    status.name = "new"
    status.refresh_from_db(fields=["phase"])
    status.save()
    assert fresh(status).name == "new"


def test_refreshing_forgets_what_was_changed() -> None:
    status = create()
    status.name = "new"
    status.refresh_from_db()
    with queries(0):
        status.save()


@pytest.mark.parametrize("target", ["root", None])
def test_a_node_stays_where_it_is(target: str | None) -> None:
    nodes = stored(container("group", container("group", leaf("a"), name="inner"), name="root"))
    nodes["a"].parent = nodes[target] if target else None
    with pytest.raises(TreeOperationRefused, match="stays in the place"):
        nodes["a"].save()
    assert_tree_is_sound(nodes["root"].pk)


def test_an_unsaved_parent_is_refused_as_django_does() -> None:
    parent = UserTaskStatus(user=a_user(), task_id="p", name="p", total_steps=1)
    with pytest.raises(ValueError, match="unsaved"):
        create(parent=parent)


# -- texts --------------------------------------------------------------------------------------


LONG = "ü" * 1000


def test_long_texts_are_cut_off_in_every_way_to_write_them() -> None:
    nodes = stored(container("chain", leaf("a"), name="root"))
    status = nodes["a"]
    status.set_state(LONG)
    assert (status.state, fresh(status).state) == (LONG[:255], LONG[:255])
    assert fresh(nodes["root"]).state == LONG[:255]
    status.set_name(LONG)
    assert fresh(status).name == fresh(nodes["root"]).name == LONG[:255]
    status.name, status.state = "x" + LONG, "y" + LONG
    status.save()
    assert (fresh(status).name, fresh(status).state) == (("x" + LONG)[:255], ("y" + LONG)[:255])
    assert len(fresh(create(name=LONG, state=LONG)).name) == 255


def test_long_reasons_are_kept() -> None:
    status = create()
    status.fail("x" * 100_000)
    assert len(status.artifacts.get().text) == 100_000


def test_a_long_name_of_an_artifact_is_cut_off() -> None:
    artifact = create().add_artifact("x" * 1000, text="t")
    artifact.refresh_from_db()
    assert artifact.name == "x" * 255


def test_names_may_be_translated_later() -> None:
    assert fresh(create(name=gettext_lazy("Export"))).name == "Export"


# -- deleting -----------------------------------------------------------------------------------


def test_deleting_a_node_deletes_what_is_below_it_and_leaves_a_sound_tree() -> None:
    nodes = stored(
        container("group", container("chain", leaf("a"), leaf("b"), name="c"), leaf("d"), name="r")
    )
    nodes["c"].delete()
    assert_tree_is_sound(nodes["r"].pk)
    assert set(phases(nodes["r"].pk)) == {"r", "d"}
    nodes["r"].delete()
    assert not UserTaskStatus.objects.exists()
