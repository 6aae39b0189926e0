"""Copying Celery canvases.

A canvas is copied as a whole before it is submitted, and each task in the copy is given the id
it will run under. That id is the one thing that survives everything Celery does to a canvas:
flattening, upgrading a chain to a chord, retries, redelivery. Celery's own ``clone`` shares the
members of groups, and its ``freeze`` changes the caller's canvas and reorders nested groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery.canvas import (
    Signature,
    _basemap,
    _chain,
    chunks,
)

from ...exceptions import InvalidCanvas

#: The option of a signature that holds what ``tracked()`` says about its node.
ANNOTATIONS = "user_workflow"


MAPS = ("celery.map", "celery.starmap", "celery.chunks")


def copy_canvas(canvas: Any, app: Any = None) -> Any:
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
            copied[key] = [copy_canvas(callback, app) for callback in as_list(options[key])]
    return copied


def as_list(value: Any) -> list[Any]:
    """Return the value as a list; one that is none as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def annotate(canvas: Any, *, name: str = "", allow_failure: bool = False) -> Any:
    """Says on a canvas that its node will have this name, and may fail if ``allow_failure``."""
    said: dict[str, Any] = {"name": str(name)} if name else {}
    if allow_failure:
        said["allow_failure"] = True
    if said:
        canvas.options[ANNOTATIONS] = {**canvas.options.get(ANNOTATIONS, {}), **said}
    return canvas


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
        stack.extend(as_list((sig.get("options") or {}).get("link") or ()))


def expand_chunks(canvas: Any) -> Any:
    """What Celery really submits for chunks at the top: a group of them."""
    if not is_signature(canvas) or canvas["task"] != "celery.chunks":
        return canvas
    parts = canvas["kwargs"]
    made = chunks(
        copy_canvas(parts["task"]), parts["it"], parts["n"], app=getattr(canvas, "_app", None)
    )
    return made.group()


def is_signature(value: Any) -> bool:
    """Whether something is a signature, or the dictionary of one."""
    return isinstance(value, dict) and "task" in value
