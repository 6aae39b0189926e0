"""The tree that a Celery canvas will become."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, cast
from uuid import uuid4

from celery import current_app
from celery.canvas import chord, group, maybe_signature

from ...exceptions import InvalidCanvas
from ...fields import MAX_TEXT_LENGTH
from ...phases import NodeType
from ...planning.naming import name_containers
from ...planning.plan import PlanNode
from ...planning.validation import check_allowed_failures
from . import folding
from .compat import AnyTask, Canvas, Chain, bound_app, replace_parts
from .copying import ANNOTATIONS, MAPS, Annotations
from .recording import guarded

if TYPE_CHECKING:
    from ...tasks import UserTask

Args: TypeAlias = tuple[object, ...]
Kwargs: TypeAlias = Mapping[str, object]


def is_user_task(task: object) -> TypeGuard[UserTask]:
    """Return whether a registered task is one of ours (``UserTaskMixin``).

    Those of django-user-tasks, whose mixin has the same methods, are not: both apps may be
    installed, and each tracks its own.
    """
    return bool(getattr(task, "is_tracked_by_user_workflows", False))


#: Stands for the result of an earlier task among the arguments of a later one.
EARLIER_RESULT = (None,)


@dataclass(slots=True)
class Call:
    """A planned call of a task, from which its name and steps are made."""

    task: AnyTask | None
    """The registered task; None for one that only the workers know."""
    task_class: str
    task_id: str
    args: Args
    kwargs: Kwargs
    awaits: bool = False
    """True if an earlier task's result will be the first argument; here it is None."""

    def arguments(self) -> dict[str, object]:
        """Return the arguments by name, as the user task sees them.

        Raises:
            TypeError: the task cannot be called like this.
        """
        as_dict = cast("UserTask", self.task).arguments_as_dict
        try:
            return as_dict(*self.args, **self.kwargs)
        except TypeError:
            if not self.awaits:
                raise
        return as_dict(*self.args[1:], **self.kwargs)


def plan_canvas(
    canvas: Canvas,
    *,
    keep: Callable[[Call], bool] = lambda call: True,
    keep_ids: bool = False,
    args: Args = (),
    kwargs: Kwargs | None = None,
) -> tuple[PlanNode | None, list[Call]]:
    """Plan the tree that a canvas will become, and fold the canvas as Celery would.

    The canvas is a copy; its tasks get their ids, or keep those they have. Calls that are not kept
    run untracked. ``args`` and ``kwargs`` are partial arguments of the first tasks. Return the
    root, None if no call is kept, and all calls that are kept, in order.
    """
    planner = _Planner(keep, keep_ids)
    return planner.node(canvas, tuple(args), kwargs or {}), planner.calls


def name_plan(plan: PlanNode, calls: list[Call]) -> None:
    """Name the containers of a plan, by ``user_task_name`` arguments too, and validate it.

    Raises:
        InvalidCanvas: a node is allowed to fail where Celery would not go on.
    """
    names = {call.task_id: str(call.kwargs.get("user_task_name") or "") for call in calls}
    name_containers(plan, names)
    check_allowed_failures(plan)


