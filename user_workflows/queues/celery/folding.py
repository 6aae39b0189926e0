"""A canvas in the form in which Celery's ``chain()`` folds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.canvas import (  # type: ignore[attr-defined]
    _chain,
    _chord,
    group,
    maybe_signature,
)

from .copying import as_list, copy_canvas


def hand_down_links(sig: Any, link: Callable[[Any, Any], Any]) -> None:
    """Links on a chain that is a step of a chain, or a chord's body, go to what it ends with.

    Celery's ``chain()`` does that as well. A chain that is sent within another, also as the only
    member of a group, is taken apart, and Celery forgets what was linked to it as a whole.
    """
    while isinstance(sig, group) and len(sig.tasks) == 1:
        sig = sig.tasks[0]
    last = last_step(sig)
    if last is not None:
        for callback in sig.options.pop("link", ()):
            link(last, maybe_signature(callback, app=getattr(sig, "_app", None)))


def link(task: Any, callback: Any) -> None:
    """As Celery's ``chain()`` links: of a group only the first task, which passes nothing on."""
    task.link(callback)


def link_each(task: Any, callback: Any) -> None:
    """As Celery links when it sends a chain: it calls back after each task of a group."""
    if isinstance(task, group):
        for member in task.tasks:
            link_each(member, copy_canvas(callback))
    else:
        task.link(callback)


def last_step(sig: Any) -> Any:
    """What a chain ends with; None for what is no chain, or an empty one."""
    steps = [task for task in sig.tasks if not _is_empty(task)] if isinstance(sig, _chain) else []
    return steps[-1] if steps else None


def fold_chain(tasks: Any) -> list[Any]:
    """The steps of a chain as Celery's ``chain()`` has them.

    There chains and groups of one are taken apart, empty groups left out, and a group and the
    step after it are one chord. When Celery comes to do that only as a chain is sent, it forgets
    to prepare a chord in such a group, and breaks on it; and what follows a chord it sends from
    each task of the group that is its body. A chain of one it leaves as it is.
    """
    steps: list[Any] = []
    for step in reversed(_unnested(tasks) if len(tasks) > 1 else tasks):
        steps += reversed(_join_step(step, steps.pop())) if steps else [step]
    return steps[::-1]


def _unnested(tasks: Any) -> list[Any]:
    steps: list[Any] = []
    for task in tasks:
        if _is_empty(task):
            continue
        # Not after a group at the beginning: there Celery keeps one of one.
        leads = len(steps) == 1 and isinstance(steps[0], group)
        if isinstance(task, group) and len(task.tasks) == 1 and not leads:
            task = task.tasks[0]
        steps += _unnested(_unchained(task)) if isinstance(task, _chain) else [task]
    return steps or list(tasks[:1])


def _is_empty(sig: Any) -> bool:
    return isinstance(sig, group) and not sig.tasks


def is_void(sig: Any) -> bool:
    """Whether there is no task in it. Celery waits for the result of a chain of empty groups."""
    return isinstance(sig, group | _chain) and all(is_void(task) for task in sig.tasks)


def _unchained(sig: Any) -> list[Any]:
    """The tasks of a chain that will not be sent as one: its errbacks are theirs."""
    for errback in as_list(sig.options.get("link_error") or ()):
        for task in sig.tasks:
            task.link_error(errback)
    return list(sig.tasks)


def _join_step(task: Any, step: Any) -> list[Any]:
    """A task and the step after it: one chord if the task is, or ends with, a group."""
    if isinstance(task, group):
        return [_as_header(task, step)]
    if isinstance(task, _chord):
        merged = _join_step(task.kwargs["body"], step)
        if len(merged) == 1:
            task.kwargs["body"] = merged[0]
            return [task]
    if isinstance(task, _chain) and task.tasks:
        *first, last = task.tasks
        merged = _join_step(last, step)
        if len(merged) == 1:
            task.kwargs["tasks"] = first + merged
            return [task]
    return [task, step]


def with_input(task: Any) -> Any:
    """What can be given a result: of a chain that is one group Celery would not pass it on."""
    only = task
    while isinstance(only, _chain) and len(only.tasks) == 1:
        [only] = _unchained(only)
        if isinstance(only, group) and len(only.tasks) == 1:
            [only] = only.tasks  # Celery takes it apart itself, and what it then has, too.
    return only if isinstance(only, group) else task


def as_member(task: Any) -> Any:
    """A member of a group that is no header: a chord is a chain of one.

    Else, where the group is what ends a chord's header, Celery has the chord report to the group
    in place of that header, whose body then never comes.
    """
    return _chain(task, app=task._app) if isinstance(task, _chord) else task


def _as_header(members: Any, body: Any) -> Any:
    header = group(members.tasks, app=members._app)
    header.options["task_id"] = members.options["task_id"]
    made = _chord(header, body, app=members._app)
    made.kwargs["header"] = header  # Not only its tasks: it has an id.
    return made
