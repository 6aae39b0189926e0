"""Celery canvases: copying them, naming their parts, and planning the tree they will become.

A canvas is copied as a whole before it is submitted, and each task in the copy is given the id
it will run under. That id is the one thing that survives everything Celery does to a canvas:
flattening, upgrading a chain to a chord, retries, redelivery. Celery's own ``clone`` shares the
members of groups, and its ``freeze`` changes the caller's canvas and reorders nested groups.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import uuid4

from celery import current_app
from celery.canvas import (  # type: ignore[attr-defined]
    Signature,
    _basemap,
    _chain,
    _chord,
    chunks,
    group,
    maybe_signature,
)
from celery.result import AsyncResult, GroupResult
from django.utils.translation import gettext, ngettext

from .exceptions import InvalidCanvas
from .phases import NodeType
from .plan import TEXT, PlanNode

logger = logging.getLogger(__name__)

#: The option of a signature that holds what ``tracked()`` says about its node.
MARK = "user_workflow"

_MAPS = ("celery.map", "celery.starmap", "celery.chunks")


def is_user_task(task: Any) -> bool:
    """Whether a registered task tells its users what it does (``UserTaskMixin``).

    Those of django-user-tasks, whose mixin has the same methods, are none: both apps may be
    installed, and each tracks its own.
    """
    return bool(getattr(task, "is_tracked_by_user_workflows", False))


# -- copying ------------------------------------------------------------------------------------


def copy(canvas: Any, app: Any = None) -> Any:
    """A copy of a canvas that shares no signature with it; generators are run to their end.

    Raises:
        InvalidCanvas: it is neither a signature nor a signature's dictionary.
    """
    if not is_signature(canvas):
        raise InvalidCanvas(f"A canvas is made of signatures, like add.s(1, 2); this is {canvas!r}")
    app = app or getattr(canvas, "_app", None)
    kind = canvas.get("subtask_type")
    kwargs = dict(canvas.get("kwargs") or {})
    if kind in ("chain", "group"):
        kwargs["tasks"] = [copy(task, app) for task in kwargs["tasks"]]
    elif kind == "chord":
        header = kwargs["header"]
        members = header["kwargs"]["tasks"] if isinstance(header, dict) else header
        kwargs["header"] = [copy(task, app) for task in members]
        kwargs["kwargs"] = dict(kwargs.get("kwargs") or {})
        if kwargs.get("body") is None:
            raise InvalidCanvas("A chord needs a body: chord(header, body) or chord(header)(body).")
        kwargs["body"] = copy(kwargs["body"], app)
    elif canvas["task"] in _MAPS:
        kwargs["task"], kwargs["it"] = copy(kwargs["task"], app), list(kwargs["it"])
    parts = {
        "task": canvas["task"],
        "args": tuple(canvas.get("args") or ()),
        "kwargs": kwargs,
        "options": _copy_options(canvas.get("options") or {}, app),
        "subtask_type": kind,
        "immutable": bool(canvas.get("immutable")),
    }
    if isinstance(canvas, _basemap):
        # A plain signature, as Celery's own clones of it are: before Celery 5.7 the class of maps
        # sends none of its options, not even the id. It is routed like the task that it calls.
        parts["options"].setdefault("route_name", kwargs["task"]["task"])
    made: Any = Signature.from_dict(parts, app=app)
    made._type = getattr(canvas, "_type", None)
    if isinstance(made, _chain):
        made._use_link = getattr(canvas, "_use_link", None)  # type: ignore[attr-defined]
    return made


def _copy_options(options: dict[str, Any], app: Any) -> dict[str, Any]:
    copied = {k: dict(v) if type(v) is dict else v for k, v in options.items()}
    for key in ("link", "link_error"):
        if options.get(key):
            copied[key] = [copy(callback, app) for callback in _listed(options[key])]
    return copied


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def mark(canvas: Any, *, name: str = "", allow_failure: bool = False) -> Any:
    """Says on a canvas that its node will have this name, and may fail if ``allow_failure``."""
    said: dict[str, Any] = {"name": str(name)} if name else {}
    if allow_failure:
        said["allow_failure"] = True
    if said:
        canvas.options[MARK] = {**canvas.options.get(MARK, {}), **said}
    return canvas


# -- planning -----------------------------------------------------------------------------------

#: Stands for the result of an earlier task among the arguments of a later one.
_RESULT = (None,)


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


def plan(
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
        said = sig.options.pop(MARK, {})
        if isinstance(_last_step(sig), group):
            _hand_down_links(sig, _link_each)  # Else each of the group would send the same one.
        if isinstance(sig, _chain):
            node = self._chain(sig, fed, by_name, said)
        elif isinstance(sig, group):
            node = self._group(sig, sig.tasks, fed, by_name, said)
            sig.kwargs["tasks"] = [_as_member(task) for task in sig.tasks]
        elif isinstance(sig, _chord):
            node = self._chord(sig, fed, by_name, said)
        else:
            node = self._leaf(sig, fed, by_name, said)
        # A chord clones its header, and Celery's clones have dictionaries for callbacks.
        links = [maybe_signature(link, app=sig._app) for link in sig.options.get("link") or ()]
        callbacks = [self.node(link, _RESULT, {}) for link in links]
        if links:
            sig.options["link"] = [_fed(link) for link in links]
        for callback in callbacks:
            if callback is not None:
                callback.allow_failure = True
        return _container(NodeType.LINK, [node, *callbacks]) if any(callbacks) else node

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
            awaits=fed is _RESULT and not sig.immutable,
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
            name=(said.get("name") or name)[:TEXT],
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
            sig.kwargs["tasks"] = [_fed(task) for task in tasks]
        if not self.keep_ids or "task_id" not in sig.options:
            sig.options["task_id"] = str(uuid4())
        return _container(
            NodeType.GROUP, members, said, sig.options["task_id"], may_be_empty=not tasks
        )

    def _chord(
        self, sig: Any, fed: tuple[Any, ...], by_name: dict[str, Any], said: dict[str, Any]
    ) -> PlanNode | None:
        # As a group the header keeps the id that its node is given; Celery would make one of it.
        sig.kwargs["header"] = header = group(sig.kwargs["header"], app=sig._app)
        node = self._group(header, header.tasks, fed, by_name, said.get("header", {}))
        if all(_is_void(task) for task in header.tasks):
            header.kwargs["tasks"] = []
        _hand_down_links(sig.kwargs["body"], _link_each)
        body = self.node(sig.kwargs["body"], _RESULT, {})
        sig.kwargs["body"] = _fed(sig.kwargs["body"])
        return _container(NodeType.CHORD, [node, body], said)

    def _chain(
        self, sig: Any, fed: tuple[Any, ...], by_name: dict[str, Any], said: dict[str, Any]
    ) -> PlanNode | None:
        members: list[PlanNode | None] = []
        fed = fed + tuple(sig.args) if sig.args else fed
        for task in sig.tasks:
            _hand_down_links(task, _link)
            members.append(self.node(task, fed, by_name))
            fed, by_name = _RESULT, {}
        sig.kwargs["tasks"] = _as_celery_folds(sig.tasks)
        present = [member for member in members if member is not None]
        steps = _fold(present)
        if len(steps) == 1 and len(present) > 1 and steps[0].node_type is NodeType.CHORD:
            _say(steps[0], said)
            return steps[0]
        return _container(NodeType.CHAIN, steps, said, may_be_empty=not sig.tasks)


def _hand_down_links(sig: Any, link: Callable[[Any, Any], Any]) -> None:
    """Links on a chain that is a step of a chain, or a chord's body, go to what it ends with.

    Celery's ``chain()`` does that as well. A chain that is sent within another, also as the only
    member of a group, is taken apart, and Celery forgets what was linked to it as a whole.
    """
    while isinstance(sig, group) and len(sig.tasks) == 1:
        sig = sig.tasks[0]
    last = _last_step(sig)
    if last is not None:
        for callback in sig.options.pop("link", ()):
            link(last, maybe_signature(callback, app=getattr(sig, "_app", None)))


def _link(task: Any, callback: Any) -> None:
    """As Celery's ``chain()`` links: of a group only the first task, which passes nothing on."""
    task.link(callback)


