"""`manage.py demo [--course PATH]`: the whole thing at a glance."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from courses.flows import export_course
from courses.management.base import demo_user, existing
from courses.management.worker import own_worker
from user_workflows.models import UserTaskStatus

PACE = "0.05"
"""Seconds for each block, unless `EXAMPLE_PACE` says otherwise."""


class Command(BaseCommand):
    """Exports a course by a worker of its own, and shows the workflow's tree meanwhile."""

    help = "Export a course, the one that ships with the example or any other, and watch."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which course."""
        shipped = settings.BASE_DIR / "sample_course"
        parser.add_argument(
            "--course", default=str(shipped), help="An OLX course: a folder or a .tar.gz archive"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare the database, start a worker, submit, watch, and say where the archive is."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worker ends too
        path = existing(options["course"])
        call_command("migrate", verbosity=0, interactive=False)
        log = Path(settings.EXAMPLE_VAR) / "worker.log"
        with own_worker(log, EXAMPLE_PACE=os.environ.get("EXAMPLE_PACE") or PACE) as worker:
            self.stdout.write(f"Worker {worker.pid} is starting; its log is {log}")
            status = export_course(path, demo_user()).delay()
            try:
                call_command("watch_workflow", str(status.uuid), stdout=self.stdout)
            except KeyboardInterrupt:
                sys.exit("The demo's own worker ends with it.")
            status.refresh_from_db()
            self._tell(status)

    def _tell(self, status: UserTaskStatus) -> None:
        """Say what came of it."""
        archive = status.subtree_artifacts("Course archive").first()
        if archive is not None and archive.file:
            size = archive.file.size
            self.stdout.write(f"The archive: {archive.file.path} ({size:,} bytes)")
        if status.phase not in ("SUCCEEDED", "PARTIAL"):
            errors = [artifact.text for artifact in status.subtree_artifacts("Error")]
            raise CommandError("\n".join([f"{status.name}: {status.state_text}", *errors]))
