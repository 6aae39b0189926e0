"""The database connections that statuses are written through."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any

from django.db import connections, router, transaction

from .tables import statuses


def status_connection() -> Any:
    """The database connection that statuses are written through."""
    return connections[router.db_for_write(statuses().model)]


def status_atomic() -> AbstractContextManager[Any]:
    """``transaction.atomic`` on the connection that statuses are written through."""
    opened: AbstractContextManager[Any] = transaction.atomic(using=status_connection().alias)
    return opened


def has_psycopg(connection: Any) -> bool:
    """Whether a connection is one to PostgreSQL, made by psycopg 3."""
    return bool(connection.vendor == "postgresql" and connection.Database.__name__ == "psycopg")


#: Seconds that a connection is kept for, where Django is not told how long it may.
KEEP_SECONDS = 60


class KeptConnections(threading.local):
    """Connections of a process that outlive the tasks it runs.

    Celery closes those of the site around each task, and to open one takes longer than all that
    is sent for a task: see docs/explanation/performance.md.
    """

    is_on = False

    def __init__(self) -> None:
        self._connections: dict[tuple[int, str], Any] = {}

    def instead_of(self, site: Any) -> Any:
        """The connection to use: that of the site where it is open."""
        if not KeptConnections.is_on or site.connection is not None:
            return site
        if site.settings_dict["OPTIONS"].get("pool"):
            return site  # There it is not opened anew.
        mine = os.getpid(), site.alias  # A body may fork.
        kept = self._connections.get(mine)
        if kept is None:
            kept = self._connections[mine] = site.copy()
            if kept.settings_dict["CONN_MAX_AGE"] == 0:
                kept.settings_dict["CONN_MAX_AGE"] = KEEP_SECONDS
        kept.close_if_unusable_or_obsolete()
        return kept


kept_connections = KeptConnections()


def keep_connections() -> None:
    """Statements need not wait for a connection from now on: for processes that run tasks."""
    KeptConnections.is_on = True