def _link_each(task: Any, callback: Any) -> None:
    """As Celery links when it sends a chain: it calls back after each task of a group."""
    if isinstance(task, group):
        for member in task.tasks:
            _link_each(member, copy(callback))
    else:
        task.link(callback)


def _last_step(sig: Any) -> Any:
    """What a chain ends with; None for what is no chain, or an empty one."""
    steps = [task for task in sig.tasks if not _is_empty(task)] if isinstance(sig, _chain) else []
    return steps[-1] if steps else None


def _as_celery_folds(tasks: Any) -> list[Any]:
    """The steps of a chain as Celery's ``chain()`` has them.

    There chains and groups of one are taken apart, empty groups left out, and a group and the
    step after it are one chord. When Celery comes to do that only as a chain is sent, it forgets
    to prepare a chord in such a group, and breaks on it; and what follows a chord it sends from
    each task of the group that is its body. A chain of one it leaves as it is.
    """
    steps: list[Any] = []
    for step in reversed(_unnested(tasks) if len(tasks) > 1 else tasks):
        steps += reversed(_followed(step, steps.pop())) if steps else [step]
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
        steps += _unnested(_taken_apart(task)) if isinstance(task, _chain) else [task]
    return steps or list(tasks[:1])


def _is_empty(sig: Any) -> bool:
    return isinstance(sig, group) and not sig.tasks


