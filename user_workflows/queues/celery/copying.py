"""Copies of Celery canvases, in which each task is given the id it will run under.

``Signature.clone`` of Celery 5.7 shares the members of groups; ``freeze`` changes the caller's
canvas and reorders nested groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypedDict, TypeGuard

from celery import Celery
from celery.canvas import Signature, chunks

from ...exceptions import InvalidCanvas
from .compat import BaseMap, Canvas, CanvasDict, bound_app, copy_bindings, parts

#: The option of a signature that holds the ``Annotations`` of its node.
ANNOTATIONS = "user_workflow"

#: Celery's own tasks that call a task of the site for each item.
MAPS = ("celery.map", "celery.starmap", "celery.chunks")


class Annotations(TypedDict, total=False):
    """The annotations of a node: by ``tracked()``, ``name=`` and ``allow_failure=``."""

    name: str
    allow_failure: bool
    header: Annotations
    """Of a chord: what is said about its header, whose options Celery drops."""


def copy_canvas(canvas: object, app: Celery | None = None) -> Canvas:
    """Return a copy that shares no signature with the canvas; generators are exhausted.

    Raises:
        InvalidCanvas: it is neither a signature nor a signature's dictionary.
    """
    if not is_signature(canvas):
        raise InvalidCanvas(f"A canvas is made of signatures, like add.s(1, 2); this is {canvas!r}")
    app = app or bound_app(canvas)
    kind = canvas.get("subtask_type")
    kwargs = dict(canvas.get("kwargs") or {})
    if kind in ("chain", "group"):
        kwargs["tasks"] = [copy_canvas(task, app) for task in kwargs["tasks"]]
    elif kind == "chord":
        header = kwargs["header"]
        members = header["kwargs"]["tasks"] if isinstance(header, dict) else header
        kwargs["header"] = [copy_canvas(task, app) for task in members]
        kwargs["kwargs"] = dict(kwargs.get("kwargs") or {})
        if kwargs.get("body") is None:
            raise InvalidCanvas("A chord needs a body: chord(header, body) or chord(header)(body).")
        kwargs["body"] = copy_canvas(kwargs["body"], app)
    elif canvas["task"] in MAPS:
        kwargs["task"], kwargs["it"] = copy_canvas(kwargs["task"], app), list(kwargs["it"])
    given = (canvas.get("options") or {}).items()
    options = {key: dict(value) if type(value) is dict else value for key, value in given}
    for key in ("link", "link_error"):
        if options.get(key):
            options[key] = [copy_canvas(callback, app) for callback in as_list(options[key])]
    if isinstance(canvas, BaseMap):
        # A plain signature, as Celery's own clones of it are: before Celery 5.7 ``_basemap`` sends
        # none of its options, not even the id. It is routed like the task that it calls.
        options.setdefault("route_name", kwargs["task"]["task"])
    fields = {"task": canvas["task"], "args": tuple(canvas.get("args") or ()), "kwargs": kwargs}
    fields.update(options=options, subtask_type=kind, immutable=bool(canvas.get("immutable")))
    copied: Canvas = Signature.from_dict(fields, app=app)
    copy_bindings(canvas, copied)
    return copied


def as_list(value: object) -> list[object]:
    """Return the value as a list; one that is none as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def annotate(canvas: Canvas, *, name: str = "", allow_failure: bool = False) -> Canvas:
    """Add annotations to a canvas, in place, and return it."""
    annotations = Annotations(name=str(name)) if name else Annotations()
    if allow_failure:
        annotations["allow_failure"] = True
    if annotations:
        canvas.options[ANNOTATIONS] = {**canvas.options.get(ANNOTATIONS, {}), **annotations}
    return canvas


def leaf_signatures(canvas: CanvasDict | Iterable[CanvasDict]) -> Iterator[CanvasDict]:
    """Yield the tasks of a canvas or of several, and those linked to them, in no fixed order."""
    stack = [canvas]
    while stack:
        sig = stack.pop()
        if isinstance(sig, dict):
            members = parts(sig)
            if not members:
                yield sig
            stack.extend([*members, (sig.get("options") or {}).get("link") or ()])
        else:
            stack.extend(sig)


def expand_chunks(canvas: object) -> object:
    """Return the group that Celery submits for chunks at the top; any other canvas as it is."""
    if not is_signature(canvas) or canvas["task"] != "celery.chunks":
        return canvas
    call = canvas["kwargs"]
    task: Any = copy_canvas(call["task"])  # Unlike the stubs ``chunks`` takes signatures too.
    return chunks(task, call["it"], call["n"], app=bound_app(canvas)).group()


def is_signature(value: object) -> TypeGuard[CanvasDict]:
    """Return whether a value is a signature, or the dictionary of one."""
    return isinstance(value, dict) and "task" in value
