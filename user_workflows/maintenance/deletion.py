"""Deleting workflows: one, though its tasks may run, or all that are old."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Exists, Model, OuterRef, ProtectedError, Q, RestrictedError
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, pre_delete
from django.dispatch import Signal

from ..db.connections import status_atomic, status_connection
from ..lifecycle import artifact_files
from ..models import UserTaskArtifact, UserTaskStatus
from ..phases import Phase
from ..tree.locking import with_row_locks
from ..tree.managers import StatusQuerySet

#: Workflows that are deleted in one transaction.
BATCH_SIZE = 200


@dataclass(slots=True)
class Purged:
    """Counts of what one transaction has deleted, and workflows that other apps' rows protect."""

    workflows: int = 0
    nodes: int = 0
    artifacts: int = 0
    protected: list[UUID] = field(default_factory=list)


def purgeable(before: datetime) -> StatusQuerySet:
    """Return the roots of the workflows that were last changed before this moment and do not run.

    A workflow changes for the last time when it is settled. One that was never settled is old,
    too, if nothing in it was changed since then, and no task runs or waits for its next attempt.
    """
    busy = Exists(_active_or_recent(before).filter(tree_id=OuterRef("pk")))
    return _unchanged_roots(before).filter(Q(settled_at__isnull=False) | ~busy)


def _unchanged_roots(before: datetime) -> StatusQuerySet:
    roots = UserTaskStatus.objects.roots().order_by("pk")
    return roots.filter(created__lt=before, modified__lt=before)


def _active_or_recent(before: datetime) -> StatusQuerySet:
    running = Q(phase__in=(Phase.RUNNING, Phase.RETRYING), is_container=False, settled_at=None)
    return UserTaskStatus.objects.filter(running | Q(modified__gte=before)).order_by()


def purge(before: datetime) -> Iterator[Purged]:
    """Delete the workflows that are ``purgeable``, with their artifacts and the files of those.

    Yield what each transaction, of 200 workflows, has done: those that are not asked for are not
    made. Files are deleted after each commit. Workflows that other apps' rows protect
    (``PROTECT``, ``RESTRICT``) are left and named.

    Queries: five for each 200 workflows, if no other app refers to them and their ``pre_delete``
    and ``post_delete`` have no other receivers; else some for each of them, as Django does it.
    """
    last = 0
    while True:
        with status_atomic():
            roots = with_row_locks(_unchanged_roots(before).filter(pk__gt=last), for_deletion=True)
            found = dict(roots.values_list("pk", "settled_at")[:BATCH_SIZE])
            if not found:
                return
            last = max(found)
            # For these only: in one query with the roots, PostgreSQL would look for running tasks
            # in the whole table, for each batch.
            unsettled = [pk for pk, settled_at in found.items() if settled_at is None]
            active = _active_or_recent(before).filter(tree_id__in=unsettled)
            busy = set(active.values_list("tree_id", flat=True)) if unsettled else set()
            batch = [pk for pk in found if pk not in busy]
            if not batch:
                continue
            purged = _delete_raw(batch) if _can_delete_raw() else _delete_each(batch)
        yield purged


def _can_delete_raw() -> bool:
    """Return whether rows may be deleted without loading each."""
    ours = (UserTaskStatus, UserTaskArtifact)
    related = [relation for model in ours for relation in model._meta.related_objects]
    if any(relation.related_model not in ours for relation in related):
        return False
    signals = (pre_delete, post_delete)
    return not any(_has_other_receivers(signal, model) for signal in signals for model in ours)


def _has_other_receivers(signal: Signal, model: type[Model]) -> bool:
    """Return whether a signal of a model has receivers, synchronous or not, that are not ours."""
    others = Signal()
    others.receivers = list(signal.receivers)
    others.disconnect(artifact_files.delete_with_row, sender=model)
    return others.has_listeners(model)


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


#: Attempts to delete a workflow to which running tasks still add rows.
DELETE_TRIES = 5


def delete_workflow(root: UserTaskStatus) -> None:
    """Delete a whole workflow with its artifacts; one that is open is canceled first.

    Raises ProtectedError or RestrictedError where rows of other apps protect it, so that it goes
    on as before, and IntegrityError where in each attempt its tasks have added rows.
    """
    # Raises before it is canceled: a workflow that stays is to go on.
    Collector(root._state.db or "default", root).collect([root])
    if root.is_active:
        root.cancel()
    for attempt in range(DELETE_TRIES):
        try:
            with status_atomic():
                for found in UserTaskStatus.objects.filter(pk=root.pk):
                    found.delete()
            return
        except IntegrityError as error:
            is_refused = isinstance(error, (ProtectedError, RestrictedError))
            if is_refused or attempt == DELETE_TRIES - 1:
                raise
