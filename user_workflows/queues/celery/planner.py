"""The tree that a Celery canvas will become."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from celery import current_app
from celery.canvas import (  # type: ignore[attr-defined]
    _chain,
    _chord,
    group,
    maybe_signature,
)

from ...exceptions import InvalidCanvas
from ...fields import MAX_TEXT_LENGTH
from ...phases import NodeType
from ...planning.plan import PlanNode
from .copying import ANNOTATIONS, MAPS
from .folding import (
    as_member,
    fold_chain,
    hand_down_links,
    is_void,
    last_step,
    link,
    link_each,
    with_input,
)

logger = logging.getLogger(__name__)


def is_user_task(task: Any) -> bool:
    """Whether a registered task tells its users what it does (``UserTaskMixin``).

    Those of django-user-tasks, whose mixin has the same methods, are none: both apps may be
    installed, and each tracks its own.
    """
    return bool(getattr(task, "is_tracked_by_user_workflows", False))


#: Stands for the result of an earlier task among the arguments of a later one.
EARLIER_RESULT = (None,)


@dataclass(slots=True)
class Call:
    """One planned call of a task: what its name and steps are made of."""

    task: Any
    task_class: str
    task_id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    awaits: bool
    """Whether an earlier task's result will be the first argument; here it is None."""

    def arguments(self) -> dict[str, Any]:
        """The arguments by name, as the task sees them.

        Raises:
            TypeError: the task cannot be called like this.
        """
        as_dict: Callable[..., dict[str, Any]] = self.task.arguments_as_dict
        try:
            return as_dict(*self.args, **self.kwargs)
        except TypeError:
            if not self.awaits:
                raise
        return as_dict(*self.args[1:], **self.kwargs)


