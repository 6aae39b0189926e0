"""The files of artifacts, which are deleted with their rows, but not before the commit."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.db import transaction

from .trees import artifacts, batches

logger = logging.getLogger(__name__)


def delete_after_commit(names: Iterable[str], using: str) -> None:
    """Deletes files from the storage of artifacts when the rows that name them are gone for good.

    Arguments:
        names: as the storage knows them; empty ones are left out.
        using: the alias of the database from which the rows are deleted.

    After a rollback nothing is deleted. A file that another artifact names, too, stays. What the
    storage refuses is logged: the rows are gone all the same.
    """
    found = sorted({name for name in names if name})
    if found:
        transaction.on_commit(lambda: _delete(found, using), using=using)


def delete_with_row(instance: Any, using: str, **kwargs: Any) -> None:
    """For ``post_delete`` of artifacts."""
    delete_after_commit([instance.file.name], using)


def _delete(names: list[str], using: str) -> None:
    storage = artifacts().model._meta.get_field("file").storage
    for batch in batches(names):
        try:
            named = artifacts().using(using).filter(file__in=batch).order_by()
            shared = set(named.values_list("file", flat=True))
        except Exception:
            logger.exception("Files of deleted artifacts are left in the storage: %s", batch)
            continue
        for name in batch:
            if name in shared:
                continue
            try:
                storage.delete(name)
            except Exception:
                logger.exception("The file of a deleted artifact is left in the storage: %s", name)
