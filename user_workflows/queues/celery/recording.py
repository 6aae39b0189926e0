"""No exception of ours changes what Celery does with a task: it is logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from celery import current_task
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext

from ...db.connections import status_connection
from ...lifecycle.execution import Execution
from .context import execution_of, tree_id_of

logger = logging.getLogger(__name__)

#: Seconds to wait before each further try of a write.
RETRY_DELAYS = (0.1, 0.3, 1, 2, 4, 8)

#: What follows where tasks cannot be tracked.
SENT_UNTRACKED = "They are sent, but their user will not see them."

P = ParamSpec("P")
R = TypeVar("R")


def recorded(event: str) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """Decorate a function that records an event of a node, so that it never raises.

    Database outages are waited for, about 15 seconds in all, but not inside a transaction; every
    other error is logged, with the arguments ``task``, ``task_id``, ``request`` and ``run``. The
    decorated function returns None where it failed. ``event`` completes "Could not record ...".
    """

    def decorate(record: Callable[P, R]) -> Callable[P, R | None]:
        names = tuple(signature(record).parameters)

        @wraps(record)
        def patiently(*args: P.args, **kwargs: P.kwargs) -> R | None:
            for delay in (*RETRY_DELAYS, None):
                try:
                    return record(*args, **kwargs)
                except Exception as error:
                    is_outage = isinstance(error, OperationalError | InterfaceError)
                    about = {**dict(zip(names, args, strict=False)), **kwargs}
                    what = f"Could not record {event} of"
                    if delay is None or not is_outage or status_connection().in_atomic_block:
                        remedy = "See that reap_workflows runs: it settles what is left open."
                        _log(logging.ERROR, what, error, remedy, about)
                        return None
                    _log(logging.WARNING, what, error, f"Retrying in {delay} s.", about)
                status_connection().close()
                time.sleep(delay)
            return None

        return patiently

    return decorate


@dataclass(slots=True)
class Guard:
    """The outcome of a guarded block."""

    failed: bool = False


@contextmanager
def guarded(
    action: str, remedy: str, *, level: int = logging.ERROR, strict: bool = False, **about: object
) -> Iterator[Guard]:
    """Log an exception of the block instead of raising it, unless ``strict``.

    ``action`` completes "Could not ...", and the name of the task follows. ``remedy`` says what
    follows, or what the operator can do. ``about`` has ``task``, ``task_id``, ``request`` and
    ``run`` for the log, where known.
    """
    guard = Guard()
    try:
        yield guard
    except Exception as error:
        if strict:
            raise
        guard.failed = True
        _log(level, f"Could not {action}", error, remedy, about)


def _log(level: int, what: str, error: Exception, remedy: str, about: Mapping[str, object]) -> None:
    task = about.get("task") or (current_task if current_task else None)
    request = about.get("request") or getattr(task, "request", None)
    run = about.get("run") or execution_of(request)
    run = run if isinstance(run, Execution) else None
    node, tree = (run.pk, run.tree_id) if run else (None, tree_id_of(request))
    task_id = about.get("task_id") or getattr(request, "id", None)
    place = f" (node {node}, tree {tree})" if tree is not None else ""
    logger.log(
        level,
        "%s %s[%s]%s: %r. %s",
        *(what, getattr(task, "name", task) or "a task", task_id, place, error, remedy),
        exc_info=error if level != logging.WARNING else None,
        extra={"task_id": task_id, "node": node, "tree": tree},
    )


def error_message(error: BaseException) -> str:
    """Return why a task failed, for its user."""
    if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded):
        limit = next((arg for arg in error.args if isinstance(arg, int | float)), None)
        if limit is None:
            return gettext("It took longer than it was allowed to.")
        message = gettext("It took longer than the %(limit)s seconds it was allowed to.")
        return message % {"limit": limit}
    if isinstance(error, WorkerLostError):
        return gettext("The process that ran it has died: %(error)s") % {"error": error}
    return str(error) or type(error).__name__