class _Planner:
    def __init__(self, keep: Callable[[Call], bool], keep_ids: bool) -> None:
        self.keep = keep
        self.keep_ids = keep_ids
        self.calls: list[Call] = []

    def node(self, sig: Canvas, args: Args, kwargs: Kwargs) -> PlanNode | None:
        """Plan a canvas that is called with these partial arguments."""
        annotations: Annotations = sig.options.pop(ANNOTATIONS, {})
        if isinstance(folding.last_step(sig), group):
            # Else each task of the group would send the same callback.
            folding.hand_down_links(sig, each=True)
        if isinstance(sig, Chain):
            node = self._chain(sig, args, kwargs)
        elif isinstance(sig, group):
            node = self._group(sig, args, kwargs)
            replace_parts(sig, tasks=[folding.as_member(task) for task in sig.tasks])
        elif isinstance(sig, chord):
            node = self._chord(sig, args, kwargs, annotations.get("header", {}))
        else:
            node = self._leaf(sig, args, kwargs)
        if node is not None:
            _apply_annotations(node, annotations)
            may_fail = node.is_container or is_user_task(self.calls[-1].task)
            if node.allow_failure and not may_fail:
                raise InvalidCanvas(f"{sig['task']} cannot be allowed to fail: it is no user task.")
        # ``_chord.run`` clones its header, and Celery's clones have dictionaries for callbacks.
        given, app = sig.options.get("link") or (), bound_app(sig)
        links = [cast(Canvas, maybe_signature(link, app=app)) for link in given]
        callbacks = [self.node(link, EARLIER_RESULT, {}) for link in links]
        if links:
            sig.options["link"] = [folding.with_input(link) for link in links]
        for callback in callbacks:
            if callback is not None:
                callback.allow_failure = True
        return _container_node(NodeType.LINK, [node, *callbacks]) if any(callbacks) else node

    def _task_id(self, sig: Canvas) -> str:
        if not self.keep_ids or "task_id" not in sig.options:
            sig.options["task_id"] = str(uuid4())
        return cast(str, sig.options["task_id"])

    def _leaf(self, sig: Canvas, args: Args, kwargs: Kwargs) -> PlanNode | None:
        task_class: str = sig["task"]
        call = Call(
            task=(sig.app or current_app).tasks.get(task_class),
            task_class=task_class,
            task_id=self._task_id(sig),
            args=tuple(sig.args) if sig.immutable else args + tuple(sig.args),
            kwargs=dict(sig.kwargs) if sig.immutable else {**sig.kwargs, **kwargs},
            awaits=args is EARLIER_RESULT and not sig.immutable,
        )
        if not self.keep(call):
            return None
        self.calls.append(call)
        name, steps = _describe(call)
        return PlanNode(
            NodeType.TASK, call.task_id, name[:MAX_TEXT_LENGTH], task_class=task_class,
            total_steps=steps, allow_failure=bool(getattr(call.task, "allow_failure", False)),
        )  # fmt: skip

    def _group(self, sig: group, args: Args, kwargs: Kwargs) -> PlanNode | None:
        tasks: list[Canvas] = sig.tasks
        members = [self.node(task, args, kwargs) for task in tasks]
        if args or kwargs:
            replace_parts(sig, tasks=[folding.with_input(task) for task in tasks])
        return _container_node(NodeType.GROUP, members, self._task_id(sig), allow_empty=not tasks)

    def _chord(
        self, sig: chord, args: Args, kwargs: Kwargs, header_annotations: Annotations
    ) -> PlanNode | None:
        # As a group the header keeps the id that its node is given; Celery would make one of it.
        header = group(sig.kwargs["header"], app=bound_app(sig))
        replace_parts(sig, header=header)
        node = self._group(header, args, kwargs)
        if node is not None:
            _apply_annotations(node, header_annotations)
        if all(folding.is_void(task) for task in header.tasks):
            replace_parts(header, tasks=[])
        folding.hand_down_links(sig.body, each=True)
        body = self.node(sig.body, EARLIER_RESULT, {})
        replace_parts(sig, body=folding.with_input(sig.body))
        return _container_node(NodeType.CHORD, [node, body])

    def _chain(self, sig: Chain, args: Args, kwargs: Kwargs) -> PlanNode | None:
        members: list[PlanNode | None] = []
        args = args + tuple(sig.args) if sig.args else args
        for task in sig.tasks:
            folding.hand_down_links(task, each=False)
            members.append(self.node(task, args, kwargs))
            args, kwargs = EARLIER_RESULT, {}
        replace_parts(sig, tasks=folding.fold_chain(sig.tasks))
        present = [member for member in members if member is not None]
        steps = _fold_nodes(present)
        if len(steps) == 1 and len(present) > 1 and steps[0].node_type is NodeType.CHORD:
            return steps[0]
        return _container_node(NodeType.CHAIN, steps, allow_empty=not sig.tasks)


def _fold_nodes(members: list[PlanNode]) -> list[PlanNode]:
    """Join each group and the step after it in one chord, as Celery does."""
    steps: list[PlanNode] = []
    for member in reversed(members):
        if steps and member.node_type is NodeType.GROUP and len(member.children) > 1:
            member = _container_node(NodeType.CHORD, [member, steps.pop()]) or member
        steps.append(member)
    return steps[::-1]


def _container_node(
    kind: NodeType, members: Sequence[PlanNode | None], task_id: str = "", allow_empty: bool = False
) -> PlanNode | None:
    children = [member for member in members if member is not None]
    if not children and not allow_empty:
        return None
    return PlanNode(
        kind, task_id or str(uuid4()), task_class=f"celery.{kind.value}",
        total_steps=sum(child.total_steps for child in children), children=children,
    )  # fmt: skip


def _apply_annotations(node: PlanNode, annotations: Annotations) -> None:
    if annotations.get("name"):
        node.name, node.named = annotations["name"][:MAX_TEXT_LENGTH], True
    node.allow_failure = node.allow_failure or bool(annotations.get("allow_failure"))


def _describe(call: Call) -> tuple[str, int]:
    """Return the name and the number of steps of a call."""
    mapped = call.kwargs["task"] if call.task_class in MAPS else None
    full: str = mapped["task"] if isinstance(mapped, dict) else call.task_class
    short = full.rsplit(".", 1)[-1]
    if not is_user_task(call.task):
        return short, 1
    arguments = call.arguments()
    # The name may be made of the result of a task that has not run yet.
    remedy, strict = "It has no name before it runs.", not call.awaits
    with guarded("describe", remedy, level=logging.DEBUG, strict=strict, task=call.task_class):
        name = str(call.task.generate_name(arguments)) or short
        return name, max(0, int(call.task.calculate_total_steps(arguments)))
    return short, 1
