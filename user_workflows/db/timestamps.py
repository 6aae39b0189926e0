"""Dates of writes that others see late."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connections, models, transaction
from django.utils.timezone import now

from .tables import statuses

#: Writes of a transaction that has taken longer are dated by its commit.
SLOW_WRITE = timedelta(seconds=5)


def restamp_slow_transaction(tree_id: int, begun: datetime) -> None:
    """Dates what a long transaction has written anew: nobody could see it at the time it says."""
    if now() - begun > SLOW_WRITE:
        late = statuses().filter(tree_id=tree_id, modified__gte=begun).order_by()
        late.update(modified=now())


def restamp_if_slow(dated: datetime, begun: datetime, using: str, **place: Any) -> None:
    """Dates what was written as of ``dated`` anew if it takes long until others can see it.

    The writing was ``begun`` then. It may have waited for a lock, or for the end of its
    transaction; who asks for what has changed since then would miss it.
    """

    def show() -> None:
        if now() - begun > SLOW_WRITE:
            rows = statuses().using(using).filter(modified=dated, **place)
            models.QuerySet.update(rows.order_by(), modified=now())

    if connections[using].in_atomic_block:
        transaction.on_commit(show, using=using)
    else:
        show()
