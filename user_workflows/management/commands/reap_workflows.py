"""``manage.py reap_workflows``: finds and repairs what was lost."""

from django.core.management.base import BaseCommand

from ...maintenance.reaper import reap

#: By attribute of the reaper's report.
MESSAGES = {
    "lost": "running tasks were failed: their worker is gone",
    "recovered": "tasks had ended, as the result backend knew",
    "settled": "workflows were left half settled, and are repaired",
    "announced": "workflows had ended without sending their signal",
    "waiting": "tasks wait for a worker long after their turn; their messages may be lost",
}


class Command(BaseCommand):
    """Finds what workers, brokers and processes have lost. Safe to run at any time."""

    help = "Finds workflows that lost workers, messages or processes, and repairs them."

    def handle(self, *args: object, **options: object) -> None:
        report = reap()
        for kind, message in MESSAGES.items():
            uuids = getattr(report, kind)
            self.stdout.write(f"{len(uuids):6d} {message}")
            for uuid in uuids:
                self.stdout.write(f"       {uuid}")
