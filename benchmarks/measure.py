"""Time, queries, memory; medians, growth."""

from __future__ import annotations

import gc
import math
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.signals import connection_created


class Queries:
    """Counts the statements that this process sends, on all its connections."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        return execute(*args)

    def watch(self, connection: Any, **kwargs: Any) -> None:
        """For each connection when it is made."""
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)


QUERIES = Queries()
connection_created.connect(QUERIES.watch)


def measured(call: Callable[[], Any]) -> dict[str, float]:
    """Seconds and queries of a call, and the highest memory of the process so far, in MB."""
    gc.collect()
    QUERIES.count, begin = 0, time.perf_counter()
    call()
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "queries": QUERIES.count, "rss": peak}


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def exponent(costs: dict[int, float]) -> float:
    """How cost grows with size, as a power of it: 1 is in proportion.

    The slope of the line through all points on logarithmic scales, without sizes below 100, where
    the fixed part is larger than what grows.
    """
    points = [(math.log(n), math.log(cost)) for n, cost in costs.items() if n >= 100 and cost > 0]
    if len(points) < 2:
        return math.nan
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope
