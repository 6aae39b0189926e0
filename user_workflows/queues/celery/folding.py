"""A canvas in the form in which ``celery.chain()`` folds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from celery.canvas import chord, group, maybe_signature

from .compat import Canvas, Chain, bound_app, replace_parts
from .copying import as_list, copy_canvas


def hand_down_links(sig: Canvas, *, each: bool) -> None:
    """Move the links of a chain that is a step of a chain, or a chord's body, to its last step.

    Celery's ``chain()`` does that as well. A chain that is sent within another, also as the only
    member of a group, is taken apart, and Celery 5.7 ``_chain.prepare_steps`` forgets what was
    linked to it as a whole. Anything but a chain keeps its links.

    Where the last step is a group, ``each`` links to each of its tasks, as Celery does when it
    sends a chain; else to the first, as ``chain()`` does, which passes nothing on.
    """
    while isinstance(sig, group) and len(sig.tasks) == 1:
        sig = sig.tasks[0]
    last = last_step(sig)
    if last is not None:
        for callback in sig.options.pop("link", ()):
            callback = cast(Canvas, maybe_signature(callback, app=bound_app(sig)))
            _link(last, callback, each)


def _link(task: Canvas, callback: Canvas, each: bool) -> None:
    if each and isinstance(task, group):
        for member in task.tasks:
            _link(member, copy_canvas(callback), each)
    else:
        task.link(callback)


def last_step(sig: Canvas) -> Canvas | None:
    """Return what a chain ends with; None for what is no chain, or an empty one."""
    steps = [task for task in sig.tasks if not _is_empty(task)] if isinstance(sig, Chain) else []
    return steps[-1] if steps else None


def fold_chain(tasks: Sequence[Canvas]) -> list[Canvas]:
    """Return the steps of a chain as ``celery.chain()`` has them.

    There chains and groups of one are taken apart, empty groups left out, and a group and the
    step after it are one chord. When Celery 5.7 ``_chain.prepare_steps`` does that only as a chain
    is sent, it forgets to prepare a chord in such a group, and breaks on it; and what follows a
    chord it sends from each task of the group that is its body. A chain of one it leaves as it is.
    """
    steps: list[Canvas] = []
    for step in reversed(_flatten(tasks) if len(tasks) > 1 else tasks):
        steps += reversed(_join_step(step, steps.pop())) if steps else [step]
    return steps[::-1]


def _flatten(tasks: Sequence[Canvas]) -> list[Canvas]:
    steps: list[Canvas] = []
    for task in tasks:
        if _is_empty(task):
            continue
        # Not after a group at the beginning: there Celery keeps one of one.
        leads = len(steps) == 1 and isinstance(steps[0], group)
        if isinstance(task, group) and len(task.tasks) == 1 and not leads:
            task = task.tasks[0]
        steps += _flatten(_unchain(task)) if isinstance(task, Chain) else [task]
    return steps or list(tasks[:1])


def _is_empty(sig: Canvas) -> bool:
    return isinstance(sig, group) and not sig.tasks


def is_void(sig: Canvas) -> bool:
    """Return whether a canvas has no task: Celery would wait for the result of such a chain."""
    return isinstance(sig, group | Chain) and all(is_void(task) for task in sig.tasks)


def _unchain(sig: Chain) -> list[Canvas]:
    """Return the tasks of a chain that will not be sent as one: its errbacks become theirs."""
    for errback in as_list(sig.options.get("link_error") or ()):
        for task in sig.tasks:
            task.link_error(cast(Canvas, errback))
    return list(sig.tasks)


def _join_step(task: Canvas, step: Canvas) -> list[Canvas]:
    """Return a task and the step after it: one chord if the task is, or ends with, a group."""
    if isinstance(task, group):
        header = group(task.tasks, app=bound_app(task))
        header.options["task_id"] = task.options["task_id"]
        made = chord(header, step, app=bound_app(task))
        replace_parts(made, header=header)  # Not only its tasks: it has an id.
        return [made]
    if isinstance(task, chord):
        merged = _join_step(task.body, step)
        if len(merged) == 1:
            replace_parts(task, body=merged[0])
            return [task]
    if isinstance(task, Chain) and task.tasks:
        *first, last = task.tasks
        merged = _join_step(last, step)
        if len(merged) == 1:
            replace_parts(task, tasks=first + merged)
            return [task]
    return [task, step]


def with_input(task: Canvas) -> Canvas:
    """Return what can be given a result: to a chain of one group Celery would not pass it on."""
    only = task
    while isinstance(only, Chain) and len(only.tasks) == 1:
        [only] = _unchain(only)
        if isinstance(only, group) and len(only.tasks) == 1:
            [only] = only.tasks  # Celery takes it apart itself, and what it then has, too.
    return only if isinstance(only, group) else task


def as_member(task: Canvas) -> Canvas:
    """Return the member of a group that is no header: a chord becomes a chain of one.

    Else, where the group is what ends a chord's header, Celery 5.7 ``_chord.run`` has the chord
    report to the group in place of that header, whose body then never comes.
    """
    return Chain(task, app=bound_app(task)) if isinstance(task, chord) else task
