"""Functions that all sides share: the database, the user, canvases, waiting for a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from celery import chord, current_app, group
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection

from .. import tasks
from ..measure import measured


def prepare() -> int:
    """Create the side's tables, and the user whose id is returned."""
    call_command("migrate", verbosity=0)
    user, _ = get_user_model().objects.get_or_create(username="bench")
    return int(user.pk)


def empty(*tables: str) -> None:
    """Delete all rows of these tables, and all messages of the side."""
    if tables:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
    with current_app.connection_for_write() as broker:
        broker.default_channel.queue_purge(settings.CELERY_TASK_DEFAULT_QUEUE)


def analyze(table: str) -> None:
    """Update the planner's statistics, as autovacuum does on a site."""
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {table}")


def plain(size: int) -> dict[str, float]:
    """Publish tasks that are not tracked, one by one."""
    return measured(lambda: [tasks.plain.delay() for _ in range(size)])


def chord_of(size: int, user_id: int) -> Any:
    """Return a chord of ``size`` tasks."""
    header = [tasks.step.si(user_id) for _ in range(size)]
    return chord(header, tasks.step.si(user_id))


def group_of(size: int, user_id: int, seconds: float = 0) -> Any:
    """Return a group of ``size`` tasks."""
    return group([tasks.step.si(user_id, seconds) for _ in range(size)])


def drained(send: Callable[[], Any]) -> dict[str, float]:
    """Measure what a worker with one process needs for all that ``send`` publishes.

    The worker is held until all messages are in the queue, so that publishing is not measured.
    """
    client = current_app.backend.client
    start, end = uuid4().hex, uuid4().hex
    tasks.hold.apply_async([start], ignore_result=True)
    send()
    tasks.mark.apply_async([end], ignore_result=True)
    client.rpush(start, "go")
    begin = time.time()
    answer = client.blpop(end, timeout=600)
    if answer is None:
        raise RuntimeError("The worker has not finished within 600 s.")
    used = json.loads(answer[1])
    return {**used, "seconds": used["at"] - begin}


def in_worker(result: Any) -> Any:
    """Wait until the end of a task is recorded; return its result."""
    returned = result.get(timeout=600)
    time.sleep(0.2)
    return returned


def rows(statement: str) -> None:
    """Run a statement that inserts rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def client() -> Any:
    """Return a client of the REST API, which only this function imports."""
    from rest_framework.test import APIClient

    return APIClient()
