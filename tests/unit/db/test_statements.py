"""The statements that are kept as SQL do what the ORM's own would."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from tests.helpers import a_user, queries, stored
from user_workflows.db import statements
from user_workflows.models import UserTaskStatus
from user_workflows.phases import REPLACES, WAITING, NodeType, Phase
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db
objects = UserTaskStatus.objects
AT = now()


@pytest.fixture
def nodes(db: None) -> dict[str, UserTaskStatus]:
    return stored(container("group", leaf("a"), leaf("b"), name="r"))


@pytest.fixture
def every_kind(db: None) -> list[int]:
    """The keys of nodes in all states that a statement asks for, each below a container."""
    user, long_ago = a_user(), AT - timedelta(hours=1)
    above = [
        UserTaskStatus(
            user=user,
            task_id=str(uuid4()),
            task_class="celery.group",
            name="above",
            node_type=NodeType.GROUP,
            is_container=True,
            phase=phase,
            state=phase.state,
            total_steps=1,
            tree_id=1,
            lft=1,
            rght=2,
            level=0,
        )
        for phase in (Phase.PENDING, Phase.RUNNING)
    ]
    for each in above:
        UserTaskStatus.save_base(each, raw=True, force_insert=True)
    kinds = product(
        Phase, (None, long_ago), (None, long_ago), (None, long_ago),
        ((NodeType.TASK, False), (NodeType.TASK, True), (NodeType.GROUP, True)), (1, 3),
    )  # fmt: skip
    rows = [
        UserTaskStatus(
            user=user,
            parent=above[number % 2] if number % 5 else None,
            task_id=str(uuid4()),
            task_class="t",
            name=f"node {number}",
            node_type=node_type,
            is_container=is_container,
            phase=phase,
            state=phase.state,
            completed_steps=2,
            total_steps=5,
            attempts=attempts,
            allow_failure=bool(number % 3),
            replaced_nesting=number % 4,
            started_at=long_ago if number % 2 else None,
            settled_at=settled_at,
            ended_at=ended_at,
            last_seen_at=last_seen_at,
            tree_id=1,
            lft=1,
            rght=2,
            level=1,
        )
        for number, (phase, settled_at, ended_at, last_seen_at, (node_type, is_container), attempts)
        in enumerate(kinds)
    ]  # fmt: skip
    objects.bulk_create(rows)
    return list(objects.order_by("pk").values_list("pk", flat=True))


def types(row: Any) -> list[type]:
    return [type(value) for value in row]


class TestSelects:
    def test_the_leaf_to_start_is_the_one_that_the_orm_finds(self, every_kind: list[int]) -> None:
        expected = objects.order_by("pk").values_list(
            "pk", "tree_id", "parent_id", "phase", "parent__phase", "attempts",
            "replaced_nesting", "allow_failure", "last_seen_at", "task_id",
        )  # fmt: skip
        for *columns, last_seen_at, task_id in expected:
            row = statements.select_leaf_to_start(task_id)
            assert row is not None
            assert list(row) == [*columns, last_seen_at is not None]
            assert types(row) == types([*columns, True])
        assert statements.select_leaf_to_start("nobody's") is None

    def test_the_container_to_settle_is_the_one_that_the_orm_finds(
        self, every_kind: list[int]
    ) -> None:
        children = objects.filter(parent_id=OuterRef("pk"), settled_at__isnull=True).order_by()
        expected = objects.annotate(is_open=Exists(children)).order_by("pk").values_list(
            "pk", "tree_id", "parent_id", "node_type", "phase", "allow_failure", "ended_at",
            "is_open",
        )  # fmt: skip
        for pk, *columns, ended_at, is_open in expected:
            row = statements.select_container(pk)
            assert row is not None
            assert list(row) == [pk, *columns, ended_at is not None, is_open]
            assert types(row) == types([pk, *columns, True, True])
        assert {row[-1] for row in expected} == {True, False}
        assert statements.select_container(10**9) is None

    def test_a_fresh_instance_is_as_the_orm_reads_it(
        self, nodes: dict[str, UserTaskStatus], every_kind: list[int]
    ) -> None:
        for pk in (nodes["r"].pk, nodes["a"].pk, *every_kind[::7]):
            found, expected = statements.select_node(pk), objects.get(pk=pk)
            assert found is not None
            for field in UserTaskStatus._meta.concrete_fields:
                value = getattr(expected, field.attname)
                assert getattr(found, field.attname) == value, field
                assert type(getattr(found, field.attname)) is type(value), field
            assert found._stored == expected._stored
            assert (found._state.db, found._state.adding) == (expected._state.db, False)
        assert statements.select_node(10**9) is None


Row = dict[str, Any]


def written(pks: list[int], write: Callable[[int], bool]) -> list[tuple[bool, Row]]:
    """Return what each row is after it was written; nothing of it stays."""
    with transaction.atomic():
        found = [write(pk) for pk in pks]
        rows = list(objects.filter(pk__in=pks).order_by("pk").values())
        transaction.set_rollback(True)
    return list(zip(found, rows, strict=True))


def begun_by_orm(pk: int, attempt: int, at: datetime, **fresh: Any) -> bool:
    new = Q(phase__in=WAITING) | Q(attempts__lt=attempt) | Q(last_seen_at__isnull=True)
    rows = objects.filter(new, pk=pk, settled_at__isnull=True, phase__in=REPLACES[Phase.RUNNING])
    return bool(
        rows.order_by().update(
            phase=Phase.RUNNING,
            state=Phase.RUNNING.state,
            attempts=attempt,
            started_at=Coalesce("started_at", at),
            modified=at,
            **fresh,
        )
    )


def succeeded_by_orm(pk: int, at: datetime, attempt: int | None = None) -> bool:
    rows = objects.filter(
        pk=pk,
        settled_at__isnull=True,
        ended_at__isnull=True,
        phase__in=REPLACES[Phase.SUCCEEDED],
    ).exclude(node_type=NodeType.TASK, is_container=True)
    if attempt is not None:
        rows = rows.filter(attempts__lte=attempt)
    return bool(
        rows.order_by().update(
            phase=Phase.SUCCEEDED,
            state=Phase.SUCCEEDED.state,
            completed_steps=F("total_steps"),
            modified=at,
            settled_at=at,
        )
    )


class TestUpdates:
    @pytest.mark.parametrize(
        "fresh",
        [
            {},
            {"last_seen_at": AT},
            {"last_seen_at": AT, "completed_steps": 0},
            {"last_seen_at": AT, "completed_steps": 0, "total_steps": 9},
        ],
    )
    @pytest.mark.parametrize("attempt", [1, 2, 4])
    def test_a_leaf_begins_as_the_orm_would_begin_it(
        self, every_kind: list[int], attempt: int, fresh: dict[str, Any]
    ) -> None:
        ours = written(every_kind, lambda pk: statements.begin_leaf(pk, attempt, AT, **fresh))
        assert ours == written(every_kind, lambda pk: begun_by_orm(pk, attempt, AT, **fresh))
        assert {found for found, _ in ours} == {True, False}

    @pytest.mark.parametrize("attempt", [None, 1, 3])
    def test_a_leaf_succeeds_as_the_orm_would_have_it(
        self, every_kind: list[int], attempt: int | None
    ) -> None:
        ours = written(every_kind, lambda pk: statements.succeed_leaf(pk, AT, attempt))
        assert ours == written(every_kind, lambda pk: succeeded_by_orm(pk, AT, attempt))
        assert {found for found, _ in ours} == {True, False}

    def test_an_error_spoils_the_transaction_as_an_update_does(
        self, nodes: dict[str, UserTaskStatus]
    ) -> None:
        def broken(*args: Any) -> Any:
            raise DatabaseError

        with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
            with pytest.raises(DatabaseError), connection.execute_wrapper(broken):
                statements.succeed_leaf(nodes["a"].pk, now())
            objects.count()


def test_each_is_one_query_that_wrappers_see(nodes: dict[str, UserTaskStatus]) -> None:
    a, at = nodes["a"], now()
    for send in (
        lambda: statements.select_leaf_to_start(a.task_id),
        lambda: statements.select_container(a.pk),
        lambda: statements.select_node(a.pk),
        lambda: statements.begin_leaf(a.pk, 1, at),
        lambda: statements.succeed_leaf(a.pk, at),
    ):
        with queries(1):
            assert send()


@pytest.mark.parametrize(
    "send",
    [
        statements.select_leaf_to_start,
        statements.select_container,
        statements.select_node,
        lambda pk: statements.begin_leaf(pk, 1, now()),
        lambda pk: statements.succeed_leaf(pk, now()),
    ],
)
def test_null_is_refused(send: Any) -> None:
    with pytest.raises(ValueError, match="NULL"):
        send(None)