def _is_void(sig: Any) -> bool:
    """Whether there is no task in it. Celery waits for the result of a chain of empty groups."""
    return isinstance(sig, group | _chain) and all(_is_void(task) for task in sig.tasks)


def _taken_apart(sig: Any) -> list[Any]:
    """The tasks of a chain that will not be sent as one: its errbacks are theirs."""
    for errback in _listed(sig.options.get("link_error") or ()):
        for task in sig.tasks:
            task.link_error(errback)
    return list(sig.tasks)


def _followed(task: Any, step: Any) -> list[Any]:
    """A task and the step after it: one chord if the task is, or ends with, a group."""
    if isinstance(task, group):
        return [_as_header(task, step)]
    if isinstance(task, _chord):
        merged = _followed(task.kwargs["body"], step)
        if len(merged) == 1:
            task.kwargs["body"] = merged[0]
            return [task]
    if isinstance(task, _chain) and task.tasks:
        *first, last = task.tasks
        merged = _followed(last, step)
        if len(merged) == 1:
            task.kwargs["tasks"] = first + merged
            return [task]
    return [task, step]


def _fed(task: Any) -> Any:
    """What can be given a result: of a chain that is one group Celery would not pass it on."""
    only = task
    while isinstance(only, _chain) and len(only.tasks) == 1:
        [only] = _taken_apart(only)
        if isinstance(only, group) and len(only.tasks) == 1:
            [only] = only.tasks  # Celery takes it apart itself, and what it then has, too.
    return only if isinstance(only, group) else task


def _as_member(task: Any) -> Any:
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


def _fold(members: list[PlanNode]) -> list[PlanNode]:
    """A group that a step follows is shown as the chord that Celery makes of the two."""
    steps: list[PlanNode] = []
    for member in reversed(members):
        if steps and member.node_type is NodeType.GROUP and len(member.children) > 1:
            chord = _container(NodeType.CHORD, [member, steps.pop()])
            member = chord or member
        steps.append(member)
    return steps[::-1]


