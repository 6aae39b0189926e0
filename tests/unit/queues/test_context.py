"""Who is publishing, and what is kept on the request of a running task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery._state import _task_stack
from celery.app.task import Context

from tests.tasks import plain
from user_workflows.lifecycle import execution
from user_workflows.queues.celery import context
from user_workflows.queues.celery.context import (
    HEADER,
    WHOLE,
    Publisher,
    RequestState,
    Submission,
    execution_of,
    publishing,
    request_state,
    submitting,
)


class Node:
    """A leaf that is stored nowhere."""

    pk, tree_id = 1, 1


@pytest.fixture
def request_of_plain() -> Iterator[Any]:
    """A worker runs the body of a plain task."""
    _task_stack.push(plain)  # As Celery's tracer does.
    plain.push_request(id="a", called_directly=False)
    yield plain.request
    plain.pop_request()
    _task_stack.pop()


@pytest.fixture
def run(request_of_plain: Any) -> Iterator[execution.Execution]:
    """The task has a node."""
    run = execution.Execution(Node(), 1, buffered=True)
    request_state(request_of_plain).execution = run
    execution.register(run)
    yield run
    execution.unregister(run)


class TestPublishing:
    def test_code_outside_of_tasks_is_outside_whatever_ids_it_gives(self) -> None:
        assert publishing().by is Publisher.OUTSIDE
        assert publishing("id").by is Publisher.OUTSIDE

    def test_an_untracked_body_is_outside_and_celery_is_known_by_the_ids(
        self, request_of_plain: Any
    ) -> None:
        assert publishing().by is Publisher.OUTSIDE
        assert publishing("id").by is Publisher.CELERY
        assert publishing(None, "parent").by is Publisher.CELERY

    def test_a_tracked_body_is_known_by_its_run(self, run: execution.Execution) -> None:
        found = publishing()
        assert (found.by, found.execution) == (Publisher.BODY, run)
        assert publishing("id").by is Publisher.CELERY

    def test_a_run_that_has_ended_is_no_body(self, run: execution.Execution) -> None:
        execution.unregister(run)
        assert publishing().by is Publisher.OUTSIDE

    @pytest.mark.parametrize("task_id", [None, "id"])
    def test_what_a_submission_sends_is_planned(
        self, request_of_plain: Any, task_id: str | None
    ) -> None:
        submission = Submission(7)
        with submitting(submission):
            found = publishing(task_id)
        assert (found.by, found.submission) == (Publisher.SUBMITTING, submission)
        assert publishing().submission is None

    def test_a_body_in_a_submission_is_a_body(self, run: execution.Execution) -> None:
        """In eager mode."""
        with submitting(Submission(7)):
            assert publishing().by is Publisher.BODY
            assert publishing("id").by is Publisher.CELERY

    def test_messages_belong_to_the_workflow_of_the_running_task(
        self, request_of_plain: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request_of_plain.update({HEADER: 7, WHOLE: True})
        monkeypatch.setattr(context, "_is_tracking", False)
        assert publishing().workflow() is None
        monkeypatch.setattr(context, "_is_tracking", True)
        found = publishing().workflow()
        assert found is not None
        assert (found.tree_id, found.whole) == (7, True)


class TestRequestState:
    def test_there_is_one_for_each_request(self) -> None:
        first, second = Context(), Context()
        assert request_state(first) is request_state(first)
        assert request_state(first) is not request_state(second)

    def test_a_request_that_was_never_asked_has_none(self) -> None:
        request = Context()
        assert execution_of(request) is None
        assert vars(request) == vars(Context())

    def test_a_header_of_the_same_name_is_not_taken_for_it(self) -> None:
        """Celery makes an attribute of each header."""
        request = Context({"id": "a", "user_workflow_state": {"execution": "theirs"}})
        assert execution_of(request) is None
        assert isinstance(request_state(request), RequestState)

    def test_it_is_not_sent_on_with_a_retry(self) -> None:
        request = Context({"id": "a", "args": (), "kwargs": {}})
        request_state(request)
        assert "user_workflow_state" not in request.as_execution_options()
        assert request.headers == Context({"id": "a", "args": (), "kwargs": {}}).headers
