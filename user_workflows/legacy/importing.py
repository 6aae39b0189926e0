"""Copies of legacy records as trees, made while django-user-tasks is installed beside this app.

A status keeps its ``uuid``, and with it its address in the API, its ``task_id``, name, steps and
times. What follows from the tree is not copied but derived: see ``records``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, TypedDict
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DataError, IntegrityError
from django.db.models import F, QuerySet

from ..db.chunks import chunked
from ..db.connections import status_atomic
from ..lifecycle import artifact_files
from ..models import UserTaskArtifact, UserTaskStatus
from ..phases import NodeType
from ..planning.naming import container_label
from ..tree.bounds import assign_bounds
from ..tree.inserting import MAX_ROWS_PER_INSERT, read_pks
from . import records
from .records import LegacyNode

#: Workflows that are read together.
BATCH_SIZE = 100

#: Reasons for not copying something.
NO_USER = "their user is gone"
MIXED = "they belong to several users"
NO_PARENT = "their container is gone"
TAKEN = "a task in them has a node here already, with another UUID"
REFUSED = "the database refused them"


@dataclass(slots=True)
class ImportResult:
    """The numbers and names of what was copied and what was left, in one transaction or all."""

    workflows: int = 0
    nodes: int = 0
    artifacts: int = 0
    corrected: int = 0
    """Containers whose stored state does not follow from their tasks, and was replaced."""
    copied_files: int = 0
    """Files that were copied, because this app has another storage."""
    missing_files: list[str] = field(default_factory=list)
    """Files that do not exist in the storage of django-user-tasks."""
    present: int = 0
    """Workflows that were copied before."""
    open: list[UUID] = field(default_factory=list)
    """Workflows that may still change; a later run copies them."""
    skipped: dict[str, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    """Statuses that cannot be copied, by reason."""

    def add(self, other: ImportResult) -> None:
        """Add the counts and lists of another result."""
        for name in ("workflows", "nodes", "artifacts", "corrected", "copied_files", "present"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.missing_files += other.missing_files
        self.open += other.open
        for reason, uuids in other.skipped.items():
            self.skipped[reason] += uuids


def is_available() -> bool:
    """Return whether django-user-tasks is installed."""
    return apps.is_installed("user_tasks")


def import_user_tasks(*, dry_run: bool = False) -> Iterator[ImportResult]:
    """Copy whole workflows that are over and not copied yet; yield what each transaction did.

    The iterator must be exhausted. If it is interrupted, what was copied stays, and the next run
    goes on from there. Workflows that may still change are left for a later run. No signals are
    sent: django-user-tasks has sent them. With ``dry_run`` only find out what would be copied.

    Queries: about 30 for each 100 workflows or 2,000 nodes.
    """
    last = 0
    roots = records.legacy_roots().order_by("pk").values_list("pk", flat=True)
    while pks := list(roots.filter(pk__gt=last)[:BATCH_SIZE]):
        for part in records.in_batches(pks):
            yield _import_safely(records.read_trees(part), dry_run)
        last = pks[-1]
    if orphans := records.orphans():
        yield ImportResult(skipped=defaultdict(list, {NO_PARENT: orphans}))


def _import_safely(roots: list[LegacyNode], dry_run: bool) -> ImportResult:
    """Copy these workflows, one by one if the database refuses them together."""
    try:
        return _import(roots, dry_run)
    except (IntegrityError, DataError):
        result = ImportResult()
        if len(roots) == 1:
            result.skipped[REFUSED].append(roots[0].uuid)
        else:
            for root in roots:
                again = records.read_trees([node.row["pk"] for node in root.nodes()])
                result.add(_import_safely(again, dry_run))
        return result


def _import(roots: list[LegacyNode], dry_run: bool) -> ImportResult:
    result = ImportResult()
    wanted, present = _classify(roots, result)
    result.corrected = sum(records.derive_verdicts(root) for root in wanted)
    uuids = {node.row["pk"]: node.uuid for root in wanted + present for node in root.nodes()}
    artifacts = _missing_artifacts(list(uuids))
    result.workflows = len(wanted)
    result.nodes = sum(len(root.nodes()) for root in wanted)
    result.artifacts = len(artifacts)
    if dry_run:
        return result
    stored: list[str] = []
    try:
        names = _copy_files((row["file"] for row in artifacts), stored)
        with status_atomic():
            pks = _insert(wanted)
            _insert_artifacts([row["pk"] for row in artifacts], uuids, pks, names)
    except BaseException:
        artifact_files.delete(stored)
        raise
    result.copied_files = len(stored)
    result.missing_files = sorted(name for name, copy in names.items() if not copy)
    return result


def _classify(
    roots: list[LegacyNode], result: ImportResult
) -> tuple[list[LegacyNode], list[LegacyNode]]:
    """Return the workflows to copy and those copied before; add all others to ``result``."""
    nodes = [node for root in roots for node in root.nodes()]
    statuses = UserTaskStatus.objects.order_by()
    here = _stored(statuses, "uuid", {node.uuid for node in nodes})
    task_ids = _stored(statuses, "task_id", {node.task_id for node in nodes})
    known_users = get_user_model()._default_manager.order_by()
    users = _stored(known_users, "pk", {node.row["user_id"] for node in nodes})
    wanted, present = [], []
    for root in roots:
        if root.uuid in here:
            present.append(root)
        elif any(node.uuid in here or node.task_id in task_ids for node in root.nodes()):
            result.skipped[TAKEN].append(root.uuid)
        elif any(node.row["user_id"] not in users for node in root.nodes()):
            result.skipped[NO_USER].append(root.uuid)
        elif any(node.row["user_id"] != root.row["user_id"] for node in root.nodes()):
            result.skipped[MIXED].append(root.uuid)
        elif records.skip_abandoned(root):
            wanted.append(root)
        else:
            result.open.append(root.uuid)
    result.present = len(present)
    return wanted, present


def _stored(rows: QuerySet[Any], column: str, values: Iterable[object]) -> set[object]:
    """Return those of these values of a column that are in the database."""
    return {
        found
        for batch in chunked(list(values))
        for found in rows.filter(**{f"{column}__in": batch}).values_list(column, flat=True)
    }


class _ArtifactRow(TypedDict):
    pk: int
    uuid: UUID
    file: str | None


def _missing_artifacts(statuses: list[int]) -> list[_ArtifactRow]:
    """Return the artifacts of these legacy statuses that are not copied yet, without texts."""
    missing: list[_ArtifactRow] = []
    for pks in chunked(statuses):
        legacy = records.legacy_artifacts().filter(status__in=pks).order_by("pk")
        rows = list(legacy.values("pk", "uuid", "file"))
        here = _stored(UserTaskArtifact.objects.order_by(), "uuid", [row["uuid"] for row in rows])
        missing += [row for row in rows if row["uuid"] not in here]
    return missing


def _copy_files(names: Iterable[str | None], stored: list[str]) -> dict[str, str]:
    """Return the names of copies of these files; empty for those that do not exist.

    Nothing is copied if both apps use the same storage. The copies are also added to ``stored``,
    so that the caller can delete them after an exception.
    """
    copies: dict[str, str] = {}
    if artifact_files.shares_storage_with_user_tasks():
        return copies
    source = artifact_files.storage_of(records.legacy_artifacts().model)
    target = artifact_files.storage_of(UserTaskArtifact)
    for name in {name for name in names if name}:
        try:
            with source.open(name) as file:
                copies[name] = target.save(name, file)
        except FileNotFoundError:
            copies[name] = ""
        else:
            stored.append(copies[name])
    return copies


def _insert(roots: list[LegacyNode]) -> dict[UUID, int]:
    """Store these trees, level by level; return the primary keys of all their nodes."""
    placed = [(each.level, each, root) for root in roots for each in assign_bounds(root)]
    rows: dict[LegacyNode, UserTaskStatus] = {}
    for level, nodes in groupby(sorted(placed, key=itemgetter(0)), key=itemgetter(0)):
        inserted = []
        for _, (node, parent, lft, rght, _level), root in nodes:
            rows[node] = _row(node, level=level, lft=lft, rght=rght)
            rows[node].parent_id = rows[parent].pk if parent else None
            rows[node].tree_id = rows[root].pk if parent else 0
            inserted.append(rows[node])
        UserTaskStatus.objects.bulk_create(inserted, batch_size=MAX_ROWS_PER_INSERT)
        if inserted[0].pk is None:
            read_pks(inserted)
        if level == 0:
            for batch in chunked([row.pk for row in inserted]):
                UserTaskStatus.objects.filter(pk__in=batch).order_by().update(tree_id=F("pk"))
    caused = []
    for node, row in rows.items():
        if node.cause is not None and node.cause is not node:
            row.caused_by_id = rows[node.cause].pk
            caused.append(row)
    UserTaskStatus.objects.bulk_update(caused, ["caused_by_id"], batch_size=500)
    return {node.uuid: row.pk for node, row in rows.items()}


def _row(node: LegacyNode, **position: int) -> UserTaskStatus:
    row, (completed, total) = node.row, node.steps
    ended = node.settled_at if node.node_type is NodeType.TASK and node.children else None
    return UserTaskStatus(
        uuid=node.uuid, user_id=row["user_id"], task_id=node.task_id,
        is_container=node.is_container or bool(node.children),
        node_type=node.node_type, task_class=node.task_class,
        name=node.name or container_label(node), phase=node.phase, state=node.phase.state,
        completed_steps=completed, total_steps=total, attempts=row["attempts"],
        created=row["created"], modified=row["modified"], settled_at=node.settled_at,
        ended_at=ended, finished_sent_at=None if row["parent_id"] else node.settled_at,
        **position,
    )  # fmt: skip


def _insert_artifacts(
    artifacts: list[int], uuids: dict[int, UUID], pks: dict[UUID, int], names: dict[str, str]
) -> None:
    """Copy artifacts with these legacy primary keys, in order of creation, 500 at a time.

    ``uuids`` are those of statuses by legacy primary key, ``pks`` those of new statuses by UUID.
    """
    for batch in chunked(artifacts):
        rows = list(records.legacy_artifacts().filter(pk__in=batch).order_by("pk"))
        wanted = {uuids[row.status_id] for row in rows} - pks.keys()
        earlier = UserTaskStatus.objects.filter(uuid__in=wanted).order_by()
        pks = {**pks, **dict(earlier.values_list("uuid", "pk"))}
        UserTaskArtifact.objects.bulk_create(
            UserTaskArtifact(
                uuid=row.uuid, status_id=pks[uuids[row.status_id]], name=row.name,
                file=names.get(row.file.name or "", row.file.name), url=row.url, text=row.text,
                created=row.created, modified=row.modified,
            )
            for row in rows
        )  # fmt: skip
