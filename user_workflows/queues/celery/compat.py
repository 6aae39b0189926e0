"""Names of Celery that its documentation does not promise; no other module uses any.

Each says what it relies on. Checked on Celery 5.5.3, 5.6.3 and 5.7.0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import WRAPPER_ASSIGNMENTS
from typing import Any, TypeAlias, cast

from celery import Celery, Task
from celery.canvas import Signature, _basemap, _chain
from celery.states import REVOKED

Canvas: TypeAlias = "Signature[object]"
#: A signature, or its JSON dictionary: a ``Signature`` is a dictionary.
CanvasDict: TypeAlias = dict[str, Any]
AnyTask: TypeAlias = "Task[..., object]"
Method: TypeAlias = Callable[..., object]
#: Publishes a canvas.
Send: TypeAlias = Callable[[], object]

#: The class of all chains: what ``celery.chain.__new__`` returns is no instance of ``chain``.
Chain = _chain
#: The class of ``xmap`` and ``xstarmap`` that defines their ``apply_async``.
BaseMap = _basemap

#: What ``wraps`` copies to a wrapper of a method of ``Task``. Celery calls ``before_start`` only
#: if its ``__module__`` is not ``celery.app.task`` (``celery.utils.objects.mro_lookup``).
WRAPPED_NAMES = tuple(name for name in WRAPPER_ASSIGNMENTS if name != "__module__")

_PARTS = {"chain": ("tasks",), "group": ("tasks",), "chord": ("header", "body")}


def parts(canvas: CanvasDict) -> list[Any]:
    """Return the signatures of a canvas, and the lists and generators of them; a task has none.

    Relies on the keys of ``kwargs`` in the JSON of ``_chain``, ``group`` and ``_chord``.
    """
    keys = _PARTS.get(canvas.get("subtask_type") or "", ())
    return [part for key in keys if (part := canvas["kwargs"][key]) is not None]


def replace_parts(canvas: Canvas, **replaced: object) -> None:
    """Set ``tasks`` of a chain or group, ``header`` and ``body`` of a chord, as they are given.

    Relies on the keys of ``kwargs``. ``_chord.__init__`` keeps only the tasks of a group as header.
    """
    canvas.kwargs.update(replaced)


def bound_app(canvas: CanvasDict) -> Celery | None:
    """Return the app that a signature is bound to; None for "whatever is current", and for JSON.

    Relies on ``Signature._app``; the public ``Signature.app`` hides the difference.
    """
    return cast("Celery | None", getattr(canvas, "_app", None))


def copy_bindings(source: CanvasDict, target: Canvas) -> None:
    """Give a copied signature what its JSON lacks: the task, and how its chain is sent.

    Relies on ``Signature._type`` and ``_chain._use_link``, as ``Signature.clone`` does.
    """
    vars(target)["_type"] = getattr(source, "_type", None)
    if isinstance(target, Chain):
        vars(target)["_use_link"] = getattr(source, "_use_link", None)


def mark_revoked(task: AnyTask, error: Exception) -> None:
    """End a task whose body must not run so that chains and chords around it end too.

    Of all ways to refuse a task this is the one that leaves nothing pending: the rest of its
    chain becomes REVOKED and the body of its chord FAILURE, without calling its own errbacks.
    Relies on ``Backend.mark_as_failure``, of which ``mark_as_revoked`` does only a part.
    """
    task.backend.mark_as_failure(
        task.request.id or "", error, request=task.request, state=REVOKED, call_errbacks=False
    )
