"""``manage.py check_trees [UUID ...] [--repair]``: checks the bounds of trees.

``parent`` is the truth about a tree; ``lft``, ``rght``, ``level`` and ``tree_id`` are an index
over it, which can be rebuilt from it.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Exists, OuterRef

from ...models import UserTaskStatus
from ...tree import integrity
from ...tree.locking import tree_lock

#: Primary keys that are fetched at a time.
BATCH = 500
#: The fault of nodes that belong to another tree; repairing that one takes them out of this.
STRAY = "not below its root"
#: The most faults of one tree that are listed; the others are counted.
SHOWN = 10


class Command(BaseCommand):
    """Exits with status 1 while there are faults.

    Only one tree is in memory at a time, and only a faulty one is locked and written to.
    """

    help = "Check the bounds of workflow trees and, with --repair, renumber faulty trees."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "uuids", nargs="*", type=UUID, metavar="UUID", help="Of any node; default: all trees"
        )
        parser.add_argument("--repair", action="store_true", help="Repair the faulty trees")

    def handle(self, *args: object, uuids: list[UUID], repair: bool, **options: object) -> None:
        checked = 0
        faulty: list[int] = []
        for pk in [root_of(uuid) for uuid in uuids] if uuids else roots():
            checked += 1
            if self._check(pk, repair=repair):
                faulty.append(pk)
        # Nodes that had strayed into a tree are gone when the one they belong to is repaired.
        left = [pk for pk in faulty if integrity.find_faults(pk)] if repair else faulty
        lost = 0 if uuids else self._report_rootless()
        trees = "1 tree" if checked == 1 else f"{checked} trees"
        self.stdout.write(f"Checked {trees}: {len(faulty)} faulty.")
        if repair and faulty:
            self.stdout.write(f"{len(faulty) - len(left)} repaired.")
        if left or lost:
            hint = "" if repair else " Repair them with --repair."
            raise CommandError(f"Faults are left.{hint}")

    def _check(self, pk: int, *, repair: bool) -> bool:
        """Return whether a tree is, or was before it was repaired, faulty."""
        if not integrity.find_faults(pk):
            return False
        # It may have been growing, or vanishing, while it was read.
        with tree_lock(pk):
            root = UserTaskStatus.objects.filter(pk=pk).values_list("uuid", "name").first()
            found = integrity.find_faults(pk) if root else []
            if not root or not found:
                return False
            faults = "1 fault" if len(found) == 1 else f"{len(found)} faults"
            self.stdout.write(f"{root[0]} {root[1]!r}, tree {pk}: {faults}")
            for fault in found[:SHOWN]:
                self.stdout.write(f"  {fault}")
            if len(found) > SHOWN:
                self.stdout.write(f"  and {len(found) - SHOWN} more")
            if repair and not all(fault.endswith(STRAY) for fault in found):
                integrity.renumber_tree(pk)
                self.stdout.write("  renumbered")
        return True

    def _report_rootless(self) -> int:
        """Print the trees that have nodes but no root; return their number."""
        root = UserTaskStatus.objects.roots().filter(pk=OuterRef("tree_id")).order_by()
        rows = UserTaskStatus.objects.filter(~Exists(root)).order_by("tree_id")
        found = 0
        for tree_id, count in rows.values_list("tree_id").annotate(Count("pk")):
            found += 1
            if found <= SHOWN:
                nodes = "1 node says it is" if count == 1 else f"{count} nodes say they are"
                self.stdout.write(f"tree {tree_id} has no root; {nodes} in it")
        if found > SHOWN:
            self.stdout.write(f"and {found - SHOWN} more trees without a root")
        return found


def roots() -> Iterator[int]:
    """Yield the primary keys of all roots, without a cursor that stays open meanwhile."""
    last = 0
    query = UserTaskStatus.objects.roots().order_by("pk").values_list("pk", flat=True)
    while batch := list(query.filter(pk__gt=last)[:BATCH]):
        yield from batch
        last = batch[-1]


def root_of(uuid: UUID) -> int:
    """Return the primary key of the root above a node, by the ``parent`` columns alone."""
    row = UserTaskStatus.objects.filter(uuid=uuid).values_list("pk", "parent_id").first()
    if row is None:
        raise CommandError(f"There is no workflow, nor a node of one, with the UUID {uuid}.")
    seen: set[int] = set()
    while row[1] is not None:
        if row[0] in seen:
            raise CommandError(f"{uuid} has no root: the nodes above it go round in a circle.")
        seen.add(row[0])
        row = UserTaskStatus.objects.filter(pk=row[1]).values_list("pk", "parent_id").get()
    return int(row[0])
