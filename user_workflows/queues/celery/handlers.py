"""Receivers of Celery's signals: messages published, tasks ended, retried, revoked."""

from __future__ import annotations

import sys
from typing import Any

from celery import current_app, current_task
from celery.app.task import Context
from celery.states import IGNORED
from django.db import connections
from django.utils.translation import gettext

from ...db.connections import status_connection
from ...exceptions import TaskCanceledException
from ...lifecycle import cancellation, execution, progress, steps, transitions
from ...lifecycle.execution import Execution
from ...models import UserTaskStatus
from ...phases import TERMINAL, Phase
from .autocapture import capture_message
from .compat import AnyTask
from .context import HEADER, WHOLE, execution_of, publishing, tree_id_of
from .copying import leaf_signatures
from .gate import is_replaced, is_tracked, planned_steps
from .planner import is_user_task
from .recording import error_message, recorded

#: Ids in one broadcast to the workers, which need 0.5 ms for each.
MAX_REVOKED_IDS = 1000


def create_user_task(
    sender: str = "", body: Any = None, headers: dict[str, Any] | None = None, **kwargs: object
) -> None:
    """Mark the messages of tracked workflows, and capture user tasks that are sent by name."""
    workflow = publishing().workflow()
    headers = {} if headers is None else headers
    message = body if isinstance(body, dict) else headers  # In protocol 1 the body describes it.
    if workflow is not None and workflow.tree_id is not None:
        for marked in (headers, message):
            marked.update({HEADER: workflow.tree_id, WHOLE: workflow.whole})
    capture_message(current_app.tasks.get(sender), message, body)


def note_published(
    body: object = None, headers: dict[str, Any] | None = None, **kwargs: object
) -> None:
    """Note that the broker has taken a task of a canvas."""
    submission = publishing().submission
    if submission is not None:
        submission.published.add((body if isinstance(body, dict) else headers or {})["id"])


def _execution_of(task: AnyTask, task_id: str | None) -> Execution | None:
    return execution_of(task.request) if task.request.id == task_id else None


@recorded("the end")
def end_execution(run: Execution, phase: Phase, message: str = "") -> None:
    """Record that a body has ended."""
    if run.buffered and run.has_unwritten:
        progress.flush(run)
    execution.unregister(run)
    transitions.settle(run.node, phase, message=message, attempt=run.attempt)
    if not run.buffered:
        steps.store_sums_above(run.node)
    elif run.node.parent_id is not None:
        progress.roll_up(run.tree_id)


def task_succeeded(sender: AnyTask, **kwargs: object) -> None:
    """Record that a task has returned."""
    run = execution_of(sender.request)
    if run is not None:
        end_execution(run, Phase.SUCCEEDED)
    elif is_tracked(sender):
        _end_by_id(sender, sender.request.id, Phase.SUCCEEDED)


def task_failed(
    sender: AnyTask, task_id: str | None, exception: BaseException, **kwargs: object
) -> None:
    """Record that a task has raised, or that the process that ran it was killed.

    Celery 5.7 ``Request.on_failure`` tells the parent of a killed process, perhaps twice.
    """
    canceled = isinstance(exception, TaskCanceledException)
    outcome = (Phase.CANCELED, "") if canceled else (Phase.FAILED, error_message(exception))
    request, run = sender.request, _execution_of(sender, task_id)
    if run is not None:
        end_execution(run, *outcome)
    elif (request.id != task_id or is_tracked(sender)) and not _end_by_id(
        sender, task_id, *outcome, request
    ):
        _skip_after_plain_task(request)


def retrying_task(sender: AnyTask, request: Context, **kwargs: object) -> None:
    """Record that a task has asked for another attempt."""
    run = _execution_of(sender, request.id)
    if run is not None:
        execution.unregister(run)
        _record_retry(run, planned_steps(sender, request))


@recorded("the retry")
def _record_retry(run: Execution, steps: int | None) -> None:
    if run.buffered and run.has_unwritten:
        progress.flush(run)
    transitions.retry(run.node, run.attempt, steps)


def task_was_revoked(
    sender: AnyTask, request: Context, expired: object = False, **kwargs: object
) -> None:
    """Record that a task was revoked or terminated, or that it came too late."""
    if tree_id_of(request) is None and not is_user_task(sender):
        return
    if expired:
        _end_by_id(sender, request.id, Phase.FAILED, gettext("It was not started in time."))
    else:
        _end_by_id(sender, request.id, Phase.CANCELED)


def task_is_unknown(name: str, id: str, message: object = None, **kwargs: object) -> None:
    """Record that a worker got a task that it does not have."""
    headers = getattr(message, "headers", None) or {}
    if headers.get(HEADER) is not None:
        reason = gettext("The workers do not know the task %(name)s.") % {"name": name}
        _end_by_id(name, id, Phase.FAILED, reason)


@recorded("the end")
def _end_by_id(
    task: AnyTask | str, task_id: str | None, phase: Phase, message: str = "", *replaced: Context
) -> bool:
    """End a leaf whose start was not recorded in this process. Return False if there is none.

    ``task`` is for the log; ``replaced`` is the request, where the task may have replaced itself.
    """
    try:
        node = UserTaskStatus.objects.filter(task_id=task_id).first()
        if node is None or any(is_replaced(request, node) for request in replaced):
            return node is not None
        transitions.settle(node, phase, message=message, abandoned=True)
        progress.roll_up(node.tree_id)
        return True
    finally:
        # Worker children are forked from this process and must not inherit its connection.
        if not current_task and not status_connection().in_atomic_block:
            connections.close_all()


@recorded("the failure")
def _skip_after_plain_task(request: Context) -> None:
    """Skip what waits for a plain task of a captured canvas, which has no node itself."""
    tree_id = tree_id_of(request)
    if tree_id is None:
        return
    # What comes next: in message protocol 2 and in 1, and the body of a chord.
    chord = [request.chord] if request.chord else []
    following = [*(request.chain or ()), *(request.callbacks or ()), *chord]
    ids = {(leaf.get("options") or {}).get("task_id") for leaf in leaf_signatures(following)}
    outcomes = dict.fromkeys(ids, Phase.SKIPPED)
    transitions.close_leaves(tree_id, lambda leaf: outcomes.get(leaf.task_id), "")


def task_is_over(sender: AnyTask, state: str | None = None, **kwargs: object) -> None:
    """Record how a task ended of which Celery has sent no other signal."""
    run = execution_of(sender.request)
    if run is None:
        return
    error = sys.exc_info()[1]
    if state is None and isinstance(error, Exception):
        # Eager mode with propagation: no other signal tells of the failure.
        task_failed(sender, sender.request.id, error)
    elif state == IGNORED and _is_decided(run):
        end_execution(run, Phase.FAILED)
    execution.unregister(run)


@recorded("the verdict")
def _is_decided(run: Execution) -> bool:
    return bool(UserTaskStatus.objects.filter(pk=run.pk, phase__in=TERMINAL).exists())


def revoke_tasks(task_ids: list[str], terminate: bool, **kwargs: object) -> None:
    """Ask the workers to drop canceled tasks: it spares them messages that the gate refuses."""
    for start in range(0, len(task_ids), MAX_REVOKED_IDS):
        current_app.control.revoke(task_ids[start : start + MAX_REVOKED_IDS], terminate=terminate)


cancellation.tasks_revoked.connect(revoke_tasks)
