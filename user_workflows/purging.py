"""Deleting whole workflows in which nothing has happened for long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, ProtectedError, RestrictedError
from django.db.models.signals import post_delete, pre_delete

from . import files, trees
from .models import UserTaskArtifact, UserTaskStatus
from .phases import Phase

#: Workflows that are deleted in one transaction.
AT_ONCE = 200


@dataclass(slots=True)
class Purged:
    """What one transaction has deleted, and what it had to leave."""

    workflows: int = 0
    nodes: int = 0
    artifacts: int = 0
    protected: list[UUID] = field(default_factory=list)
    """Workflows that rows of other apps refer to, and protect."""


def old(before: datetime) -> Any:
    """The roots of the workflows that were last changed before this moment and do not run.

    A workflow changes for the last time when it is settled. One that was never settled counts as
    old, too, as soon as no task in it runs or waits for its next attempt.
    """
    going = _going().filter(tree_id=OuterRef("pk"))
    return _unchanged(before).exclude(Exists(going))


def _unchanged(before: datetime) -> Any:
    roots = UserTaskStatus.objects.roots().filter(created__lt=before, modified__lt=before)
    return roots.order_by("pk")


def _going() -> Any:
    going = UserTaskStatus.objects.active().filter(is_container=False)
    return going.filter(phase__in=(Phase.RUNNING, Phase.RETRYING)).order_by()


def purge(before: datetime) -> Iterator[Purged]:
    """Deletes the workflows that are ``old``, with their artifacts and their artifacts' files.

    Arguments:
        before: when they were last changed.

    Yields what each transaction, of 200 workflows, has done; what is not asked for is not
    deleted. Files are deleted after each commit. Workflows that other apps' rows protect
    (``PROTECT``, ``RESTRICT``) are left and named.

    Cost: five queries for each 200 workflows where no other app refers to them and nobody listens
    to their ``pre_delete`` and ``post_delete``; else some for each of them, as Django does it.
    """
    last = 0
    while True:
        with trees.atomic():
            roots = _unchanged(before).filter(pk__gt=last)
            if trees.connection().features.has_select_for_update:
                roots = roots.select_for_update()
            batch = list(roots.values_list("pk", flat=True)[:AT_ONCE])
            if not batch:
                return
            last = max(batch)
            # Asked for these only: in one query with the roots, PostgreSQL would look for tasks
            # that run in the whole table, for each batch.
            busy = set(_going().filter(tree_id__in=batch).values_list("tree_id", flat=True))
            batch = [pk for pk in batch if pk not in busy]
            if not batch:
                continue
            purged = _delete(batch) if _is_ours_alone() else _delete_each(batch)
        yield purged


def _is_ours_alone() -> bool:
    """Whether rows may be deleted without a look at each."""
    ours = (UserTaskStatus, UserTaskArtifact)
    related = [relation for model in ours for relation in model._meta.related_objects]
    if any(relation.related_model not in ours for relation in related):
        return False
    own = {files.delete_with_row}
    return not any(
        set(_receivers(signal, model)) - own
        for signal in (pre_delete, post_delete)
        for model in ours
    )


def _receivers(signal: Any, model: Any) -> list[Any]:
    found: list[Any] = signal._live_receivers(model)[0]
    return found


def _delete(roots: list[int]) -> Purged:
    nodes = UserTaskStatus.objects.filter(tree_id__in=roots).order_by()
    artifacts = UserTaskArtifact.objects.filter(status__tree_id__in=roots).order_by()
    using = trees.connection().alias
    names = artifacts.exclude(file="").values_list("file", flat=True)
    files.delete_after_commit((name or "" for name in names), using)
    keys = UserTaskArtifact.objects.filter(status__in=nodes.values("pk")).order_by()
    purged = Purged(workflows=len(roots), artifacts=keys._raw_delete(using))
    if trees.connection().features.can_defer_constraint_checks:
        purged.nodes = nodes._raw_delete(using)
        return purged
    levels = nodes.order_by("-level").values_list("level", flat=True).distinct()
    for level in list(levels):  # Children first.
        purged.nodes += nodes.filter(level=level)._raw_delete(using)
    return purged


def _delete_each(roots: list[int]) -> Purged:
    purged = Purged()
    for root in UserTaskStatus.objects.filter(pk__in=roots).order_by("pk"):
        try:
            with trees.atomic():
                _, deleted = root.delete()
        except (ProtectedError, RestrictedError):
            purged.protected.append(root.uuid)
            continue
        purged.workflows += 1
        purged.nodes += deleted.get(UserTaskStatus._meta.label, 0)
        purged.artifacts += deleted.get(UserTaskArtifact._meta.label, 0)
    return purged
