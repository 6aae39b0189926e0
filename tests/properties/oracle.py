"""The outcome of a tree by docs/reference/states.md: slow, obvious, and written apart.

Nothing here uses the library's ``phases``, ``graph`` or ``lifecycle``; phases are plain strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

OPEN = ("PENDING", "RUNNING", "RETRYING")


@dataclass(eq=False, repr=False)
class Item:
    """A node of a tree as the oracle sees it."""

    name: str
    kind: str
    children: list[Item] = field(default_factory=list)
    allowed: bool = False
    steps: int = 1
    fate: str = "succeed"
    """What a leaf's body does: succeed, raise, fail (quietly), retry (once, then succeed)."""
    parent: Item | None = None
    phase: str = "PENDING"
    """Of a leaf; a container's is always worked out."""
    settled: bool = False
    """Of a leaf; a container's is always worked out."""
    cause: str | None = None
    """Which node's failure or cancellation this one is skipped, or has failed, because of."""
    done: int = 0
    attempt: int = 1

    def __post_init__(self) -> None:
        for child in self.children:
            child.parent = self

    def walk(self) -> Iterator[Item]:
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> list[Item]:
        return [item for item in self.walk() if item.kind == "task"]

    def path(self) -> list[Item]:
        """From the parent up to the root."""
        return [self.parent, *self.parent.path()] if self.parent else []


# -- verdicts -------------------------------------------------------------------------------------


def is_settled(item: Item) -> bool:
    """Nothing in it can run any more."""
    return all(leaf.settled for leaf in item.leaves())


def phase(item: Item) -> str:
    """A leaf's own phase, a container's by its children, as docs/reference/states.md says.

    Containers in which there is no task say nothing about the one that they are in.
    """
    if item.kind == "task":
        return item.phase
    seen = [(phase(child), child.allowed) for child in item.children if child.leaves()]
    if ("FAILED", False) in seen:
        return "FAILED"
    phases = [each for each, _ in seen]
    if "CANCELED" in phases:
        return "CANCELED"
    if is_settled(item):
        if "FAILED" in phases or "PARTIAL" in phases:
            return "PARTIAL"
        if not phases:
            return "SUCCEEDED"
        if all(each == "SKIPPED" for each in phases):
            return "SKIPPED"
        if any(each == "SKIPPED" for each in phases):
            return "CANCELED"
        return "SUCCEEDED"
    if all(each == "PENDING" for each in phases):
        return "PENDING"
    return "RUNNING"


def sums(item: Item) -> tuple[int, int]:
    """Completed and total steps."""
    leaves = item.leaves()
    return sum(min(leaf.done, leaf.steps) for leaf in leaves), sum(leaf.steps for leaf in leaves)


# -- who waits for whom ---------------------------------------------------------------------------


def followers(item: Item) -> list[Item]:
    """The leaves that can only run after this node has gone well, found by looking upward."""
    found: list[Item] = []
    child = item
    for parent in item.path():
        place = parent.children.index(child)
        if parent.kind in ("chain", "chord"):
            for later in parent.children[place + 1 :]:
                found += later.leaves()
        if parent.kind == "link":
            if place > 0:
                break  # Nobody waits for a callback.
            for callback in parent.children[1:]:
                found += callback.leaves()
        child = parent
    return found


def is_ready(leaf: Item) -> bool:
    """All that it waits for has gone well (or was allowed not to)."""
    root = leaf.path()[-1] if leaf.parent else leaf
    for other in root.leaves():
        if leaf in followers(other):
            well = other.phase == "SUCCEEDED" or (other.phase == "FAILED" and other.allowed)
            if not (other.settled and well):
                return False
    return True


# -- events ---------------------------------------------------------------------------------------


def begin(leaf: Item) -> bool:
    """The gate: whether the body runs."""
    if leaf.settled or leaf.phase not in OPEN:
        return False
    leaf.phase = "RUNNING"
    return True


def say(leaf: Item, reached: str) -> None:
    """The body, or its end, says how it went; what was said first stays, but for two cases."""
    overrules = OPEN if reached != "FAILED" else (*OPEN, "SUCCEEDED")
    if leaf.settled or leaf.phase not in overrules:
        return
    leaf.phase = reached
    if reached == "SUCCEEDED":
        leaf.done = leaf.steps
    if reached == "FAILED" and not leaf.allowed:
        broken(leaf, "FAILED", leaf)


def end(leaf: Item, reached: str) -> None:
    """Celery says that the body has ended."""
    say(leaf, reached)
    leaf.settled = True


def retry(leaf: Item) -> None:
    """The attempt has ended with the wish for another one."""
    if leaf.phase in (*OPEN, "SUCCEEDED"):
        leaf.phase, leaf.done = "RETRYING", 0
        leaf.attempt += 1
    else:
        end(leaf, "FAILED")


def cancel(item: Item) -> None:
    """What has not started never will; what runs is Canceled, and settled when it ends."""
    touched = False
    for leaf in item.leaves():
        if not leaf.settled and leaf.phase in OPEN:
            leaf.settled = leaf.phase != "RUNNING"
            leaf.phase = "CANCELED"
            touched = True
    if touched and phase(item) == "CANCELED":
        broken(item, "CANCELED", item)


def broken(item: Item, how: str, cause: Item) -> None:
    """What a failure or cancellation of a node does to those that wait, and whose fault it is."""
    for leaf in followers(item):
        if leaf.phase == "PENDING":
            leaf.phase, leaf.settled, leaf.cause = "SKIPPED", True, cause.name
    if how == "FAILED":
        child = item
        for parent in item.path():
            if child.allowed:
                break
            if parent.cause is None:
                parent.cause = cause.name
            child = parent


# -- eager mode -----------------------------------------------------------------------------------


class Raised(Exception):
    """A task's exception has reached the caller, as it does only in eager mode."""


def run_eagerly(root: Item) -> list[str]:
    """The names of the tasks whose bodies run when Celery runs the canvas in the caller.

    One after the other, in the author's order. A member of a chain, and the header of a chord,
    is asked for its result when there is a next step: where it has failed that raises to the
    caller, and nothing in the canvas runs any more, siblings in groups included. Unless it
    raises, a failed task is only noted.
    """
    ran: list[str] = []
    with suppress(Raised):
        _run(root, ran)
    for leaf in root.leaves():
        if leaf.phase == "PENDING":
            leaf.phase, leaf.settled = "SKIPPED", True
    return ran


def _run(item: Item, ran: list[str]) -> bool:
    """Runs one node; whether asking for its result would raise."""
    if item.kind == "task":
        return _run_leaf(item, ran)
    if item.kind == "group":
        return any([_run(child, ran) for child in item.children])
    if item.kind == "link":
        head, *callbacks = item.children
        failed = _run(head, ran)
        if not failed:
            for callback in callbacks:
                _run(callback, ran)
        return failed
    failed = False
    for child in item.children:
        if failed:
            raise Raised
        failed = _run(child, ran)
    return failed


def _run_leaf(leaf: Item, ran: list[str]) -> bool:
    if not begin(leaf):
        return False  # The gate refuses it, and Celery goes on with None for its result.
    ran.append(leaf.name)
    if leaf.fate == "retry":
        retry(leaf)
        begin(leaf)
        ran.append(leaf.name)
    if leaf.fate == "fail":
        say(leaf, "FAILED")
    end(leaf, "FAILED" if leaf.fate == "raise" else "SUCCEEDED")
    return leaf.fate == "raise" and not leaf.allowed
