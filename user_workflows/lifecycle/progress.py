"""Counting steps and saying what is going on, cheaply.

Inside a task's body in a worker, counts and texts are kept in the process and written at most
every ``INTERVAL`` seconds, by the task itself or, when the task is silent or inside a transaction
of its own, by a thread with a database connection of its own. So no row lock of ours lives in
the task's transaction, and progress is seen while it is open. (On SQLite, where a transaction
locks the whole database, it is seen when the transaction ends.) Anywhere else each call writes
at once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import timedelta
from time import monotonic
from typing import Any, TypeVar

from django.db import Error, InterfaceError, OperationalError, connections
from django.db.models import F
from django.utils.timezone import now

from ..db.connections import status_connection
from ..db.tables import statuses
from ..exceptions import TaskCanceledException
from ..fields import MAX_TEXT_LENGTH
from ..phases import NodeType, Phase
from . import execution, steps, transitions
from .execution import Execution

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two writes of one task's progress.
WRITE_INTERVAL = 0.5
#: Seconds between two signs of life of one task.
HEARTBEAT_INTERVAL = 30
#: Between two roll-ups of one tree: with a look every half of it, sums are a second old at most.
ROLL_UP_INTERVAL = timedelta(seconds=0.5)


def advance(status: Any, completed: int = 0, total: int = 0) -> None:
    """Counts steps for the node of this instance.

    Raises:
        TaskCanceledException: it was canceled.
    """
    run = execution.find(status.pk)
    if status.pk is None or (run and run.buffered):
        status.apply_row(
            completed_steps=status.completed_steps + completed,
            total_steps=status.total_steps + total,
        )
    if run and run.buffered:
        run.add(completed, total)
        _write_if_due(run, status, urgent=bool(total))
    elif status.pk is not None:
        steps.add_steps(status, completed, total)
        transitions.refresh_instance(status)
    if completed:
        raise_if_canceled(status)


def set_state(status: Any, text: str) -> None:
    """Says in words what the node of this instance does now.

    Raises:
        TaskCanceledException: it was canceled.
    """
    text = text[:MAX_TEXT_LENGTH]
    run = execution.find(status.pk)
    if run and run.buffered:
        run.add(state=text)
        status.apply_row(state=text)
        _write_if_due(run, status, urgent=True)
    else:
        transitions.change_phase(status, Phase.RUNNING, text)
        if status.pk is not None and status.state == text:
            _set_state_of_ancestors(status, text)
    raise_if_canceled(status)


def track(status: Any, iterable: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yields the items, counting a step after each: see ``UserTaskMixin.track``."""
    if total is None:
        total = len(iterable) if isinstance(iterable, Sized) else 0
    missing = status.completed_steps + total - status.total_steps
    if missing > 0:
        advance(status, total=missing)
    run = execution.find(status.pk)
    if run is None or not run.buffered:
        for item in iterable:
            yield item
            advance(status, completed=1)
        return
    counter = run.counter()
    _writer.wake()
    for item in iterable:
        if run.phase is Phase.CANCELED:
            raise_if_canceled(status, run)
        yield item
        counter.done += 1
    status.apply_row(completed_steps=status.completed_steps + counter.done)


def write_event(status: Any, event: Callable[[Any], None], **shown: Any) -> None:
    """Writes an event of the node of this instance: a new name, a verdict.

    At once, unless the node's body has a transaction open in a worker. It would hold the lock of
    the tree until it commits, so there the thread writes it, and the instance shows it already.
    """
    run = execution.find(status.pk)
    connection = status_connection()
    locks = connection.in_atomic_block and connection.features.has_select_for_update
    if run and run.buffered and locks:
        status.apply_row(**shown)
        run.defer(event)
        _writer.wake()
    else:
        event(status)


def start_heartbeat(run: Execution) -> None:
    """Signs of life are given for this run until it ends."""
    if run.buffered:
        _writer.wake()


def raise_if_canceled(status: Any, run: Execution | None = None) -> None:
    """Raises ``TaskCanceledException`` where the node of this instance was canceled."""
    if run:
        status.apply_row(phase=run.phase, state=run.phase.state)
    if status.phase == Phase.CANCELED and status.node_type == NodeType.TASK:
        raise TaskCanceledException(f"{status.name} was canceled.")


def _write_if_due(run: Execution, status: Any, *, urgent: bool) -> None:
    """Writes if it is time to, and learns whether the task was canceled meanwhile."""
    if not urgent and monotonic() - run.checked_at < WRITE_INTERVAL:
        _writer.wake()
    elif status_connection().in_atomic_block:
        _writer.wake()
        _read_phase(run)
    else:
        try_to_flush(run)
    if run.phase.is_terminal:
        status.apply_row(phase=run.phase, state=run.phase.state)


