"""``manage.py cancel_workflow UUID``: cancels a workflow, or a branch of one."""

from argparse import ArgumentParser
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import override

from ...models import UserTaskStatus
from ...reports.labels import cancel_outcome


class Command(BaseCommand):
    """Cancels, and prints how many tasks that concerns."""

    help = "Cancel a workflow, or a branch of one: what has finished stays as it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("uuid", type=UUID, help="Of a workflow, or of any node in one")
        parser.add_argument(
            "--force", action="store_true", help="Terminate running tasks instead of asking them"
        )

    def handle(self, *args: object, uuid: UUID, force: bool = False, **options: object) -> None:
        status = UserTaskStatus.objects.filter(uuid=uuid).first()
        if status is None:
            raise CommandError(f"There is no workflow, nor a node of one, with the UUID {uuid}.")
        done = status.cancel(force=force)
        with override(None):
            message = cancel_outcome(done.pending, done.running, done.finished, force=force)
        self.stdout.write(message)
