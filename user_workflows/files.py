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
    for batch in batches(names):
        try:
            named = artifacts().using(using).filter(file__in=batch).order_by()
            shared = set(named.values_list("file", flat=True))
            if _is_shared():
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
    storage = _storage(artifacts().model)
    for name in names:
        try:
            storage.delete(name)
        except Exception:
            logger.exception("The file of a deleted artifact is left in the storage: %s", name)


# -- files of django-user-tasks -------------------------------------------------------------------


def copy_from_user_tasks(names: Iterable[str | None], stored: list[str]) -> dict[str, str]:
    """Copies files of django-user-tasks, unless both apps keep their files in the same storage.

    Arguments:
        names: as its storage knows them; empty ones are left out.
        stored: takes the names of the copies, for who must delete them if all is undone.

    Returns under which name each copy is stored; an empty one where the file is not there.
    """
    copies: dict[str, str] = {}
    if _is_shared():
        return copies
    source, target = _storage(of_user_tasks("UserTaskArtifact")), _storage(artifacts().model)
    for name in {name for name in names if name}:
        try:
            with source.open(name) as file:
                copies[name] = target.save(name, file)
        except FileNotFoundError:
            copies[name] = ""
        else:
            stored.append(copies[name])
    return copies


def of_user_tasks(model: str) -> Any:
    """A model of django-user-tasks."""
    return apps.get_model("user_tasks", model)


def _storage(model: Any) -> Any:
    return model._meta.get_field("file").storage


def _is_shared() -> bool:
    """Whether django-user-tasks is installed, and a name means the same file to both apps."""
    if not apps.is_installed("user_tasks"):
        return False
    ours, theirs = _storage(artifacts().model), _storage(of_user_tasks("UserTaskArtifact"))
    return ours is theirs or _identity(ours) == _identity(theirs)


def _identity(storage: Any) -> Any:
    """What two storages that are the same have in common, as far as they tell."""
    made_with = getattr(storage, "_constructor_args", id(storage))
    return storage.__class__, made_with