def plan_canvas(
    canvas: Any,
    *,
    keep: Callable[[Call], bool] = lambda call: True,
    keep_ids: bool = False,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> tuple[PlanNode | None, list[Call]]:
    """The tree that a canvas will become. The canvas must be a copy: its tasks get their ids.

    Arguments:
        keep: which calls become nodes; the others run untracked.
        keep_ids: keep the ids that the canvas has, where it has any.
        args: partial arguments that the first tasks will get.
        kwargs: the same by name.

    Returns:
        The root, None if no call is kept, and all calls that are kept, in order.
    """
    planner = _Planner(keep, keep_ids)
    root = planner.node(canvas, tuple(args), kwargs or {})
    return root, planner.calls


class _Planner:
    def __init__(self, keep: Callable[[Call], bool], keep_ids: bool) -> None:
        self.keep = keep
        self.keep_ids = keep_ids
        self.calls: list[Call] = []

    def node(self, sig: Any, fed: tuple[Any, ...], by_name: dict[str, Any]) -> PlanNode | None:
        said = sig.options.pop(ANNOTATIONS, {})
        if isinstance(last_step(sig), group):
            hand_down_links(sig, link_each)  # Else each of the group would send the same one.
        if isinstance(sig, _chain):
            node = self._chain(sig, fed, by_name, said)
        elif isinstance(sig, group):
            node = self._group(sig, sig.tasks, fed, by_name, said)
            sig.kwargs["tasks"] = [as_member(task) for task in sig.tasks]
        elif isinstance(sig, _chord):
            node = self._chord(sig, fed, by_name, said)
        else:
            node = self._leaf(sig, fed, by_name, said)
        # A chord clones its header, and Celery's clones have dictionaries for callbacks.
        links = [maybe_signature(link, app=sig._app) for link in sig.options.get("link") or ()]
        callbacks = [self.node(link, EARLIER_RESULT, {}) for link in links]
        if links:
            sig.options["link"] = [with_input(link) for link in links]
        for callback in callbacks:
            if callback is not None:
                callback.allow_failure = True
        return _container_node(NodeType.LINK, [node, *callbacks]) if any(callbacks) else node

    def _leaf(
        self, sig: Any, fed: tuple[Any, ...], by_name: dict[str, Any], said: dict[str, Any]
    ) -> PlanNode | None:
        if not self.keep_ids or "task_id" not in sig.options:
            sig.options["task_id"] = str(uuid4())
        app = sig.app or current_app
        call = Call(
            task=app.tasks.get(sig.task),
            task_class=sig.task,
            task_id=sig.options["task_id"],
            args=tuple(sig.args) if sig.immutable else fed + tuple(sig.args),
            kwargs=dict(sig.kwargs) if sig.immutable else {**sig.kwargs, **by_name},
            awaits=fed is EARLIER_RESULT and not sig.immutable,
        )
        if not self.keep(call):
            return None
        self.calls.append(call)
        name, steps = _describe(call)
        allowed = bool(said.get("allow_failure") or getattr(call.task, "allow_failure", False))
        if allowed and not is_user_task(call.task):
            raise InvalidCanvas(f"{sig.task} cannot be allowed to fail: it is no user task.")
        return PlanNode(
            NodeType.TASK,
            sig.options["task_id"],
            name=(said.get("name") or name)[:MAX_TEXT_LENGTH],
            named=bool(said.get("name")),
            task_class=sig.task,
            total_steps=steps,
            allow_failure=allowed,
        )

    def _group(
        self,
        sig: Any,
        tasks: list[Any],
        fed: tuple[Any, ...],
        by_name: dict[str, Any],
        said: dict[str, Any],
    ) -> PlanNode | None:
        members = [self.node(task, fed, by_name) for task in tasks]
        if fed or by_name:
            sig.kwargs["tasks"] = [with_input(task) for task in tasks]
        if not self.keep_ids or "task_id" not in sig.options:
            sig.options["task_id"] = str(uuid4())
        return _container_node(
            NodeType.GROUP, members, said, sig.options["task_id"], may_be_empty=not tasks
        )

    def _chord(
        self, sig: Any, fed: tuple[Any, ...], by_name: dict[str, Any], said: dict[str, Any]
    ) -> PlanNode | None:
        # As a group the header keeps the id that its node is given; Celery would make one of it.
        sig.kwargs["header"] = header = group(sig.kwargs["header"], app=sig._app)
        node = self._group(header, header.tasks, fed, by_name, said.get("header", {}))
        if all(is_void(task) for task in header.tasks):
            header.kwargs["tasks"] = []
        hand_down_links(sig.kwargs["body"], link_each)
        body = self.node(sig.kwargs["body"], EARLIER_RESULT, {})
        sig.kwargs["body"] = with_input(sig.kwargs["body"])
        return _container_node(NodeType.CHORD, [node, body], said)

    def _chain(
        self, sig: Any, fed: tuple[Any, ...], by_name: dict[str, Any], said: dict[str, Any]
    ) -> PlanNode | None:
        members: list[PlanNode | None] = []
        fed = fed + tuple(sig.args) if sig.args else fed
        for task in sig.tasks:
            hand_down_links(task, link)
            members.append(self.node(task, fed, by_name))
            fed, by_name = EARLIER_RESULT, {}
        sig.kwargs["tasks"] = fold_chain(sig.tasks)
        present = [member for member in members if member is not None]
        steps = _fold_nodes(present)
        if len(steps) == 1 and len(present) > 1 and steps[0].node_type is NodeType.CHORD:
            _apply_annotations(steps[0], said)
            return steps[0]
        return _container_node(NodeType.CHAIN, steps, said, may_be_empty=not sig.tasks)


def _fold_nodes(members: list[PlanNode]) -> list[PlanNode]:
    """A group that a step follows is shown as the chord that Celery makes of the two."""
    steps: list[PlanNode] = []
    for member in reversed(members):
        if steps and member.node_type is NodeType.GROUP and len(member.children) > 1:
            chord = _container_node(NodeType.CHORD, [member, steps.pop()])
            member = chord or member
        steps.append(member)
    return steps[::-1]


def _container_node(
    node_type: NodeType,
    members: list[PlanNode | None] | list[PlanNode],
    said: dict[str, Any] | None = None,
    task_id: str = "",
    *,
    may_be_empty: bool = False,
) -> PlanNode | None:
    children = [member for member in members if member is not None]
    if not children and not may_be_empty:
        return None
    node = PlanNode(
        node_type,
        task_id or str(uuid4()),
        task_class=f"celery.{node_type.value}",
        children=children,
        total_steps=sum(child.total_steps for child in children),
    )
    _apply_annotations(node, said or {})
    return node


def _apply_annotations(node: PlanNode, said: dict[str, Any]) -> None:
    if said.get("name"):
        node.name, node.named = said["name"][:MAX_TEXT_LENGTH], True
    node.allow_failure = node.allow_failure or bool(said.get("allow_failure"))


def _describe(call: Call) -> tuple[str, int]:
    """The name and the number of steps of a call."""
    if not is_user_task(call.task):
        mapped = call.task_class in MAPS
        return _short_name(call.kwargs["task"]["task"] if mapped else call.task_class), 1
    arguments = call.arguments()
    try:
        return (
            str(call.task.generate_name(arguments)) or _short_name(call.task_class),
            max(0, int(call.task.calculate_total_steps(arguments))),
        )
    except Exception:
        if not call.awaits:
            raise
        # What it makes its name of is the result of a task that has not run yet.
        logger.debug("No name for %s before it runs.", call.task_class, exc_info=True)
        return _short_name(call.task_class), 1


def _short_name(name: str) -> str:
    return name.rsplit(".", 1)[-1]
