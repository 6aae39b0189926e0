"""The task bodies that this process is running now, and what they have counted so far."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.utils.timezone import now

from ..phases import Phase


class LoopCounter:
    """Steps that a loop has done. Only its own loop writes to it."""

    __slots__ = ("done", "taken")

    def __init__(self) -> None:
        self.done = 0
        self.taken = 0


@dataclass(slots=True)
class ProgressDelta:
    """What was counted and said since the last write."""

    completed: int = 0
    total: int = 0
    state: str | None = None

    def __bool__(self) -> bool:
        return bool(self.completed or self.total or self.state is not None)


@dataclass(slots=True, eq=False)
class Execution:
    """One run of one task's body."""

    node: Any
    """The row of the leaf that is being executed."""
    attempt: int
    """Events of an older attempt are ignored."""
    buffered: bool
    """Whether writes are coalesced: in a worker they are, in eager mode they are not."""
    phase: Phase = Phase.RUNNING
    """As last read from the database."""
    checked_at: float = field(default_factory=monotonic)
    """When ``phase`` was read (``time.monotonic``)."""
    seen_at: float = field(default_factory=monotonic)
    """When the last sign of life was given."""
    begun_at: datetime = field(default_factory=now)
    begun: float = field(default_factory=monotonic)
    writing: threading.Lock = field(default_factory=threading.Lock)
    """Held while a delta is on its way to the database."""
    _events: list[Callable[[Any], None]] = field(default_factory=list)
    _delta: ProgressDelta = field(default_factory=ProgressDelta)
    _counters: list[LoopCounter] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pk(self) -> int:
        """The key of the leaf."""
        return int(self.node.pk)

    @property
    def tree_id(self) -> int:
        """The tree that the leaf is in."""
        return int(self.node.tree_id)

    def time(self) -> datetime:
        """What time it is, though the host's clock be set meanwhile.

        A task whose signs of life were dated an hour back would be taken for lost.
        """
        return self.begun_at + timedelta(seconds=monotonic() - self.begun)

    def add(self, completed: int = 0, total: int = 0, state: str | None = None) -> None:
        """Notes what is to be written."""
        with self._lock:
            self._delta.completed += completed
            self._delta.total += total
            if state is not None:
                self._delta.state = state

    def defer(self, event: Callable[[Any], None]) -> None:
        """Notes an event that is to be written outside the body's transaction."""
        self._events.append(event)

    def take_event(self) -> Callable[[Any], None] | None:
        """The oldest event that is not written yet."""
        return self._events.pop(0) if self._events else None

    def put_back_event(self, event: Callable[[Any], None]) -> None:
        """Returns the event that was taken last."""
        self._events.insert(0, event)

    @property
    def has_unwritten(self) -> bool:
        """Whether there is, or may soon be, something to write."""
        return bool(self._events or self._delta or self._counters)

    def counter(self) -> LoopCounter:
        """A counter that a loop may increment without any further call."""
        counter = LoopCounter()
        with self._lock:
            self._counters.append(counter)
        return counter

    def take(self) -> ProgressDelta:
        """What was noted since the last call."""
        with self._lock:
            delta, self._delta = self._delta, ProgressDelta()
            for counter in self._counters:
                done = counter.done
                delta.completed += done - counter.taken
                counter.taken = done
        return delta

    def put_back(self, delta: ProgressDelta) -> None:
        """Returns what could not be written."""
        with self._lock:
            self._delta.completed += delta.completed
            self._delta.total += delta.total
            if self._delta.state is None:
                self._delta.state = delta.state


# Keyed by node, not by thread: a body may report from threads of its own.
_running: dict[int, Execution] = {}


def register(execution: Execution) -> None:
    """The body starts."""
    _running[execution.pk] = execution


def unregister(execution: Execution) -> None:
    """The body has ended."""
    if _running.get(execution.pk) is execution:
        del _running[execution.pk]


def find(pk: int | None) -> Execution | None:
    """The run of this node's body in this process, if there is one."""
    return _running.get(pk) if pk is not None else None


def all_running() -> list[Execution]:
    """All runs in this process."""
    return list(_running.values())
