"""System checks: settings that are easy to miss."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning, register

from .conf import NEW_PREFIX, OLD_PREFIX
from .db.connections import status_connection


@register()
def old_settings(**kwargs: Any) -> list[CheckMessage]:
    """Says which of django-user-tasks' settings are still in use."""
    old = (name for name in dir(settings) if name.startswith(OLD_PREFIX))
    return [
        Info(
            f"{name} is used because {NEW_PREFIX}{name.removeprefix(OLD_PREFIX)} is not set.",
            id="user_workflows.I001",
        )
        for name in old
        if not hasattr(settings, NEW_PREFIX + name.removeprefix(OLD_PREFIX))
    ]


@register()
def sqlite_transactions(**kwargs: Any) -> list[CheckMessage]:
    """SQLite needs transactions that lock from the start, or two writers may fail each other."""
    connection = status_connection()
    options = connection.settings_dict.get("OPTIONS", {})
    if connection.vendor != "sqlite" or options.get("transaction_mode") in (
        "IMMEDIATE",
        "EXCLUSIVE",
    ):
        return []
    return [
        Warning(
            "On SQLite, workers that write at once may get 'database is locked'.",
            hint="Set 'transaction_mode': 'IMMEDIATE' in the OPTIONS of the database.",
            id="user_workflows.W001",
        )
    ]
