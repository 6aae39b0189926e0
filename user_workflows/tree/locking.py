"""The lock of a tree: the row of its root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from django.db import models, transaction
from django.utils.timezone import now

from ..db.connections import status_atomic, status_connection
from ..db.tables import statuses
from ..db.timestamps import restamp_slow_transaction


@contextmanager
def tree_lock(tree_id: int) -> Iterator[None]:
    """A transaction that holds the lock of one tree.

    Whoever writes more than one row of a tree holds it, and takes it before the first write:
    that one order keeps writers from deadlocking. On databases without row locks (SQLite) an
    UPDATE of the root stands in for it.
    """
    begun = now() if status_connection().in_atomic_block else None
    with status_atomic():
        root = statuses().filter(pk=tree_id)
        features = status_connection().features
        if features.has_select_for_update:
            no_key = features.has_select_for_no_key_update
            root.order_by().select_for_update(no_key=no_key).values_list("pk").first()
        else:
            root.update(tree_id=models.F("tree_id"))
        yield
    if begun is not None:
        show = partial(restamp_slow_transaction, tree_id, begun)
        transaction.on_commit(show, using=status_connection().alias)


def lock_rows(rows: Any) -> list[int]:
    """Locks these rows until the transaction ends; for the holder of the tree's lock."""
    features = status_connection().features
    if features.has_select_for_update:
        rows = rows.select_for_update(no_key=features.has_select_for_no_key_update)
    return list(rows.order_by("pk").values_list("pk", flat=True))


def tree_lock_in_transaction(tree_id: int) -> AbstractContextManager[None]:
    """The lock of a tree if the caller is in a transaction, else nothing.

    Writers of single rows need no lock while each statement commits by itself. Two transactions
    that finish siblings would not see each other's rows, and neither would settle the parent.
    """
    return tree_lock(tree_id) if status_connection().in_atomic_block else nullcontext()
