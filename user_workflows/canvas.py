"""Building workflows: Celery's canvas with names, and ``workflow()`` around it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, partial
from typing import Any, cast

from celery import canvas as celery_canvas
from celery import current_app

from . import graph as graphs
from .exceptions import InvalidCanvas
from .fields import MAX_TEXT_LENGTH
from .models import UserTaskStatus
from .planning.plan import PlanNode
from .queues.celery import copying, submission
from .queues.celery.compat import Canvas, Chain
from .queues.celery.planner import name_plan, plan_canvas
from .queues.celery.users import user_id_of

__all__ = ["Workflow", "chain", "chord", "group", "tracked", "workflow"]


def tracked(signature: object, *, name: str = "", allow_failure: bool = False) -> Canvas:
    """Return a copy of a signature, of a task or a whole canvas, that says more about its node.

    The user reads the ``name``, which is kept when the task calls ``set_name``. With
    ``allow_failure`` the workflow goes on when this fails, and ends "Succeeded with failures": for
    user tasks, whose successors then get None, and containers in a group that nothing waits for.

    Raises:
        InvalidCanvas: it is no signature.
    """
    return copying.annotate(copying.copy_canvas(signature), name=name, allow_failure=allow_failure)


def _members(tasks: tuple[object, ...]) -> list[Any]:
    if len(tasks) == 1 and not copying.is_signature(tasks[0]):
        tasks = tuple(cast("Iterable[object]", tasks[0]))
    # Not the dictionary of one: Celery's ``|`` takes only signatures.
    return [celery_canvas.maybe_signature(cast(Canvas, task)) for task in tasks]


def chain(*tasks: object, name: str = "", allow_failure: bool = False) -> Canvas:
    """Return Celery's chain, tasks in order, with a name. Takes tasks, or one iterable of them.

    Unlike Celery's it keeps nested chains as they are written, and a chain of one task.
    """
    made = Chain(_members(tasks))  # type: ignore[arg-type]
    return copying.annotate(made, name=name, allow_failure=allow_failure)


def group(*tasks: object, name: str = "", allow_failure: bool = False) -> Canvas:
    """Return Celery's group, tasks at once, with a name. Takes tasks, or one iterable of them."""
    made = celery_canvas.group(_members(tasks))
    return copying.annotate(made, name=name, allow_failure=allow_failure)


def chord(header: Any, body: Any = None, *, name: str = "", allow_failure: bool = False) -> Any:
    """Return Celery's chord, tasks at once and one with all their results, with a name.

    ``chord(header, body)``, or ``chord(header)(body)``. The header is a group or an iterable of
    tasks, the body any signature.
    """
    if body is None:
        return lambda late: chord(header, late, name=name, allow_failure=allow_failure)
    options = header.get("options", {}) if isinstance(header, dict) else {}
    made = celery_canvas.chord(header, body)
    copying.annotate(made, name=name, allow_failure=allow_failure)
    if of_header := options.get(copying.ANNOTATIONS):
        made.options.setdefault(copying.ANNOTATIONS, {})["header"] = of_header
    return made


def workflow(
    canvas: object, *, user: object, name: str = "", action: str = "", subject: str = ""
) -> Workflow:
    """Return a canvas that will be seen as one tree when it is submitted.

    Args:
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
        self, canvas: object, *, user: object, name: str = "", action: str = "", subject: str = ""
    ) -> None:
        self.user_id = user_id_of(user)
        self.name = str(name)
        self.action = _checked("action", action)
        self.subject = _checked("subject", subject)
        self._canvas = copying.copy_canvas(copying.expand_chunks(canvas))
        #: A canvas and its plan that no submission has taken yet; planning finds what is wrong.
        self._next: tuple[Canvas, PlanNode] | None = self._prepare()

    @cached_property
    def plan(self) -> PlanNode:
        """The tree as it will be, with example ids."""
        return self._prepare()[1]

    def graph(self) -> graphs.Graph:
        """Return the dependency graph of the planned leaves, as ``PlanNode``s."""
        return graphs.dependencies(self.plan)

    def delay(self) -> UserTaskStatus:
        """Submit the workflow: see ``apply_async``."""
        return self.apply_async()

    def apply_async(self, **options: Any) -> UserTaskStatus:
        """Store the whole tree, then publish the canvas. Return the root of the tree.

        Inside a transaction the canvas is published when it commits, and not at all when it is
        rolled back.

        The options are those of Celery's ``apply_async``. A ``task_id`` is given to the last task.

        Raises:
            Exception: what publishing raised; the tree then says what was not sent.

        Queries: 2 on PostgreSQL; else 2 for the root and one for each level below it.
        """
        task_id = options.pop("task_id", None)
        prepared, self._next = self._next, None
        canvas, plan = self._prepare(task_id) if task_id or not prepared else prepared
        root = submission.store_plan(
            plan, user_id=self.user_id, action=self.action, subject=self.subject
        )
        send, app = partial(canvas.apply_async, **options), canvas.app or current_app
        submission.publish_plan(root, plan, send, app, whole=True)
        return root

    def _prepare(self, task_id: str | None = None) -> tuple[Canvas, PlanNode]:
        canvas = copying.copy_canvas(self._canvas)
        if task_id is not None:
            _last_task(canvas).options["task_id"] = task_id
        plan, calls = plan_canvas(canvas, keep_ids=True)
        if plan is None:
            raise InvalidCanvas("The canvas has nothing in it.")
        if self.name:
            plan.name, plan.named = self.name[:MAX_TEXT_LENGTH], True
        name_plan(plan, calls)
        return canvas, plan


def _checked(field: str, value: str) -> str:
    longest = getattr(UserTaskStatus, field).field.max_length
    if len(str(value)) > longest:
        raise ValueError(f"The {field} of a workflow is at most {longest} characters long.")
    return str(value)


def _last_task(canvas: Canvas) -> Canvas:
    """Return what ``apply_async(task_id=...)`` names: a task, a group, or the end of a chain."""
    while isinstance(canvas, Chain | celery_canvas.chord):
        canvas = canvas.tasks[-1] if isinstance(canvas, Chain) else canvas.body
    return canvas
