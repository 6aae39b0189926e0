"""Copying artifact files of django-user-tasks."""

from __future__ import annotations

from collections.abc import Iterable

from ..db.tables import artifacts
from ..lifecycle.artifact_files import of_user_tasks, shares_storage_with_user_tasks, storage_of


def copy_from_user_tasks(names: Iterable[str | None], stored: list[str]) -> dict[str, str]:
    """Copies files of django-user-tasks, unless both apps keep their files in the same storage.

    Arguments:
        names: as its storage knows them; empty ones are left out.
        stored: takes the names of the copies, for who must delete them if all is undone.

    Returns under which name each copy is stored; an empty one where the file is not there.
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
