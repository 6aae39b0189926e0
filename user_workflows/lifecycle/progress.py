"""Steps and state texts of running tasks, which are kept in a worker and written seldom.

The task itself writes them or, while it makes no call or is inside a transaction of its own, a
thread with its own connection: no row lock of ours lives in the task's transaction, and progress
is seen while that is open (on SQLite, when it ends). Outside of workers each call writes at once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from django.db import Error, InterfaceError, OperationalError, connections
from django.db.models import F
from django.utils.timezone import now

from ..db.connections import status_connection
from ..db.tables import statuses
from ..fields import MAX_TEXT_LENGTH
from ..phases import Phase
from . import containers, execution, steps, transitions
from .execution import Execution

if TYPE_CHECKING:
    from ..models import UserTaskStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two writes of one task's progress.
WRITE_INTERVAL = 0.5
#: Seconds between two heartbeats of one task.
HEARTBEAT_INTERVAL = 30
#: Between two roll-ups of one tree. The thread looks twice as often, so sums are at most a second
#: old.
ROLL_UP_INTERVAL = timedelta(seconds=0.5)


def advance(status: UserTaskStatus, completed: int = 0, total: int = 0) -> None:
    """Add steps to the node of this instance; completing some raises TaskCanceledException."""
    run = execution.find(status.pk)
    if status.pk is None or (run and run.buffered):
        done, steps_known = status.completed_steps + completed, status.total_steps + total
        status.apply_row(completed_steps=done, total_steps=steps_known)
    if run and run.buffered:
        run.add(completed, total)
        _write_if_due(run, status, urgent=bool(total))
    elif status.pk is not None:
        steps.add_steps(status, completed, total)
        transitions.refresh_instance(status)
    if completed:
        transitions.raise_if_canceled(status)


def set_state(status: UserTaskStatus, text: str) -> None:
    """Set the text that says what a node does now, or raise TaskCanceledException."""
    text = text[:MAX_TEXT_LENGTH]
    run = execution.find(status.pk)
    if run and run.buffered:
        run.add(state=text)
        status.apply_row(state=text)
        _write_if_due(run, status, urgent=True)
    else:
        transitions.change_phase(status, Phase.RUNNING, text)
        if status.pk is not None and status.state == text:
            containers.set_state_of_ancestors(status, text)
    transitions.raise_if_canceled(status)


def track(status: UserTaskStatus, iterable: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yield the items, counting a step after each: see ``UserTaskMixin.track``."""
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
            status.apply_row(phase=run.phase, state=run.phase.state)
            transitions.raise_if_canceled(status)
        yield item
        counter.done += 1
    status.apply_row(completed_steps=status.completed_steps + counter.done)


def write_event(
    status: UserTaskStatus, event: Callable[[UserTaskStatus], None], **shown: object
) -> None:
    """Write an event of the node of this instance, a new name or a verdict, by calling it.

    The thread calls it if the node's body has a transaction open in a worker, which would hold the
    lock of the tree until it commits. The instance shows the columns ``shown`` already.
    """
    run = execution.find(status.pk)
    connection = status_connection()
    locks = connection.in_atomic_block and connection.features.has_select_for_update
    if run and run.buffered and locks:
        status.apply_row(**shown)
        run.deferred.append(event)
        _writer.wake()
    else:
        event(status)


def start_heartbeat(run: Execution) -> None:
    """Have heartbeats written for this execution until it ends."""
    if run.buffered:
        _writer.wake()


def _write_if_due(run: Execution, status: UserTaskStatus, *, urgent: bool) -> None:
    """Write if it is time to, and show on the instance whether the task was canceled meanwhile."""
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
    """Write the progress of an execution; return False if it was left for later.

    A body that only reports its progress must not fail because the database is away.
    """
    try:
        flush(run)
    except (OperationalError, InterfaceError):
        _log_retry([run])
        status_connection().close()
        run.checked_at = monotonic()
        _writer.wake()
        return False
    return True


def _log_retry(runs: list[Execution]) -> None:
    nodes, trees = [run.pk for run in runs], [run.tree_id for run in runs]
    text = "Could not write the progress of nodes %s (trees %s); retrying."
    logger.debug(text, nodes, trees, exc_info=True, extra={"node": nodes, "tree": trees})


