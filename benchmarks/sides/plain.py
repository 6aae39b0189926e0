"""Celery alone."""

from __future__ import annotations

from typing import Any

from .. import tasks
from ..measure import measured
from . import common
from .common import plain, prepare  # noqa: F401


def clear() -> None:
    """Delete what earlier measurements have left."""
    common.empty()


def publish(size: int, user_id: int) -> dict[str, float]:
    """Publish a chord."""
    canvas = common.chord_of(size, user_id)
    return measured(canvas.apply_async)


def drain(size: int, user_id: int, seconds: float = 0) -> dict[str, float]:
    """Have a worker run a group."""
    return common.drained(common.group_of(size, user_id, seconds).apply_async)


def increments(times: int, user_id: int) -> float:
    """Count steps in a worker."""
    return float(common.in_worker(tasks.count.delay(user_id, times)))


def tracking(items: int, user_id: int) -> float:
    """Iterate over items in a worker."""
    return float(common.in_worker(tasks.track.delay(user_id, items)))


def cancel(size: int, user_id: int) -> dict[str, Any]:
    """Revoke a group that waits, one task after the other."""
    result = common.group_of(size, user_id).apply_async()
    return measured(result.revoke)
