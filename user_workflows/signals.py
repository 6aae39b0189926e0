"""Receivers of Celery's signals, and this app's own signals by their old address."""

from __future__ import annotations

import logging
from typing import Any

from celery import current_app as celery_app
from celery.signals import (
    after_task_publish,
    before_task_publish,
    task_failure,
    task_postrun,
    task_prerun,
    task_retry,
    task_revoked,
    task_success,
    task_unknown,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
)
from django.db import close_old_connections, transaction

from . import user_task_stopped, workflow_finished
from .conf import settings
from .db import connections
from .lifecycle import progress
from .models import UserTaskStatus
from .queues.celery import autocapture, gate, handlers, spawning, submission
from .queues.celery.context import HEADER, current_submission, on_first_tracking, start_tracking
from .queues.celery.planner import Call, is_user_task
from .queues.celery.planner import plan_canvas as planned

__all__ = [
    "celery_app",
    "create_user_task",
    "retrying_task",
    "start_user_task",
    "task_failed",
    "task_succeeded",
    "user_task_stopped",
    "workflow_finished",
]

logger = logging.getLogger(__name__)

gate.install_gate()
autocapture.install()
spawning.install()


def create_user_task(
    sender: str = "", body: Any = None, headers: dict[str, Any] | None = None, **kwargs: Any
) -> None:
    """Marks the messages of tracked workflows.

    A user task that came past the capture of canvases, sent by its name for instance, gets a
    node of its own here.
    """
    headers = {} if headers is None else headers
    handlers.add_headers(headers, body)
    described = body if isinstance(body, dict) else headers
    task = celery_app.tasks.get(sender)
    if HEADER in described or current_submission() or task is None:
        return
    if not is_user_task(task):
        return
    args, kwargs = (body["args"], body["kwargs"]) if isinstance(body, dict) else body[:2]
    if UserTaskStatus.objects.filter(task_id=described["id"]).exists():
        return
    call = Call(task, sender, described["id"], tuple(args), dict(kwargs), awaits=False)
    try:
        user_id = autocapture.user_id_of(call)
        plan, _ = planned(task.signature(args, kwargs, task_id=described["id"]), keep_ids=True)
        if plan is not None:
            root = submission.store_plan(plan, user_id=user_id)
            described[HEADER] = root.tree_id
    except Exception as error:
        if settings.STRICT:
            raise
        logger.exception("The task is sent, but its user will not see it: %s", error)


def note_published(body: Any = None, headers: Any = None, **kwargs: Any) -> None:
    """Notes which tasks of a canvas the broker has taken."""
    handlers.note_published(headers or {}, body)


def listen() -> None:
    """Looks at what is published from now on."""
    before_task_publish.connect(create_user_task)
    after_task_publish.connect(note_published)


on_first_tracking(listen)


@task_prerun.connect
def start_user_task(sender: Any = None, **kwargs: Any) -> None:
    """Drops database connections that are too old before a task starts to use them."""
    if sender is not None and getattr(sender.request, HEADER, None) is not None:
        start_tracking()
    try:
        connection = transaction.get_connection()
    except Exception:
        return
    if connection.in_atomic_block:
        return
    # Of a site that has Celery keep connections, Django's default of no age at all is not meant.
    kept = (
        celery_app.conf.get("CELERY_DB_REUSE_MAX") and not connection.settings_dict["CONN_MAX_AGE"]
    )
    if not kept or connection.errors_occurred:
        close_old_connections()


@task_success.connect
def task_succeeded(sender: Any = None, **kwargs: Any) -> None:
    """A task has returned."""
    handlers.on_success(sender)


@task_failure.connect
def task_failed(
    sender: Any = None, task_id: str = "", exception: Any = None, **kwargs: Any
) -> None:
    """A task has raised, or its process was killed."""
    handlers.on_failure(sender, task_id, exception)


@task_retry.connect
def retrying_task(sender: Any = None, request: Any = None, **kwargs: Any) -> None:
    """A task has asked to be run again."""
    handlers.on_retry(sender, request)


@task_revoked.connect
def task_was_revoked(
    sender: Any = None, request: Any = None, terminated: Any = None, expired: Any = None, **kw: Any
) -> None:
    """A task was not run, or was terminated."""
    handlers.on_revoked(sender, request, terminated=bool(terminated), expired=bool(expired))


@task_unknown.connect
def task_is_unknown(name: str = "", id: str = "", message: Any = None, **kwargs: Any) -> None:
    """A worker got a task that it does not have."""
    handlers.on_unknown(id, name, getattr(message, "headers", None) or {})


@task_postrun.connect
def task_is_over(sender: Any = None, state: str | None = None, **kwargs: Any) -> None:
    """Celery is done with a task."""
    handlers.on_postrun(sender, state)


@worker_init.connect
def gate_tasks(**kwargs: Any) -> None:
    """Puts the gate before tasks with a ``before_start`` of their own."""
    gate.gate_tasks()


@worker_process_init.connect
def keep_connections(**kwargs: Any) -> None:
    """Spares the tasks of a child process the wait for a database connection."""
    connections.keep_connections()


@worker_process_shutdown.connect
@worker_shutdown.connect
def write_what_is_left(**kwargs: Any) -> None:
    """Stores the sums that are not stored yet, and closes the connection of the process."""
    progress.finish()
    connections.close_kept_connections()
