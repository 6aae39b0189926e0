"""The tasks that all sides run: the same bodies, on each side's own base class."""

from __future__ import annotations

import json
import resource
import time
from typing import Any

from celery import Task, current_app, shared_task
from django.conf import settings

from . import measure

if settings.SIDE == "ours":
    from user_workflows.tasks import UserTask as Base
elif settings.SIDE == "user_tasks":
    from user_tasks.tasks import UserTask as Base
else:
    Base = Task


@shared_task(base=Base, bind=True)
def step(self: Any, user_id: int, seconds: float = 0) -> None:
    """Work for some seconds; by default not at all."""
    if seconds:
        time.sleep(seconds)


@shared_task(base=Base, bind=True)
def count(self: Any, user_id: int, times: int) -> float:
    """Count steps one by one, in the side's own way; return the seconds that it took."""
    if settings.SIDE == "plain":

        def increment(done: int) -> None:
            self.update_state(state="PROGRESS", meta={"done": done})
    else:
        status = self.status

        def increment(done: int) -> None:
            status.increment_completed_steps()

    begin = time.perf_counter()
    for done in range(times):
        increment(done)
    return time.perf_counter() - begin


@shared_task(base=Base, bind=True)
def track(self: Any, user_id: int, items: int) -> float:
    """Iterate over items, on our side with ``self.track``; return the seconds that it took."""
    tracked = self.track(range(items)) if settings.SIDE == "ours" else range(items)
    begin = time.perf_counter()
    for _ in tracked:
        pass
    return time.perf_counter() - begin


@shared_task(base=Base, bind=True)
def work(self: Any, user_id: int, steps: int) -> None:
    """Count steps of 10 ms each; on our side only."""
    for _ in self.track(range(steps)):
        time.sleep(0.01)


# -- around what is measured ----------------------------------------------------------------------


@shared_task
def hold(key: str) -> None:
    """Keep the worker waiting until everything that is to be measured is in its queue."""
    current_app.backend.client.blpop(key, timeout=120)
    measure.QUERIES.count, measure.QUERIES.cpu = 0, time.process_time()


@shared_task
def mark(key: str) -> None:
    """Report the time, and the costs of the process since ``hold``."""
    used = {
        "at": time.time(),
        "cpu": time.process_time() - measure.QUERIES.cpu,
        "queries": measure.QUERIES.count,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    current_app.backend.client.rpush(key, json.dumps(used))


@shared_task
def plain() -> None:
    """Do nothing; no side tracks this task."""
