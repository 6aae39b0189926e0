"""All that is patched in Celery: a table, installed when Django starts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import NamedTuple

from celery import Celery, Task, current_app
from celery.canvas import Signature, chord, chunks, group

from . import autocapture, gate, spawning
from .compat import BaseMap, Chain, Method

logger = logging.getLogger(__name__)

#: The oldest and the newest release series of Celery that the tests run on.
OLDEST_TESTED, NEWEST_TESTED = (5, 5), (5, 7)


class Patch(NamedTuple):
    """A method of Celery that we wrap."""

    owner: type
    attribute: str
    wrap: Callable[[Method], Method]
    why: str
    relies_on: str
    parameters: tuple[str, ...]
    """The first parameters of the method, which the wrapper passes by position."""

    @property
    def name(self) -> str:
        """The class and the method."""
        return f"{self.owner.__name__}.{self.attribute}"

    @property
    def problem(self) -> str:
        """The reason why this patch does not fit the installed Celery; empty if it does."""
        method = vars(self.owner).get(self.attribute)
        if method is None:
            return f"Celery has no {self.name}. {self.why}"
        found = tuple(signature(method).parameters)[: len(self.parameters)]
        if found != self.parameters:
            return f"{self.name} of Celery takes {found}, not {self.parameters}. {self.why}"
        return ""


_SENT = ("self", "args", "kwargs")
PATCHES = (
    Patch(
        Task, "apply_async", autocapture.capture_task,
        "Tasks sent without workflow() get a node by it.",
        "Task.delay, Task.retry and Signature.apply_async end in it.",
        (*_SENT, *autocapture.POSITIONAL),
    ),
    *(
        Patch(
            canvas, "apply_async", autocapture.capture_canvas,
            "Canvases sent without workflow() become trees by it.",
            "Signature.delay and __call__ end in it; each type of canvas defines its own.",
            _SENT,
        )
        for canvas in (Signature, Chain, group, chord, chunks, BaseMap)
    ),
    Patch(
        Celery, "send_task", autocapture.track_by_name,
        "User tasks sent by their name get a node by it.",
        "Task.apply_async passes task_type, other callers do not.",
        ("self", "name"),
    ),
    Patch(
        Task, "on_replace", spawning.track_replacement,
        "What a task is replaced with gets nodes by it.",
        "Task.replace calls it last, with a canvas that is frozen and has the rest of the chain.",
        ("self", "sig"),
    ),
    Patch(
        Task, "add_to_chord", spawning.track_chord_addition,
        "What a task adds to its chord gets nodes by it.",
        "It is called with a signature before that is frozen.",
        ("self", "sig", "lazy"),
    ),
    Patch(
        Task, "before_start", gate.gate_before_start,
        "Canceled tasks are refused by it, and starts recorded.",
        "The tracer calls it before each body if its module is not Celery's: see compat.",
        ("self",),
    ),
)  # fmt: skip

_undo: list[Callable[[], None]] = []


def install() -> None:
    """Patch Celery; once, however often it is called. What Celery lacks is logged and left out."""
    if _undo:
        return
    for patch in PATCHES:
        method = vars(patch.owner).get(patch.attribute)
        if method is None:
            logger.error("Could not patch Celery: %s", patch.problem)
            continue
        setattr(patch.owner, patch.attribute, patch.wrap(method))
        _undo.append(partial(setattr, patch.owner, patch.attribute, method))


def gate_registered_tasks(**kwargs: object) -> None:
    """Gate the tasks that define their own ``before_start``, which would bypass the patch."""
    for task in current_app.tasks.values():
        if not gate.is_gate(task.before_start):
            vars(task)["before_start"] = gate.gate_before_start(task.before_start)
            _undo.append(partial(vars(task).pop, "before_start", None))


def uninstall() -> None:
    """Restore Celery and its tasks as they were."""
    while _undo:
        _undo.pop()()
