"""Copying what django-user-tasks has stored into trees, while both apps are installed.

A status keeps its ``uuid``, and with it its address in the API, its ``task_id``, name, steps and
times. What follows from the tree is not copied but derived: see ``originals``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DataError, IntegrityError
from django.db.models import F

from ..db.chunks import chunked
from ..db.connections import status_atomic
from ..lifecycle import artifact_files
from ..models import UserTaskArtifact, UserTaskStatus
from ..phases import NodeType
from ..planning.naming import container_label
from ..tree.bounds import assign_bounds
from ..tree.inserting import MAX_ROWS_PER_INSERT, read_pks
from . import records
from .files import copy_from_user_tasks
from .records import LegacyNode

#: Workflows that are looked at together.
BATCH_SIZE = 100

#: Why something is not copied.
NO_USER = "their user is gone"
MIXED = "they belong to several users, and who sees one sees all"
NO_PARENT = "what contained them is gone"
TAKEN = "a task in them has a node here already, with another UUID"
REFUSED = "the database refused them"


@dataclass(slots=True)
class ImportResult:
    """What was copied in one go, and what was not."""

    workflows: int = 0
    nodes: int = 0
    artifacts: int = 0
    corrected: int = 0
    """Containers whose stored state does not follow from their tasks: they get what does."""
    copied_files: int = 0
    """Files that had to be copied, because this app keeps its files elsewhere."""
    missing_files: list[str] = field(default_factory=list)
    """Files that were to be copied and are not there."""
    present: int = 0
    """Workflows that were copied before."""
    open: list[UUID] = field(default_factory=list)
    """Workflows that may still change: a later run takes them."""
    skipped: dict[str, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    """What cannot be copied, by the reason."""

    def add(self, other: ImportResult) -> None:
        """Counts what another one has counted, too."""
        for name in ("workflows", "nodes", "artifacts", "corrected", "copied_files", "present"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.missing_files += other.missing_files
        self.open += other.open
        for reason, uuids in other.skipped.items():
            self.skipped[reason] += uuids


def is_available() -> bool:
    """Whether django-user-tasks is installed."""
    return apps.is_installed("user_tasks")


def count_legacy_workflows() -> int:
    """How many workflows django-user-tasks has."""
    return int(records.legacy_statuses().filter(parent__isnull=True).count())


def import_user_tasks(*, dry_run: bool = False) -> Iterator[ImportResult]:
    """Copies whole workflows that are over and are not here yet.

    Arguments:
        dry_run: only find out what would be copied.

    Yields what each transaction has done; what is not asked for is not done. What was copied
    stays if it is interrupted, and the next run goes on from there. Workflows that may still
    change are left for a later run. No signals are sent: they were, by django-user-tasks.

    Cost: about 30 queries for each 100 workflows or 2,000 nodes.
    """
    last = 0
    while True:
        roots = records.legacy_statuses().filter(parent__isnull=True, pk__gt=last).order_by("pk")
        pks = list(roots.values_list("pk", flat=True)[:BATCH_SIZE])
        if not pks:
            break
        for part in records.in_batches(pks):
            yield _import_safely(records.read_trees(part), dry_run)
        last = pks[-1]
    lost = records.orphans()
    yield ImportResult(skipped=defaultdict(list, {NO_PARENT: lost} if lost else {}))


# -- copying --------------------------------------------------------------------------------------


def _import_safely(roots: list[LegacyNode], dry_run: bool) -> ImportResult:
    """Copies these workflows, one by one if the database refuses them together."""
    try:
        return _import(roots, dry_run)
    except (IntegrityError, DataError):
        done = ImportResult()
        if len(roots) == 1:
            done.skipped[REFUSED].append(roots[0].uuid)
        else:
            for root in roots:
                again = records.read_trees([node.row["pk"] for node in root.nodes()])
                done.add(_import_safely(again, dry_run))
        return done


def _import(roots: list[LegacyNode], dry_run: bool) -> ImportResult:
    done = ImportResult()
    wanted, present = _classify(roots, done)
    for root in wanted:
        done.corrected += records.derive_verdicts(root)
    statuses = {node.row["pk"]: node.uuid for root in wanted + present for node in root.nodes()}
    done.workflows = len(wanted)
    done.nodes = sum(len(root.nodes()) for root in wanted)
    artifacts = _missing_artifacts(list(statuses))
    if dry_run:
        done.artifacts = len(artifacts)
        return done
    stored: list[str] = []
    try:
        names = copy_from_user_tasks((row["file"] for row in artifacts), stored)
        with status_atomic():
            pks = _insert(wanted)
            _insert_artifacts(artifacts, statuses, pks, names)
    except BaseException:
        artifact_files.delete(stored)
        raise
    done.artifacts, done.copied_files = len(artifacts), len(stored)
    done.missing_files = sorted(name for name, copy in names.items() if not copy)
    return done


def _classify(
    roots: list[LegacyNode], done: ImportResult
) -> tuple[list[LegacyNode], list[LegacyNode]]:
    """The workflows to be copied, and those that are here; the others are noted in ``done``."""
    nodes = [node for root in roots for node in root.nodes()]
    here: set[UUID] = set()
    task_ids: set[str] = set()
    for batch in chunked(nodes):
        rows = UserTaskStatus.objects.order_by()
        by_uuid = rows.filter(uuid__in=[node.uuid for node in batch])
        here.update(by_uuid.values_list("uuid", flat=True))
        by_task = rows.filter(task_id__in=[node.task_id for node in batch])
        task_ids.update(by_task.values_list("task_id", flat=True))
    users: set[Any] = set()
    for some in chunked(list({node.row["user_id"] for node in nodes})):
        known = get_user_model()._default_manager.filter(pk__in=some)
        users.update(known.values_list("pk", flat=True))
    wanted, present = [], []
    for root in roots:
        if root.uuid in here:
            present.append(root)
        elif any(node.uuid in here or node.task_id in task_ids for node in root.nodes()):
            done.skipped[TAKEN].append(root.uuid)
        elif any(node.row["user_id"] not in users for node in root.nodes()):
            done.skipped[NO_USER].append(root.uuid)
        elif any(node.row["user_id"] != root.row["user_id"] for node in root.nodes()):
            done.skipped[MIXED].append(root.uuid)
        elif records.is_over(root):
            wanted.append(root)
        else:
            done.open.append(root.uuid)
    done.present = len(present)
    return wanted, present


def _missing_artifacts(statuses: list[int]) -> list[dict[str, Any]]:
    """What these statuses have in django-user-tasks and not here. Texts are read when stored."""
    found: list[dict[str, Any]] = []
    for batch in chunked(statuses):
        theirs = records.legacy_artifacts().filter(status__in=batch).order_by("pk")
        rows = list(theirs.values("pk", "uuid", "file"))
        for some in chunked(rows):
            copies = UserTaskArtifact.objects.filter(uuid__in=[row["uuid"] for row in some])
            here = set(copies.values_list("uuid", flat=True))
            found += [row for row in some if row["uuid"] not in here]
    return found


def _insert(roots: list[LegacyNode]) -> dict[UUID, int]:
    """Stores these trees; the keys of all their nodes."""
    placed = [(each.level, each, root) for root in roots for each in assign_bounds(root)]
    rows: dict[Any, UserTaskStatus] = {}
    for level, nodes in groupby(sorted(placed, key=itemgetter(0)), key=itemgetter(0)):
        made = []
        for _, (node, parent, lft, rght, _level), root in nodes:
            rows[node] = _row(node, level=level, lft=lft, rght=rght)
            rows[node].parent_id = rows[parent].pk if parent else None
            rows[node].tree_id = rows[root].pk if parent else 0
            made.append(rows[node])
        UserTaskStatus.objects.bulk_create(made, batch_size=MAX_ROWS_PER_INSERT)
        if made[0].pk is None:
            read_pks(made)
        if level == 0:
            for batch in chunked([row.pk for row in made]):
                UserTaskStatus.objects.filter(pk__in=batch).order_by().update(tree_id=F("pk"))
    caused = []
    for node, row in rows.items():
        if node.cause not in (None, node):
            row.caused_by_id = rows[node.cause].pk
            caused.append(row)
    UserTaskStatus.objects.bulk_update(caused, ["caused_by_id"], batch_size=500)
    return {node.uuid: row.pk for node, row in rows.items()}


def _row(node: LegacyNode, **place: int) -> UserTaskStatus:
    done, total = node.steps
    ended = node.settled_at if node.node_type is NodeType.TASK and node.children else None
    return UserTaskStatus(
        uuid=node.uuid,
        user_id=node.row["user_id"],
        task_id=node.task_id,
        is_container=node.is_container or bool(node.children),
        node_type=node.node_type,
        task_class=node.task_class,
        name=node.name or container_label(node),
        phase=node.phase,
        state=node.phase.state,
        completed_steps=done,
        total_steps=total,
        attempts=node.row["attempts"],
        created=node.row["created"],
        modified=node.row["modified"],
        settled_at=node.settled_at,
        ended_at=ended,
        finished_sent_at=None if node.row["parent_id"] else node.settled_at,
        **place,
    )


def _insert_artifacts(
    artifacts: Iterable[dict[str, Any]],
    statuses: dict[int, UUID],
    pks: dict[UUID, int],
    names: dict[str, str],
) -> None:
    """Stores artifacts, in the order they were made in, 500 at a time."""
    for batch in chunked([row["pk"] for row in artifacts]):
        rows = list(records.legacy_artifacts().filter(pk__in=batch).order_by("pk"))
        wanted = {statuses[row.status_id] for row in rows} - pks.keys()
        earlier = UserTaskStatus.objects.filter(uuid__in=wanted).order_by()
        pks = {**pks, **dict(earlier.values_list("uuid", "pk"))}
        UserTaskArtifact.objects.bulk_create(
            UserTaskArtifact(
                uuid=row.uuid,
                status_id=pks[statuses[row.status_id]],
                name=row.name,
                file=names.get(row.file.name or "", row.file.name),
                url=row.url,
                text=row.text,
                created=row.created,
                modified=row.modified,
            )
            for row in rows
        )
