"""System checks: settings that are easy to miss, and a Celery that we were not tested on."""

from __future__ import annotations

import celery
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register

from .conf import NEW_PREFIX, OLD_PREFIX
from .db.connections import status_connection
from .queues.celery.patches import NEWEST_TESTED, OLDEST_TESTED, PATCHES


@register()
def old_settings(**kwargs: object) -> list[CheckMessage]:
    """Report which of django-user-tasks' settings are still in use."""
    old = [name for name in dir(settings) if name.startswith(OLD_PREFIX)]
    names = ((name, NEW_PREFIX + name.removeprefix(OLD_PREFIX)) for name in old)
    return [
        Info(f"{name} is used because {new} is not set.", id="user_workflows.I001")
        for name, new in names
        if not hasattr(settings, new)
    ]


@register()
def sqlite_transactions(**kwargs: object) -> list[CheckMessage]:
    """Warn of SQLite without transactions that lock from the start: two writers may fail."""
    connection = status_connection()
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode")
    if connection.vendor != "sqlite" or mode in ("IMMEDIATE", "EXCLUSIVE"):
        return []
    message = "On SQLite, workers that write at once may get 'database is locked'."
    hint = "Set 'transaction_mode': 'IMMEDIATE' in the OPTIONS of the database."
    return [Warning(message, hint=hint, id="user_workflows.W001")]


@register()
def celery_version(**kwargs: object) -> list[CheckMessage]:
    """Report a Celery that is older than supported, or newer than tested."""
    oldest, newest = (".".join(map(str, series)) for series in (OLDEST_TESTED, NEWEST_TESTED))
    if celery.VERSION[:2] < OLDEST_TESTED:
        message = f"Celery {celery.__version__} is not supported."
        return [Error(message, hint=f"Install Celery {oldest} or newer.", id="user_workflows.E001")]
    if celery.VERSION[:2] > NEWEST_TESTED:
        message = f"Celery {celery.__version__} is newer than {newest}, the newest tested series."
        hint = "Look for a newer django-user-workflows, or run your workflows in a test first."
        return [Warning(message, hint=hint, id="user_workflows.W002")]
    return []


@register()
def celery_patches(**kwargs: object) -> list[CheckMessage]:
    """Report what this app patches and the installed Celery lacks."""
    hint = f"Install Celery {'.'.join(map(str, NEWEST_TESTED))}."
    problems = filter(None, (patch.problem for patch in PATCHES))
    return [Error(problem, hint=hint, id="user_workflows.E002") for problem in problems]