def flush(run: Execution) -> None:
    """Write the progress of an execution, and read its phase. What fails is kept. Two queries."""
    with run.writing:
        _write_deferred(run)
        delta = run.take()
        if delta:
            try:
                done = F("completed_steps") + delta.completed
                total = F("total_steps") + delta.total
                times = {"last_seen_at": run.time(), "modified": now()}
                leaf = statuses().filter(pk=run.pk, settled_at__isnull=True, attempts=run.attempt)
                leaf.order_by().update(completed_steps=done, total_steps=total, **times)
                if delta.state is not None:
                    leaf.filter(phase=Phase.RUNNING).order_by().update(state=delta.state)
            except Error:
                run.put_back(delta)
                raise
            _writer.note_tree(run.tree_id)
        _read_phase(run)
        if delta.state is not None and run.phase is Phase.RUNNING:
            status = statuses().filter(pk=run.pk).first()
            if status is not None:
                containers.set_state_of_ancestors(status, delta.state)


def _write_deferred(run: Execution) -> None:
    while run.deferred:
        event = run.deferred.popleft()
        try:
            status = statuses().filter(pk=run.pk).first()
            if status is not None:
                event(status)
        except Error:
            run.deferred.appendleft(event)
            raise


def _read_phase(run: Execution) -> None:
    phase = statuses().filter(pk=run.pk).order_by().values_list("phase", flat=True).first()
    run.checked_at = monotonic()
    if phase is not None:
        run.phase = Phase(phase)


def _write_heartbeat(run: Execution) -> None:
    """Note that a body still runs, if that is due: the reaper fails tasks without heartbeats.

    One that cannot be written stays due, so it comes before the reaper once the database is back.
    """
    if run.buffered and monotonic() - run.seen_at >= HEARTBEAT_INTERVAL:
        leaf = statuses().filter(pk=run.pk, settled_at__isnull=True).order_by()
        leaf.update(last_seen_at=run.time(), modified=now())
        run.seen_at = monotonic()


class ProgressWriter:
    """Writes what the tasks of this process leave unwritten, in a thread that ``wake`` starts."""

    def __init__(self) -> None:
        self._due = threading.Event()
        self._pid = 0
        self._starting = threading.Lock()
        self._trees: set[int] = set()

    def wake(self) -> None:
        """Tell the thread that there is something to write, now or soon."""
        self._due.set()
        if self._pid != os.getpid():
            with self._starting:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    threading.Thread(target=self.run, name="progress", daemon=True).start()

    def note_tree(self, tree_id: int) -> None:
        """Have the stored sums of a tree rolled up: something in it has changed."""
        self._trees.add(tree_id)
        self.wake()

    def finish(self) -> None:
        """Store the sums that are left, in the thread of the caller: the process is to end."""
        for tree_id in list(self._trees):
            self._trees.discard(tree_id)
            steps.roll_up(tree_id, every=timedelta(0))

    def run(self) -> None:
        """Write whatever is due, for ever."""
        pause = threading.Event()
        while True:
            self._due.wait(HEARTBEAT_INTERVAL if execution.all_running() else None)
            pause.wait(WRITE_INTERVAL / 2)
            self._due.clear()
            try:
                self.write_due()
            except Exception:
                # The database is away, or locked by a transaction of a task.
                _log_retry(execution.all_running())
                connections.close_all()
                self._due.set()
            if not self._due.is_set():
                connections.close_all()

    def write_due(self) -> None:
        """Write the heartbeats, progress and sums that are due, and wake again for the others."""
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


_writer = ProgressWriter()


@contextmanager
def use_writer(writer: ProgressWriter) -> Iterator[ProgressWriter]:
    """Replace the writer of this process for a while: tests pause it, or watch what wakes it."""
    global _writer
    previous, _writer = _writer, writer
    try:
        yield writer
    finally:
        _writer = previous


def roll_up(tree_id: int) -> None:
    """Have the stored sums of a tree rolled up: something in it has changed."""
    _writer.note_tree(tree_id)


def finish() -> None:
    """Store the sums that are left: the process is to end."""
    _writer.finish()
