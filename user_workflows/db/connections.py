"""The database connections that statuses are read and written through."""

from __future__ import annotations

import os
import threading
from typing import Any

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import settings
from .tables import statuses

#: Seconds that a connection is kept for, where Django is not told how long it may.
KEEP_SECONDS = 60


def status_connection() -> BaseDatabaseWrapper:
    """Return the site's connection that statuses are written through."""
    return connections[router.db_for_write(statuses().model)]


def status_atomic() -> transaction.Atomic:
    """Return ``transaction.atomic`` on the connection that statuses are written through."""
    return transaction.atomic(using=status_connection().alias)


def has_psycopg(connection: Any) -> bool:
    """Return whether a connection is one to PostgreSQL, made by psycopg 3."""
    return bool(connection.vendor == "postgresql" and connection.Database.__name__ == "psycopg")


# Celery closes the site's connections around each task, and to open one takes longer than all that
# tracking sends for a task: see docs/explanation/performance.md.
class _Kept(threading.local):
    def __init__(self) -> None:
        # By process: a body may fork. Those of the parent are not to be closed in the child, nor
        # to be forgotten, which closes them too.
        self.connections: dict[tuple[int, str], BaseDatabaseWrapper] = {}


_kept = _Kept()
_is_keeping = False


def keep_connections() -> None:
    """Keep connections from now on, unless the site does not want it: for pools of processes."""
    global _is_keeping
    _is_keeping = settings.KEEP_CONNECTION


def connection_for(alias: str) -> BaseDatabaseWrapper:
    """Return the connection for a statement: the site's if that is open, else one that is kept.

    So what a task has written and not committed is never looked at from outside.
    """
    site = connections[alias]
    if not _is_keeping or site.connection is not None or site.settings_dict["OPTIONS"].get("pool"):
        return site
    kept = _kept.connections.get((os.getpid(), alias))
    if kept is None:
        kept = _kept.connections[os.getpid(), alias] = site.copy()
        if kept.settings_dict["CONN_MAX_AGE"] == 0:
            kept.settings_dict["CONN_MAX_AGE"] = KEEP_SECONDS
    kept.close_if_unusable_or_obsolete()
    return kept


def close_kept_connections() -> None:
    """Close the connections that this thread keeps; a later statement opens a new one."""
    for (pid, _), kept in _kept.connections.items():
        if pid == os.getpid():
            kept.close()
