"""Capture of canvases of user tasks that are sent without ``workflow()``.

Celery publishes one message at a time and knows no whole, so ``apply_async`` of tasks and of all
canvas types is wrapped. A site that sends only plain tasks pays two look-ups for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial, wraps
from itertools import islice
from typing import Any

from celery import Celery, current_app
from celery.canvas import Signature, chord

from ...conf import settings
from ...models import UserTaskStatus
from . import copying, spawning, submission
from .compat import AnyTask, Canvas, CanvasDict, Method, Send, parts
from .context import HEADER, Publisher, publish_untracked, publishing, start_tracking
from .planner import Args, Call, Kwargs, is_user_task, name_plan, plan_canvas
from .recording import SENT_UNTRACKED, guarded
from .users import user_id_of_call

#: The parameters of ``Task.apply_async`` that may be given by position, after those of the task.
POSITIONAL = ("task_id", "producer", "link", "link_error", "shadow")


def track_by_name(original: Method) -> Method:
    """Wrap ``Celery.send_task``, which passes by the capture: ``capture_message`` sees it."""

    @wraps(original)
    def send_task(self: Celery, name: str, *args: object, **options: object) -> object:
        if options.get("task_type") is None and is_user_task(self.tasks.get(name)):
            start_tracking()
        return original(self, name, *args, **options)

    return send_task


def capture_task(original: Method) -> Method:
    """Wrap ``Task.apply_async``."""

    @wraps(original)
    def apply_async(
        self: AnyTask, args: Any = None, kwargs: Any = None, *more: object, **options: Any
    ) -> object:
        if not is_user_task(self) and publishing().execution is None:
            return original(self, args, kwargs, *more, **options)
        options.update(zip(POSITIONAL, more, strict=False))
        if not _is_new(options, options.get("task_id")):
            return original(self, args, kwargs, **options)
        canvas = Signature(self, args, kwargs, {k: v for k, v in options.items() if v is not None})
        copied = copying.copy_canvas(canvas, self.app)

        def send() -> object:
            given = {key: copied.options.get(key, value) for key, value in options.items()}
            return original(self, args, kwargs, **{**given, "task_id": copied.options["task_id"]})

        return _capture(copied, send, lambda: original(self, args, kwargs, **options))

    return apply_async


def capture_canvas(original: Method) -> Method:
    """Wrap ``apply_async`` of a type of canvas."""

    @wraps(original)
    def apply_async(
        self: Canvas, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
    ) -> object:
        plain = partial(original, self, args, kwargs, *more, **options)
        if publishing().by is Publisher.SUBMITTING:
            return plain()
        first = _first_task(self)
        task_id = options.get("task_id") or (first["options"].get("task_id") if first else None)
        if first is None or not _is_new(options, task_id):
            return plain()
        whole: CanvasDict = self
        if kwargs and isinstance(self, chord) and "body" in kwargs:  # chord(header)(body)
            kwargs = dict(kwargs)
            whole = {**self, "kwargs": {**self["kwargs"], "body": kwargs.pop("body")}}
        canvas = copying.copy_canvas(copying.expand_chunks(whole), self.app)
        send = partial(canvas.apply_async, args, kwargs, *more, **options)
        return _capture(canvas, send, plain, tuple(args or ()), dict(kwargs or {}))

    return apply_async


def capture_message(task: object, message: dict[str, Any], body: Any) -> None:
    """Give a user task that came past the capture, sent by its name, a workflow of its own.

    ``message`` describes the call: the headers, in message protocol 1 the body itself.
    """
    if HEADER in message or publishing().submission or not is_user_task(task):
        return
    task_id = str(message["id"])
    if UserTaskStatus.objects.filter(task_id=task_id).exists():
        return
    with guarded("track", SENT_UNTRACKED, strict=settings.STRICT, task=task, task_id=task_id):
        args, kwargs = (body["args"], body["kwargs"]) if body is message else body[:2]
        user_id = user_id_of_call(Call(task, task.name, task_id, tuple(args), dict(kwargs)))
        plan, _ = plan_canvas(task.signature(args, kwargs, task_id=task_id), keep_ids=True)
        if plan is not None:
            message[HEADER] = submission.store_plan(plan, user_id=user_id).tree_id


def _is_new(options: Kwargs, task_id: str | None) -> bool:
    """Return whether what is sent is no part of a canvas that was captured before."""
    publisher = publishing(task_id, options.get("parent_id")).by
    if publisher is not Publisher.OUTSIDE or not settings.CAPTURE:
        return publisher is Publisher.BODY
    return task_id is None or not UserTaskStatus.objects.filter(task_id=task_id).exists()


def _first_task(canvas: Canvas) -> CanvasDict | None:
    """Return a task of a canvas that will have a node; of a generator only one task is made."""
    tasks = (canvas.app or current_app).tasks
    everything = publishing().execution is not None
    stack: list[CanvasDict | Iterable[CanvasDict]] = [canvas]
    while stack:
        sig = stack.pop()
        if not isinstance(sig, dict):
            # Celery's lazy list is a subclass of ``list`` (``celery.utils.functional._regen``).
            stack.extend(sig if type(sig) in (list, tuple) else islice(sig, 1))
        elif members := parts(sig):
            stack.extend(members)
        elif everything or is_user_task(tasks.get(sig["task"])):
            return sig
    return None


def _capture(
    canvas: Canvas, send: Send, plain: Send, args: Args = (), kwargs: Kwargs | None = None
) -> object:
    """Store what is sent as a tree, publish it, and return Celery's result object.

    ``send`` publishes the canvas, a copy with ids; ``plain`` the original, where it is untracked.
    """
    run = publishing().execution
    if run is not None:
        return spawning.spawn(run, canvas, send, plain, args, kwargs)
    users: list[object] = []

    def keep(call: Call) -> bool:
        if is_user_task(call.task) and not users:
            users.append(user_id_of_call(call))
        return is_user_task(call.task)

    name, task_id = canvas["task"], canvas.options.get("task_id")
    with guarded("track", SENT_UNTRACKED, strict=settings.STRICT, task=name, task_id=task_id) as g:
        plan, calls = plan_canvas(canvas, keep=keep, keep_ids=True, args=args, kwargs=kwargs)
        if plan is not None:
            name_plan(plan, calls)
            root = submission.store_plan(plan, user_id=users[0])
    if g.failed or plan is None:
        return publish_untracked(plain)
    submission.publish_plan(root, plan, send, canvas.app or current_app, whole=False)
    return root.result
