"""Capturing canvases of user tasks that are sent without ``workflow()``.

Celery publishes one message at a time and knows no whole, so the whole is caught where it is
sent: ``apply_async`` of tasks and of all canvas types. A site that sends only plain tasks pays
an ``isinstance`` for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from itertools import islice
from typing import Any

from celery import Celery, Task, current_app
from celery.canvas import Signature, chord, chunks, group

from ...conf import settings
from ...models import UserTaskStatus
from ...planning.naming import name_containers
from ...planning.plan import PlanNode
from ...planning.validation import check_allowed_failures
from . import copying, spawning, submission
from .compat import BaseMap, Canvas, CanvasDict, Chain, parts
from .context import Publisher, publish_untracked, publishing, start_tracking
from .planner import Call, is_user_task, plan_canvas
from .recording import SENT_UNTRACKED, guarded
from .results import result_of
from .users import user_id_of_call

_POSITIONAL = ("task_id", "producer", "link", "link_error", "shadow")


def install() -> None:
    """Wraps Celery's ways to send; once for all, however often it is called."""
    kinds: tuple[Any, ...] = (Task, Signature, Chain, group, chord, chunks, BaseMap)
    for kind in kinds:
        original = kind.__dict__["apply_async"]
        if not hasattr(original, "captures"):
            wrapper = _wrap_task if kind is Task else _wrap_canvas
            captured = wrapper(original)
            captured.captures = True  # type: ignore[attr-defined]
            kind.apply_async = captured
    if not hasattr(Celery.send_task, "captures"):
        Celery.send_task = _wrap_send_task(Celery.send_task)  # type: ignore[method-assign]


def _wrap_send_task(original: Callable[..., Any]) -> Callable[..., Any]:
    """What is sent by its name comes past the capture; the signals see it, if they are asked."""

    @wraps(original)
    def send_task(self: Any, name: str, *args: Any, **options: Any) -> Any:
        if options.get("task_type") is None and is_user_task(self.tasks.get(name)):
            start_tracking()
        return original(self, name, *args, **options)

    send_task.captures = True  # type: ignore[attr-defined]
    return send_task


def _wrap_task(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def apply_async(
        self: Any, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
    ) -> Any:
        if not is_user_task(self) and publishing().execution is None:
            return original(self, args, kwargs, *more, **options)
        options.update(zip(_POSITIONAL, more, strict=False))
        if not _is_new(options, options.get("task_id")):
            return original(self, args, kwargs, **options)
        canvas = Signature(self, args, kwargs, {k: v for k, v in options.items() if v is not None})
        copied = copying.copy_canvas(canvas, self.app)

        def send() -> Any:
            given = {key: copied.options.get(key, value) for key, value in options.items()}
            return original(self, args, kwargs, **{**given, "task_id": copied.options["task_id"]})

        return _capture(copied, send, lambda: original(self, args, kwargs, **options))

    return apply_async


def _wrap_canvas(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def apply_async(
        self: Any, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
    ) -> Any:
        def plain() -> Any:
            return original(self, args, kwargs, *more, **options)

        if publishing().by is Publisher.SUBMITTING:
            return plain()
        first = _first_task(self)
        if first is None:
            return plain()
        if not _is_new(options, options.get("task_id") or first["options"].get("task_id")):
            return plain()
        whole = self
        if kwargs and isinstance(self, chord) and "body" in kwargs:  # chord(header)(body)
            kwargs = dict(kwargs)
            whole = {**self, "kwargs": {**self["kwargs"], "body": kwargs.pop("body")}}
        canvas = copying.copy_canvas(copying.expand_chunks(whole), self.app)

        def send() -> Any:
            return canvas.apply_async(args, kwargs, *more, **options)

        return _capture(canvas, send, plain, tuple(args or ()), dict(kwargs or {}))

    return apply_async


def _is_new(options: dict[str, Any], task_id: str | None) -> bool:
    """Return whether what is sent is no part of a canvas that was captured before."""
    publisher = publishing(task_id, options.get("parent_id")).by
    if publisher is not Publisher.OUTSIDE:
        return publisher is Publisher.BODY
    if not settings.CAPTURE:
        return False
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
    canvas: Signature,
    send: Callable[[], Any],
    plain: Callable[[], Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    run = publishing().execution
    if run is not None:
        return spawning.send_below(run, canvas, send, plain, args, kwargs)
    name, task_id = canvas["task"], canvas.options.get("task_id")
    with guarded("track", SENT_UNTRACKED, strict=settings.STRICT, task=name, task_id=task_id) as g:
        root, plan = _store(canvas, args, kwargs)
    if g.failed or plan is None:
        return publish_untracked(plain)
    app = canvas.app or current_app
    submission.publish_plan(root, plan, send, eager=bool(app.conf.task_always_eager), whole=False)
    if root.result is None:
        root.result = result_of(plan, app)
    return root.result


def _store(canvas: Any, args: Any, kwargs: Any) -> tuple[Any, PlanNode | None]:
    users: list[Any] = []

    def keep(call: Call) -> bool:
        if not is_user_task(call.task):
            return False
        if not users:
            users.append(user_id_of_call(call))
        return True

    plan, calls = plan_canvas(canvas, keep=keep, keep_ids=True, args=args, kwargs=kwargs)
    if plan is None:
        return None, None
    names = {call.task_id: str(call.kwargs.get("user_task_name") or "") for call in calls}
    name_containers(plan, names)
    check_allowed_failures(plan)
    return submission.store_plan(plan, user_id=users[0]), plan
