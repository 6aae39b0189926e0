"""The helpers for a site's tests: trees without Celery, workers without a broker, assertions."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, chord, current_app
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from tests.helpers import assert_tree_is_sound
from tests.tasks import CALLS, plain, user
from user_workflows.canvas import workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import (
    assert_tree,
    container,
    find_node,
    leaf,
    manual_worker,
    run_eagerly,
    store_tree,
    tree_as_text,
)

learner = pytest.fixture(name="learner")(lambda user: user)


@pytest.fixture
def root(learner: Any) -> UserTaskStatus:
    """``read``, then two pages at once, of which one is called like the other."""
    pages = container("group", leaf("page", 3), leaf("page", 2), name="pages")
    plan = container("chain", leaf("read"), pages, name="book")
    return store_tree(plan, user=learner, action="print", subject="Moby Dick")


class TestStoredTrees:
    def test_a_stored_tree_is_a_workflow_that_has_not_started(
        self, root: UserTaskStatus, learner: Any
    ) -> None:
        assert_tree_is_sound(root.tree_id)
        assert (root.user, root.action, root.subject) == (learner, "print", "Moby Dick")
        assert (root.phase, root.total_steps) == (Phase.PENDING, 6)

    def test_two_trees_of_the_same_names_can_be_stored(self, learner: Any) -> None:
        first, second = (store_tree(leaf("a"), user=learner) for _ in range(2))
        assert first.task_id != second.task_id
        assert find_node(second, "a") == second

    def test_a_container_without_a_name_is_named_after_its_children(self) -> None:
        plan = container("chain", leaf("a"), container("group", leaf("b"), leaf("c")))
        assert plan.name == "chain(a,group(b,c))"

    def test_methods_of_leaves_move_the_tree_on(self, root: UserTaskStatus) -> None:
        read = find_node(root, "read")
        read.start()
        assert_tree(root, (Phase.RUNNING, {"read": "RUNNING", "pages": "PENDING"}))
        read.fail("no such book")
        assert_tree(root, (Phase.FAILED, {"read": "FAILED", "pages": "SKIPPED"}))


class TestAssertions:
    def test_an_expected_tree_passes(self, root: UserTaskStatus) -> None:
        assert_tree(root, "PENDING")
        assert_tree(root, {"read": Phase.PENDING, "pages": {"page": "PENDING", "page (2)": {}}})

    def test_each_difference_is_shown_with_the_tree(self, root: UserTaskStatus) -> None:
        find_node(root, "read").fail("no such book")
        with pytest.raises(AssertionError) as caught:
            assert_tree(root, ("SUCCEEDED", {"read": "SUCCEEDED", "pages": {"page": "SKIPPED"}}))
        assert str(caught.value).splitlines() == [
            "The tree differs.",
            "book: expected SUCCEEDED, is FAILED",
            "book > read: expected SUCCEEDED, is FAILED",
            "book > pages > page (2): not expected",
            "",
            "FAILED chain 'book' 0/6",
            "  FAILED task 'read' 0/1: no such book",
            "  SKIPPED group 'pages' 0/5",
            "    SKIPPED task 'page' 0/3",
            "    SKIPPED task 'page' 0/2",
        ]

    def test_a_missing_child_is_a_difference(self, root: UserTaskStatus) -> None:
        with pytest.raises(AssertionError, match="book > pages > cover: missing"):
            assert_tree(
                root, {"read": "PENDING", "pages": {"page": {}, "page (2)": {}, "cover": {}}}
            )

    def test_the_text_of_a_part_begins_with_that_part(self, root: UserTaskStatus) -> None:
        text = tree_as_text(find_node(root, "pages"))
        assert text.splitlines()[0] == "PENDING group 'pages' 0/5 (open)"


class TestEagerMode:
    def test_eager_mode_ends_with_the_block_though_it_raises(self, learner: Any) -> None:
        with pytest.raises(ZeroDivisionError), run_eagerly():
            assert workflow(user.si(tag="a"), user=learner).delay().phase == Phase.SUCCEEDED
            raise ZeroDivisionError
        assert not current_app.conf.task_always_eager

    def test_a_decorated_function_runs_in_eager_mode_each_time(self, learner: Any) -> None:
        @run_eagerly()
        def submit() -> UserTaskStatus:
            return workflow(user.si(tag="a"), user=learner).delay()

        assert [submit().phase, submit().phase] == [Phase.SUCCEEDED] * 2


@pytest.fixture(params=[True, False], ids=["commits", "never commits"])
def database(request: Any) -> None:
    """The database of a ``TransactionTestCase``, and that of a ``TestCase``."""
    request.getfixturevalue("transactional_db" if request.param else "db")


class TestManualWorker:
    def test_a_test_can_look_at_the_tree_between_two_tasks(
        self, database: None, learner: Any
    ) -> None:
        with manual_worker() as worker:
            flow = chain(user.si(tag="a"), user.si(tag="b", do="track", steps=3))
            root = workflow(flow, user=learner, name="r").delay()
            assert_tree(root, {"a": "PENDING", "b": "PENDING"})
            message = worker.run_one()
            assert message and (message.task, message.kwargs["tag"]) == (user.name, "a")
            assert_tree(root, (Phase.RUNNING, {"a": "SUCCEEDED", "b": "PENDING"}))
            assert [waiting.kwargs["tag"] for waiting in worker.waiting] == ["b"]
            worker.run_all()
            assert_tree(root, ("SUCCEEDED", {"a": "SUCCEEDED", "b": "SUCCEEDED"}))
            assert worker.run_one() is None
        root.refresh_from_db()
        assert (root.completed_steps, len(worker.sent)) == (4, 2)

    def test_failures_are_recorded_and_not_raised(self, database: None, learner: Any) -> None:
        with manual_worker() as worker:
            flow = chord([user.si(tag="a", do="raise"), plain.si(tag="b")], user.si(tag="c"))
            root = workflow(flow, user=learner).delay()
            worker.run_all()
        assert root.tree().phase == Phase.FAILED
        assert root.counts() == {Phase.FAILED: 1, Phase.SUCCEEDED: 1, Phase.SKIPPED: 1}

    def test_a_retry_is_one_more_message(self, database: None, learner: Any) -> None:
        with manual_worker() as worker:
            root = workflow(user.si(tag="a", do="retry"), user=learner).delay()
            worker.run_one()
            assert_tree(root, "RETRYING")
            worker.run_all()
        assert_tree(root, "SUCCEEDED")
        assert [message.headers["retries"] for message in worker.sent] == [0, 1]

    def test_a_canceled_task_does_not_run(self, database: None, learner: Any) -> None:
        CALLS.clear()
        with manual_worker() as worker:
            root = workflow(chain(user.si(tag="a"), user.si(tag="b")), user=learner).delay()
            worker.run_one()
            root.cancel()
            worker.run_all()
        assert CALLS == ["a"]
        assert_tree(root, ("CANCELED", {"a": "SUCCEEDED", "b": "CANCELED"}))

    def test_what_a_transaction_rolls_back_is_not_sent(self, learner: Any) -> None:
        with manual_worker() as worker:
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                workflow(user.si(tag="a"), user=learner).delay()
                raise ZeroDivisionError
            worker.run_all()
        assert worker.sent == []

    def test_eager_settings_are_left_out(self, learner: Any, eager: None) -> None:
        with manual_worker() as worker:
            root = workflow(user.si(tag="a"), user=learner).delay()
            assert_tree(root, "PENDING")
            worker.run_all()
        assert current_app.conf.task_always_eager

    def test_a_real_broker_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = current_app.connection_for_write("amqp://")
        monkeypatch.setattr(
            type(current_app._get_current_object()), "connection_for_write", lambda self: connection
        )
        with pytest.raises(ImproperlyConfigured, match="memory://"), manual_worker():
            pass
