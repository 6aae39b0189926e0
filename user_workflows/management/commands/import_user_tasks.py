"""``manage.py import_user_tasks``: copies legacy records of django-user-tasks."""

from argparse import ArgumentParser
from collections.abc import Sequence

from django.core.management.base import BaseCommand, CommandError

from ...legacy import importing, records
from ..progress_bar import progress_bar

#: The most names of one kind that are listed; the others are counted.
SHOWN = 10


class Command(BaseCommand):
    """Copies all workflows that are over. Safe to stop, and to run again at any time."""

    help = "Copies the statuses and artifacts of django-user-tasks into workflows."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be copied, and copy nothing"
        )

    def handle(self, *args: object, dry_run: bool = False, **options: object) -> None:
        if not importing.is_available():
            raise CommandError('Put "user_tasks" into INSTALLED_APPS until all is copied.')
        total, count = importing.ImportResult(), records.legacy_roots().count()
        with progress_bar(self.stdout, "Copying workflows", count) as advance:
            for part in importing.import_user_tasks(dry_run=dry_run):
                total.add(part)
                skipped = sum(map(len, part.skipped.values()))
                advance(part.workflows + part.present + len(part.open) + skipped)
        self.stdout.write(
            f"{'Would copy' if dry_run else 'Copied'} {total.workflows} workflows: "
            f"{total.nodes} nodes, {total.artifacts} artifacts."
        )
        if total.present:
            self.stdout.write(f"Found {total.present} that were here already.")
        if total.corrected:
            self.stdout.write(f"Corrected the state of {total.corrected} containers.")
        if total.copied_files:
            self.stdout.write(f"Copied {total.copied_files} files to the storage of this app.")
        self._list("Files that are not in their storage", total.missing_files)
        self._list("Left, as they may still change", total.open)
        for reason, uuids in total.skipped.items():
            self._list(f"Skipped, as {reason}", uuids)

    def _list(self, text: str, found: Sequence[object]) -> None:
        if found:
            self.stdout.write(f"{text}: {len(found)}")
            for each in found[:SHOWN]:
                self.stdout.write(f"  {each}")
            if len(found) > SHOWN:
                self.stdout.write(f"  and {len(found) - SHOWN} more")
