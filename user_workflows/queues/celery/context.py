"""The context of publishing: its workflow, and our state on the request of a running task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, TypeVar, cast

from celery import current_task
from django.dispatch import Signal

from ...lifecycle import execution
from ...lifecycle.execution import Execution
from ...models import UserTaskStatus

T = TypeVar("T")

#: The headers of tracked messages: the tree, and whether plain tasks have nodes in it.
HEADER = "user_workflow"
WHOLE = "user_workflow_whole"

#: Sent when this process first stores, sends or starts a tracked task. Until then no receiver
#: looks at what it publishes, so that plain tasks cost nothing.
tracking_started = Signal()
_is_tracking = False


def start_tracking() -> None:
    """Note that this process stores, sends or starts a tracked task."""
    global _is_tracking
    if not _is_tracking:
        tracking_started.send(None)  # Perhaps in two threads: each waits until it is done.
        _is_tracking = True


@dataclass(slots=True, eq=False)
class Submission:
    """A canvas that is being published, or the workflow that a message belongs to."""

    tree_id: int | None
    """None if it is not to be tracked."""
    whole: bool = True
    """True if plain tasks have nodes too, as they have in ``workflow()``."""
    published: set[str] = field(default_factory=set)
    """The ids of the tasks that the broker has taken."""


_submission: ContextVar[Submission | None] = ContextVar("user_workflow_submission", default=None)


@contextmanager
def submitting(submission: Submission) -> Iterator[None]:
    """Mark what this thread publishes within the block as parts of a canvas."""
    token = _submission.set(submission)
    try:
        yield
    finally:
        _submission.reset(token)


def publish_untracked(send: Callable[[], T]) -> T:
    """Publish a canvas without tracking it."""
    with submitting(Submission(None)):
        return send()


@dataclass(slots=True, eq=False)
class RequestState:
    """Our state on Celery's request of a running task, in one attribute."""

    execution: Execution | None = None
    """The run of the body, if it has a node."""
    is_gated: bool = False
    """True once the gate has decided: a ``before_start`` that calls Celery's passes it twice."""
    status: UserTaskStatus | None = None
    """The instance that ``UserTaskMixin.status`` gave last."""
    status_read_at: float = 0.0
    """The time at which it was read (``time.monotonic``)."""


def request_state(request: object) -> RequestState:
    """Return the state that is kept on a request, created when it is first asked for."""
    found = _find_state(request)
    if found is None:
        found = RequestState()
        vars(request)["user_workflow_state"] = found
    return found


def _find_state(request: object) -> RequestState | None:
    found = getattr(request, "user_workflow_state", None)
    # Celery makes an attribute of each header of a message, also of one by this name.
    return found if isinstance(found, RequestState) else None


def execution_of(request: object) -> Execution | None:
    """Return the run of a tracked body that a request belongs to."""
    state = _find_state(request)
    return state.execution if state is not None else None


def tree_id_of(request: object) -> int | None:
    """Return the tree that the message of a request belongs to; no query."""
    return cast("int | None", getattr(request, HEADER, None))


class Publisher(Enum):
    """The kinds of publisher of a task or canvas."""

    OUTSIDE = auto()
    """Code outside of tracked bodies: what it sends is a workflow of its own."""
    SUBMITTING = auto()
    """Celery, while a canvas of ours is being published: what it sends is planned already."""
    BODY = auto()
    """The body of a tracked task: what it sends belongs below its node."""
    CELERY = auto()
    """Celery, in a worker: a retry, an errback, or the next stage of a canvas."""


class Publishing(NamedTuple):
    """The answer to "who is publishing?"."""

    by: Publisher
    submission: Submission | None = None
    """The canvas that this thread is publishing."""
    execution: Execution | None = None
    """The run of the tracked body that the caller is in."""

    def workflow(self) -> Submission | None:
        """Return the workflow that published messages belong to, as tracing inherits a span."""
        if self.submission is None and _is_tracking and current_task:
            tree_id = tree_id_of(current_task.request)
            if tree_id is not None:
                return Submission(tree_id, bool(getattr(current_task.request, WHOLE, False)))
        return self.submission


def publishing(task_id: object = None, parent_id: object = None) -> Publishing:
    """Return who is publishing in this thread.

    ``task_id`` is the id that the task or canvas has already, which in a worker only Celery gives,
    like the option ``parent_id``.
    """
    submission, run = _submission.get(), None
    if execution.all_running() and current_task:
        run = execution_of(current_task.request)
        if run is not None and execution.find(run.pk) is not run:
            run = None
    if run is None and submission is not None:
        return Publishing(Publisher.SUBMITTING, submission)
    if (task_id or parent_id) and current_task:
        return Publishing(Publisher.CELERY, submission, run)
    return Publishing(Publisher.OUTSIDE if run is None else Publisher.BODY, submission, run)
