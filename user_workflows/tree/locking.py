"""The lock of a tree, which is the row of its root, and locks of other rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from django.db import models, transaction
from django.utils.timezone import now

from ..db.connections import status_atomic, status_connection
from ..db.tables import statuses
from ..db.timestamps import restamp_slow_transaction
from .managers import StatusQuerySet


@contextmanager
def tree_lock(tree_id: int) -> Iterator[None]:
    """Open a transaction that holds the lock of one tree.

    A writer of more than one row of a tree holds it, and takes it before the first write: that
    one order keeps writers from deadlocking. On databases without row locks (SQLite) an UPDATE of
    the root stands in for it.
    """
    begun = now() if status_connection().in_atomic_block else None
    with status_atomic():
        root = statuses().filter(pk=tree_id).order_by()
        if status_connection().features.has_select_for_update:
            with_row_locks(root).values_list("pk").first()
        else:
            root.update(tree_id=models.F("tree_id"))
        yield
    if begun is not None:
        restamp = partial(restamp_slow_transaction, tree_id, begun)
        transaction.on_commit(restamp, using=status_connection().alias)


def tree_lock_in_transaction(tree_id: int) -> AbstractContextManager[None]:
    """Return the lock of a tree if the caller is in a transaction, else a context of nothing.

    Writers of single rows need no lock while each statement commits by itself. Two transactions
    that finish siblings would not see each other's rows, and neither would settle the parent.
    """
    return tree_lock(tree_id) if status_connection().in_atomic_block else nullcontext()


def with_row_locks(rows: StatusQuerySet, *, for_deletion: bool = False) -> StatusQuerySet:
    """Return the query with locks on the rows it finds, where the database has row locks.

    Rows of other tables that refer to them may be inserted meanwhile (``FOR NO KEY UPDATE``, where
    the database has it), unless the locks are ``for_deletion``.
    """
    features = status_connection().features
    if not features.has_select_for_update:
        return rows
    no_key = features.has_select_for_no_key_update and not for_deletion
    return rows.select_for_update(no_key=no_key)


def lock_rows(rows: StatusQuerySet) -> list[int]:
    """Lock these rows until the transaction ends, and return their keys.

    The caller holds the tree's lock.
    """
    return list(with_row_locks(rows).order_by("pk").values_list("pk", flat=True))
