"""``manage.py cancel_workflow UUID``: cancels a workflow, or a branch of one."""

from __future__ import annotations

from argparse import ArgumentParser
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from ...lifecycle.cancellation import Cancellation
from ...models import UserTaskStatus


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
        self.stdout.write(outcome_message(status.cancel(force=force), force=force))


def outcome_message(done: Cancellation, *, force: bool = False) -> str:
    """Return, say, "2 pending tasks will not start. 1 running was asked to stop."."""
    sentences = []
    if done.pending:
        tasks = "task" if done.pending == 1 else "tasks"
        sentences.append(f"{done.pending} pending {tasks} will not start.")
    if done.running:
        was = "was" if done.running == 1 else "were"
        end = "terminated" if force else "asked to stop"
        sentences.append(f"{done.running} running {was} {end}.")
    if not sentences:
        sentences.append("There was nothing left to cancel.")
    if done.finished:
        stay = "stays" if done.finished == 1 else "stay"
        sentences.append(f"{done.finished} had finished and {stay}.")
    return " ".join(sentences)
