"""How much longer a workflow may run; pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from .phases import Phase

#: Before this time has passed nothing is estimated.
EVIDENCE = timedelta(seconds=15)


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
