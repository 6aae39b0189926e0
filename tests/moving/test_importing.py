"""Copying statuses and artifacts of django-user-tasks into trees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from django.utils.timezone import now
from rest_framework.test import APIClient
from user_tasks.models import UserTaskArtifact as OldArtifact
from user_tasks.models import UserTaskStatus as OldStatus

from tests.helpers import a_user, assert_tree_is_sound, queries, signals, stored
from tests.moving.conftest import a_chain, a_chord, a_group, end, one, past, task
from tests.moving.tasks import new, old
from user_workflows.canvas import chain, workflow
from user_workflows.legacy import importing, records
from user_workflows.lifecycle import artifact_files
from user_workflows.maintenance.deletion import purge
from user_workflows.maintenance.reaper import reap
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import leaf

pytestmark = pytest.mark.django_db


def copied(**options: Any) -> importing.ImportResult:
    """Copies all; and every tree must be sound."""
    done = importing.ImportResult()
    for part in importing.import_user_tasks(**options):
        done.add(part)
    for pk in UserTaskStatus.objects.roots().values_list("pk", flat=True):
        assert_tree_is_sound(pk)
    return done


def phases() -> dict[str, str]:
    return {str(n.name): str(n.phase) for n in UserTaskStatus.objects.all()}


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("import_user_tasks", *arguments, stdout=out)
    return out.getvalue()


# -- what a copy is -------------------------------------------------------------------------------


def test_a_chord_is_copied_as_a_tree_with_all_columns(user: Any) -> None:
    root = a_chord(user, "h1", "h2", body="b")
    end("h1", "h2", "b")
    OldStatus.objects.filter(name="h1").update(attempts=3)
    past(3)
    done = copied()
    assert (done.workflows, done.nodes, done.corrected) == (1, 5, 0)
    copy = UserTaskStatus.objects.get(uuid=root.uuid)
    assert [(n.name, n.level, n.node_type) for n in copy.get_descendants(include_self=True)] == [
        ("chord", 0, "chord"),
        ("chord", 1, "group"),
        ("h1", 2, "task"),
        ("h2", 2, "task"),
        ("b", 1, "task"),
    ]
    kept = ("uuid", "user_id", "task_id", "name", "state", "attempts", "created", "modified",
            "total_steps", "completed_steps", "is_container")  # fmt: skip
    by_uuid = {row["uuid"]: row for row in OldStatus.objects.values(*kept)}
    assert {row["uuid"]: row for row in UserTaskStatus.objects.values(*kept)} == by_uuid
    parents = {n.uuid: n.parent and n.parent.uuid for n in OldStatus.objects.all()}
    assert {n.uuid: n.parent and n.parent.uuid for n in UserTaskStatus.objects.all()} == parents
    settled = set(UserTaskStatus.objects.values_list("settled_at", flat=True))
    assert settled == set(OldStatus.objects.values_list("modified", flat=True))
    assert set(phases().values()) == {"SUCCEEDED"}
    assert copy.tree().counts == {Phase.SUCCEEDED: 3}
    assert copy.percent == 100


def test_a_copy_sends_no_signals_and_leaves_the_reaper_nothing(user: Any) -> None:
    one(user)
    end("one")
    past()
    with signals() as heard:
        copied()
        report = reap()
    assert heard == {"stopped": [], "finished": []}
    assert not (report.lost or report.settled or report.announced or report.waiting)


def test_the_task_class_is_restored_from_the_stored_repr(user: Any) -> None:
    a_chain(user, "a", "b")
    assert OldStatus.objects.get(name="b").task_class.startswith("<@task: ")  # As it is there.
    end("a", "b")
    past()
    copied()
    classes = set(UserTaskStatus.objects.exclude(parent=None).values_list("task_class", flat=True))
    assert classes == {"tests.moving.tasks.old"}


def test_a_container_without_a_name_gets_a_label(user: Any) -> None:
    a_chain(user, "a", "b", name="")
    end("a", "b")
    past()
    copied()
    assert UserTaskStatus.objects.roots().get().name == "2 tasks in order"


def test_the_verdict_of_a_container_is_derived_from_its_tasks(user: Any) -> None:
    root = a_group(user, "a", "b")
    end("a")
    task("b").start()
    task("b").fail("once")
    OldStatus.objects.filter(name="b").update(state="In Progress")
    task("b").succeed()  # A second delivery; the group stays as it is there.
    OldStatus.objects.filter(pk=root.pk).update(state="Failed", completed_steps=9)
    past()
    done = copied()
    assert done.corrected == 1
    assert set(phases().values()) == {"SUCCEEDED"}
    group = UserTaskStatus.objects.roots().get()
    assert (group.completed_steps, group.total_steps) == (4, 4)


def test_tasks_after_a_failed_one_are_copied_as_skipped_with_their_cause(user: Any) -> None:
    a_chain(user, "a", "b", "c")
    end("a")
    task("b").start()
    task("b").fail("No ink.")
    past()
    copied()
    assert phases() == {"chain": "FAILED", "a": "SUCCEEDED", "b": "FAILED", "c": "SKIPPED"}
    broken = UserTaskStatus.objects.get(name="b")
    caused = UserTaskStatus.objects.filter(caused_by=broken)
    assert {node.name for node in caused} == {"chain", "c"}
    assert all(node.is_settled for node in UserTaskStatus.objects.all())
    texts = broken.parent.subtree_artifacts("Error").values_list("text", flat=True)
    assert list(texts) == ["No ink."]  # The copies on containers are kept, and left out here.
    assert UserTaskArtifact.objects.count() == OldArtifact.objects.count() == 2


def test_a_canceled_task_makes_its_chain_canceled(user: Any) -> None:
    a_chain(user, "a", "b", "c")
    end("a")
    task("b").cancel()
    past()
    copied()
    assert phases() == {"chain": "CANCELED", "a": "SUCCEEDED", "b": "CANCELED", "c": "SKIPPED"}


def test_a_failed_header_of_a_chord_skips_the_body(user: Any) -> None:
    a_chord(user, "h1", "h2", body="b")
    end("h1")
    task("h2").fail("x")
    past()
    copied()
    assert phases() == {"chord": "FAILED", "h1": "SUCCEEDED", "h2": "FAILED", "b": "SKIPPED"}


def test_a_task_with_a_failed_task_below_it_is_copied_as_failed(user: Any) -> None:
    above, below = one(user, "above"), one(user, "below")
    OldStatus.objects.filter(pk=below.pk).update(parent=above)
    end("above")
    task("below").fail("x")
    OldStatus.objects.filter(name="above").update(state="Succeeded")
    past()
    copied()
    assert phases() == {"above": "FAILED", "below": "FAILED"}
    copy = UserTaskStatus.objects.get(name="above")
    assert (copy.node_type, copy.is_container, copy.is_settled) == ("task", True, True)
    assert (copy.completed_steps, copy.total_steps) == (2, 2)
    assert (copy.tree().completed_steps, copy.tree().total_steps) == (2, 4)


# -- what is left ---------------------------------------------------------------------------------


def test_an_open_workflow_is_left_for_a_later_run(user: Any) -> None:
    a_group(user, "a", "b")
    end("a")
    task("b").set_state("Rendering")
    waiting = one(user, "waiting")
    done_one = one(user, "done")
    end("done")
    past()
    done = copied()
    assert {n.uuid for n in UserTaskStatus.objects.all()} == {done_one.uuid}
    assert len(done.open) == 2 and waiting.uuid in done.open
    end("b", "waiting")
    past()
    assert copied().workflows == 2
    assert UserTaskStatus.objects.count() == OldStatus.objects.count() == 5


def test_a_workflow_that_ended_less_than_a_minute_ago_is_left(user: Any) -> None:
    """The members of a group are stored one by one: the first may end before the last is there."""
    one(user)
    end("one")
    assert copied().workflows == 0
    past(days=2 / 24 / 60)
    assert copied().workflows == 1


def test_a_task_after_a_failed_one_is_given_up_after_a_day(user: Any) -> None:
    """After ``fail()`` and a normal return django-user-tasks' chain goes on."""
    a_chain(user, "a", "b")
    task("a").fail("x")
    past(days=0.9)
    assert len(copied().open) == 1
    past(days=1.1)
    assert copied().workflows == 1


@pytest.fixture
def broken_references(user: Any) -> Iterator[tuple[OldStatus, OldStatus]]:
    """Rows whose user, or whose container, are not there: the database was not asked."""
    with connection.constraint_checks_disabled():
        columns = {"state": "Succeeded", "total_steps": 1}
        lonely = OldStatus.objects.create(user_id=10**6, task_id="lonely", name="l", **columns)
        orphan = OldStatus.objects.create(
            user=user, parent_id=10**6, task_id="orphan", name="o", **columns
        )
        below = OldStatus.objects.create(
            user=user, parent=orphan, task_id="below", name="b", **columns
        )
        yield lonely, orphan
        for row in (below, orphan, lonely):
            OldStatus.objects.filter(pk=row.pk)._raw_delete("default")


def test_statuses_without_a_user_or_container_are_skipped(
    user: Any, broken_references: Any
) -> None:
    lonely, orphan = broken_references
    one(user)
    end("one")
    past()
    done = copied()
    assert done.skipped == {
        importing.NO_USER: [lonely.uuid],
        importing.NO_PARENT: [orphan.uuid],
    }
    assert phases() == {"one": "SUCCEEDED"}


def test_a_group_of_tasks_of_several_users_is_skipped(user: Any) -> None:
    """There each sees only the own tasks of it; here who sees a workflow sees all."""
    root = a_group(user, "a", "b")
    OldStatus.objects.filter(name="b").update(user=a_user("other"))
    end("a", "b")
    past()
    assert copied().skipped == {importing.MIXED: [root.uuid]}
    assert not UserTaskStatus.objects.exists()


def test_a_status_whose_task_has_a_node_already_is_skipped(user: Any) -> None:
    """A task of django-user-tasks in a ``workflow()`` is tracked by both."""
    status = one(user)
    end("one")
    past()
    stored(leaf("one", task_id=status.task_id))
    done = copied()
    assert done.skipped == {importing.TAKEN: [status.uuid]}
    assert UserTaskStatus.objects.count() == 1


# -- again, interrupted, at once ------------------------------------------------------------------


def test_a_second_run_copies_only_new_artifacts(user: Any) -> None:
    status = one(user)
    end("one")
    past()
    copied()
    before = list(UserTaskStatus.objects.values())
    late = OldArtifact.objects.create(status=status, name="Late", text="x")
    done = copied()
    assert (done.workflows, done.nodes, done.present, done.artifacts) == (0, 0, 1, 1)
    assert list(UserTaskStatus.objects.values()) == before
    assert UserTaskArtifact.objects.get().uuid == late.uuid
    assert copied().artifacts == 0


def test_an_interrupted_run_is_continued_by_the_next(
    user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        a_chain(user, f"a{number}", f"b{number}", name=f"chain {number}")
        end(f"a{number}", f"b{number}")
        OldArtifact.objects.create(status=task(f"b{number}"), text=str(number))
    past()
    monkeypatch.setattr(importing, "BATCH_SIZE", 4)
    monkeypatch.setattr(records, "MAX_BATCH_NODES", 6)  # Two chains in a transaction.
    insert, calls = importing._insert_artifacts, iter(range(10))

    def stops(*args: Any) -> None:
        insert(*args)
        if next(calls) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(importing, "_insert_artifacts", stops)
        with pytest.raises(KeyboardInterrupt):
            copied()
    assert UserTaskStatus.objects.roots().count() == 2  # Of the second two, not even a part.
    assert UserTaskArtifact.objects.count() == 2
    done = copied()
    assert (done.present, done.workflows, done.artifacts) == (2, 4, 4)
    assert UserTaskStatus.objects.count() == 18


def test_two_concurrent_runs_copy_everything_once(
    user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        one(user, name)
        end(name)
    past()
    sort_out = importing._classify

    def overtaken(roots: Any, done: Any) -> Any:
        sorted_out = sort_out(roots, done)
        monkeypatch.setattr(importing, "_classify", sort_out)
        importing._import(records.read_trees([roots[0].row["pk"]]), False)  # Somebody else.
        return sorted_out

    monkeypatch.setattr(importing, "_classify", overtaken)
    done = copied()
    assert (done.workflows, done.present, dict(done.skipped)) == (1, 1, {})
    assert UserTaskStatus.objects.count() == 2


def test_a_workflow_that_the_database_refuses_is_reported_and_others_are_copied(
    user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, _ = one(user, "bad"), one(user, "good")
    end("bad", "good")
    past()
    row = importing._row

    def spoiled(node: Any, **place: Any) -> Any:
        made = row(node, **place)
        if made.name == "bad":
            made.state = None
        return made

    monkeypatch.setattr(importing, "_row", spoiled)
    done = copied()
    assert dict(done.skipped) == {importing.REFUSED: [bad.uuid]}
    assert phases() == {"good": "SUCCEEDED"}


# -- artifacts ------------------------------------------------------------------------------------


@pytest.fixture
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def with_file(user: Any, content: str = "content") -> OldArtifact:
    status = one(user, content)
    artifact = OldArtifact.objects.create(status=status, name="File")
    artifact.file.save("a.txt", ContentFile(content.encode()))
    end(content)
    past()
    return artifact


def in_storage(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_artifacts_are_copied_with_all_columns(user: Any) -> None:
    status = one(user)
    OldArtifact.objects.create(status=status, name="Link", url="https://example.com/")
    OldArtifact.objects.create(status=status, name="Text", text="words")
    end("one")
    past(5)
    copied()
    kept = ("uuid", "status__uuid", "name", "url", "text", "created", "modified")
    assert list(UserTaskArtifact.objects.order_by("pk").values(*kept)) == list(
        OldArtifact.objects.order_by("pk").values(*kept)
    )


@pytest.mark.django_db(transaction=True)
class TestFiles:
    def test_a_shared_file_is_kept_while_either_app_names_it(self, user: Any, media: Path) -> None:
        artifact = with_file(user)
        assert copied().copied_files == 0
        copy = UserTaskArtifact.objects.get()
        assert copy.file.name == artifact.file.name
        UserTaskStatus.objects.get().delete()
        assert in_storage(media) == ["content"]
        copied()
        artifact.status.delete()  # django-user-tasks leaves files.
        assert in_storage(media) == ["content"]
        UserTaskStatus.objects.get().delete()
        assert in_storage(media) == []

    def test_purging_keeps_files_that_django_user_tasks_names(self, user: Any, media: Path) -> None:
        with_file(user)
        copied()
        list(purge(now() - timedelta(days=1)))
        assert not UserTaskStatus.objects.exists()
        assert in_storage(media) == ["content"]

    def test_files_are_copied_to_another_storage(
        self, user: Any, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        artifact = with_file(user)
        lost = with_file(user, "lost")
        lost.file.storage.delete(lost.file.name)
        elsewhere = FileSystemStorage(tmp_path / "elsewhere")
        field: Any = UserTaskArtifact._meta.get_field("file")
        monkeypatch.setattr(field, "storage", elsewhere)
        done = copied()
        assert (done.copied_files, done.missing_files) == (1, [lost.file.name])
        assert in_storage(tmp_path / "elsewhere") == ["content"]
        assert UserTaskArtifact.objects.get(uuid=lost.uuid).file.name == ""
        UserTaskStatus.objects.get(uuid=artifact.status.uuid).delete()
        assert in_storage(tmp_path) == ["content"]  # That of django-user-tasks.
        assert artifact.file.read() == b"content"

    def test_copied_files_are_deleted_if_the_rows_are_not_stored(
        self, user: Any, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with_file(user)
        elsewhere = FileSystemStorage(tmp_path / "elsewhere")
        field: Any = UserTaskArtifact._meta.get_field("file")
        monkeypatch.setattr(field, "storage", elsewhere)

        def stops(*args: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(importing, "_insert", stops)
        with pytest.raises(KeyboardInterrupt):
            copied()
        assert in_storage(tmp_path / "elsewhere") == []
        assert in_storage(tmp_path) == ["content"]


def test_storages_with_equal_arguments_are_identical(tmp_path: Path) -> None:
    """Both apps make one each of the class that a setting names."""
    same = [FileSystemStorage(tmp_path), FileSystemStorage(tmp_path)]
    assert artifact_files._identity(same[0]) == artifact_files._identity(same[1])
    assert artifact_files._identity(same[0]) != artifact_files._identity(
        FileSystemStorage(tmp_path / "other")
    )
    assert artifact_files._identity(object()) != artifact_files._identity(object())


# -- the command ----------------------------------------------------------------------------------


def test_a_dry_run_prints_the_same_report_and_copies_nothing(
    user: Any, media: Path, broken_references: Any
) -> None:
    with_file(user)
    one(user, "open")
    past()
    said = command("--dry-run")
    assert not UserTaskStatus.objects.exists() and not UserTaskArtifact.objects.exists()
    assert said.startswith("Would copy 1 workflows: 1 nodes, 1 artifacts.\n")
    assert command().replace("Copied", "Would copy", 1) == said
    lonely, orphan = broken_references
    for line in (
        f"Left, as they may still change: 1\n  {OldStatus.objects.get(name='open').uuid}",
        f"Skipped, as their user is gone: 1\n  {lonely.uuid}",
        f"Skipped, as their container is gone: 1\n  {orphan.uuid}",
    ):
        assert line in said
    assert "Found 1 that were here already." in command()


def test_the_command_fails_without_django_user_tasks(settings: Any, db: None) -> None:
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "user_tasks"]
    with pytest.raises(CommandError, match="INSTALLED_APPS"):
        command()


def test_copying_ten_thousand_rows_takes_few_queries(user: Any, capsys: Any) -> None:
    """Their cost, as printed; only queries are counted."""
    many(user, 500)
    past()
    with queries() as sql:
        begin = time.perf_counter()
        done = importing.ImportResult()
        for part in importing.import_user_tasks():
            done.add(part)
        seconds = time.perf_counter() - begin
    assert (done.workflows, done.nodes, done.artifacts) == (500, 10_000, 500)
    assert UserTaskStatus.objects.count() == 10_000
    assert len(sql) <= 100 * done.nodes / records.MAX_BATCH_NODES  # On SQLite; elsewhere a third.
    for pk in UserTaskStatus.objects.roots().values_list("pk", flat=True)[::50]:
        assert_tree_is_sound(pk)
    with capsys.disabled():
        print(f"\n10,000 rows in {seconds:.1f} s, {len(sql)} queries, {connection.vendor}")


def many(user: Any, count: int) -> None:
    """Chords of 17 tasks and one, 20 rows each, that succeeded."""

    def row(name: str, parent: OldStatus | None = None, kind: str = "") -> OldStatus:
        return OldStatus(
            user=user, task_id=str(uuid4()), parent=parent, is_container=bool(kind), name=name,
            task_class=f"celery.{kind}" if kind else "tests.moving.tasks.old", total_steps=1,
            state="Succeeded", completed_steps=1,
        )  # fmt: skip

    def store(rows: list[OldStatus]) -> list[OldStatus]:
        OldStatus.objects.bulk_create(rows, batch_size=1000)
        keys = {n.task_id: n for n in OldStatus.objects.filter(name=rows[0].name)}
        return [keys[n.task_id] for n in rows]

    roots = store([row("root", kind="chord") for _ in range(count)])
    headers = store([row("header", root, "group") for root in roots])
    store([row("leaf", header) for header in headers for _ in range(17)])
    store([row("body", root) for root in roots])
    OldArtifact.objects.bulk_create(OldArtifact(status=root, text="x") for root in roots)


# -- side by side ---------------------------------------------------------------------------------


def test_a_copy_has_the_uuid_and_fields_of_the_legacy_status_in_the_api(user: Any) -> None:
    status = one(user)
    OldArtifact.objects.create(status=status, name="Text", text="words")
    end("one")
    past()
    copied()
    client = APIClient()
    user.is_superuser = True  # The old API asks for permissions in any case.
    client.force_authenticate(user)
    old, new = (client.get(f"/{api}/tasks/{status.uuid}/").json() for api in ("old", "api"))
    assert {name: new[name] for name in old} == {**old, "artifacts": new["artifacts"]}
    (artifact,) = new["artifacts"]
    assert client.get(artifact).json()["text"] == "words"


def test_both_apps_pass_the_checks_and_have_their_own_reverse_name_at_the_user(user: Any) -> None:
    call_command("check", fail_level="WARNING")
    call_command("makemigrations", "user_workflows", "--check", "--dry-run", verbosity=0)
    old_one, new_one = one(user), stored(leaf("x"))["x"]
    assert list(user.usertaskstatus_set.all()) == [old_one]
    assert list(user.user_workflows.roots()) == [new_one]


def test_each_app_tracks_its_own_tasks(user: Any, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        old.delay(user.pk, name="of django-user-tasks")
        new.delay(user.pk)
    assert [n.name for n in OldStatus.objects.all()] == ["of django-user-tasks"]
    assert [n.name for n in UserTaskStatus.objects.all()] == ["new"]


def test_a_legacy_task_in_a_workflow_is_tracked_by_both_apps_and_not_copied(
    user: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        root = workflow(chain(new.si(user.pk), old.si(user.pk, name="b")), user=user).delay()
    assert root.get_leafnodes().count() == 2
    with django_capture_on_commit_callbacks(execute=True):
        root = workflow(old.si(user.pk, name="c"), user=user).delay()
    assert task("c").task_id == root.task_id
    end("c")
    past()
    assert copied().skipped[importing.TAKEN] == [task("c").uuid]


def test_reverse_finds_the_api_that_is_last_in_the_urlconf(user: Any) -> None:
    assert reverse("usertaskstatus-list") == "/api/tasks/"
