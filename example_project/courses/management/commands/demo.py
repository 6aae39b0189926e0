"""`manage.py demo [--course PATH]`: the whole thing at a glance."""

from __future__ import annotations

import os
import signal
import sys
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from courses import accounts
from courses.flows import export_course
from courses.management.base import existing
from courses.management.server import own_server
from courses.management.worker import own_worker
from user_workflows.models import UserTaskStatus

PACE = "0.2"
"""Seconds for each block, unless `EXAMPLE_PACE` says otherwise."""


class Command(BaseCommand):
    """Exports a course by a worker of its own, and shows the workflow's tree meanwhile.

    The site is served, too. On a terminal it stays when the export is done, until Ctrl-C;
    elsewhere the command ends with the export.
    """

    help = "Export a course, the one that ships with the example or any other, and watch."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which course."""
        shipped = settings.BASE_DIR / "sample_course"
        parser.add_argument(
            "--course", default=str(shipped), help="An OLX course: a folder or a .tar.gz archive"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare the database, start a worker and the site, submit, watch, and say what came."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worker ends too
        path = existing(options["course"])
        call_command("migrate", verbosity=0, interactive=False)
        var, pace = Path(settings.EXAMPLE_VAR), os.environ.get("EXAMPLE_PACE") or PACE
        with (
            own_worker(var / "worker.log", EXAMPLE_PACE=pace) as worker,
            own_server(var / "server.log") as site,
        ):
            status = export_course(path, accounts.demo_user()).delay()
            self.stdout.write(
                f"Worker {worker.pid} is starting; its log is {var / 'worker.log'}\n"
                f"The site: {site}/ (user {accounts.NAME}, password {accounts.PASSWORD})\n"
                f"The page of this export: {site}{status.get_absolute_url()}\n"
            )
            try:
                call_command("watch_workflow", str(status.uuid), stdout=self.stdout)
                self._tell(status)
                if self.stdout.isatty():
                    self.stdout.write(f"\nThe site goes on at {site}/ until Ctrl-C.")
                    threading.Event().wait()
            except KeyboardInterrupt:
                if worker.poll() is not None:
                    raise  # its end is what interrupts us
                status.refresh_from_db()
                if status.is_active:
                    sys.exit("The demo's own worker ends with it.")
                self.stdout.write("The site and its worker end.")
        if status.phase not in ("SUCCEEDED", "PARTIAL"):
            errors = [artifact.text for artifact in status.subtree_artifacts("Error")]
            raise CommandError("\n".join([f"{status.name}: {status.state_text}", *errors]))

    def _tell(self, status: UserTaskStatus) -> None:
        """Say what came of it."""
        status.refresh_from_db()
        archive = status.subtree_artifacts("Course archive").first()
        if archive is not None and archive.file:
            size = archive.file.size
            self.stdout.write(f"The archive: {archive.file.path} ({size:,} bytes)")
