"""Deleting old workflows, and the files of what is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import models, transaction
from django.db.models.signals import post_delete, pre_delete
from django.utils.timezone import now

from tests.helpers import queries, stored
from user_workflows.maintenance import deletion
from user_workflows.maintenance.deletion import purge
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.tasks import purge_old_user_tasks, purge_old_user_workflows
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db


def aged(name: str, days: float) -> dict[str, UserTaskStatus]:
    nodes = stored(container("chain", leaf(f"{name}1"), leaf(f"{name}2"), name=name))
    age(nodes[name], days)
    return nodes


def age(root: UserTaskStatus, days: float) -> None:
    then = now() - timedelta(days=days)
    UserTaskStatus.objects.filter(tree_id=root.pk).update(created=then, modified=then)


def names() -> set[str]:
    return set(UserTaskStatus.objects.roots().values_list("name", flat=True))


def test_a_purge_deletes_whole_old_workflows_and_leaves_young_ones() -> None:
    old, _ = aged("old", 31), aged("young", 29)
    old["old1"].fail("x")
    age(old["old"], 31)
    assert purge_old_user_tasks() > 3
    assert names() == {"young"}
    assert UserTaskStatus.objects.count() == 3


def test_the_age_of_a_workflow_counts_from_its_last_change() -> None:
    nodes = aged("just settled", 60)
    nodes["just settled1"].succeed()
    nodes["just settled2"].succeed()
    assert purge_old_user_tasks() == 0
    age(nodes["just settled"], 31)
    assert purge_old_user_tasks() == 3


def test_a_purge_leaves_an_old_workflow_with_a_running_or_retrying_task() -> None:
    for name, act in (("running", UserTaskStatus.start), ("retrying", UserTaskStatus.retry)):
        nodes = aged(name, 60)
        act(nodes[f"{name}1"])
        age(nodes[name], 60)
    assert purge_old_user_tasks() == 0
    assert names() == {"running", "retrying"}


def test_a_purge_leaves_an_old_workflow_in_which_a_task_has_ended_lately() -> None:
    """Between two of its tasks nothing runs, and its root was last changed when it started."""
    nodes = aged("long", 60)
    nodes["long1"].start()
    age(nodes["long"], 60)
    nodes["long1"].succeed()
    root = UserTaskStatus.objects.get(pk=nodes["long"].pk)
    assert root.is_active and now() - root.modified > timedelta(days=59)
    assert purge_old_user_tasks() == 0
    age(nodes["long"], 31)
    assert purge_old_user_tasks() == 3


def test_a_purge_deletes_an_old_workflow_that_never_started() -> None:
    aged("pending", 60)
    purge_old_user_workflows()
    assert names() == set()


def test_the_age_of_old_workflows_is_a_setting(settings: Any) -> None:
    aged("old", 10)
    settings.USER_TASKS_MAX_AGE = timedelta(days=9)
    purge_old_user_tasks()
    assert names() == set()


def test_the_purge_is_a_celery_task_under_both_names() -> None:
    assert purge_old_user_tasks.name == "user_workflows.tasks.purge_old_user_tasks"
    assert purge_old_user_workflows.name == "user_workflows.tasks.purge_old_user_workflows"
    assert purge_old_user_tasks.apply().get() == 0


def test_the_queries_of_a_purge_do_not_grow_with_the_number_of_workflows() -> None:
    def cost(count: int) -> int:
        for number in range(count):
            aged(f"old {number}", 31)
        with queries() as sql:
            assert purge_old_user_tasks() == 3 * count
        return len(sql)

    assert cost(2) == cost(20) <= 10


def test_a_purge_yields_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "BATCH_SIZE", 2)
    for number in range(5):
        aged(f"old {number}", 31)
    parts = purge(now() - timedelta(days=30))
    assert next(parts).workflows == 2
    assert len(names()) == 3
    assert [part.workflows for part in parts] == [2, 1]


# -- what others need -----------------------------------------------------------------------------


@pytest.fixture
def protecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Some other app has a row for the workflow of this name, and protects it."""

    def refuse(sender: Any, instance: UserTaskStatus, **kwargs: Any) -> None:
        if instance.name == "needed":
            raise models.ProtectedError("Needed.", {instance})

    pre_delete.connect(refuse, sender=UserTaskStatus)
    yield "needed"
    pre_delete.disconnect(refuse, sender=UserTaskStatus)


def test_a_purge_leaves_protected_workflows_and_deletes_the_rest(protecting: str) -> None:
    needed = aged(protecting, 31)[protecting]
    aged("a", 31), aged("b", 31)
    [part] = purge(now() - timedelta(days=30))
    assert (part.workflows, part.nodes, part.protected) == (2, 6, [needed.uuid])
    assert names() == {"needed"}
    assert UserTaskStatus.objects.count() == 3