def try_to_flush(run: Execution) -> bool:
    """Writes what was counted and said, or, while the database is away, leaves it for later.

    A body that only wants to say how far it is must not fail because of that.
    """
    try:
        flush(run)
    except (OperationalError, InterfaceError):
        logger.debug("Progress could not be written yet.", exc_info=True)
        status_connection().close()
        run.checked_at = monotonic()
        _writer.wake()
        return False
    return True


def flush(run: Execution) -> None:
    """Writes what was counted and said. Two queries; nothing is lost if they fail."""
    with run.writing:
        while (event := run.take_event()) is not None:
            _write_deferred(run, event)
        delta = run.take()
        if delta:
            try:
                leaf = statuses().filter(pk=run.pk, settled_at__isnull=True, attempts=run.attempt)
                leaf.order_by().update(
                    completed_steps=F("completed_steps") + delta.completed,
                    total_steps=F("total_steps") + delta.total,
                    last_seen_at=run.time(),
                    modified=now(),
                )
                if delta.state is not None:
                    running = leaf.filter(phase=Phase.RUNNING).order_by()
                    running.update(state=delta.state)
            except Error:
                run.put_back(delta)
                raise
            _writer.roll_up(run.tree_id)
        _read_phase(run)
        if delta.state is not None and run.phase is Phase.RUNNING:
            status = statuses().filter(pk=run.pk).first()
            if status is not None:
                _set_state_of_ancestors(status, delta.state)


def _write_deferred(run: Execution, event: Callable[[Any], None]) -> None:
    try:
        status = statuses().filter(pk=run.pk).first()
        if status is not None:
            event(status)
    except Error:
        run.put_back_event(event)
        raise


def _read_phase(run: Execution) -> None:
    phase = statuses().filter(pk=run.pk).order_by().values_list("phase", flat=True).first()
    run.checked_at = monotonic()
    if phase is not None:
        run.phase = Phase(phase)


def _set_state_of_ancestors(status: Any, text: str) -> None:
    """The text climbs the chains and chords around a task, as far as the next group."""
    parent_id, parent = status.parent_id, status._state.fields_cache.get("parent")
    while parent_id is not None:
        above = statuses().filter(pk=parent_id, phase=Phase.RUNNING)
        above = above.exclude(node_type=NodeType.GROUP).order_by()
        if not above.update(state=text, modified=now()):
            break
        if parent is not None:
            parent.apply_row(state=text)
            parent = parent._state.fields_cache.get("parent")
        parent_id = statuses().filter(pk=parent_id).values_list("parent_id", flat=True).first()


def _write_heartbeat(run: Execution) -> None:
    """Says that a body still runs, if it is time to: the reaper fails what is silent for long.

    One that cannot be written is still due. So it comes as soon as the database is back, when
    all that was running there has been silent and the reaper may be quick.
    """
    if run.buffered and monotonic() - run.seen_at >= HEARTBEAT_INTERVAL:
        leaf = statuses().filter(pk=run.pk, settled_at__isnull=True)
        leaf.order_by().update(last_seen_at=run.time(), modified=now())
        run.seen_at = monotonic()


class _Writer:
    """Writes, from a thread of its own, what the tasks of this process have left unwritten."""

    def __init__(self) -> None:
        self._due = threading.Event()
        self._pid = 0
        self._starting = threading.Lock()
        self._trees: set[int] = set()

    def wake(self) -> None:
        """There is something to write, now or soon."""
        self._due.set()
        if self._pid != os.getpid():
            with self._starting:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    threading.Thread(target=self._work, name="progress", daemon=True).start()

    def roll_up(self, tree_id: int) -> None:
        """Something in this tree has changed; its stored sums will follow."""
        self._trees.add(tree_id)
        self.wake()

    def finish(self) -> None:
        """Writes all that is left, in the thread of the caller: the process is to end."""
        for tree_id in list(self._trees):
            self._trees.discard(tree_id)
            steps.roll_up(tree_id, every=timedelta(0))

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            self._due.wait(HEARTBEAT_INTERVAL if execution.all_running() else None)
            pause.wait(WRITE_INTERVAL / 2)
            self._due.clear()
            try:
                self._write()
            except Exception:
                # The database is away, or locked by a transaction of the task: later, then.
                logger.debug("Progress could not be written yet.", exc_info=True)
                connections.close_all()
                self._due.set()
            if not self._due.is_set():
                connections.close_all()

    def _write(self) -> None:
        for run in execution.all_running():
            _write_heartbeat(run)
        for run in execution.all_running():
            if run.has_unwritten:
                self._due.set()
                if monotonic() - run.checked_at >= WRITE_INTERVAL:
                    flush(run)
        for tree_id in list(self._trees):
            self._trees.discard(tree_id)
            done = False
            try:
                done = steps.roll_up(tree_id, every=ROLL_UP_INTERVAL)
            finally:
                if not done:
                    self._trees.add(tree_id)
                    self._due.set()


_writer = _Writer()
roll_up = _writer.roll_up
finish = _writer.finish
