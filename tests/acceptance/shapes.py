"""Canvases of all shapes, each as a function of what it is to be built with."""

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from celery import canvas as celerys

from tests.acceptance import tasks
from user_workflows import canvas as ours


class Parts:
    """What a shape is built with: tasks with a tag, and somebody's chain, group and chord."""

    def __init__(self, tag: str, canvas: Any, *, user_tasks: bool, user_id: Any = None) -> None:
        self.tag = tag
        self.canvas = canvas
        self._tasks = (tasks.add, tasks.work) if user_tasks else (tasks.add, tasks.add)
        self._named = {"tag": tag, **({"user_id": user_id} if user_id is not None else {})}

    def p(self, *values: Any) -> Any:
        """A plain task."""
        return self._tasks[0].s(*values, **self._named)

    def u(self, *values: Any) -> Any:
        """A user task."""
        return self._tasks[1].s(*values, **self._named)

    def ui(self, *values: Any) -> Any:
        """A user task that wants no result of an earlier one."""
        return self._tasks[1].si(*values, **self._named)

    def many(self, count: int) -> list[Any]:
        return [self.u(number) for number in range(count)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.canvas, name)


def _late_chord(header: Any, body: Any) -> Any:
    return ours.chord(header)(body)


#: Celery's own, and ours.
CELERYS = SimpleNamespace(
    chain=celerys.chain, group=celerys.group, chord=celerys.chord, late_chord=celerys.chord
)
OURS = SimpleNamespace(chain=ours.chain, group=ours.group, chord=ours.chord, late_chord=_late_chord)

Shape = Callable[[Parts], Any]
SHAPES: dict[str, Shape] = {}


def shape(build: Shape) -> Shape:
    SHAPES[build.__name__] = build
    return build


def _nested(c: Parts, depth: int) -> Any:
    if depth == 0:
        return c.u(1)
    inner = _nested(c, depth - 1)
    if depth % 3 == 0:
        return c.chain(c.p(1), inner, c.u(2))
    if depth % 3 == 1:
        return c.group(c.u(depth), inner)
    return c.chord([inner, c.p(depth)], c.u(0))


def _generated(c: Parts) -> Iterator[Any]:
    return (c.u(number) for number in range(4))


