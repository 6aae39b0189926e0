"""Building workflows: Celery's canvas with names, and ``workflow()`` around it.

from user_workflows.canvas import chain, chord, workflow

flow = workflow(
    chain(
        read_structure.si(course),
        chord([render.si(c) for c in chapters], assemble.s(), name="Export chapters"),
        notify.si(),
    ),
    user=request.user,
    name="Export CS101",
    action="course.export",
    subject="course-v1:X+CS101",
)
status = flow.delay()
return redirect(status.get_absolute_url())
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from celery import canvas as celery_canvas
from celery import current_app
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from . import graph as graphs
from .exceptions import InvalidCanvas, InvalidUser
from .fields import MAX_TEXT_LENGTH
from .models import UserTaskStatus
from .planning.naming import name_containers
from .planning.plan import PlanNode
from .planning.validation import check_allowed_failures
from .queues.celery import copying, submission
from .queues.celery.planner import plan_canvas
from .queues.celery.results import result_of

__all__ = ["Workflow", "chain", "chord", "group", "tracked", "workflow"]


def tracked(signature: Any, *, name: str = "", allow_failure: bool = False) -> Any:
    """A copy of a signature, of a task or a whole canvas, that says more about its node.

    Arguments:
        name: what the user will read; it is kept when the task calls ``set_name``.
        allow_failure: the workflow goes on when this fails, and ends "Succeeded with failures".
            For user tasks, whose successors then get None, and for containers in a group that
            nothing waits for.

    Raises:
        InvalidCanvas: it is no signature.
    """
    return copying.annotate(copying.copy_canvas(signature), name=name, allow_failure=allow_failure)


def _members(tasks: tuple[Any, ...]) -> list[Any]:
    if len(tasks) == 1 and not copying.is_signature(tasks[0]):
        tasks = tuple(tasks[0])
    # Not the dictionary of one: Celery's ``|`` takes only signatures.
    return [celery_canvas.maybe_signature(task) for task in tasks]


def chain(*tasks: Any, name: str = "", allow_failure: bool = False) -> Any:
    """Tasks in order: Celery's chain, with a name. Takes tasks, or one iterable of them.

    Unlike Celery's it keeps nested chains as they are written, and a chain of one task.
    """
    made = celery_canvas._chain(_members(tasks))  # type: ignore[arg-type]
    return copying.annotate(made, name=name, allow_failure=allow_failure)


def group(*tasks: Any, name: str = "", allow_failure: bool = False) -> Any:
    """Tasks at once: Celery's group, with a name. Takes tasks, or one iterable of them."""
    made = celery_canvas.group(_members(tasks))
    return copying.annotate(made, name=name, allow_failure=allow_failure)


def chord(header: Any, body: Any = None, *, name: str = "", allow_failure: bool = False) -> Any:
    """Tasks at once, then one with all their results: Celery's chord, with a name.

    ``chord(header, body)``, or ``chord(header)(body)``. The header is a group or an iterable of
    tasks, the body any signature.
    """
    if body is None:
        return lambda late: chord(header, late, name=name, allow_failure=allow_failure)
    said = header.get("options", {}).get(copying.ANNOTATIONS) if isinstance(header, dict) else None
    made = celery_canvas.chord(header, body)
    copying.annotate(made, name=name, allow_failure=allow_failure)
    if said:
        made.options.setdefault(copying.ANNOTATIONS, {})["header"] = said
    return made


def workflow(
    canvas: Any, *, user: Any, name: str = "", action: str = "", subject: str = ""
) -> Workflow:
    """A canvas that will be seen as one tree when it is submitted.

    Arguments:
        canvas: any Celery signature: a task, chain, group or chord, results of ``|``, nested,
            or its JSON dictionary. It is copied, so it may be used again.
        user: who may see and cancel it: a saved user, or the key of one.
        name: what the user reads; else the canvas's own name, else plain words.
        action: what kind of operation this is ("course.export"), for look-ups and rules.
        subject: what it is about ("course-v1:X+CS101").

    Raises:
        InvalidCanvas: it cannot be tracked as it stands.
        InvalidUser: there is no such user.
        ValueError: ``action`` or ``subject`` is longer than its column.
        TypeError: a user task is called with arguments that it does not take.
    """
    return Workflow(canvas, user=user, name=name, action=action, subject=subject)


