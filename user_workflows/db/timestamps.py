"""Timestamps of rows that others see late."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connections, models, transaction
from django.utils.timezone import now

from .tables import statuses

#: Rows that took longer to become visible are re-stamped.
SLOW_WRITE = timedelta(seconds=5)


def restamp_slow_transaction(tree_id: int, begun: datetime) -> None:
    """Re-stamp what a transaction has written in a tree, if it has ``begun`` long ago.

    Called after its commit: before, nobody could see the rows at the time that ``modified`` says.
    """
    if now() - begun > SLOW_WRITE:
        late = statuses().filter(tree_id=tree_id, modified__gte=begun).order_by()
        late.update(modified=now())


def restamp_if_slow(modified: datetime, begun: datetime, using: str, **rows: object) -> None:
    """Re-stamp rows that become visible more than SLOW_WRITE after the write has begun.

    The write may have waited for a lock, or for the end of its transaction; polls by ``since``
    would miss the rows. They are found by the ``modified`` that was stored, and look-ups ``rows``.
    """

    def restamp() -> None:
        if now() - begun > SLOW_WRITE:
            late = statuses().using(using).filter(modified=modified, **rows)
            models.QuerySet.update(late.order_by(), modified=now())

    if connections[using].in_atomic_block:
        transaction.on_commit(restamp, using=using)
    else:
        restamp()
