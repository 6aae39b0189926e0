"""The base of the commands that submit a workflow."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from courses.accounts import demo_user
from user_workflows.canvas import Workflow


def existing_path(text: str) -> Path:
    """Return the absolute path of a command's argument.

    Raises:
        CommandError: There is nothing at that path.
    """
    path = Path(text).expanduser().resolve()
    if not path.exists():
        raise CommandError(f"There is no file or folder '{text}'")
    return path


class SubmitCommand(BaseCommand):
    """A command that submits a course to a workflow; a worker must run elsewhere."""

    make_workflow: Callable[[Path, User], Workflow]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the course, and whether to watch."""
        parser.add_argument("course", help="An OLX course: a folder or a .tar.gz archive")
        parser.add_argument("--watch", action="store_true", help="Watch it until it is done")

    def handle(self, *args: Any, **options: Any) -> None:
        """Submit the workflow, print its UUID, and watch it if asked to."""
        status = type(self).make_workflow(existing_path(options["course"]), demo_user()).delay()
        self.stdout.write(str(status.uuid))
        if options["watch"]:
            try:
                call_command("watch_workflow", str(status.uuid), stdout=self.stdout)
            except KeyboardInterrupt:
                sys.exit(130)
            status.refresh_from_db()
            if status.is_settled and status.phase not in ("SUCCEEDED", "PARTIAL"):
                sys.exit(1)
