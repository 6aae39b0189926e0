"""The files of artifacts, which are deleted after their rows.

While django-user-tasks is installed and keeps its files in the same storage, artifacts that were
copied from it name the same files, and a file stays as long as one of the two apps names it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.apps import apps
from django.core.files.storage import Storage
from django.db import models, transaction

from ..db.chunks import chunked
from ..db.tables import artifacts

if TYPE_CHECKING:
    from ..models import UserTaskArtifact

logger = logging.getLogger(__name__)


def delete_after_commit(names: Iterable[str], using: str) -> None:
    """Delete files of artifacts after the commit on ``using`` that deletes the rows naming them.

    A file that another artifact names, too, stays. What the storage refuses is logged.
    """
    found = sorted({name for name in names if name})
    if found:
        transaction.on_commit(lambda: _delete(found, using), using=using)


def delete_with_row(instance: UserTaskArtifact, using: str, **kwargs: object) -> None:
    """Delete the file of an artifact after its row: a receiver of ``post_delete``."""
    delete_after_commit([instance.file.name or ""], using)


def _delete(names: list[str], using: str) -> None:
    for batch in chunked(names):
        try:
            ours = artifacts().using(using).filter(file__in=batch)
            shared = set(ours.order_by().values_list("file", flat=True))
            if shares_storage_with_user_tasks():
                manager = of_user_tasks("UserTaskArtifact")._default_manager
                theirs = manager.filter(file__in=batch)
                shared |= set(theirs.order_by().values_list("file", flat=True))
        except Exception:
            text = "Could not see which files of deleted artifacts are in use; all were kept: %s"
            logger.exception(text, batch, extra={"files": batch})
            continue
        delete(name for name in batch if name not in shared)


def delete(names: Iterable[str]) -> None:
    """Delete files from the storage of artifacts; what it refuses is logged."""
    storage = storage_of(artifacts().model)
    for name in names:
        try:
            storage.delete(name)
        except Exception:
            text = "Could not delete the file of a deleted artifact; delete it in the storage: %s"
            logger.exception(text, name, extra={"files": [name]})


def of_user_tasks(model: str) -> type[models.Model]:
    """Return a model of django-user-tasks, which is installed."""
    return apps.get_model("user_tasks", model)


def storage_of(model: type[models.Model]) -> Storage:
    """Return the storage of a model's files."""
    field = model._meta.get_field("file")
    assert isinstance(field, models.FileField)  # noqa: S101
    return field.storage


def shares_storage_with_user_tasks() -> bool:
    """Return whether django-user-tasks is installed, and its names are of the same files."""
    if not apps.is_installed("user_tasks"):
        return False
    ours, theirs = storage_of(artifacts().model), storage_of(of_user_tasks("UserTaskArtifact"))
    return ours is theirs or _identity(ours) == _identity(theirs)


def _identity(storage: Storage) -> tuple[type[Storage], object]:
    # Kept by ``@deconstructible`` (Django 5.2); ``deconstruct()`` refuses classes not importable.
    return storage.__class__, getattr(storage, "_constructor_args", id(storage))
