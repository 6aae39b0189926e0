"""Copies of django-user-tasks' artifact files."""

from __future__ import annotations

from collections.abc import Iterable

from ..db.tables import artifacts
from ..lifecycle.artifact_files import of_user_tasks, shares_storage_with_user_tasks, storage_of


def copy_from_user_tasks(names: Iterable[str | None], stored: list[str]) -> dict[str, str]:
    """Copy files of django-user-tasks, unless both apps keep their files in the same storage.

    Args:
        names: the files, as its storage knows them; empty names are left out.
        stored: a list to add the names of the copies to, even if an exception is raised, so that
            the caller can delete them.

    Returns:
        The name of the copy of each file; an empty one if the file does not exist.
    """
    copies: dict[str, str] = {}
    if shares_storage_with_user_tasks():
        return copies
    source, target = storage_of(of_user_tasks("UserTaskArtifact")), storage_of(artifacts().model)
    for name in {name for name in names if name}:
        try:
            with source.open(name) as file:
                copies[name] = target.save(name, file)
        except FileNotFoundError:
            copies[name] = ""
        else:
            stored.append(copies[name])
    return copies
