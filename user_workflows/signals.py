"""Receivers of Celery's signals, and this app's own signals by their old address."""

from __future__ import annotations

from typing import Any

from celery import current_app as celery_app
from celery.app.task import Context
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
from django.dispatch import receiver

from . import user_task_stopped, workflow_finished
from .db import connections
from .lifecycle import progress
from .queues.celery import autocapture, handlers, patches
from .queues.celery.compat import AnyTask
from .queues.celery.context import start_tracking, tracking_started, tree_id_of
from .queues.celery.recording import guarded

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


def create_user_task(
    sender: str = "", body: Any = None, headers: dict[str, Any] | None = None, **kwargs: object
) -> None:
    """Mark the messages of tracked workflows, and capture user tasks that are sent by name."""
    message = handlers.add_headers({} if headers is None else headers, body)
    autocapture.capture_message(celery_app.tasks.get(sender), message, body)


def note_published(
    body: object = None, headers: dict[str, Any] | None = None, **kwargs: object
) -> None:
    """Note that the broker has taken a task of a canvas."""
    handlers.note_published(headers or {}, body)


@receiver(tracking_started)
def listen(**kwargs: object) -> None:
    """Connect the receivers of what is published."""
    before_task_publish.connect(create_user_task)
    after_task_publish.connect(note_published)


@task_prerun.connect
def start_user_task(sender: AnyTask | None = None, **kwargs: object) -> None:
    """Drop database connections that are too old before a task starts to use them."""
    if sender is not None and tree_id_of(sender.request) is not None:
        start_tracking()
    with guarded("close old connections for", "It runs with those that are open.", task=sender):
        connection = transaction.get_connection()
        if connection.in_atomic_block:
            return
        # Django's default age of 0 is not meant where a site has Celery keep connections.
        reuse_max = celery_app.conf.get("CELERY_DB_REUSE_MAX")
        kept = reuse_max and not connection.settings_dict["CONN_MAX_AGE"]
        if not kept or connection.errors_occurred:
            close_old_connections()


@task_success.connect
def task_succeeded(sender: AnyTask, **kwargs: object) -> None:
    """Record that a task has returned."""
    handlers.on_success(sender)


@task_failure.connect
def task_failed(sender: AnyTask, task_id: str, exception: BaseException, **kwargs: object) -> None:
    """Record that a task has raised, or that its process was killed."""
    handlers.on_failure(sender, task_id, exception)


@task_retry.connect
def retrying_task(sender: AnyTask, request: Context, **kwargs: object) -> None:
    """Record that a task has asked to be run again."""
    handlers.on_retry(sender, request)


@task_revoked.connect
def task_was_revoked(sender: AnyTask, request: Context, expired: object, **kwargs: object) -> None:
    """Record that a task was not run, or was terminated."""
    handlers.on_revoked(sender, request, expired=bool(expired))


@task_unknown.connect
def task_is_unknown(name: str, id: str, message: object, **kwargs: object) -> None:
    """Record that a worker got a task that it does not have."""
    handlers.on_unknown(id, name, getattr(message, "headers", None) or {})


@task_postrun.connect
def task_is_over(sender: AnyTask, state: str | None = None, **kwargs: object) -> None:
    """Record what Celery tells only after a task."""
    handlers.on_postrun(sender, state)


@worker_init.connect
def gate_tasks(**kwargs: object) -> None:
    """Gate the tasks that have a ``before_start`` of their own."""
    patches.gate_registered_tasks()


@worker_process_init.connect
def keep_connections(**kwargs: object) -> None:
    """Keep a database connection for the tasks of a child process."""
    connections.keep_connections()


@worker_process_shutdown.connect
@worker_shutdown.connect
def write_what_is_left(**kwargs: object) -> None:
    """Store the sums that are not stored yet."""
    progress.finish()
