"""Receivers of Celery's signals, connected, and this app's own signals by their old address."""

from __future__ import annotations

from celery import current_app as celery_app
from celery import signals
from django.db import close_old_connections, transaction
from django.dispatch import receiver

from . import user_task_stopped, workflow_finished
from .db import connections
from .lifecycle import progress
from .queues.celery import handlers, patches
from .queues.celery.compat import AnyTask
from .queues.celery.context import start_tracking, tracking_started, tree_id_of
from .queues.celery.handlers import create_user_task, retrying_task, task_failed, task_succeeded
from .queues.celery.recording import guarded

__all__ = [
    "celery_app", "create_user_task", "retrying_task", "start_user_task", "task_failed",
    "task_succeeded", "user_task_stopped", "workflow_finished",
]  # fmt: skip

signals.task_success.connect(task_succeeded)
signals.task_failure.connect(task_failed)
signals.task_retry.connect(retrying_task)
signals.task_revoked.connect(handlers.task_was_revoked)
signals.task_unknown.connect(handlers.task_is_unknown)
signals.task_postrun.connect(handlers.task_is_over)
signals.worker_init.connect(patches.gate_registered_tasks)


@signals.task_prerun.connect
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


@receiver(tracking_started)
def listen(**kwargs: object) -> None:
    """Connect the receivers of what is published."""
    signals.before_task_publish.connect(create_user_task)
    signals.after_task_publish.connect(handlers.note_published)


@signals.worker_process_init.connect
def keep_connections(**kwargs: object) -> None:
    """Keep a database connection for the tasks of a child process."""
    connections.keep_connections()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def write_what_is_left(**kwargs: object) -> None:
    """Store the sums that are not stored yet, and close the connection of the process."""
    progress.finish()
    connections.close_kept_connections()
