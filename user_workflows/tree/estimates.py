"""How long a workflow has run, and how much longer it may; pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..phases import Phase

#: Before this time has passed nothing is estimated.
EVIDENCE = timedelta(seconds=15)


def elapsed(started_at: datetime | None, settled_at: datetime | None, at: datetime) -> float | None:
    """Seconds from the start to the end, or until ``at``; None where nothing has started.

    Never negative: hosts' clocks differ, and are set.
    """
    if started_at is None:
        return None
    return max(0.0, ((settled_at or at) - started_at).total_seconds())


def eta(
    phase: Phase | str,
    started_at: datetime | None,
    at: datetime,
    *,
    settled: int,
    steps: int,
    total: int,
) -> timedelta | None:
    """The time left if the rest goes on as what is behind; None where nothing can be said yet.

    Arguments:
        settled: tasks that have ended.
        steps: of ``total``, those that need not be waited for any more.
    """
    if phase != Phase.RUNNING or started_at is None or not settled or not 0 < steps <= total:
        return None
    elapsed = at - started_at
    return elapsed * (total - steps) / steps if elapsed >= EVIDENCE else None
