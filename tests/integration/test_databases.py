"""What has to hold on whatever database the suite runs on."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import connection, transaction
from django.utils.timezone import now

from tests.helpers import a_user, queries
from user_workflows import signals
from user_workflows.lifecycle import transitions
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import NodeType, Phase
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import submission
from user_workflows.testing import container, leaf

from .checks import assert_bounds, assert_settled
from .planned import by_name, group_of, nested, stored

objects = UserTaskStatus.objects
EMOJI = "Kursübersicht 導出 🎓👩‍🏫"


@pytest.mark.django_db(transaction=True)
def test_migrations_apply_from_zero() -> None:
    def tables() -> set[str]:
        names = connection.introspection.table_names()
        return {name for name in names if name.startswith("user_workflows_")}

    before = tables()
    call_command("migrate", "user_workflows", "zero", verbosity=0)
    assert tables() == set()
    call_command("migrate", "user_workflows", verbosity=0)
    assert tables() == before
    assert stored(nested()).pk


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", "user_workflows", check=True, dry_run=True, verbosity=0)


# -- storing --------------------------------------------------------------------------------------


def deep(levels: int) -> PlanNode:
    """A task within so many groups and chains in turn, each with a task beside."""
    plan = leaf("innermost")
    for level in range(levels):
        kind = NodeType.CHAIN if level % 2 else NodeType.GROUP
        plan = container(kind, plan, leaf(f"beside {level}"), name=f"level {level}")
    return plan


@pytest.mark.django_db
def test_a_wide_tree_is_stored_in_order_in_a_constant_number_of_queries() -> None:
    plan = group_of(1000)
    with queries() as sent:
        root = submission.store_plan(plan, user_id=a_user().pk)

    names = objects.filter(parent=root).order_by("lft").values_list("name", flat=True)
    assert list(names) == [str(i) for i in range(1000)]
    assert_bounds_of_wide(root)
    reads = 0 if connection.features.can_return_rows_from_bulk_insert else 2
    # SQLite takes so many parameters only; other databases take all rows of a level at once.
    inserts = sum(statement.startswith(("INSERT", "COPY")) for statement in sent) - 1  # The user's.
    if connection.vendor != "sqlite":
        assert inserts == (1 if connection.vendor == "postgresql" else 2)
    assert len(sent) - inserts <= 1 + reads + 2


def assert_bounds_of_wide(root: UserTaskStatus) -> None:
    rows = list(objects.filter(parent=root).order_by("pk").values_list("lft", "rght"))
    assert all(lft < rght for lft, rght in rows)
    assert all(before[1] < after[0] for before, after in pairwise(rows))
    assert root.lft < rows[0][0] and rows[-1][1] < root.rght


@pytest.mark.django_db
def test_a_deep_tree_is_stored_and_read_as_planned() -> None:
    root = submission.store_plan(deep(60), user_id=a_user().pk)

    assert_bounds(root.pk)
    node = root.tree()
    for level in reversed(range(60)):
        assert [child.name for child in node.children][1:] == [f"beside {level}"]
        node = node.children[0]
    assert node.name == "innermost"


@pytest.mark.django_db
def test_the_key_of_each_row_belongs_to_its_task() -> None:
    """Also where the database does not tell the keys of inserted rows."""
    plan = nested()
    root = submission.store_plan(plan, user_id=a_user().pk)

    parents = {child.task_id: node.task_id for node in plan.walk() for child in node.children}
    found = objects.filter(tree_id=root.pk).exclude(parent=None)
    assert dict(found.values_list("task_id", "parent__task_id")) == parents


# -- texts ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_long_texts_are_cut_where_they_do_not_fit() -> None:
    long = "x" * 1000
    flat = leaf(long)
    flat.name = long[:255]
    root = submission.store_plan(
        container("group", flat, name="group"), user_id=a_user().pk, action=long, subject=long
    )
    status = objects.get(parent=root)
    status.start()
    status.set_state(long)
    status.set_name(long)
    status.refresh_from_db()
    assert status.state == long[:255] and status.name == long[:255]
    status.name = "short"
    status.state = long
    status.save()
    status.add_artifact(long, text=long * 100)
    status.fail(long * 100)
    errors = UserTaskArtifact.objects.filter(name="Error").values_list("text", flat=True)
    assert list(errors) == [long * 100] * 2


@pytest.mark.django_db
def test_texts_are_not_limited_to_the_basic_plane() -> None:
    plan = container("group", leaf(EMOJI), name=EMOJI)
    root = submission.store_plan(plan, user_id=a_user().pk, action=EMOJI, subject=EMOJI)
    status = objects.get(parent=root)
    status.set_state(EMOJI)
    status.add_artifact(EMOJI, text=EMOJI)
    status.fail(EMOJI)

    root.refresh_from_db()
    assert (root.name, root.action, root.subject) == (EMOJI, EMOJI, EMOJI)
    texts = UserTaskArtifact.objects.order_by("pk").values_list("name", "text")
    assert list(texts) == [(EMOJI, EMOJI), ("Error", EMOJI), ("Error", EMOJI)]


@pytest.mark.django_db
@pytest.mark.parametrize("bad", ["\x00", "\udc80"], ids=["NUL", "surrogate"])
def test_a_message_that_the_database_cannot_hold_still_fails_the_task(
    request: Any, bad: str
) -> None:
    """Parsers quote binary data; names of files that are not UTF-8 come with surrogates."""
    root = stored(group_of(1))
    status = objects.get(parent=root)

    transitions.settle(status, Phase.FAILED, message=f"No such file: a{bad}b")

    status.refresh_from_db()
    assert status.settled_at is not None
    assert UserTaskArtifact.objects.get(status=status).text.startswith("No such file: a")


@pytest.mark.django_db
@pytest.mark.parametrize("bad", ["\x00", "\udc80"], ids=["NUL", "surrogate"])
def test_a_state_that_the_database_cannot_hold_is_stored_without_what_it_cannot(bad: str) -> None:
    status = objects.get(parent=stored(group_of(1)))
    status.start()

    status.set_state(f"Reading a{bad}b")

    status.refresh_from_db()
    assert status.state.startswith("Reading a")


@pytest.mark.django_db
@pytest.mark.parametrize("bad", ["\x00", "\udc80"], ids=["NUL", "surrogate"])
def test_an_artifact_that_the_database_cannot_hold_is_stored_without_what_it_cannot(
    bad: str,
) -> None:
    """A list of files, for instance, of which one has a name that is not UTF-8."""
    status = objects.get(parent=stored(group_of(1)))

    status.add_artifact(f"Files{bad}", text=f"a{bad}b")

    artifact = UserTaskArtifact.objects.get(status=status)
    assert artifact.name.startswith("Files") and artifact.text.startswith("a")
    assert artifact.size == len(artifact.text.encode())


@pytest.mark.django_db
@pytest.mark.parametrize("bad", ["\x00", "\udc80"], ids=["NUL", "surrogate"])
def test_names_that_the_database_cannot_hold_do_not_stop_a_submission(bad: str) -> None:
    a = container("group", leaf(f"a{bad}"), name=f"group{bad}")
    root = submission.store_plan(a, user_id=a_user().pk, action=f"x{bad}", subject=f"y{bad}")

    objects.get(parent=root).set_name(f"b{bad}")

    assert objects.get(parent=root).name.startswith("b")
    assert objects.filter(pk=root.pk, action=f"x{bad}", subject=f"y{bad}").exists()


# -- times, transactions --------------------------------------------------------------------------


@pytest.mark.django_db
def test_times_are_kept_to_the_microsecond() -> None:
    """``cancel`` knows what it has settled by the time that it has given it."""
    root = stored(group_of(3))
    at = now().replace(microsecond=123457)
    objects.filter(pk=root.pk).update(settled_at=at)
    assert objects.filter(settled_at=at).count() == 1
    assert objects.get(pk=root.pk).settled_at == at
    assert not objects.filter(settled_at=at + timedelta(microseconds=1)).exists()


@pytest.mark.django_db
def test_a_failure_in_a_transaction_skips_successors_and_stores_the_error() -> None:
    root = stored(nested())
    nodes = by_name(root)
    with transaction.atomic():
        transitions.settle(nodes["0"], Phase.FAILED, message="It broke.")
    for i in range(1, 8):
        transitions.settle(nodes[str(i)], Phase.SUCCEEDED)

    nodes = by_name(root)
    assert_settled(root.pk)
    assert {nodes[name].phase for name in ("body", "tail")} == {Phase.SKIPPED}
    assert nodes["tail"].caused_by_id == nodes["0"].pk
    errors = UserTaskArtifact.objects.filter(name="Error").values_list("status__name", flat=True)
    assert sorted(errors) == ["0", "chord", "header", "left", "root"]


@pytest.mark.django_db
def test_a_failure_that_is_rolled_back_has_not_happened() -> None:
    root = stored(nested())
    nodes = by_name(root)
    with transaction.atomic():
        transitions.settle(nodes["0"], Phase.FAILED, message="It broke.")
        transaction.set_rollback(True)

    assert {n.phase for n in by_name(root).values()} == {Phase.PENDING}
    assert not UserTaskArtifact.objects.exists()


@pytest.mark.django_db
def test_deleting_a_workflow_deletes_all_its_rows() -> None:
    root, other = stored(nested()), stored(nested())
    by_name(root)["0"].fail("It broke.")

    root.delete()

    assert set(objects.values_list("tree_id", flat=True)) == {other.pk}
    assert not UserTaskArtifact.objects.exists()


def test_a_worker_keeps_its_connection_with_celery_db_reuse_max(postgres: str) -> None:
    connection.ensure_connection()
    before = connection.connection
    current_app.conf["CELERY_DB_REUSE_MAX"] = 10
    try:
        signals.start_user_task()
        assert connection.connection is before
        connection.errors_occurred = True
        before.close()
        signals.start_user_task()
        assert connection.connection is None  # It was of no use any more.
    finally:
        current_app.conf["CELERY_DB_REUSE_MAX"] = None
    connection.ensure_connection()
    signals.start_user_task()
    assert connection.connection is None
