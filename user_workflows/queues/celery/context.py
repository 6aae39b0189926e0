"""What this thread is publishing, and for which workflow."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from celery import current_task

from ...lifecycle import execution
from ...lifecycle.execution import Execution

#: The headers of tracked messages: the tree, and whether plain tasks have nodes in it.
HEADER = "user_workflow"


WHOLE = "user_workflow_whole"


@dataclass(slots=True, eq=False)
class Submission:
    """A canvas that is being published by this thread."""

    tree_id: int | None
    """None for one that is not to be tracked."""
    whole: bool = True
    """Whether plain tasks have nodes too, as they have in ``workflow()``."""
    published: set[str] = field(default_factory=set)
    """The ids of the tasks that the broker has taken."""


_submission: ContextVar[Submission | None] = ContextVar("user_workflow_submission", default=None)


#: What is to be done when this process first has to do with a tracked task. Until then nobody
#: looks at what it publishes, so that plain tasks cost nothing.
_on_first_tracking: list[Callable[[], Any]] = []


def current_submission() -> Submission | None:
    """What this thread is publishing now."""
    return _submission.get()


def on_first_tracking(begin: Callable[[], Any]) -> None:
    """Has ``begin`` called when this process first stores, sends or starts a tracked task."""
    _on_first_tracking.append(begin)


def start_tracking() -> None:
    """This process has to do with a tracked task."""
    for begin in list(_on_first_tracking):
        begin()  # Perhaps in two threads at once: nobody may publish before it is done.
    _on_first_tracking.clear()


def inherited_submission() -> Submission | None:
    """What this thread is publishing, or the workflow of the task that is publishing."""
    context = _submission.get()
    if context is None and not _on_first_tracking and current_task:
        request = current_task.request
        if getattr(request, HEADER, None) is not None:
            return Submission(getattr(request, HEADER), bool(getattr(request, WHOLE, False)))
    return context


def publish_untracked(send: Callable[[], Any]) -> Any:
    """Publishes a canvas without tracking it."""
    token = _submission.set(Submission(None))
    try:
        return send()
    finally:
        _submission.reset(token)


def current_execution() -> Execution | None:
    """The run of a tracked task whose body the caller is in."""
    if not execution.all_running() or not current_task:
        return None
    run: Execution | None = getattr(current_task.request, "user_workflow_run", None)
    return run if run is not None and execution.find(run.pk) is run else None