@pytest.mark.parametrize("signal", [pre_delete, post_delete], ids=["pre_delete", "post_delete"])
@pytest.mark.parametrize("model", [UserTaskStatus, UserTaskArtifact])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_purge_calls_the_receivers_of_each_row_that_it_deletes(
    signal: Any, model: Any, is_async: bool
) -> None:
    called: set[int] = set()

    def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        called.add(instance.pk)

    async def note_later(sender: Any, instance: Any, **kwargs: Any) -> None:
        called.add(instance.pk)

    nodes = aged("old", 31)
    nodes["old1"].add_artifact(text="x")
    age(nodes["old"], 31)
    expected = set(model.objects.values_list("pk", flat=True))
    receiver = note_later if is_async else note
    signal.connect(receiver, sender=model)
    try:
        [part] = purge(now() - timedelta(days=30))
    finally:
        signal.disconnect(receiver, sender=model)
    assert (part.workflows, part.nodes, part.artifacts) == (1, 3, 1)
    assert called == expected


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture
def media(tmp_path: Path, settings: Any) -> Path:
    """The folder that artifacts' files are in."""
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def in_storage(media: Path) -> set[str]:
    return {path.read_text() for path in media.rglob("*") if path.is_file()}


def with_file(status: UserTaskStatus, content: str) -> UserTaskArtifact:
    return status.add_artifact("File", file=ContentFile(content.encode(), name="a.txt"))


@pytest.mark.django_db(transaction=True)
class TestFiles:
    def test_purging_deletes_the_files_of_old_workflows_only(self, media: Path) -> None:
        old, young = aged("old", 31), aged("young", 1)
        for nodes, name in ((old, "old"), (young, "young")):
            with_file(nodes[f"{name}1"], name)
            age(nodes[name], 31 if name == "old" else 1)
        purge_old_user_tasks()
        assert in_storage(media) == {"young"}

    def test_deleting_a_workflow_deletes_its_files(self, media: Path) -> None:
        nodes = aged("a", 1)
        with_file(nodes["a1"], "1")
        with_file(nodes["a2"], "2")
        with_file(aged("b", 1)["b1"], "b")
        nodes["a"].delete()
        assert in_storage(media) == {"b"}

    def test_files_stay_when_the_deletion_is_rolled_back(self, media: Path) -> None:
        nodes = aged("a", 31)
        with_file(nodes["a1"], "1")
        age(nodes["a"], 31)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            purge_old_user_tasks()
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            nodes["a"].delete()
            raise ZeroDivisionError
        assert in_storage(media) == {"1"}

    def test_a_file_that_another_artifact_names_stays(self, media: Path) -> None:
        first, second = aged("a", 1), aged("b", 1)
        artifact = with_file(first["a1"], "shared")
        UserTaskArtifact.objects.create(status=second["b1"], file=artifact.file.name)
        first["a"].delete()
        assert in_storage(media) == {"shared"}
        second["b"].delete()
        assert in_storage(media) == set()

    def test_a_file_that_the_storage_refuses_to_delete_does_not_stop_the_rest(
        self, media: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        nodes = aged("a", 1)
        refused = with_file(nodes["a1"], "refused").file.name
        with_file(nodes["a2"], "2")
        storage: Any = UserTaskArtifact._meta.get_field("file").storage  # type: ignore[union-attr]
        delete = storage.delete

        def refuse(name: str) -> None:
            if name == refused:
                raise PermissionError(name)
            delete(name)

        monkeypatch.setattr(storage, "delete", refuse)
        nodes["a"].delete()
        assert in_storage(media) == {"refused"}
        assert refused in caplog.text


# -- the command ----------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("purge_workflows", *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_of_the_command_deletes_nothing() -> None:
    aged("old", 31)["old1"].add_artifact(text="x")
    age(UserTaskStatus.objects.get(name="old"), 31)
    aged("young", 1)
    assert command("--dry-run") == "Would delete 1 workflows: 3 nodes, 1 artifacts.\n"
    assert names() == {"old", "young"}


def test_the_command_reports_deleted_and_protected_workflows(protecting: str) -> None:
    aged("old", 8)
    needed = aged(protecting, 8)[protecting]
    said = command("--days", "7")
    assert said.startswith("Deleted 1 workflows: 3 nodes, 0 artifacts.\nLeft 1 that")
    assert str(needed.uuid) in said
    assert names() == {"needed"}


@pytest.mark.parametrize("days", ["-1", "many", "1e9"])
def test_the_command_refuses_an_invalid_age(days: str) -> None:
    with pytest.raises(BaseException, match="days"):
        command("--days", days)
