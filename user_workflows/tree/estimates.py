"""Elapsed and remaining time of a workflow; pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..phases import Phase

#: Before this time has passed nothing is estimated.
EVIDENCE = timedelta(seconds=15)


def elapsed(started_at: datetime | None, settled_at: datetime | None, at: datetime) -> float | None:
    """Return the seconds from the start to the end, or until ``at``; None before the start.

    Never negative: hosts' clocks differ, and are set.
    """
    if started_at is None:
        return None
    return max(0.0, ((settled_at or at) - started_at).total_seconds())


def eta(
    phase: str, started_at: datetime | None, at: datetime, *, settled: int, steps: int, total: int
) -> timedelta | None:
    """Estimate the time that is left of a running workflow ``at`` some time, linearly.

    ``settled`` tasks have ended, and ``steps`` of ``total`` need not be waited for any more. None
    until there is evidence.
    """
    if phase != Phase.RUNNING or started_at is None or not settled or not 0 < steps <= total:
        return None
    elapsed = at - started_at
    return elapsed * (total - steps) / steps if elapsed >= EVIDENCE else None
