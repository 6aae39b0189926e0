"""Deleting workflows: one that somebody is at work on, or all that are old."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Exists, OuterRef, ProtectedError, Q, RestrictedError
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, pre_delete

from ..db.connections import status_atomic, status_connection
from ..lifecycle import artifact_files
from ..models import UserTaskArtifact, UserTaskStatus
from ..phases import Phase
from ..tree.locking import with_row_locks

#: Workflows that are deleted in one transaction.
BATCH_SIZE = 200


@dataclass(slots=True)
class Purged:
    """What one transaction has deleted, and what it had to leave."""

    workflows: int = 0
    nodes: int = 0
    artifacts: int = 0
    protected: list[UUID] = field(default_factory=list)
    """Workflows that rows of other apps refer to, and protect."""


def purgeable(before: datetime) -> Any:
    """The roots of the workflows that were last changed before this moment and do not run.

    A workflow changes for the last time when it is settled. One that was never settled counts as
    old, too, if nothing in it was changed since then, and no task runs or waits for its next
    attempt.
    """
    going = _active_or_recent(before).filter(tree_id=OuterRef("pk"))
    return _unchanged_roots(before).filter(Q(settled_at__isnull=False) | ~Exists(going))


def _unchanged_roots(before: datetime) -> Any:
    roots = UserTaskStatus.objects.roots().filter(created__lt=before, modified__lt=before)
    return roots.order_by("pk")


def _active_or_recent(before: datetime) -> Any:
    running = Q(phase__in=(Phase.RUNNING, Phase.RETRYING), is_container=False, settled_at=None)
    return UserTaskStatus.objects.filter(running | Q(modified__gte=before)).order_by()


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
        with status_atomic():
            roots = _unchanged_roots(before).filter(pk__gt=last)
            roots = with_row_locks(roots, for_deletion=True)
            found = dict(roots.values_list("pk", "settled_at")[:BATCH_SIZE])
            if not found:
                return
            last = max(found)
            # Asked for these only: in one query with the roots, PostgreSQL would look for tasks
            # that run in the whole table, for each batch.
            unsettled = [pk for pk, settled_at in found.items() if settled_at is None]
            going = _active_or_recent(before).filter(tree_id__in=unsettled)
            busy = set(going.values_list("tree_id", flat=True)) if unsettled else set()
            batch = [pk for pk in found if pk not in busy]
            if not batch:
                continue
            purged = _delete_raw(batch) if _can_delete_raw() else _delete_each(batch)
        yield purged


def _can_delete_raw() -> bool:
    """Whether rows may be deleted without a look at each."""
    ours = (UserTaskStatus, UserTaskArtifact)
    related = [relation for model in ours for relation in model._meta.related_objects]
    if any(relation.related_model not in ours for relation in related):
        return False
    own = {artifact_files.delete_with_row}
    return not any(
        set(_delete_receivers(signal, model)) - own
        for signal in (pre_delete, post_delete)
        for model in ours
    )


def _delete_receivers(signal: Any, model: Any) -> list[Any]:
    found: list[Any] = signal._live_receivers(model)[0]
    return found


def _delete_raw(roots: list[int]) -> Purged:
    nodes = UserTaskStatus.objects.filter(tree_id__in=roots).order_by()
    artifacts = UserTaskArtifact.objects.filter(status__tree_id__in=roots).order_by()
    using = status_connection().alias
    names = artifacts.exclude(file="").values_list("file", flat=True)
    artifact_files.delete_after_commit((name or "" for name in names), using)
    keys = UserTaskArtifact.objects.filter(status__in=nodes.values("pk")).order_by()
    purged = Purged(workflows=len(roots), artifacts=keys._raw_delete(using))
    if status_connection().features.can_defer_constraint_checks:
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
            with status_atomic():
                _, deleted = root.delete()
        except (ProtectedError, RestrictedError):
            purged.protected.append(root.uuid)
            continue
        purged.workflows += 1
        purged.nodes += deleted.get(UserTaskStatus._meta.label, 0)
        purged.artifacts += deleted.get(UserTaskArtifact._meta.label, 0)
    return purged


#: How often it is tried to delete what running tasks still add to.
DELETE_TRIES = 5


def delete_workflow(root: UserTaskStatus) -> None:
    """Deletes a whole workflow with its artifacts; one that is open is canceled first.

    Raises:
        ProtectedError, RestrictedError: other apps need it. It goes on as before.
        IntegrityError: its tasks left something each time that it was tried.
    """
    # Before it is canceled: a workflow that stays is to go on.
    Collector(root._state.db or "default", root).collect([root])
    if root.is_active:
        root.cancel()
    for attempt in range(DELETE_TRIES):
        try:
            with status_atomic():
                for found in UserTaskStatus.objects.filter(pk=root.pk):
                    found.delete()
        except (ProtectedError, RestrictedError):
            raise
        except IntegrityError:
            if attempt == DELETE_TRIES - 1:
                raise
        else:
            return
