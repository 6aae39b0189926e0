"""Events that Celery reports: messages published, tasks ended, retried, revoked.

A message of a tracked workflow carries the header ``user_workflow``, the key of its tree. What is
published while a tracked task runs inherits it, as in tracing, so that retries, later stages and
chord bodies have it too, and a task without it costs no query.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
from .compat import AnyTask
from .context import HEADER, WHOLE, execution_of, publishing, tree_id_of
from .copying import leaf_signatures
from .errors import error_message
from .gate import is_replaced, is_tracked, planned_steps
from .planner import is_user_task
from .recording import recorded

#: Ids in one broadcast to the workers, which need 0.5 ms for each.
MAX_REVOKED_IDS = 1000


def add_headers(headers: dict[str, Any], body: object) -> dict[str, Any]:
    """Put the headers on a message that belongs to a tracked workflow; return what describes it.

    These are the headers, or in message protocol 1, where workers read the request from it, the
    body.
    """
    workflow = publishing().workflow()
    message = body if isinstance(body, dict) else headers
    if workflow is not None and workflow.tree_id is not None:
        marks = {HEADER: workflow.tree_id, WHOLE: workflow.whole}
        headers.update(marks)
        message.update(marks)
    return message


def note_published(headers: dict[str, Any], body: object) -> None:
    """Note that the broker has taken a task."""
    submission = publishing().submission
    if submission is not None:
        submission.published.add((body if isinstance(body, dict) else headers)["id"])


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


def on_success(task: AnyTask) -> None:
    """Record that a body has returned."""
    run = _execution_of(task, task.request.id)
    if run is not None:
        end_execution(run, Phase.SUCCEEDED)
    elif is_tracked(task):
        _end_by_id(task, task.request.id, Phase.SUCCEEDED)


def on_failure(task: AnyTask, task_id: str | None, error: BaseException) -> None:
    """Record that a body has raised, or that the process that ran it was killed.

    Celery 5.7 ``Request.on_failure`` tells the parent of a killed process, perhaps twice.
    """
    canceled = isinstance(error, TaskCanceledException)
    outcome = (Phase.CANCELED, "") if canceled else (Phase.FAILED, error_message(error))
    run = _execution_of(task, task_id)
    if run is not None:
        end_execution(run, *outcome)
    elif (task.request.id != task_id or is_tracked(task)) and not _end_by_id(
        task, task_id, *outcome, task.request
    ):
        _plain_member_failed(task.request)


def on_retry(task: AnyTask, request: Context) -> None:
    """Record that a body has asked for another attempt."""
    run = _execution_of(task, request.id)
    if run is not None:
        execution.unregister(run)
        _record_retry(run, planned_steps(task, request))


@recorded("the retry")
def _record_retry(run: Execution, steps: int | None) -> None:
    if run.buffered and run.has_unwritten:
        progress.flush(run)
    transitions.retry(run.node, run.attempt, steps)


def on_revoked(task: AnyTask, request: Context, *, expired: bool) -> None:
    """Record that a task was revoked or terminated, or that it came too late."""
    if tree_id_of(request) is None and not is_user_task(task):
        return
    task_id = request.id
    if expired:
        _end_by_id(task, task_id, Phase.FAILED, gettext("It was not started in time."))
    else:
        _end_by_id(task, task_id, Phase.CANCELED)


def on_unknown(task_id: str, name: str, headers: Mapping[str, object]) -> None:
    """Record that a worker has no such task."""
    if headers.get(HEADER) is not None:
        message = gettext("The workers do not know the task %(name)s.") % {"name": name}
        _end_by_id(name, task_id, Phase.FAILED, message)


@recorded("the end")
def _end_by_id(
    task: object,
    task_id: str | None,
    phase: Phase,
    message: str = "",
    request: Context | None = None,
) -> bool:
    """End a leaf whose start was not recorded in this process. Return False if there is none.

    Args:
        task: the task or its name, for the log.
        task_id: the id that the leaf is stored under.
        phase: what it ends with.
        message: the reason, for its user.
        request: given where the message may be of a task that was replaced since.
    """
    try:
        node = UserTaskStatus.objects.filter(task_id=task_id).first()
        if node is None or (request is not None and is_replaced(request, node)):
            return node is not None
        transitions.settle(node, phase, message=message, abandoned=True)
        progress.roll_up(node.tree_id)
        return True
    finally:
        # Worker children are forked from this process and must not inherit its connection.
        if not current_task and not status_connection().in_atomic_block:
            connections.close_all()


@recorded("the failure")
def _plain_member_failed(request: Context) -> None:
    """Skip what waits for a plain task of a captured canvas, which has no node itself."""
    tree_id = tree_id_of(request)
    if tree_id is None:
        return
    # What comes next: in message protocol 2 and in 1, and the body of a chord.
    following = [
        *(request.chain or ()),
        *(request.callbacks or ()),
        *([request.chord] if request.chord else ()),
    ]
    ids = {(leaf.get("options") or {}).get("task_id") for leaf in leaf_signatures(following)}
    transitions.close_leaves(
        tree_id, lambda leaf: Phase.SKIPPED if leaf.task_id in ids else None, ""
    )


def on_postrun(task: AnyTask, state: str | None) -> None:
    """Record how a body ended of which Celery has sent no other signal."""
    run = _execution_of(task, task.request.id)
    if run is None:
        return
    error = sys.exc_info()[1]
    if state is None and isinstance(error, Exception):
        # Eager mode with propagation: no other signal tells of the failure.
        on_failure(task, task.request.id, error)
    elif state == IGNORED and _is_decided(run):
        end_execution(run, Phase.FAILED)
    execution.unregister(run)


@recorded("the verdict")
def _is_decided(run: Execution) -> bool:
    return bool(UserTaskStatus.objects.filter(pk=run.pk, phase__in=TERMINAL).exists())


def revoke_tasks(task_ids: list[str], *, terminate: bool) -> None:
    """Ask the workers to drop canceled tasks: it spares them messages that the gate refuses."""
    for start in range(0, len(task_ids), MAX_REVOKED_IDS):
        batch = task_ids[start : start + MAX_REVOKED_IDS]
        current_app.control.revoke(batch, terminate=terminate)


cancellation.tasks_revoked.connect(
    lambda task_ids, terminate, **kwargs: revoke_tasks(task_ids, terminate=terminate), weak=False
)
