"""The same work done with django-user-tasks and here: what the how-to guide promises."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, current_app, group
from django.core.files.base import ContentFile
from django.utils.timezone import now
from user_tasks.models import UserTaskArtifact as OldArtifact
from user_tasks.models import UserTaskStatus as OldStatus
from user_tasks.tasks import purge_old_user_tasks as purge_there

from tests.helpers import queries
from tests.moving.conftest import a_chain, one, past, task
from tests.moving.tasks import new, old
from user_workflows.canvas import workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.tasks import purge_old_user_tasks as purge_here

pytestmark = pytest.mark.django_db(transaction=True)

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "move-from-user-tasks.md"


def test_a_nested_canvas_is_one_tree(user: Any) -> None:
    group(chain(old.si(user.pk, name=f"a{i}"), old.si(user.pk, name=f"b{i}")) for i in "12").delay()
    assert OldStatus.objects.filter(parent=None).count() == 2  # Two chains, and no whole.
    canvas = group(chain(new.si(user.pk), new.si(user.pk)) for _ in "12")
    root = workflow(canvas, user=user).delay()
    assert UserTaskStatus.objects.roots().get() == root
    assert [root.node_type, *(n.node_type for n in root.get_descendants())] == [
        "group", "chain", "task", "task", "chain", "task", "task",
    ]  # fmt: skip


def test_tasks_after_a_failure_are_skipped_with_their_cause(user: Any) -> None:
    a_chain(user, "a", "b")
    task("a").fail("No ink.")
    assert task("b").state == "Pending"  # For ever.
    root = workflow(chain(new.si(user.pk), new.si(user.pk)), user=user).delay()
    first, second = root.get_leafnodes()
    first.fail("No ink.")
    second.refresh_from_db()
    assert (second.phase, second.caused_by) == (Phase.SKIPPED, first)


def test_the_queries_to_publish_do_not_grow_with_the_canvas(user: Any) -> None:
    with queries() as there:
        chord([old.si(user.pk, name=str(i)) for i in range(20)], old.si(user.pk, name="b")).delay()
    canvas = chord([new.si(user.pk) for _ in range(20)], new.si(user.pk))
    with queries() as here:
        workflow(canvas, user=user).delay()
    assert len(there) > 150
    assert len(here) <= 8


def test_a_tree_with_current_sums_is_one_query(user: Any) -> None:
    """Everything about a tree, with sums as of now, is one query; there it is one a container."""
    root = workflow(chain(new.si(user.pk), group(new.si(user.pk) for _ in "123")), user=user)
    status = root.delay()
    status.get_leafnodes().first().succeed()
    with queries(1):
        tree = status.tree()
        assert (tree.completed_steps, tree.total_steps, tree.counts[Phase.PENDING]) == (1, 4, 3)


def test_canceling_ten_tasks_is_one_broadcast(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broadcasts: list[Any] = []
    monkeypatch.setattr(
        type(current_app.control), "revoke", lambda self, ids, **more: broadcasts.append(ids)
    )
    a_chain(user, *"abcdefghij").cancel()
    assert len(broadcasts) == 10
    broadcasts.clear()
    root = workflow(chain(*[new.si(user.pk) for _ in range(10)]), user=user).delay()
    root.cancel()
    assert [len(ids) for ids in broadcasts] == [10]


def test_purging_leaves_running_tasks(user: Any) -> None:
    one(user).start()
    workflow(new.si(user.pk), user=user).delay().start()
    past(days=31)
    then = now() - timedelta(days=31)
    UserTaskStatus.objects.update(created=then, modified=then)
    purge_there()
    purge_here()
    assert not OldStatus.objects.exists()
    assert UserTaskStatus.objects.count() == 1


def test_deleting_a_workflow_deletes_its_files(user: Any, tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    there = one(user)
    OldArtifact.objects.create(status=there).file.save("there.txt", ContentFile(b"x"))
    here = workflow(new.si(user.pk), user=user).delay()
    here.add_artifact(file=ContentFile(b"x", name="here.txt"))
    there.delete()
    here.delete()
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["there.txt"]


def test_the_guide_names_exactly_these_tests() -> None:
    named = re.findall(r"`(test_\w+)`", HOW_TO.read_text())
    mine = {name for name in globals() if name.startswith("test_")} - {
        "test_the_guide_names_exactly_these_tests"
    }
    assert set(named) == mine
