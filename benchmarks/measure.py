"""Measures of time, queries and memory; medians; growth."""

from __future__ import annotations

import gc
import math
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import psycopg
from django.db.backends.signals import connection_created


class Queries:
    """A counter of the statements that this process sends, on all its connections."""

    def __init__(self) -> None:
        self.count = 0
        self.cpu = 0.0
        """When counting began, by the clock of the processor."""

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        return execute(*args)

    def watch(self, connection: Any, **kwargs: Any) -> None:
        """Count the statements of a new connection."""
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)


QUERIES = Queries()
connection_created.connect(QUERIES.watch)


def _counted(copy: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(copy)
    def counted(*args: Any, **kwargs: Any) -> Any:
        QUERIES.count += 1
        return copy(*args, **kwargs)

    return counted


# Django's wrappers of statements do not see a COPY.
psycopg.Cursor.copy = _counted(psycopg.Cursor.copy)  # type: ignore[method-assign]


def measured(call: Callable[[], Any]) -> dict[str, float]:
    """Make a call and return its costs.

    Seconds, also of this process's processor, which other load on the machine does not change;
    queries; and the highest memory of the process so far, in MB.
    """
    gc.collect()
    QUERIES.count, begin, cpu = 0, time.perf_counter(), time.process_time()
    call()
    return {
        "seconds": time.perf_counter() - begin,
        "cpu": time.process_time() - cpu,
        "queries": QUERIES.count,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def exponent(costs: dict[int, float]) -> float:
    """Return the power of the size that a cost grows with: 1 is in proportion.

    The slope of the line through all points on logarithmic scales, without sizes below 100, where
    the fixed part is larger than what grows.
    """
    points = [(math.log(n), math.log(cost)) for n, cost in costs.items() if n >= 100 and cost > 0]
    if len(points) < 2:
        return math.nan
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope
