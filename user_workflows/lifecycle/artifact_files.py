"""The files of artifacts, which are deleted with their rows, but not before the commit.

While django-user-tasks is installed and keeps its files in the same storage, artifacts that were
copied from it name the same files, and a file stays as long as one of the two apps names it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db import transaction

from ..db.chunks import chunked
from ..db.tables import artifacts

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
    for batch in chunked(names):
        try:
            named = artifacts().using(using).filter(file__in=batch).order_by()
            shared = set(named.values_list("file", flat=True))
            if shares_storage_with_user_tasks():
                theirs = (
                    of_user_tasks("UserTaskArtifact")
                    ._default_manager.filter(file__in=batch)
                    .order_by()
                )
                shared |= set(theirs.values_list("file", flat=True))
        except Exception:
            logger.exception("Files of deleted artifacts are left in the storage: %s", batch)
            continue
        delete(name for name in batch if name not in shared)


def delete(names: Iterable[str]) -> None:
    """Deletes files from the storage of artifacts; what it refuses is logged."""
    storage = storage_of(artifacts().model)
    for name in names:
        try:
            storage.delete(name)
        except Exception:
            logger.exception("The file of a deleted artifact is left in the storage: %s", name)


def of_user_tasks(model: str) -> Any:
    """A model of django-user-tasks."""
    return apps.get_model("user_tasks", model)


def storage_of(model: Any) -> Any:
    """Return the storage of a model's files."""
    return model._meta.get_field("file").storage


def shares_storage_with_user_tasks() -> bool:
    """Whether django-user-tasks is installed, and a name means the same file to both apps."""
    if not apps.is_installed("user_tasks"):
        return False
    ours, theirs = storage_of(artifacts().model), storage_of(of_user_tasks("UserTaskArtifact"))
    return ours is theirs or _identity(ours) == _identity(theirs)


def _identity(storage: Any) -> Any:
    """What two storages that are the same have in common, as far as they tell."""
    made_with = getattr(storage, "_constructor_args", id(storage))
    return storage.__class__, made_with
