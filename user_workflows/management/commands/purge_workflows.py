"""``manage.py purge_workflows``: deletes old workflows, their artifacts and their files."""

import argparse
from datetime import datetime, timedelta

from django.core.management.base import BaseCommand
from django.utils.timezone import now

from ...conf import settings
from ...maintenance.deletion import Purged, purge, purgeable
from ...models import UserTaskStatus
from ..progress_bar import progress_bar


def days(text: str) -> timedelta:
    """Return an age given in days."""
    number = float(text)
    if not 0 <= number <= 36_500:
        raise argparse.ArgumentTypeError("between 0 and 36500 days, please")
    return timedelta(days=number)


class Command(BaseCommand):
    """Deletes whole workflows that have not changed for long, never running ones."""

    help = "Deletes old workflows with their artifacts and files; running ones never."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=days, metavar="DAYS",
            help="How long ago they were last changed (default: USER_WORKFLOWS_MAX_AGE)",
        )  # fmt: skip
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be deleted, and delete nothing"
        )

    def handle(self, *args: object, days: timedelta | None, dry_run: bool, **_: object) -> None:
        before = now() - (settings.MAX_AGE if days is None else days)
        if dry_run:
            self._print_purgeable(before)
            return
        total = Purged()
        with progress_bar(self.stdout, "Deleting workflows", purgeable(before).count()) as advance:
            for part in purge(before):
                total.workflows += part.workflows
                total.nodes += part.nodes
                total.artifacts += part.artifacts
                total.protected += part.protected
                advance(part.workflows + len(part.protected))
        self.stdout.write(
            f"Deleted {total.workflows} workflows: {total.nodes} nodes, "
            f"{total.artifacts} artifacts."
        )
        if total.protected:
            self.stdout.write(f"Left {len(total.protected)} that other apps still need:")
            for uuid in total.protected:
                self.stdout.write(f"  {uuid}")

    def _print_purgeable(self, before: datetime) -> None:
        roots = purgeable(before)
        nodes = UserTaskStatus.objects.filter(tree_id__in=roots.order_by().values("pk")).order_by()
        self.stdout.write(
            f"Would delete {roots.count()} workflows: {nodes.count()} nodes, "
            f"{nodes.filter(artifacts__isnull=False).count()} artifacts."
        )
