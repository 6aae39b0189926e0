"""`manage.py demo [--course PATH]`: an export, its worker and the site in one command."""

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
from courses.management.base import existing_path
from courses.management.server import serve_site
from courses.management.worker import run_worker
from user_workflows.models import UserTaskStatus

PACE = "0.2"
"""Seconds for each block, unless `EXAMPLE_PACE` is set."""


class Command(BaseCommand):
    """A command that runs a worker and the site, exports a course, and shows its tree.

    On a terminal the site is served until Ctrl-C, also when the export is done; elsewhere the
    command ends with the export.
    """

    help = "Export a course, by default the one that ships with the example, and watch."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the course."""
        shipped = settings.BASE_DIR / "sample_course"
        parser.add_argument(
            "--course", default=str(shipped), help="An OLX course: a folder or a .tar.gz archive"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, start a worker and the site, submit the export, watch it, print the result."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worker is stopped
        path = existing_path(options["course"])
        call_command("migrate", verbosity=0, interactive=False)
        var, pace = Path(settings.EXAMPLE_VAR), os.environ.get("EXAMPLE_PACE") or PACE
        with (
            run_worker(var / "worker.log", EXAMPLE_PACE=pace) as worker,
            serve_site(var / "server.log") as site,
        ):
            status = export_course(path, accounts.demo_user()).delay()
            self.stdout.write(
                f"Worker {worker.pid} is starting; its log is {var / 'worker.log'}\n"
                f"The site: {site}/ (user {accounts.NAME}, password {accounts.PASSWORD})\n"
                f"The page of this export: {site}{status.get_absolute_url()}\n"
            )
            try:
                call_command("watch_workflow", str(status.uuid), stdout=self.stdout)
                self._print_archive(status)
                if self.stdout.isatty():
                    self.stdout.write(f"\nThe site is served at {site}/ until Ctrl-C.")
                    threading.Event().wait()
            except KeyboardInterrupt:
                if worker.poll() is not None:
                    raise  # the worker has ended, and interrupted us
                status.refresh_from_db()
                if status.is_active:
                    sys.exit("Stopping the demo and its worker; the export is not done.")
                self.stdout.write("Stopping the site and its worker.")
        if status.phase not in ("SUCCEEDED", "PARTIAL"):
            errors = [artifact.text for artifact in status.subtree_artifacts("Error")]
            raise CommandError("\n".join([f"{status.name}: {status.state_text}", *errors]))

    def _print_archive(self, status: UserTaskStatus) -> None:
        """Print the path and size of the archive, if the export has left one."""
        status.refresh_from_db()
        archive = status.subtree_artifacts("Course archive").first()
        if archive is not None and archive.file:
            size = archive.file.size
            self.stdout.write(f"The archive: {archive.file.path} ({size:,} bytes)")
