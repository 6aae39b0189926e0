"""Two writers, of whom one is stopped before each of its statements in turn.

``interruptions(first, second)`` runs ``second`` as a whole, on a connection of its own, before
the first statement of ``first``; then, on a fresh tree, before the second statement, and so on.
Where the two are kept apart by a lock, ``second`` ends after ``first``.

``Between`` needs no second connection, which a database in memory does not have, and stops before
UPDATEs only: for a ``second`` that takes no lock, or that finds ``first`` in no transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection, connections

#: Seconds after which ``second`` is taken to wait for a lock of ``first``.
BLOCKED = 0.1
#: Statements of one writer, at most.
MANY = 60


class Beside:
    """A function that runs on a connection of its own."""

    before = ""
    """The statements that it may come before."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._thread.join(BLOCKED)

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self._error = error
        finally:
            connections.close_all()

    def join(self) -> None:
        """Waits for its end; raises what it has raised."""
        self._thread.join(20)
        assert not self._thread.is_alive(), "it waits for ever"
        if self._error is not None:
            raise self._error


class Between:
    """A function that runs on the connection of the other, all at once."""

    before = "UPDATE"

    def __init__(self, function: Callable[[], Any]) -> None:
        function()

    def join(self) -> None:
        """It has ended."""


def interrupted(
    first: Callable[[], Any],
    second: Callable[[], Any],
    at: int,
    how: type[Beside | Between] = Beside,
) -> bool:
    """Runs both, ``second`` before statement ``at`` of ``first``; False if there is none."""
    count = 0
    beside: list[Any] = []

    def stop(execute: Any, sql: str, *args: Any) -> Any:
        nonlocal count
        if sql.startswith(how.before):
            count += 1
            if count == at + 1:
                beside.append(how(second))
        return execute(sql, *args)

    with connection.execute_wrapper(stop):
        first()
    for other in beside:
        other.join()
    return bool(beside)
