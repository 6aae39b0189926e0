"""Random canvases: as the oracle sees them, as plans, and as what Celery gets."""

from __future__ import annotations

from itertools import count
from typing import Any

from celery import signature
from celery.canvas import _chain
from celery.canvas import chord as celery_chord
from celery.canvas import group as celery_group
from hypothesis import strategies as st

from tests import tasks
from tests.properties.oracle import Item
from user_workflows.canvas import tracked
from user_workflows.phases import NodeType
from user_workflows.planning.plan import PlanNode

Shape = tuple[Any, ...]

#: (kind, what the body does, may it fail, steps, is it a user task, immutable)
_leaves = st.one_of(
    st.tuples(
        st.just("task"),
        st.sampled_from(["succeed", "succeed", "succeed", "raise", "fail", "retry", "track"]),
        st.booleans(),
        st.integers(0, 4),
        st.just(True),
        st.booleans(),
    ),
    st.tuples(
        st.just("task"),
        st.sampled_from(["succeed", "succeed", "raise"]),
        st.just(False),
        st.just(1),
        st.just(False),
        st.booleans(),
    ),
)


@st.composite
def shapes(
    draw: st.DrawFn,
    leaves: int = 12,
    *,
    empty_groups: bool = False,
    long_callbacks: bool = False,
) -> Shape:
    """Nested canvases of about so many tasks at most, and of five levels of containers."""
    left = leaves

    def leaf() -> Shape:
        nonlocal left
        left -= 1
        return draw(_leaves)

    def part(depth: int) -> Shape:
        if depth == 0 or left <= 1:
            return leaf()
        followed = ["followed"] if depth > 2 else []
        kinds = ["chain", "group", "chord", "task", "task", "link", *followed]
        return grown(draw(st.sampled_from(kinds)), depth)

    def grown(kind: str, depth: int) -> Shape:
        if kind == "task":
            return leaf()
        if kind == "link":
            head, callbacks = leaf(), [leaf() for _ in range(draw(st.integers(1, 2)))]
            if long_callbacks and draw(st.booleans()):
                callbacks[0] = ("chain", [callbacks[0], leaf()])
            return ("link", head, callbacks)
        if kind == "followed":
            return ("chain", [("group", [part(depth - 2), part(depth - 2)]), part(depth - 1)])
        smallest = 0 if kind == "group" and empty_groups and depth < 5 else 1
        size = draw(st.sampled_from([smallest, 1, 2, 2, 3, 4]))
        members = [part(depth - 1) for _ in range(size)]
        return (kind, members, part(depth - 1)) if kind == "chord" else (kind, members)

    return grown(draw(st.sampled_from(["chain", "group", "chord", "chain", "followed", "task"])), 5)


def with_allowed_branches(leaves: int) -> st.SearchStrategy[Shape]:
    """Groups that nothing waits for, whose members may fail as a whole."""
    part = shapes(leaves, empty_groups=True, long_callbacks=True)
    branch = st.one_of(part, st.tuples(st.just("allowed"), part))
    return st.tuples(st.just("group"), st.lists(branch, min_size=1, max_size=3))


def item(shape: Shape, numbers: Any = None) -> Item:
    """The tree that a canvas of this shape is to become, before any task has run."""
    numbers = numbers or count()
    kind = shape[0]
    if kind == "task":
        _, fate, allowed, steps, _, _ = shape
        return Item(f"t{next(numbers)}", "task", [], allowed, steps, fate)
    if kind == "allowed":
        branch = item(shape[1], numbers)
        branch.allowed = True
        return branch
    number = next(numbers)
    if kind == "link":
        callbacks = [item(part, numbers_of(number, i)) for i, part in enumerate(shape[2])]
        for callback in callbacks:
            callback.allowed = True
        children = [item(shape[1], numbers), *callbacks]
    else:
        children = [item(part, numbers) for part in shape[1]]
    if kind == "chord":
        header = Item(f"h{number}", "group", children)
        children = [header, item(shape[2], numbers)]
    return Item(f"{kind}{number}", kind, children)


def as_shown(node: Item) -> Item:
    """A group that a step follows is shown as the chord that Celery makes of the two."""
    children = [as_shown(child) for child in node.children]
    if node.kind == "chain":
        steps = _steps(children)
        if len(steps) == 1 and len(children) > 1 and steps[0].kind == "chord":
            steps[0].name = node.name
            return steps[0]
        children = steps
    return Item(node.name, node.kind, children, node.allowed, node.steps, node.fate)


def _steps(members: list[Item]) -> list[Item]:
    if len(members) < 2:
        return members
    first, second, *rest = members[0], *_steps(members[1:])
    if first.kind == "group" and len(first.children) > 1:
        return [Item("", "chord", [first, second]), *rest]
    return [first, second, *rest]


def numbers_of(number: int, place: int) -> Any:
    """Numbers for the callbacks of a task, which no other node has."""
    return count((number + 1) * 10_000 + place * 100)


def plan(node: Item) -> PlanNode:
    """The same tree for the library."""
    return PlanNode(
        NodeType(node.kind),
        node.name,
        name=node.name,
        task_class="t",
        total_steps=sum(leaf.steps for leaf in node.leaves()),
        allow_failure=node.allowed,
        children=[plan(child) for child in node.children],
    )


def canvas(shape: Shape, numbers: Any = None) -> Any:
    """What an author writes for this shape, tagged with the names that ``item`` gives."""
    numbers = numbers or count()
    kind = shape[0]
    if kind == "task":
        _, do, allowed, steps, is_user_task, immutable = shape
        given = {"tag": f"t{next(numbers)}", "do": do}
        if not is_user_task:
            return signature(tasks.plain.name, kwargs=given, immutable=immutable)
        sig = signature(tasks.user.name, kwargs={**given, "steps": steps}, immutable=immutable)
        return tracked(sig, allow_failure=allowed)
    number = next(numbers)
    if kind == "link":
        head = canvas(shape[1], numbers)
        for i, part in enumerate(shape[2]):
            head.link(canvas(part, numbers_of(number, i)))
        return head
    members = [canvas(part, numbers) for part in shape[1]]
    if kind == "chain":
        return tracked(_chain(*members), name=f"chain{number}")
    if kind == "group":
        return tracked(celery_group(members), name=f"group{number}")
    return tracked(celery_chord(members, canvas(shape[2], numbers)), name=f"chord{number}")