SHAPES |= {
    "single plain task": lambda c: c.p(1, 2),
    "single user task": lambda c: c.u(1, 2),
    "chain": lambda c: c.chain(c.p(1), c.u(2), c.p(3)),
    "chain of one": lambda c: c.chain(c.u(1)),
    "pipe": lambda c: c.u(1) | c.p(2) | c.u(3),
    "pipe into a group": lambda c: c.u(1) | c.group(c.u(2), c.p(3)),
    "pipe of a group": lambda c: c.group(c.u(2), c.p(3)) | c.u(1),
    "pipe of chains": lambda c: c.chain(c.u(1), c.u(2)) | c.chain(c.u(3), c.u(4)),
    "group": lambda c: c.group(c.p(1), c.u(2), c.u(3)),
    "group of one": lambda c: c.group(c.u(1)),
    "group of one in a chain": lambda c: c.chain(c.p(1), c.group(c.u(2)), c.u(3)),
    "group of a generator": lambda c: c.group(_generated(c)),
    "chord": lambda c: c.chord([c.u(1), c.p(2)], c.u(3)),
    "chord, body later": lambda c: c.late_chord([c.u(1), c.p(2)], c.u(3)),
    "chord of a group": lambda c: c.chord(c.group(c.u(1), c.p(2)), c.u(3)),
    "chord of one": lambda c: c.chord([c.u(1)], c.u(2)),
    "chord of a generator": lambda c: c.chord(_generated(c), c.u()),
    "chain that becomes a chord": lambda c: c.chain(c.p(1), c.group(c.u(2), c.u(3)), c.p(4)),
    "group first in a chain": lambda c: c.chain(c.group(c.u(1), c.u(2)), c.u(3), c.u(4)),
    "group after group": lambda c: c.chain(c.group(c.many(2)), c.group(c.many(2))),
    "groups between tasks": lambda c: c.chain(
        c.u(1), c.group(c.many(2)), c.u(2), c.group(c.many(3)), c.u(3)
    ),
    "three groups in a row": lambda c: c.chain(
        c.group(c.many(2)), c.group(c.many(2)), c.group(c.many(2)), c.u(1)
    ),
    "chord body is a chain": lambda c: c.chord(c.many(2), c.chain(c.u(1), c.p(2), c.u(3))),
    "chord body is a group": lambda c: c.chord(c.many(2), c.group(c.u(1), c.p(2))),
    "chord body is a group, in a chain": lambda c: c.chain(
        c.u(1), c.chord(c.many(2), c.group(c.u(1), c.p(2))), c.u(3), c.p(4)
    ),
    "chord body is a chord": lambda c: c.chord(c.many(2), c.chord([c.u(1), c.p(2)], c.u(3))),
    "chord header of chains": lambda c: c.chord(
        [c.chain(c.u(1), c.p(2)), c.chain(c.u(3), c.u(4))], c.u()
    ),
    "chord header of groups": lambda c: c.chord(
        [c.group(c.many(2)), c.u(1), c.group(c.many(2))], c.u()
    ),
    "chord header of chords": lambda c: c.chord(
        [c.chord(c.many(2), c.u(1)), c.chord(c.many(2), c.p(2))], c.u()
    ),
    "chord in a chain": lambda c: c.chain(c.u(1), c.chord(c.many(2), c.u()), c.u(3)),
    "group of chains": lambda c: c.group(c.chain(c.u(1), c.p(2)), c.chain(c.u(3), c.u(4))),
    "group of groups": lambda c: c.group(c.u(1), c.group(c.u(2), c.u(3)), c.u(4)),
    "group of chords": lambda c: c.group(c.chord(c.many(2), c.u(1)), c.chord(c.many(2), c.u())),
    "chord in a group between steps of a body": lambda c: c.chord(
        c.many(2), c.chain(c.u(1), c.group(c.chord(c.many(2), c.u()), c.p(2)), c.u(3))
    ),
    "chord in a group in a chain in a group": lambda c: c.chain(
        c.u(1),
        c.group(c.chain(c.u(2), c.group(c.chord(c.many(2), c.u()), c.p(3)), c.u()), c.u(4)),
    ),
    "chain of chains": lambda c: c.chain(c.chain(c.u(1), c.u(2)), c.chain(c.u(3), c.u(4)), c.u()),
    "groups in a chain within a chain": lambda c: c.chain(
        c.chain(c.group(c.many(2)), c.group(c.many(2))), c.u(5)
    ),
    "body that ends in the group of a chord, in a chain": lambda c: c.chain(
        c.chord(c.many(2), c.chain(c.u(1), c.chord([c.u(2)], c.group(c.many(2))))), c.u(3), c.p(4)
    ),
    "immutable and partial": lambda c: c.chain(c.u(1), c.ui(10), c.u(), c.p(5)),
    "immutable chord body": lambda c: c.chain(c.chord(c.many(3), c.ui(7)), c.u(1)),
    "map": lambda c: tasks.add.map([[1, 2], [3]]),
    "starmap": lambda c: tasks.add.starmap([(1, 2), (3, 4)]),
    "map in a chain": lambda c: c.chain(tasks.add.map([1, 2]), c.u(3)),
    "chunks": lambda c: tasks.add.chunks([(n, n) for n in range(6)], 2),
    "countdown in a chain": lambda c: c.chain(c.u(1), c.u(2).set(countdown=0.3), c.u(3)),
    "nested three deep": lambda c: _nested(c, 3),
    "nested eight deep": lambda c: _nested(c, 8),
    "JSON of a chain": lambda c: json.loads(json.dumps(c.chain(c.u(1), c.p(2)))),
    "JSON of a group": lambda c: json.loads(json.dumps(c.group(c.u(1), c.p(2)))),
    "JSON of a chord": lambda c: json.loads(json.dumps(c.chord([c.u(1), c.p(2)], c.u(3)))),
    "JSON, nested": lambda c: json.loads(json.dumps(_nested(c, 4))),
    "link": lambda c: _linked(c.u(1), c.p(2)),
    "links": lambda c: _linked(c.p(1), c.u(2), c.u(3)),
    "link to a chain": lambda c: _linked(c.u(1), c.chain(c.p(2), c.u(3))),
    "link on a chain": lambda c: _linked(c.chain(c.u(1), c.p(2)), c.u(3)),
    "link on a chain within a chain": lambda c: c.chain(
        c.u(1), _linked(c.chain(c.u(2), c.p(3)), c.u(4)), c.p(5)
    ),
    "link on a chain in a group of one": lambda c: c.chain(
        c.u(1), c.group(_linked(c.chain(c.u(2), c.p(3)), c.u(4))), c.p(5)
    ),
    "link on a chain that ends in a group, within a chain": lambda c: c.chain(
        c.u(1), _linked(c.chain(c.u(2), c.group(c.many(2))), c.u(4))
    ),
    "link on a chain that ends in a group": lambda c: c.chord(
        [_linked(c.chain(c.u(1), c.group(c.u(2), c.group(c.u(3), c.p(4)))), c.u(5)), c.p(6)], c.u()
    ),
    "link on a chain that is a body and ends in a group": lambda c: c.chord(
        c.many(2), _linked(c.chain(c.u(1), c.group(c.many(2))), c.p(5))
    ),
    "link on a chain that is a body, within a chain": lambda c: c.chain(
        c.u(1), c.chord(c.many(2), _linked(c.chain(c.u(2), c.p(3)), c.u(4))), c.p(5)
    ),
    "link within a chain": lambda c: c.chain(_linked(c.u(1), c.p(2)), c.u(3)),
    "link within a chord": lambda c: c.chord([_linked(c.u(1), c.p(2)), c.u(3)], c.u()),
}

