"""The gate before each task's body: it records the start, or refuses a task."""

from __future__ import annotations

import logging
from functools import wraps
from typing import Any

from celery.app.task import Context
from celery.exceptions import Ignore, TaskRevokedError
from django.utils.timezone import now

from ...db.statements import LeafToStart, select_leaf_to_start
from ...lifecycle import containers, execution, progress, transitions
from ...lifecycle.execution import Execution
from ...models import UserTaskStatus
from ...phases import REPLACES, Phase
from .compat import WRAPPED_NAMES, AnyTask, Method, mark_revoked
from .context import publishing, request_state, tree_id_of
from .planner import is_user_task
from .recording import guarded, recorded


def gate_before_start(before_start: Method) -> Method:
    """Wrap ``before_start`` of a class of tasks, or of one task, in the gate."""
    bound = getattr(before_start, "__self__", None)

    @wraps(before_start, assigned=WRAPPED_NAMES)
    def gated(*args: Any, **kwargs: object) -> object:
        gate(bound if bound is not None else args[0])
        return before_start(*args, **kwargs)

    vars(gated)["is_gate"] = True
    return gated


def is_gate(before_start: Method) -> bool:
    """Return whether a ``before_start`` passes the gate."""
    return hasattr(before_start, "is_gate")


def gate(task: AnyTask) -> None:
    """Let a task's body start, or refuse it where its node says that it must not run.

    Raises:
        Ignore: it was canceled or skipped, or it has ended before.
    """
    request = task.request
    if not is_tracked(task) or (state := request_state(request)).is_gated:
        return
    state.is_gated = True
    refusal = _start_or_refuse(task, request)
    if refusal is None:
        return
    message = f"This task is {refusal.state}."
    if refusal in (Phase.CANCELED, Phase.SKIPPED) and not request.is_eager:
        action = f"tell the result backend of the {refusal.state} task"
        remedy = "Its body does not run; results that wait for it may never come."
        with guarded(action, remedy, task=task):
            mark_revoked(task, TaskRevokedError(message))
    raise Ignore(message)


def is_tracked(task: AnyTask) -> bool:
    """Return whether the running task may have a node."""
    if tree_id_of(task.request) is not None or is_user_task(task):
        return True
    return bool(task.request.is_eager and publishing().submission)


@recorded("the start")
def _start_or_refuse(task: AnyTask, request: Context) -> Phase | None:
    """Record the start, or return the phase of a node that must not start."""
    node = select_leaf_to_start(request.id or "")
    if node is None:
        return None
    if node.phase not in REPLACES[Phase.RUNNING]:
        return Phase(node.phase)
    if is_replaced(request, node):
        return Phase.SUCCEEDED
    attempt, fresh = _next_attempt(task, request, node)
    if not transitions.begin(node, attempt, last_seen_at=now(), **fresh):
        return Phase(UserTaskStatus.objects.values_list("phase", flat=True).get(pk=node.pk))
    if node.parent_phase == Phase.PENDING:
        containers.mark_running(node.parent_id)
    run = Execution(node, attempt, buffered=not request.is_eager)
    request_state(request).execution = run
    execution.register(run)
    progress.start_heartbeat(run)
    return None


def is_replaced(request: Context, node: LeafToStart | UserTaskStatus) -> bool:
    """Return whether a message is of a task that has replaced itself and passed its id on."""
    if request.is_eager:
        return False  # There are no messages, and Celery does not count.
    return int(getattr(request, "replaced_task_nesting", 0) or 0) < int(node.replaced_nesting)


def _next_attempt(task: AnyTask, request: Context, node: LeafToStart) -> tuple[int, dict[str, int]]:
    """Return which attempt this is, and the columns that an earlier one has changed."""
    attempt = max((request.retries or 0) + 1, node.attempts)
    if not node.was_seen:
        return attempt, {}
    if node.phase == Phase.RUNNING and attempt == node.attempts:
        attempt += 1  # A redelivery: the worker that had the message has died, or lost it.
    steps = planned_steps(task, request)
    return attempt, {"completed_steps": 0, **({"total_steps": steps} if steps else {})}


def planned_steps(task: AnyTask, request: Context) -> int | None:
    """Return the steps that the next attempt begins with; None if they are not known."""
    if not is_user_task(task):
        return 1
    with guarded("count the steps of", "They stay as they are.", level=logging.DEBUG, task=task):
        arguments = task.arguments_as_dict(*(request.args or ()), **(request.kwargs or {}))
        return max(0, int(task.calculate_total_steps(arguments)))
    return None
