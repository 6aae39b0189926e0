"""The commands check_trees and cancel_workflow, and what all commands have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils.timezone import now

from tests.helpers import assert_tree_is_sound, queries, stored
from user_workflows.lifecycle.cancellation import Cancellation
from user_workflows.management.commands import check_trees
from user_workflows.models import UserTaskStatus
from user_workflows.reports.labels import cancel_outcome
from user_workflows.testing import container, leaf
from user_workflows.tree import integrity

pytestmark = pytest.mark.django_db


def run(name: str, *args: Any, out: StringIO | None = None, **options: Any) -> str:
    out = out or StringIO()
    call_command(name, *map(str, args), stdout=out, **options)
    return out.getvalue()


def exported() -> dict[str, UserTaskStatus]:
    """Read, then two lessons at once, then pack; by name."""
    lessons = container("group", leaf("one"), leaf("two"), name="lessons")
    return stored(
        container("chain", leaf("read"), container("chord", lessons, leaf("pack")), name="root")
    )


@pytest.mark.parametrize("command", ["watch_workflow", "cancel_workflow", "check_trees"])
def test_an_unknown_uuid_is_an_error(command: str):
    unknown = uuid4()
    with pytest.raises(CommandError, match=str(unknown)):
        run(command, unknown)


# -- cancel_workflow ------------------------------------------------------------------------------


def test_canceling_a_branch_leaves_other_branches_pending():
    nodes = stored(
        container("group", container("chain", leaf("a"), leaf("b"), name="in"), leaf("c"), name="r")
    )
    nodes["a"].succeed()
    out = run("cancel_workflow", nodes["in"].uuid)
    assert out == "Canceled. 1 task will not start. 1 had finished and stays.\n"
    found = {name: UserTaskStatus.objects.get(pk=n.pk).phase for name, n in nodes.items()}
    assert found["b"] == "CANCELED"
    assert found["c"] == "PENDING"


def test_force_is_passed_to_cancel(monkeypatch: pytest.MonkeyPatch):
    asked: list[bool] = []

    def cancel(self: Any, force: bool = False) -> Cancellation:
        asked.append(force)
        return Cancellation(running=1)

    monkeypatch.setattr(UserTaskStatus, "cancel", cancel)
    uuid = stored(leaf("a"))["a"].uuid
    assert run("cancel_workflow", uuid) == "Canceled. 1 running was asked to stop.\n"
    assert run("cancel_workflow", uuid, "--force") == "Canceled. 1 running was terminated.\n"
    assert asked == [False, True]


def test_force_after_an_unheeded_cancellation_reports_the_terminated_task():
    running = stored(leaf("a"))["a"]
    running.start()
    update(running, last_seen_at=now())  # it runs in a worker
    assert run("cancel_workflow", running.uuid) == "Canceled. 1 running was asked to stop.\n"
    assert (
        run("cancel_workflow", running.uuid, "--force") == "Canceled. 1 running was terminated.\n"
    )


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (
            Cancellation(12, 3, 40),
            "Canceled. 12 tasks will not start. 3 running were asked to stop. "
            "40 had finished and stay.",
        ),
        (
            Cancellation(1, 1, 1),
            "Canceled. 1 task will not start. 1 running was asked to stop. "
            "1 had finished and stays.",
        ),
        (
            Cancellation(0, 0, 2),
            "Nothing was canceled: all of it had ended before. 2 had finished and stay.",
        ),
        (Cancellation(), "Nothing was canceled: all of it had ended before."),
    ],
)
def test_the_cancel_outcome_counts_in_singular_and_plural(done: Cancellation, words: str):
    assert cancel_outcome(done.pending, done.running, done.finished) == words


# -- check_trees ----------------------------------------------------------------------------------


def rows(*, without: int | None = None) -> list[dict[str, Any]]:
    """All columns of all nodes, or of those in other trees than this one."""
    found = UserTaskStatus.objects.order_by("pk")
    return list((found.exclude(tree_id=without) if without else found).values())


def update(status: UserTaskStatus, **columns: Any) -> None:
    UserTaskStatus.objects.filter(pk=status.pk).update(**columns)


def _damage() -> Iterator[Any]:
    """Each kind of damage, as (what the report says, what does it)."""
    yield pytest.param("level 7, not 2", lambda n, o: update(n["lessons"], level=7), id="level")
    yield pytest.param(
        "overlap",
        lambda n, o: update(n["two"], lft=n["one"].lft + 1, rght=n["one"].rght + 1),
        id="overlap",
    )
    yield pytest.param(
        "not its root's pk",
        lambda n, o: update(n["pack"], tree_id=o["root"].pk),
        id="other tree_id",
    )
    yield pytest.param(
        "not its root's pk", lambda n, o: update(n["pack"], tree_id=99999), id="unknown tree_id"
    )
    yield pytest.param(
        "not its root's pk", lambda n, o: update(n["root"], tree_id=99999), id="tree_id of the root"
    )
    yield pytest.param(
        "is not below rght",
        lambda n, o: update(n["one"], lft=n["one"].rght, rght=n["one"].lft),
        id="lft above rght",
    )
    yield pytest.param(
        "not within its parent",
        lambda n, o: update(n["one"], lft=n["root"].rght + 5, rght=n["root"].rght + 9),
        id="outside of the parent",
    )
    yield pytest.param(
        "not within its parent",
        lambda n, o: UserTaskStatus.objects.filter(tree_id=n["root"].pk).update(lft=1, rght=2),
        id="all the same",
    )


@pytest.mark.parametrize(("words", "break_it"), list(_damage()))
def test_damage_is_reported_and_repaired_without_touching_other_trees(words: str, break_it: Any):
    others = [exported_as(f"before {n}") for n in range(2)]
    # A tree that has grown is numbered otherwise than anew, so a needless repair would show.
    others[0]["grown"] = UserTaskStatus.objects.create(
        user=others[0]["one"].user, parent=others[0]["one"], task_id="g", name="g", total_steps=1
    )
    nodes = exported()
    others.append(exported_as("after"))
    sound = rows()
    break_it(nodes, others[0])
    broken = rows()
    out = StringIO()
    with pytest.raises(CommandError, match="--repair"):
        run("check_trees", out=out)
    assert words in out.getvalue()
    assert str(nodes["root"].uuid) in out.getvalue()
    assert rows() == broken, "a check changes nothing"

    out = StringIO()
    with suppress(CommandError):
        run("check_trees", "--repair", out=out)
    mended = rows()
    other_keys = {n.pk for other in others for n in other.values()}
    assert [row for row in mended if row["id"] in other_keys] == [
        row for row in sound if row["id"] in other_keys
    ]
    assert [row["parent_id"] for row in mended] == [row["parent_id"] for row in sound]
    kept = sound[0].keys() - {"lft", "rght", "level", "tree_id"}
    assert [{k: row[k] for k in kept} for row in mended] == [
        {k: row[k] for k in kept} for row in sound
    ]
    for tree in (nodes, *others):
        assert_tree_is_sound(tree["root"].pk)
    assert "renumbered" in out.getvalue()
    assert "0 faulty" in run("check_trees")


def exported_as(prefix: str) -> dict[str, UserTaskStatus]:
    """Another tree of that shape, with task ids of its own."""
    names = ("one", "two", "read", "pack", "lessons", "root")
    one, two, read, pack, lessons, root = (f"{prefix} {name}" for name in names)
    chord = container("chord", container("group", leaf(one), leaf(two), name=lessons), leaf(pack))
    nodes = stored(container("chain", leaf(read), chord, name=root))
    return {name.removeprefix(f"{prefix} "): n for name, n in nodes.items()}


def test_repairing_the_tree_of_a_stray_node_repairs_both_trees():
    other, nodes = exported_as("other"), exported()
    update(nodes["pack"], tree_id=other["root"].pk)
    out = run("check_trees", "--repair")
    assert "Checked 2 trees: 2 faulty.\n2 repaired." in out
    assert out.count("renumbered") == 1


def test_only_the_trees_of_given_nodes_are_checked_and_repaired():
    nodes, other = exported(), exported_as("other")
    update(nodes["one"], level=9)
    update(other["one"], level=9)
    out = run("check_trees", nodes["two"].uuid, "--repair")
    assert "Checked 1 tree: 1 faulty." in out
    assert_tree_is_sound(nodes["root"].pk)
    assert integrity.find_faults(other["root"].pk)


def test_nodes_in_a_circle_are_reported_and_not_changed():
    nodes = exported()
    update(nodes["lessons"], parent_id=nodes["one"].pk)
    before = rows()
    for _ in range(2):
        out = StringIO()
        with pytest.raises(CommandError, match="Faults are left"):
            run("check_trees", "--repair", out=out)
    assert "not below its root" in out.getvalue()
    with pytest.raises(CommandError, match="circle"):
        run("check_trees", nodes["two"].uuid)
    circle = {nodes[name].pk for name in ("lessons", "one", "two")}
    assert [r for r in rows() if r["id"] in circle] == [r for r in before if r["id"] in circle]


def test_nodes_in_a_tree_without_a_root_are_reported():
    nodes = exported()
    update(nodes["lessons"], parent_id=nodes["one"].pk)
    for name in ("lessons", "one", "two"):
        update(nodes[name], tree_id=99999)
    out = StringIO()
    with pytest.raises(CommandError, match="Faults are left"):
        run("check_trees", out=out)
    assert out.getvalue().splitlines() == [
        "tree 99999 has no root; 3 nodes say they are in it",
        "Checked 1 tree: 0 faulty.",
    ]


def test_a_root_with_a_parent_in_another_tree_becomes_part_of_that_tree():
    nodes, other = exported(), exported_as("other")
    update(other["root"], parent_id=nodes["lessons"].pk)
    out = run("check_trees", "--repair")
    assert "1 repaired" in out
    assert_tree_is_sound(nodes["root"].pk)
    assert UserTaskStatus.objects.get(pk=other["one"].pk).tree_id == nodes["root"].pk


def test_only_the_first_faults_of_a_tree_are_listed():
    nodes = stored(container("group", *(leaf(f"leaf {n}") for n in range(30)), name="root"))
    UserTaskStatus.objects.filter(parent=nodes["root"]).update(level=5)
    out = StringIO()
    with pytest.raises(CommandError):
        run("check_trees", out=out)
    assert "30 faults" in out.getvalue()
    assert "and 20 more" in out.getvalue()
    assert len(out.getvalue().splitlines()) < 15


def test_checking_a_sound_tree_takes_few_queries_and_no_lock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check_trees, "BATCH", 4)
    for n in range(5):
        stored(container("group", leaf(f"a{n}"), leaf(f"b{n}"), name=f"root {n}"))
    for n in range(9):
        stored(leaf(f"only {n}"))
    with queries() as run_:
        assert "Checked 14 trees: 0 faulty." in run("check_trees")
    assert len(run_) <= 5 * 4 + 9 * 3 + 14 // 4 + 3
    assert all(sql.startswith("SELECT") for sql in run_)
    assert not any("FOR UPDATE" in sql or "FOR NO KEY" in sql for sql in run_)


def test_a_tree_that_grew_while_it_was_read_is_not_faulty(
    monkeypatch: pytest.MonkeyPatch,
):
    nodes = exported()
    real, answers = integrity.find_faults, iter([["looked odd"]])
    monkeypatch.setattr(integrity, "find_faults", lambda pk: next(answers, None) or real(pk))
    before = rows()
    assert "0 faulty" in run("check_trees", nodes["root"].uuid, "--repair")
    assert rows() == before