#: Where Celery itself never comes to the last task, or loses what it gives; with what they give.
ENDLESS: dict[str, tuple[Shape, Any]] = {
    "chord in a group at the end of a header's chain": (
        lambda c: c.chord([c.chain(c.u(1), c.group(c.chord(c.many(2), c.u()), c.p(2)))], c.u()),
        6,
    ),
    "chord in a group in a header's chain of one": (
        lambda c: c.chord(
            [c.chain(c.group(c.chain(c.group(c.many(2)), c.u()), c.chord(c.many(2), c.u())))],
            c.u(3),
        ),
        5,
    ),
    "chord in a group that is a body in a header": (
        lambda c: c.chord(
            [c.chord(c.many(2), c.group(c.chord(c.many(2), c.u()), c.p(2))), c.u(3)], c.u()
        ),
        9,
    ),
    "chord in a group in a group at the end of a header's chain": (
        lambda c: c.chord(
            [c.chain(c.u(1), c.group(c.p(1), c.group(c.chord([c.u(2)], c.u()), c.p(4))))], c.u()
        ),
        10,
    ),
    "group alone in a chain that is a body": (
        lambda c: c.chord(c.many(3), c.chain(c.group(c.u(1), c.p(2)))),
        [4, 5],
    ),
    "group alone in a chain in a group": (
        lambda c: c.chain(c.u(3), c.group(c.chain(c.group(c.u(1), c.u(2))), c.p(4)), c.u()),
        16,
    ),
}

#: With what they give; they are not run for comparison.
LARGE: dict[str, tuple[Shape, Any]] = {
    "chain of 100": (lambda c: c.chain(*c.many(100)), 4950),
    "group of 300": (lambda c: c.group(c.many(300)), list(range(300))),
}


def _linked(signature: Any, *callbacks: Any) -> Any:
    for callback in callbacks:
        signature.link(callback)
    return signature


#: A fair part of them, for the other kinds of worker.
FEW = [
    "single user task",
    "chain",
    "group",
    "chain that becomes a chord",
    "chord body is a chain",
    "chord header of chords",
    "group after group",
    "nested three deep",
    "link",
    "map in a chain",
]

#: Shapes whose bodies run within one task of Celery's own, and so under no id.
MAPPED = ("map", "starmap", "map in a chain", "chunks")