def _container(
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
    _say(node, said or {})
    return node


def _say(node: PlanNode, said: dict[str, Any]) -> None:
    if said.get("name"):
        node.name, node.named = said["name"][:TEXT], True
    node.allow_failure = node.allow_failure or bool(said.get("allow_failure"))


def name_containers(root: PlanNode, task_names: dict[str, str]) -> None:
    """Names the containers that have no name yet.

    Each by the ``user_task_name`` of the first task in it that has one (django-user-tasks'
    way), else in plain words.

    Arguments:
        task_names: ``user_task_name`` by task id.
    """
    for node in root.walk():
        if node.is_container and not node.name:
            names = (task_names.get(leaf.task_id) for leaf in node.leaves())
            node.name = next(filter(None, names), "")[:TEXT] or in_words(node)


def in_words(node: PlanNode) -> str:
    """What a container is called that nobody has named."""
    count = sum(1 for _ in node.leaves())
    if node.node_type is NodeType.LINK:
        return node.children[0].name or in_words(node.children[0])
    if node.node_type is NodeType.CHORD and len(node.children) == 2:
        after = sum(1 for _ in node.children[1].leaves())
        words = ngettext("%(count)d task, then %(after)d", "%(count)d tasks, then %(after)d", count)
        return words % {"count": count - after, "after": after}
    if count == 0:
        return gettext("nothing to do")
    if node.node_type is NodeType.CHAIN:
        return ngettext("%d task", "%d tasks in order", count) % count
    return ngettext("%d task", "%d tasks at once", count) % count


def _describe(call: Call) -> tuple[str, int]:
    """The name and the number of steps of a call."""
    if not is_user_task(call.task):
        mapped = call.task_class in _MAPS
        return _short(call.kwargs["task"]["task"] if mapped else call.task_class), 1
    arguments = call.arguments()
    try:
        return (
            str(call.task.generate_name(arguments)) or _short(call.task_class),
            max(0, int(call.task.calculate_total_steps(arguments))),
        )
    except Exception:
        if not call.awaits:
            raise
        # What it makes its name of is the result of a task that has not run yet.
        logger.debug("No name for %s before it runs.", call.task_class, exc_info=True)
        return _short(call.task_class), 1


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]


_parameters = lru_cache(maxsize=1000)(inspect.signature)


def bound_arguments(run: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name, defaults included, as ``inspect.getcallargs`` has them.

    Sees through decorators made with ``functools.wraps``.

    Raises:
        TypeError: the function cannot be called like this.
    """
    bound = _parameters(run).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def check_allowed_failures(root: PlanNode) -> None:
    """Refuses ``allow_failure`` on containers where Celery would not go on after a failure.

    Raises:
        InvalidCanvas: something waits for the container, or it is in no group.
    """

    def check(node: PlanNode, awaited: bool, in_group: bool) -> None:
        if node.allow_failure and node.is_container and (awaited or not in_group):
            raise InvalidCanvas(
                f"{node.name!r} cannot be allowed to fail: Celery goes on only after the failure "
                "of a container that is a member of a group which nothing waits for."
            )
        last = len(node.children) - 1
        for position, child in enumerate(node.children):
            waits = awaited or (node.node_type.in_order and position < last)
            callback = node.node_type is NodeType.LINK and position > 0
            check(child, waits and not callback, callback or node.node_type is NodeType.GROUP)

    check(root, False, False)


def leaf_signatures(canvas: Any) -> Iterator[Any]:
    """The tasks of a canvas and those linked to them, as signatures or their dictionaries.

    In no particular order.
    """
    stack = [canvas]
    while stack:
        sig = stack.pop()
        if isinstance(sig, list | tuple):
            stack.extend(sig)
            continue
        kind = sig.get("subtask_type")
        if kind in ("chain", "group"):
            stack.extend(sig["kwargs"]["tasks"])
        elif kind == "chord":
            stack.extend((sig["kwargs"]["header"], sig["kwargs"]["body"] or ()))
        else:
            yield sig
        stack.extend(_listed((sig.get("options") or {}).get("link") or ()))


def ungrouped(canvas: Any) -> Any:
    """What Celery really submits for chunks at the top: a group of them."""
    if not is_signature(canvas) or canvas["task"] != "celery.chunks":
        return canvas
    parts = canvas["kwargs"]
    made = chunks(copy(parts["task"]), parts["it"], parts["n"], app=getattr(canvas, "_app", None))
    return made.group()


def result_of(root: PlanNode, app: Any) -> Any:
    """A result object with the ids that a canvas will run under, before it is published."""
    if root.node_type is NodeType.GROUP:
        return GroupResult(root.task_id, [result_of(c, app) for c in root.children], app=app)
    if not root.is_container:
        return AsyncResult(root.task_id, app=app)
    parts = root.children[:1] if root.node_type is NodeType.LINK else root.children
    result = None
    for part in parts:
        before, result = result, result_of(part, app)
        first = result
        while getattr(first, "parent", None) is not None:
            first = first.parent
        if first is not None:
            first.parent = before
    return result


def is_signature(value: Any) -> bool:
    """Whether something is a signature, or the dictionary of one."""
    return isinstance(value, dict) and "task" in value
