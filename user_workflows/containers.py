"""Containers: what they show while tasks run below them, their sums, and how they are settled.

A container is settled by an UPDATE that only one process can win, by whoever finds that it has
no open child any more; the winner goes on with its parent. Leaves commit first, so the last of
several that end at once sees that all others have ended.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.models import Exists, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Least
from django.utils.timezone import now

from .announcing import Settled
from .phases import BREAKS, Child, NodeType, Phase, verdict
from .statements import Select
from .trees import TreeNode, batches, locked, statuses, within


class Node(Protocol):
    """A stored node: an instance of the model or a row of it."""

    @property
    def pk(self) -> Any: ...
    @property
    def tree_id(self) -> Any: ...
    @property
    def parent_id(self) -> Any: ...
    @property
    def allow_failure(self) -> Any: ...


@dataclass(slots=True, eq=False)
class Part:
    """A node in the part of a tree that lies around the way from a leaf to the root."""

    pk: int
    parent_id: int | None
    tree_id: int
    lft: int
    rght: int
    phase: str
    allow_failure: bool
    settled_at: Any
    ended_at: Any
    stored_type: str
    caused_by_id: int | None
    children: list[Part] = field(default_factory=list)

    @property
    def node_type(self) -> NodeType:
        """A node whose children were not read stands for all of them."""
        return NodeType(self.stored_type) if self.children else NodeType.TASK


_PART = (
    "pk", "parent_id", "tree_id", "lft", "rght",
    "phase", "allow_failure", "settled_at", "ended_at", "node_type", "caused_by_id",
)  # fmt: skip


def parts(query: Any) -> list[Part]:
    """What a query finds, in tree order."""
    return [Part(*row) for row in query.order_by("lft").values_list(*_PART)]


def ancestors_of(node: Node) -> list[Part]:
    """From the parent up to the root. One query, none for a root."""
    if node.parent_id is None:
        return []
    me = statuses().filter(pk=node.pk).order_by()
    above = statuses().filter(
        tree_id=node.tree_id,
        lft__lt=Subquery(me.values("lft")),
        rght__gt=Subquery(me.values("rght")),
    )
    return parts(above)[::-1]


def open_node(pk: int) -> Any:
    """The row of a node, unless it is settled: what each UPDATE of one starts from."""
    return statuses().filter(pk=pk, settled_at__isnull=True).order_by()


def mark_running(pk: int | None) -> None:
    """Shows on all containers above a leaf that something in them has started.

    Bottom-up, one statement a row, so that leaves which start at once cannot block each other.
    """
    while pk is not None:
        waiting = open_node(pk).filter(phase=Phase.PENDING)
        if not waiting.update(
            phase=Phase.RUNNING, state=Phase.RUNNING.state, started_at=now(), modified=now()
        ):
            break
        pk = statuses().filter(pk=pk).values_list("parent_id", flat=True).first()


@Select
def _container(pk: Any) -> Any:
    children = statuses().filter(parent_id=OuterRef("pk"), settled_at__isnull=True).order_by()
    container = statuses().filter(pk=pk).order_by().annotate(is_open=Exists(children))
    return container.values_list(*_PART, "is_open")


def climb(pk: int | None, *, started: bool = True) -> list[Settled]:
    """Settles a container that has no open child any more, then its parent, and so on.

    One that stays open is shown as running, if what was settled below it had ``started``.
    """
    settled = []
    while pk is not None:
        row = _container(pk=pk)
        if row is None:
            break
        container, is_open = Part(*row[:-1]), row[-1]
        if is_open:
            if started and container.phase == Phase.PENDING:
                mark_running(pk)
            break
        if container.stored_type == NodeType.TASK and container.ended_at is None:
            break  # The children of a task have ended, but not the task itself.
        if not _settle_container(container):
            break  # Someone else did, and climbs on.
        settled.append(Settled(pk, container.parent_id is None))
        pk = container.parent_id
    return settled


def show_break(pk: int, outcome: Phase, cause: int | None) -> bool:
    """Shows on an open container that a leaf, its ``cause``, broke it; says whether this did."""
    breakable = Q(phase__in=BREAKS[outcome])
    if outcome is Phase.FAILED:  # Who cancels may have shown it, as seen from the leaf.
        breakable |= Q(phase=Phase.FAILED, caused_by__isnull=True)
    broken = {"phase": outcome, "state": outcome.state, "caused_by_id": cause}
    return bool(open_node(pk).filter(breakable).update(**broken, modified=now()))


def _settle_container(container: Part) -> bool:
    children = statuses().filter(parent_id=container.pk).order_by()
    found = [
        Child(Phase(phase), allowed, True)
        for phase, allowed in children.values_list("phase", "allow_failure").distinct()
    ]
    sums = {}
    if container.stored_type == NodeType.TASK:
        found.append(Child(Phase(container.phase), False, True))  # What it did itself.
    else:
        sums = _sums(container)
    phase = verdict(found)
    at = now()
    outcome: dict[str, Any] = {"phase": phase, "state": phase.state, "settled_at": at}
    if container.stored_type == NodeType.TASK and phase in BREAKS and phase != container.phase:
        cause = children.filter(phase=phase).values_list("pk", flat=True).first()
        outcome["caused_by_id"] = cause
        _show_above(container, phase, cause)
    return bool(open_node(container.pk).update(**outcome, **sums, modified=at))


def _show_above(task: Part, outcome: Phase, cause: int | None) -> None:
    # What was canceled of all that a task has sent counts from now on, but prevents nothing:
    # Celery goes on after the task.
    for ancestor in ancestors_of(task):
        if ancestor.stored_type == NodeType.TASK:
            break  # Nobody waits for what that one has sent until it ends, too.
        show_break(ancestor.pk, outcome, cause)


def settle_by_verdict(
    nodes: list[TreeNode], at: datetime, cause: int | None = None
) -> list[Settled]:
    """Gives the open containers among these nodes the verdicts that follow from their children.

    For the holder of the tree's lock. ``nodes`` stand parents first, as just read, with the new
    phases of the leaves; those that this settles are settled at ``at``. ``cause`` is the leaf
    that those are put down to which do not succeed.
    """
    changed: dict[tuple[Phase, bool], list[TreeNode]] = defaultdict(list)
    for node in reversed(nodes):
        if node.is_settled or not (node.is_container or node.children):
            continue
        children = [Child(c.phase, c.allow_failure, c.is_settled) for c in node.children]
        if not node.is_container:
            children.append(Child(node.phase, False, node.ended_at is not None))
        before, node.phase = node.phase, verdict(children)
        done = all(child.settled for child in children)
        if not (done or node.is_container):
            node.phase = before  # What a task has sent counts when all of it has ended.
        if done or node.phase is not before:
            changed[node.phase, done].append(node)
        node.settled_at = at if done else None
    mine: list[TreeNode] = []
    for (phase, done), containers in changed.items():
        outcome: dict[str, Any] = {"phase": phase, "state": phase.state, "modified": at}
        if cause is not None and phase in (Phase.FAILED, Phase.CANCELED, Phase.SKIPPED):
            outcome["caused_by_id"] = cause
        for batch in batches(containers):
            rows = statuses().filter(pk__in=[node.pk for node in batch]).order_by()
            still_open = rows.filter(settled_at__isnull=True)
            still_open.update(**outcome, **({"settled_at": at} if done else {}))
            won = set(rows.filter(settled_at=at).values_list("pk", flat=True))
            mine += [node for node in batch if node.pk in won]
    _store_sums(mine)
    mine.sort(key=lambda node: node.level, reverse=True)
    return [Settled(node.pk, node.parent_id is None) for node in mine]


def _store_sums(nodes: list[TreeNode]) -> None:
    row = statuses().model
    sums = [
        row(pk=node.pk, completed_steps=node.completed_steps, total_steps=node.total_steps)
        for node in nodes
        if node.is_container
    ]
    statuses().bulk_update(sums, ["completed_steps", "total_steps"], batch_size=500)


def settle_ready(tree_id: int) -> list[Settled]:
    """Settles the open containers of a tree that have no open child. One query where none has.

    Whoever settles leaves inside a transaction calls this after the commit: a worker that ended
    a sibling meanwhile could not see them.
    """
    open_children = statuses().filter(parent_id=OuterRef("pk"), settled_at__isnull=True).order_by()
    ready = statuses().filter(~Exists(open_children), tree_id=tree_id, settled_at__isnull=True)
    settled: list[Settled] = []
    for pk in ready.filter(is_container=True).order_by("-lft").values_list("pk", flat=True):
        settled += climb(pk, started=False)
    return settled


# -- sums ---------------------------------------------------------------------------------------


def _sums(container: Part) -> dict[str, int]:
    below = within(container.pk, container.tree_id)
    leaves = statuses().filter(below, node_type=NodeType.TASK)
    sums = leaves.order_by().aggregate(
        done=Sum(Least("completed_steps", "total_steps")), steps=Sum("total_steps")
    )
    return {"completed_steps": sums["done"] or 0, "total_steps": sums["steps"] or 0}


def store_sums_above(node: Node) -> None:
    """Stores the sums of the open containers above a node. Two queries for each.

    Under the tree's lock: of two that count at once, the later must see what the other counted.
    """
    if node.parent_id is None:
        return
    with locked(node.tree_id):
        for container in ancestors_of(node):
            if container.settled_at is None and container.stored_type != NodeType.TASK:
                open_node(container.pk).update(**_sums(container))


def roll_up(tree_id: int, every: timedelta) -> bool:
    """Stores the sums of a tree's open containers, unless somebody did within ``every``.

    Returns False where it is to be done later. Three queries, and one for each container whose
    sums have changed.
    """
    root = open_node(tree_id).filter(is_container=True)
    last = root.values_list("rolled_up_at").first()
    if last is None:
        return True
    at = now()
    due = Q(rolled_up_at__isnull=True) | Q(rolled_up_at__lte=at - every)
    due |= Q(rolled_up_at__gt=at + every)  # The clock was set back.
    if not root.filter(due).update(rolled_up_at=at):
        return False
    columns = ("pk", "parent_id", "node_type", "completed_steps", "total_steps")
    rows = statuses().filter(tree_id=tree_id).order_by("lft").values_list(*columns)
    sums: dict[int, list[int]] = {}
    stored = []
    for pk, parent_id, node_type, done, steps in rows:
        sums[pk] = [min(done, steps), steps] if node_type == NodeType.TASK else [0, 0]
        stored.append((pk, parent_id, node_type, (done, steps)))
    for pk, parent_id, node_type, old in reversed(stored):
        done, steps = sums[pk]
        if parent_id in sums:
            sums[parent_id][0] += done
            sums[parent_id][1] += steps
        if node_type != NodeType.TASK and old != (done, steps):
            open_node(pk).update(completed_steps=done, total_steps=steps)
    return True
