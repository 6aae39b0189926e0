"""Capturing canvases of user tasks that are sent without ``workflow()``.

Celery publishes one message at a time and knows no whole, so the whole is caught where it is
sent: ``apply_async`` of tasks and of all canvas types. A site that sends only plain tasks pays
an ``isinstance`` for each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import islice
from typing import Any

from celery import Celery, Task, current_app, current_task
from celery.canvas import Signature, chord, chunks, group
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from ...conf import settings
from ...exceptions import InvalidUser
from ...models import UserTaskStatus
from ...planning.naming import name_containers
from ...planning.plan import PlanNode
from ...planning.validation import check_allowed_failures
from . import copying, spawning, submission
from .compat import BaseMap, Canvas, CanvasDict, Chain, parts
from .context import current_execution, current_submission, publish_untracked, start_tracking
from .planner import Call, is_user_task, plan_canvas
from .results import result_of

logger = logging.getLogger(__name__)

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
        if not is_user_task(self) and current_execution() is None:
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

        if current_submission() is not None and not _in_body():
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


def _in_body() -> bool:
    """Whether the caller is the body of a task, rather than a canvas that is being published."""
    if not current_task:
        return False
    return current_submission() is None or current_execution() is not None


def _is_new(options: dict[str, Any], task_id: str | None) -> bool:
    """Whether what is sent is no part of a canvas that was captured before."""
    if current_submission() is not None and not _in_body():
        return False
    if current_task and (task_id or options.get("parent_id")):
        return False  # A retry, an errback, or the next stage of a canvas: sent by Celery.
    if current_execution() is not None:
        return True
    if not settings.CAPTURE:
        return False
    return task_id is None or not UserTaskStatus.objects.filter(task_id=task_id).exists()


def _first_task(canvas: Canvas) -> CanvasDict | None:
    """Return a task of a canvas that will have a node; of a generator only one task is made."""
    tasks = (canvas.app or current_app).tasks
    everything = current_execution() is not None
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
    run = current_execution()
    if run is not None:
        return spawning.send_below(run, canvas, send, plain, args, kwargs)
    try:
        root, plan = _store(canvas, args, kwargs)
    except Exception as error:
        if settings.STRICT:
            raise
        logger.exception("The tasks are sent, but their user will not see them: %s", error)
        return publish_untracked(plain)
    if plan is None:
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
            users.append(user_id_of(call))
        return True

    plan, calls = plan_canvas(canvas, keep=keep, keep_ids=True, args=args, kwargs=kwargs)
    if plan is None:
        return None, None
    names = {call.task_id: str(call.kwargs.get("user_task_name") or "") for call in calls}
    name_containers(plan, names)
    check_allowed_failures(plan)
    return submission.store_plan(plan, user_id=users[0]), plan


def user_id_of(call: Call) -> Any:
    """The user of a call outside ``workflow()``: its ``user_id`` argument. One query.

    Raises:
        InvalidUser: it has none, or there is no such user.
    """
    arguments = {**call.kwargs, **call.arguments()}
    if "user_id" not in arguments:
        raise InvalidUser("Each invocation of a UserTaskMixin subclass must include the user_id")
    user_id: Any = arguments["user_id"]
    try:
        known = get_user_model()._default_manager.filter(pk=user_id).exists()
    except (TypeError, ValueError, OverflowError, ValidationError):
        known = False
    if not known:
        raise InvalidUser(f"Invalid user_id: {user_id}")
    return user_id
