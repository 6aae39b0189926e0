"""What the tree learns from Celery: messages published, tasks started, ended, retried, revoked.

A message of a tracked workflow carries the header ``user_workflow``, the key of its tree. Who
publishes while a tracked task runs passes it on, as tracing does, so that retries, later stages
and chord bodies have it too, and a task without it costs no query.

No exception of ours changes what Celery does with a task. Where the database is away, a write is
tried again for some seconds; what is then still unwritten the reaper finds.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from celery import Task, current_app, current_task
from celery.exceptions import Ignore, TaskRevokedError
from celery.states import IGNORED, REVOKED
from django.db import InterfaceError, OperationalError, connections
from django.utils.timezone import now
from django.utils.translation import gettext

from . import cancel, capture, containers, execution, progress, rollup, trees
from .capture import HEADER, WHOLE
from .exceptions import TaskCanceledException
from .execution import Execution
from .models import UserTaskStatus
from .phases import REPLACES, TERMINAL, Phase
from .signatures import is_user_task, leaf_signatures
from .statements import Select
from .tasks import in_words

logger = logging.getLogger(__name__)

#: Seconds to wait before each further try of a write.
BACK_OFF = (0.1, 0.3, 1, 2, 4, 8)
#: Ids in one broadcast to the workers, who need 0.5 ms for each.
REVOKED_AT_ONCE = 1000

P = ParamSpec("P")
R = TypeVar("R")


def recorded(record: Callable[P, R]) -> Callable[P, R | None]:
    """For whatever writes an event: tries again while the database is away, and never raises."""

    @wraps(record)
    def patiently(*args: P.args, **kwargs: P.kwargs) -> R | None:
        for pause in (*BACK_OFF, None):
            try:
                return record(*args, **kwargs)
            except (OperationalError, InterfaceError) as error:
                if pause is None or trees.connection().in_atomic_block:
                    logger.exception("The state of a task could not be written.")
                    return None
                logger.warning("The state of a task is not written yet: %s", error)
                trees.connection().close()
                time.sleep(pause)
            except Exception:
                logger.exception("The state of a task could not be written.")
                return None
        return None

    return patiently


# -- publishing ---------------------------------------------------------------------------------


def pass_on(headers: dict[str, Any], body: Any) -> None:
    """Puts the header on a message that belongs to a tracked workflow."""
    context = capture.current()
    if context is not None and context.tree_id is not None:
        marks = {HEADER: context.tree_id, WHOLE: context.whole}
        headers.update(marks)
        if isinstance(body, dict):  # Message protocol 1: workers read the request from the body.
            body.update(marks)


def note_published(headers: dict[str, Any], body: Any) -> None:
    """Notes that the broker has taken a task."""
    context = capture.submission()
    if context is not None:
        context.published.add((body if isinstance(body, dict) else headers)["id"])


# -- the gate -----------------------------------------------------------------------------------


def install_gate() -> None:
    """Puts the gate before the body of each task, also of tasks that are not ours."""
    if not hasattr(Task.before_start, "gate"):
        Task.before_start = _gated(Task.before_start)  # type: ignore[method-assign]


def gate_tasks() -> None:
    """Puts the gate before tasks that define their own ``before_start`` and would bypass it."""
    for task in current_app.tasks.values():
        if not hasattr(task.before_start, "gate"):
            task.before_start = _gated(task.before_start)  # type: ignore[method-assign]


def _gated(before_start: Callable[..., Any]) -> Callable[..., Any]:
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
    if not _is_tracked(task) or getattr(request, "user_workflow_gated", False):
        return
    request.user_workflow_gated = True
    refusal = _enter(task, request)
    if refusal is None:
        return
    if refusal in (Phase.CANCELED, Phase.SKIPPED) and not request.is_eager:
        _revoke(task, request, refusal)
    raise Ignore(f"This task is {refusal.state}.")


def _is_tracked(task: Any) -> bool:
    request = task.request
    if getattr(request, HEADER, None) is not None or is_user_task(task):
        return True
    return bool(request.is_eager and capture.submission())


@Select
def _leaf_to_start(task_id: Any) -> Any:
    columns = (
        "pk", "tree_id", "parent_id", "lft", "rght", "allow_failure", "phase", "attempts",
        "last_seen_at", "replaced_nesting", "parent__phase",
    )  # fmt: skip
    return UserTaskStatus.objects.filter(task_id=task_id).order_by().values_list(*columns)


@recorded
def _enter(task: Any, request: Any) -> Phase | None:
    """Marks the start; returns the phase of a node that must not start."""
    node = _leaf_to_start(task_id=request.id)
    if node is None:
        return None
    if node.phase not in REPLACES[Phase.RUNNING]:
        return Phase(node.phase)
    if _is_replaced(request, node):
        return Phase.SUCCEEDED
    attempt, fresh = _attempt(task, request, node)
    if not rollup.begin(node, attempt, last_seen_at=now(), **fresh):
        return Phase(UserTaskStatus.objects.values_list("phase", flat=True).get(pk=node.pk))
    if node.parent__phase == Phase.PENDING:
        containers.mark_running(node.parent_id)
    run = Execution(node, attempt, buffered=not request.is_eager)
    request.user_workflow_run = run
    execution.enter(run)
    progress.watch(run)
    return None


def _is_replaced(request: Any, node: Any) -> bool:
    """Whether a message is of a task that has replaced itself and passed its id on."""
    if request.is_eager:
        return False  # There are no messages, and Celery does not count.
    return int(getattr(request, "replaced_task_nesting", 0) or 0) < int(node.replaced_nesting)


def _attempt(task: Any, request: Any, node: Any) -> tuple[int, dict[str, Any]]:
    """Which attempt this is, and what an earlier one has left to be set anew."""
    retried = (request.retries or 0) + 1
    if node.last_seen_at is None:
        return max(retried, node.attempts), {}
    attempt = max(retried, node.attempts)
    if node.phase == Phase.RUNNING and attempt == node.attempts:
        attempt += 1  # The same message once more: whoever had it has died, or lost it.
    steps = _planned_steps(task, request)
    return attempt, {"completed_steps": 0, **({"total_steps": steps} if steps else {})}


def _planned_steps(task: Any, request: Any) -> int | None:
    if not is_user_task(task):
        return 1
    try:
        arguments = task.arguments_as_dict(*(request.args or ()), **(request.kwargs or {}))
        return max(0, int(task.calculate_total_steps(arguments)))
    except Exception:
        logger.debug("The steps of %s are not known.", task.name, exc_info=True)
        return None


def _revoke(task: Any, request: Any, phase: Phase) -> None:
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


# -- ends ---------------------------------------------------------------------------------------


def _run_of(task: Any, task_id: str) -> Execution | None:
    request = task.request
    return getattr(request, "user_workflow_run", None) if request.id == task_id else None


@recorded
def end(run: Execution, phase: Phase, message: str = "") -> None:
    """The body has ended."""
    if run.buffered and run.has_unwritten:
        progress.flush(run)
    execution.leave(run)
    rollup.settle(run.node, phase, message=message, attempt=run.attempt)
    if not run.buffered:
        containers.store_sums_above(run.node)
    elif run.node.parent_id is not None:
        progress.roll_up(run.tree_id)


def succeeded(task: Any) -> None:
    """The body has returned."""
    run = _run_of(task, task.request.id)
    if run is not None:
        end(run, Phase.SUCCEEDED)
    elif _is_tracked(task):
        _end_by_id(task.request.id, Phase.SUCCEEDED)


def failed(task: Any, task_id: str, error: BaseException) -> None:
    """The body has raised, or the process that ran it was killed.

    Of a killed process Celery tells its parent, perhaps twice.
    """
    canceled = isinstance(error, TaskCanceledException)
    outcome = (Phase.CANCELED, "") if canceled else (Phase.FAILED, in_words(error))
    run = _run_of(task, task_id)
    if run is not None:
        end(run, *outcome)
    elif (task.request.id != task_id or _is_tracked(task)) and not _end_by_id(
        task_id, *outcome, task.request
    ):
        _plain_member_failed(task.request)


def retrying(task: Any, request: Any) -> None:
    """The body has asked for another attempt."""
    run = _run_of(task, request.id)
    if run is not None:
        execution.leave(run)
        _record_retry(run, _planned_steps(task, request))


@recorded
def _record_retry(run: Execution, steps: int | None) -> None:
    if run.buffered and run.has_unwritten:
        progress.flush(run)
    rollup.retry(run.node, run.attempt, steps)


def revoked(task: Any, request: Any, *, terminated: bool, expired: bool) -> None:
    """The worker was told not to run a task, or to stop it, or it came too late."""
    if getattr(request, HEADER, None) is None and not is_user_task(task):
        return
    if expired:
        _end_by_id(request.id, Phase.FAILED, gettext("It was not started in time."))
    else:
        _end_by_id(request.id, Phase.CANCELED)


def unknown(task_id: str, name: str, headers: dict[str, Any]) -> None:
    """A worker has no such task."""
    if headers.get(HEADER) is not None:
        words = gettext("The workers do not know the task %(name)s.") % {"name": name}
        _end_by_id(task_id, Phase.FAILED, words)


@recorded
def _end_by_id(task_id: str, phase: Phase, message: str = "", request: Any = None) -> bool:
    """Ends a leaf whose start was not recorded in this process. False if there is none."""
    try:
        node = UserTaskStatus.objects.filter(task_id=task_id).first()
        if node is None or (request is not None and _is_replaced(request, node)):
            return node is not None
        rollup.settle(node, phase, message=message, abandoned=True)
        progress.roll_up(node.tree_id)
        return True
    finally:
        # Worker children are forked from this process and must not inherit its connection.
        if not current_task and not trees.connection().in_atomic_block:
            connections.close_all()


@recorded
def _plain_member_failed(request: Any) -> None:
    """A plain task of a captured canvas has no node; what waits for it is skipped all the same."""
    tree_id = getattr(request, HEADER, None)
    if tree_id is None:
        return
    # What comes next: in message protocol 2 and in 1, and the body of a chord.
    following = [
        *(request.chain or ()),
        *(request.callbacks or ()),
        *([request.chord] if request.chord else ()),
    ]
    ids = {(leaf.get("options") or {}).get("task_id") for leaf in leaf_signatures(following)}
    rollup.close_leaves(tree_id, lambda leaf: Phase.SKIPPED if leaf.task_id in ids else None, "")


def finished(task: Any, state: str | None) -> None:
    """Celery is done with a body, however it ended."""
    run = _run_of(task, task.request.id)
    if run is None:
        return
    error = sys.exc_info()[1]
    if state is None and isinstance(error, Exception):
        # Eager mode with propagation: no other signal tells of the failure.
        failed(task, task.request.id, error)
    elif state == IGNORED and _is_decided(run):
        end(run, Phase.FAILED)
    execution.leave(run)


@recorded
def _is_decided(run: Execution) -> bool:
    return bool(UserTaskStatus.objects.filter(pk=run.pk, phase__in=TERMINAL).exists())


def tell_workers(task_ids: list[str], *, terminate: bool) -> None:
    """Asks the workers to drop canceled tasks. Quicker for them; the gate stops them anyway."""
    for start in range(0, len(task_ids), REVOKED_AT_ONCE):
        batch = task_ids[start : start + REVOKED_AT_ONCE]
        current_app.control.revoke(batch, terminate=terminate)


cancel.revoked.connect(
    lambda task_ids, terminate, **kwargs: tell_workers(task_ids, terminate=terminate), weak=False
)
