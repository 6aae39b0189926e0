"""The gate before each task's body: it marks the start, or refuses a task that must not run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Task, current_app
from celery.exceptions import Ignore, TaskRevokedError
from celery.states import REVOKED
from django.utils.timezone import now

from ...db.statements import LeafToStart, select_leaf_to_start
from ...lifecycle import containers, execution, progress, transitions
from ...lifecycle.execution import Execution
from ...models import UserTaskStatus
from ...phases import REPLACES, Phase
from .context import HEADER, current_submission
from .planner import is_user_task
from .recording import recorded

logger = logging.getLogger(__name__)


def install_gate() -> None:
    """Puts the gate before the body of each task, also of tasks that are not ours."""
    if not hasattr(Task.before_start, "gate"):
        Task.before_start = _wrap_before_start(Task.before_start)  # type: ignore[method-assign]


def gate_tasks() -> None:
    """Puts the gate before tasks that define their own ``before_start`` and would bypass it."""
    for task in current_app.tasks.values():
        if not hasattr(task.before_start, "gate"):
            task.before_start = _wrap_before_start(task.before_start)  # type: ignore[method-assign]


def _wrap_before_start(before_start: Callable[..., Any]) -> Callable[..., Any]:
    bound = getattr(before_start, "__self__", None)

    @wraps(before_start)
    def gated(*given: Any, **kwargs: Any) -> Any:
        gate(bound if bound is not None else given[0])
        return before_start(*given, **kwargs)

    gated.gate = True  # type: ignore[attr-defined]
    # Celery calls a method only if it was not defined in Celery's own module.
    gated.__module__ = __name__
    return gated


def gate(task: Any) -> None:
    """Lets a task's body start, or refuses it where its node says that it must not run.

    Raises:
        Ignore: it was canceled or skipped, or it has ended before.
    """
    request = task.request
    if not is_tracked(task) or getattr(request, "user_workflow_gated", False):
        return
    request.user_workflow_gated = True
    refusal = _start_or_refuse(task, request)
    if refusal is None:
        return
    if refusal in (Phase.CANCELED, Phase.SKIPPED) and not request.is_eager:
        _mark_revoked(task, request, refusal)
    raise Ignore(f"This task is {refusal.state}.")


def is_tracked(task: Any) -> bool:
    """Return whether the running task may have a node."""
    request = task.request
    if getattr(request, HEADER, None) is not None or is_user_task(task):
        return True
    return bool(request.is_eager and current_submission())


@recorded
def _start_or_refuse(task: Any, request: Any) -> Phase | None:
    """Marks the start; returns the phase of a node that must not start."""
    node = select_leaf_to_start(request.id)
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
    request.user_workflow_run = run
    execution.register(run)
    progress.start_heartbeat(run)
    return None


def is_replaced(request: Any, node: Any) -> bool:
    """Whether a message is of a task that has replaced itself and passed its id on."""
    if request.is_eager:
        return False  # There are no messages, and Celery does not count.
    return int(getattr(request, "replaced_task_nesting", 0) or 0) < int(node.replaced_nesting)


def _next_attempt(task: Any, request: Any, node: LeafToStart) -> tuple[int, dict[str, Any]]:
    """Which attempt this is, and what an earlier one has left to be set anew."""
    retried = (request.retries or 0) + 1
    if not node.was_seen:
        return max(retried, node.attempts), {}
    attempt = max(retried, node.attempts)
    if node.phase == Phase.RUNNING and attempt == node.attempts:
        attempt += 1  # The same message once more: whoever had it has died, or lost it.
    steps = planned_steps(task, request)
    return attempt, {"completed_steps": 0, **({"total_steps": steps} if steps else {})}


def planned_steps(task: Any, request: Any) -> int | None:
    """Return the steps that the next attempt begins with; None if they are not known."""
    if not is_user_task(task):
        return 1
    try:
        arguments = task.arguments_as_dict(*(request.args or ()), **(request.kwargs or {}))
        return max(0, int(task.calculate_total_steps(arguments)))
    except Exception:
        logger.debug("The steps of %s are not known.", task.name, exc_info=True)
        return None


def _mark_revoked(task: Any, request: Any, phase: Phase) -> None:
    """Ends a task that must not run so that chains and chords around it end too.

    Of all ways to refuse a task this is the one that leaves nothing pending: the rest of its
    chain becomes REVOKED and the body of its chord FAILURE, without calling its own errbacks.
    """
    try:
        task.backend.mark_as_failure(
            request.id,
            TaskRevokedError(f"This task is {phase.state}."),
            request=request,
            state=REVOKED,
            call_errbacks=False,
        )
    except Exception:
        logger.exception("The result backend was not told that a task is %s.", phase.state)
