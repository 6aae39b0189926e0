"""The app that the worker processes run: ``celery -A tests.acceptance.app worker``."""

import json
import os
import signal
import threading
import time
from typing import Any

import django
from celery.signals import task_postrun, task_prerun
from django.db.backends.utils import CursorWrapper
from django.dispatch import receiver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from tests.acceptance import harness  # noqa: E402
from user_workflows import user_task_stopped, workflow_finished  # noqa: E402
from user_workflows.queues.celery import recording  # noqa: E402

app = harness.make_app(
    os.environ[harness.QUEUE],
    int(os.environ[harness.PROTOCOL]),
    **json.loads(os.environ[harness.CONF]),
)
app.set_default()


def end_with_the_tests() -> None:
    """Ends this worker, and the children of its pool, when the process that started it is gone."""
    os.read(0, 1)  # Not through sys.stdin: its lock would be held when the pool forks.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os.killpg(os.getpgrp(), signal.SIGKILL)


threading.Thread(target=end_with_the_tests, daemon=True).start()

if os.environ.get("ACCEPTANCE_IMPATIENT"):
    recording.RETRY_DELAYS = (0.1, 0.1)


@receiver(user_task_stopped)
def note_stopped(status: Any, **kwargs: Any) -> None:
    harness.write("stopped", task_id=status.task_id, phase=status.phase, state=status.state)


@receiver(workflow_finished)
def note_finished(status: Any, verdict: str, **kwargs: Any) -> None:
    harness.write("finished", task_id=status.task_id, phase=verdict)


_watched: list[str] = []


@task_prerun.connect
def watch(task: Any, task_id: str, kwargs: dict[str, Any], **more: Any) -> None:
    """From here on, record the statements of this process if the task asks for that."""
    if kwargs.get("watched"):
        _watched.append(task_id)


@task_postrun.connect
def stop_watching(task_id: str, **more: Any) -> None:
    if task_id in _watched:
        _watched.remove(task_id)


def recording(original: Any) -> Any:
    def execute(self: CursorWrapper, sql: str, params: Any = None) -> Any:
        for task_id in _watched:
            harness.write("statement", task_id=task_id, sql=sql[:2000])
        return original(self, sql, params)

    return execute


CursorWrapper.execute = recording(CursorWrapper.execute)  # type: ignore[method-assign]
