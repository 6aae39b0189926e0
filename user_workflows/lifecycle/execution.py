"""The executions of this process: task bodies that run now, and their unwritten progress."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from django.utils.timezone import now

from ..phases import Phase
from ..tree.nodes import StoredNode

if TYPE_CHECKING:
    from ..models import UserTaskStatus


@dataclass(slots=True)
class LoopCounter:
    """The steps that a loop has done. Only its own loop writes to ``done``."""

    done: int = 0
    taken: int = 0


@dataclass(slots=True)
class ProgressDelta:
    """The steps and the text that were reported since the last write."""

    completed: int = 0
    total: int = 0
    state: str | None = None

    def __bool__(self) -> bool:
        return bool(self.completed or self.total or self.state is not None)


@dataclass(slots=True, eq=False)
class Execution:
    """One run of one task's body in this process."""

    node: StoredNode
    """The leaf that is being executed."""
    attempt: int
    """Events of an older attempt are ignored."""
    buffered: bool
    """True in a worker, where writes are coalesced; False in eager mode."""
    phase: Phase = Phase.RUNNING
    """As last read from the database."""
    checked_at: float = field(default_factory=monotonic)
    """The time at which ``phase`` was read (``time.monotonic``)."""
    seen_at: float = field(default_factory=monotonic)
    """The time of the last heartbeat (``time.monotonic``)."""
    begun_at: datetime = field(default_factory=now)
    begun: float = field(default_factory=monotonic)
    writing: threading.Lock = field(default_factory=threading.Lock)
    """Held while a delta is on its way to the database."""
    deferred: deque[Callable[[UserTaskStatus], None]] = field(default_factory=deque)
    """Events that are to be written outside the body's transaction, the oldest first."""
    _delta: ProgressDelta = field(default_factory=ProgressDelta)
    _counters: list[LoopCounter] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pk(self) -> int:
        return self.node.pk

    @property
    def tree_id(self) -> int:
        return self.node.tree_id

    def time(self) -> datetime:
        """Return the time, measured from the start of the body without the host's clock.

        If that clock is set back, heartbeats must not be: the reaper would fail the task.
        """
        return self.begun_at + timedelta(seconds=monotonic() - self.begun)

    def add(self, completed: int = 0, total: int = 0, state: str | None = None) -> None:
        with self._lock:
            self._delta.completed += completed
            self._delta.total += total
            if state is not None:
                self._delta.state = state

    @property
    def has_unwritten(self) -> bool:
        """True if there is, or may soon be, something to write."""
        return bool(self.deferred or self._delta or self._counters)

    def counter(self) -> LoopCounter:
        """Return a counter that a loop may increment without any further call."""
        counter = LoopCounter()
        with self._lock:
            self._counters.append(counter)
        return counter

    def take(self) -> ProgressDelta:
        """Remove and return what was reported since the last call."""
        with self._lock:
            delta, self._delta = self._delta, ProgressDelta()
            for counter in self._counters:
                done = counter.done
                delta.completed += done - counter.taken
                counter.taken = done
        return delta

    def put_back(self, delta: ProgressDelta) -> None:
        """Add a delta that could not be written to what has been reported since."""
        with self._lock:
            self._delta.completed += delta.completed
            self._delta.total += delta.total
            if self._delta.state is None:
                self._delta.state = delta.state


# Keyed by node, not by thread: a body may report from threads of its own.
_running: dict[int, Execution] = {}


def register(execution: Execution) -> None:
    """Note that a body starts."""
    _running[execution.pk] = execution


def unregister(execution: Execution) -> None:
    """Note that a body has ended."""
    if _running.get(execution.pk) is execution:
        del _running[execution.pk]


def find(pk: int | None) -> Execution | None:
    """Return the execution of a node's body in this process, if there is one."""
    return _running.get(pk) if pk is not None else None


def all_running() -> list[Execution]:
    """Return all executions in this process."""
    return list(_running.values())