class Workflow:
    """A canvas with its user. Each submission makes a tree of its own."""

    def __init__(
        self, canvas: Any, *, user: Any, name: str = "", action: str = "", subject: str = ""
    ) -> None:
        self.user_id = _user_id(user)
        self.name = str(name)
        self.action = _key("action", action)
        self.subject = _key("subject", subject)
        self._canvas = copying.copy_canvas(copying.expand_chunks(canvas))
        #: A canvas and its plan that no submission has taken yet; the plan says what is wrong.
        self._next: tuple[Any, PlanNode] | None = self._prepare()

    @cached_property
    def plan(self) -> PlanNode:
        """The tree as it will be, with example ids."""
        return self._prepare()[1]

    def graph(self) -> graphs.Graph:
        """The dependency graph of the planned leaves, as ``PlanNode``s."""
        return graphs.dependencies(self.plan)

    def delay(self) -> UserTaskStatus:
        """Submits the workflow: see ``apply_async``."""
        return self.apply_async()

    def apply_async(self, **options: Any) -> UserTaskStatus:
        """Stores the whole tree, then publishes the canvas. Returns the root of the tree.

        Inside a transaction the canvas is published when it commits, and not at all when it is
        rolled back. Queries: 2 on PostgreSQL; else 2 for the root and one for each
        level below it.

        Arguments:
            options: those of Celery's ``apply_async``: ``countdown`` (seconds), ``eta``,
                ``queue``, ``priority``, ... A ``task_id`` is given to the last task.

        Raises:
            Exception: what publishing raised; the tree then says what was not sent.
        """
        task_id = options.pop("task_id", None)
        prepared, self._next = self._next, None
        canvas, plan = self._prepare(task_id) if task_id or not prepared else prepared
        app = canvas.app or current_app
        root = submission.store_plan(
            plan, user_id=self.user_id, action=self.action, subject=self.subject
        )
        eager = bool(app.conf.task_always_eager)
        submission.publish_plan(root, plan, lambda: canvas.apply_async(**options), eager=eager)
        if root.result is None:  # It is published later, or Celery gave nothing.
            root.result = result_of(plan, app)
        return root

    def _prepare(self, task_id: str | None = None) -> tuple[Any, PlanNode]:
        canvas = copying.copy_canvas(self._canvas)
        _set_last_id(canvas, task_id)
        plan, calls = plan_canvas(canvas, keep_ids=True)
        if plan is None:
            raise InvalidCanvas("The canvas has nothing in it.")
        if self.name:
            plan.name, plan.named = self.name[:MAX_TEXT_LENGTH], True
        names = {call.task_id: str(call.kwargs.get("user_task_name") or "") for call in calls}
        name_containers(plan, names)
        check_allowed_failures(plan)
        return canvas, plan


def _key(field: str, value: str) -> str:
    longest = getattr(UserTaskStatus, field).field.max_length
    if len(str(value)) > longest:
        raise ValueError(f"The {field} of a workflow is at most {longest} characters long.")
    return str(value)


def _set_last_id(canvas: Any, task_id: str | None) -> None:
    """Celery's ``apply_async(task_id=...)`` names a task, a group, or what a chain ends with."""
    if task_id is None:
        return
    last: Any = canvas
    while last.get("subtask_type") in ("chain", "chord"):
        kwargs = last["kwargs"]
        last = kwargs["body"] if "body" in kwargs else kwargs["tasks"][-1]
    last.options["task_id"] = task_id


def _user_id(user: Any) -> Any:
    users = get_user_model()
    if isinstance(user, users):
        if user.pk is None:
            raise InvalidUser("A workflow needs a saved user; this one has no key yet.")
        return user.pk
    pk = None if getattr(user, "is_anonymous", False) else getattr(user, "pk", user)
    try:
        known = pk is not None and users._default_manager.filter(pk=pk).exists()
    except (TypeError, ValueError, OverflowError, ValidationError) as error:
        raise InvalidUser(f"A workflow needs a user; {user!r} is none.") from error
    if not known:
        raise InvalidUser(f"A workflow needs a user; there is none for {user!r}.")
    return pk
