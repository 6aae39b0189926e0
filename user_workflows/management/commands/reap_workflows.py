"""``manage.py reap_workflows``: finds and repairs what was lost."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from ...maintenance.reaper import reap

WORDS = {
    "lost": "running tasks were failed: their worker is gone",
    "recovered": "tasks had ended, as the result backend knew",
    "settled": "workflows were left half settled, and are mended",
    "announced": "workflows had ended without being announced",
    "waiting": "tasks wait for a worker long after their turn; their messages may be lost",
}


class Command(BaseCommand):
    """Finds what workers, brokers and processes have lost. Safe to run at any time."""

    help = "Finds workflows that lost workers, messages or processes, and repairs them."

    def handle(self, *args: Any, **options: Any) -> None:
        """Looks once, and says what was found."""
        report = reap()
        for kind, words in WORDS.items():
            found = getattr(report, kind)
            self.stdout.write(f"{len(found):6d} {words}")
            for uuid in found:
                self.stdout.write(f"       {uuid}")
