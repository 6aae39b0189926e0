"""Storing and reading whole trees: bounds, locks, managers.

``parent`` is the truth; ``lft``, ``rght``, ``tree_id`` and ``level`` are an index over it. Bounds
are numbered with wide gaps, so that a task which grows children finds room under its own node
and nothing else has to move. ``tree_id`` is the root's own primary key: MPTT's MAX+1 gave 187
duplicates among 800 roots that were created concurrently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db import connections, models, router, transaction
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact, In
from django.utils.timezone import now
from mptt.managers import TreeManager
from mptt.querysets import TreeQuerySet

from . import estimates
from .exceptions import TreeOperationRefused
from .phases import NodeType, Phase

if TYPE_CHECKING:
    from .models import UserTaskStatus

    _TreeQuerySet = models.QuerySet["UserTaskStatus"]
else:
    _TreeQuerySet = TreeQuerySet

#: Writes of a transaction that has taken longer are dated by its commit.
LONG = timedelta(seconds=5)
#: Positions that each node keeps free behind its last child.
SLOT = 1 << 32
#: A subtree that is inserted later takes this part of the free positions of its parent.
SHARE = 1 << 12


class Nested(Protocol):
    """Anything that has children of its own kind."""

    @property
    def children(self) -> Iterable[Any]: ...


T = TypeVar("T", bound=Nested)


class Placed(NamedTuple):
    """Where a node stands in its tree."""

    node: Any
    parent: Any
    lft: int
    rght: int
    level: int


def place(node: T, *, lft: int = 1, level: int = 0, gap: int = SLOT) -> list[Placed]:
    """Bounds for a nested node and all below it, parents first.

    Each node is left ``gap`` (at least 1) positions behind its last child.
    """
    placed: list[Placed] = []
    position = lft - 1
    # Not by recursion: a task that sends itself again and again makes trees of any depth.
    waiting: list[tuple[Any, Any, int] | int] = [(node, None, level)]
    while waiting:
        item = waiting.pop()
        if isinstance(item, int):
            position += gap
            placed[item] = placed[item]._replace(rght=position)
            continue
        each, parent, level = item
        position += 1
        waiting.append(len(placed))
        placed.append(Placed(each, parent, position, 0, level))
        waiting += [(child, each, level + 1) for child in reversed(list(each.children))]
    return placed


@cache
def statuses() -> Any:
    """The manager of nodes, for the modules that the models are built on."""
    return apps.get_model("user_workflows", "UserTaskStatus")._default_manager


def artifacts() -> Any:
    """The manager of artifacts, likewise."""
    return apps.get_model("user_workflows", "UserTaskArtifact")._default_manager


def connection() -> Any:
    """The database connection that statuses are written through."""
    return connections[router.db_for_write(statuses().model)]


def atomic() -> AbstractContextManager[Any]:
    """``transaction.atomic`` on the connection that statuses are written through."""
    opened: AbstractContextManager[Any] = transaction.atomic(using=connection().alias)
    return opened


@contextmanager
def locked(tree_id: int) -> Iterator[None]:
    """A transaction that holds the lock of one tree.

    Whoever writes more than one row of a tree holds it, and takes it before the first write:
    that one order keeps writers from deadlocking. On databases without row locks (SQLite) an
    UPDATE of the root stands in for it.
    """
    begun = now() if connection().in_atomic_block else None
    with atomic():
        root = statuses().filter(pk=tree_id)
        features = connection().features
        if features.has_select_for_update:
            no_key = features.has_select_for_no_key_update
            root.order_by().select_for_update(no_key=no_key).values_list("pk").first()
        else:
            root.update(tree_id=models.F("tree_id"))
        yield
    if begun is not None:
        show = partial(_show_late, tree_id, begun)
        transaction.on_commit(show, using=connection().alias)


def _show_late(tree_id: int, begun: datetime) -> None:
    """Dates what a long transaction has written anew: nobody could see it at the time it says."""
    if now() - begun > LONG:
        late = statuses().filter(tree_id=tree_id, modified__gte=begun).order_by()
        late.update(modified=now())


def date_when_seen(dated: datetime, begun: datetime, using: str, **place: Any) -> None:
    """Dates what was written as of ``dated`` anew if it takes long until others can see it.

    The writing was ``begun`` then. It may have waited for a lock, or for the end of its
    transaction; who asks for what has changed since then would miss it.
    """

    def show() -> None:
        if now() - begun > LONG:
            rows = statuses().using(using).filter(modified=dated, **place)
            models.QuerySet.update(rows.order_by(), modified=now())

    if connections[using].in_atomic_block:
        transaction.on_commit(show, using=using)
    else:
        show()


def lock_rows(rows: Any) -> list[int]:
    """Locks these rows until the transaction ends; for the holder of the tree's lock."""
    features = connection().features
    if features.has_select_for_update:
        rows = rows.select_for_update(no_key=features.has_select_for_no_key_update)
    return list(rows.order_by("pk").values_list("pk", flat=True))


def locked_in_transaction(tree_id: int) -> AbstractContextManager[None]:
    """The lock of a tree if the caller is in a transaction, else nothing.

    Writers of single rows need no lock while each statement commits by itself. Two transactions
    that finish siblings would not see each other's rows, and neither would settle the parent.
    """
    return locked(tree_id) if connection().in_atomic_block else nullcontext()


class StatusQuerySet(_TreeQuerySet):
    """Queries on nodes."""

    def update(self, **columns: Any) -> int:
        """Writes columns; if that was seen late, ``modified`` says when it was seen."""
        begun = now()
        found = super().update(**columns)
        if found and isinstance(columns.get("modified"), datetime):
            date_when_seen(columns["modified"], begun, self.db, **self._place())
        return found

    def _place(self) -> dict[str, Any]:
        """What this query asks of columns that never change: it finds its rows again by them."""
        return {
            f"{condition.lhs.target.attname}__{condition.lookup_name}": condition.rhs
            for condition in self.query.where.children
            if isinstance(condition, (Exact, In))
            and condition.lhs.target.attname in ("id", "tree_id")
        }

    def roots(self) -> Self:
        """Whole workflows: the nodes without a parent."""
        return self.filter(parent__isnull=True)

    def settled(self) -> Self:
        """Nodes below which nothing can run any more."""
        return self.filter(settled_at__isnull=False)

    def active(self) -> Self:
        """Nodes below which something still runs, or will."""
        return self.filter(settled_at__isnull=True)

    def for_user(self, user: Any) -> Self:
        """Nodes of workflows that ``user`` started."""
        return self.filter(user=user)

    def latest_for(
        self, user: Any, *, action: str = "", subject: str = ""
    ) -> UserTaskStatus | None:
        """The workflow that ``user`` started last, of this action and about this subject."""
        given = {"action": action, "subject": subject}
        query = self.roots().for_user(user).filter(**{k: v for k, v in given.items() if v})
        return query.order_by("-created", "-pk").first()

    def with_subtree(self) -> Self:
        """These nodes and all nodes below them, in tree order. One query for these, one for all.

        Raises nothing for a query of no nodes: the answer is empty.
        """
        tops = dict(self.values_list("pk", "tree_id"))
        above = self.model._default_manager.filter(
            pk__in=tops,
            tree_id=models.OuterRef("tree_id"),
            lft__lte=models.OuterRef("lft"),
            rght__gte=models.OuterRef("rght"),
        )
        in_trees = self.model._default_manager.filter(tree_id__in=set(tops.values()))
        found: Self = in_trees.filter(models.Exists(above)).order_by("tree_id", "lft")
        return found


class StatusManager(TreeManager.from_queryset(StatusQuerySet)):  # type: ignore[misc]
    """MPTT's manager without what would renumber trees that workers are writing to."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise TreeOperationRefused(
            "Trees are written as a whole when a workflow is submitted and are not moved or "
            "renumbered afterwards; `check_trees --repair` mends a damaged one."
        )

    rebuild = _refuse
    partial_rebuild = _refuse
    move_node = _refuse
    insert_node = _refuse
    build_tree_nodes = _refuse
    disable_mptt_updates = _refuse
    delay_mptt_updates = _refuse


@dataclass(slots=True, eq=False)
class TreeNode:
    """A node as read from the database, with its children and with live sums."""

    pk: int
    uuid: UUID
    task_id: str
    parent_id: int | None
    level: int
    node_type: NodeType
    task_class: str
    name: str
    state: str
    phase: Phase
    allow_failure: bool
    completed_steps: int
    total_steps: int
    attempts: int
    created: datetime
    modified: datetime
    started_at: datetime | None
    settled_at: datetime | None
    ended_at: datetime | None
    last_seen_at: datetime | None
    caused_by_id: int | None
    children: list[TreeNode] = field(default_factory=list)
    """In the author's order."""
    _counts: Counter[Phase] | None = None

    @property
    def counts(self) -> Counter[Phase]:
        """How many leaves of this subtree are in which phase."""
        if self._counts is None:  # Of leaves there may be very many.
            self._counts = Counter() if self.is_container else Counter({self.phase: 1})
        return self._counts

    @property
    def is_container(self) -> bool:
        """Whether this node stands for others rather than for a task."""
        return self.node_type is not NodeType.TASK

    @property
    def is_settled(self) -> bool:
        """Whether nothing below this node can run any more."""
        return self.settled_at is not None

    @property
    def percent(self) -> int:
        """Completed steps of 100; 100 only when all are."""
        return percent(self.completed_steps, self.total_steps)

    def walk(self) -> Iterator[TreeNode]:
        """This node and all below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[TreeNode]:
        """The tasks of this subtree."""
        return (node for node in self.walk() if not node.is_container)

    def duration(self, at: datetime | None = None) -> float | None:
        """Seconds from the start until it settled, or until ``at`` (default: now)."""
        return estimates.elapsed(self.started_at, self.settled_at, at or now())

    def eta(self, at: datetime | None = None) -> timedelta | None:
        """The time left as far as one can tell: see ``estimates``."""
        leaves = list(self.leaves())
        waited_for = [leaf for leaf in leaves if not leaf.is_settled]
        left = sum(leaf.total_steps - leaf.completed_steps for leaf in waited_for)
        total = sum(leaf.total_steps for leaf in leaves)
        return estimates.eta(
            self.phase,
            self.started_at,
            at or now(),
            settled=len(leaves) - len(waited_for),
            steps=total - left,
            total=total,
        )


def percent(completed: int, total: int) -> int:
    """Completed steps of 100, rounded down; 0 where there is nothing to do."""
    return min(completed, total) * 100 // total if total else 0


#: By what is stored. To call an enumeration takes twenty times as long as to look it up here.
_MEMBERS: dict[str, Any] = {member.value: member for member in (*NodeType, *Phase)}
_COLUMNS = tuple(f for f in TreeNode.__dataclass_fields__ if f not in ("children", "_counts"))


def within(pk: int, tree_id: int, prefix: str = "") -> models.Q:
    """The condition for the nodes of a subtree, by the bounds that its top has at that moment.

    An instance's own may be old: a tree is numbered anew when a node in it has run out of room.
    """
    in_tree = models.Q(**{f"{prefix}tree_id": tree_id})
    if pk == tree_id:
        return in_tree
    top = statuses().filter(pk=pk).order_by()
    return in_tree & models.Q(
        **{
            f"{prefix}lft__gte": models.Subquery(top.values("lft")),
            f"{prefix}rght__lte": models.Subquery(top.values("rght")),
        }
    )


def read(tree_id: int, top: int | None = None) -> TreeNode | None:
    """The nested tree, or the subtree below the node with the key ``top``, in one query.

    Sums and counts are made of the leaves as they are now, not of stored columns. Returns None
    where there is no such tree.
    """
    query = statuses().filter(within(top or tree_id, tree_id)).order_by("lft")
    nodes: dict[int, TreeNode] = {}
    for row in _rows(query.values_list(*_COLUMNS)):
        node = TreeNode(*row)
        node.node_type, node.phase = _MEMBERS[node.node_type], _MEMBERS[node.phase]
        nodes[node.pk] = node
        if node.parent_id in nodes:
            nodes[node.parent_id].children.append(node)
    for node in reversed(nodes.values()):
        _sum_up(node)
    return next(iter(nodes.values()), None)


def _sum_up(node: TreeNode) -> None:
    if node.is_container:
        node.completed_steps = node.total_steps = 0
    else:
        node.completed_steps = min(node.completed_steps, node.total_steps)
    for child in node.children:
        node.completed_steps += child.completed_steps
        node.total_steps += child.total_steps
        if child.children or child.is_container:
            node.counts.update(child.counts)
        else:
            node.counts[child.phase] += 1


def _rows(query: Any) -> Any:
    """The rows of a query for values. On PostgreSQL psycopg parses dates, in C.

    Django's own way of it is written in Python and took most of the time in which a tree is read.
    """
    connection = connections[query.db]
    if not (settings.USE_TZ and has_psycopg(connection)):
        return query
    from psycopg.types.datetime import TimestamptzLoader

    with connection.cursor() as cursor:
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(*query.query.get_compiler(connection=connection).as_sql())
        return cursor.fetchall()


def has_psycopg(connection: Any) -> bool:
    """Whether a connection is one to PostgreSQL, made by psycopg 3."""
    return bool(connection.vendor == "postgresql" and connection.Database.__name__ == "psycopg")


@dataclass(slots=True, eq=False)
class Skeleton:
    """A node with nothing but its place, as stored."""

    pk: int
    parent_id: int | None
    tree_id: int
    lft: int
    rght: int
    level: int
    children: list[Skeleton] = field(default_factory=list)


_PLACE = ("pk", "parent_id", "tree_id", "lft", "rght", "level")


def skeleton(tree_id: int) -> Skeleton | None:
    """One tree by its ``parent`` column alone, in the order it has; a query per 500 parents."""
    rows = statuses().order_by("lft", "pk").values_list(*_PLACE)
    root = next((Skeleton(*row) for row in rows.filter(pk=tree_id)), None)
    parents = {root.pk: root} if root else {}
    seen = set(parents)  # A damaged tree may lead in a circle.
    while parents:
        pks = list(parents)
        children = [
            Skeleton(*row)
            for start in range(0, len(pks), 500)
            for row in rows.filter(parent_id__in=pks[start : start + 500])
        ]
        children = [child for child in children if child.pk not in seen]
        seen.update(child.pk for child in children)
        for child in children:
            parents[child.parent_id or 0].children.append(child)
        parents = {child.pk: child for child in children}
    return root


def faults(tree_id: int) -> list[str]:
    """What is wrong with the bounds of one tree, in words; empty if nothing is."""
    root = skeleton(tree_id)
    if root is None:
        return [f"tree {tree_id} has no root"]
    messages = []
    if root.parent_id is not None:
        messages.append(f"node {root.pk}: gives its pk to the tree but has a parent")
    strays = set(statuses().filter(tree_id=tree_id).values_list("pk", flat=True))
    seen: Counter[int] = Counter()
    stack: list[tuple[Skeleton, Skeleton | None]] = [(root, None)]
    while stack:
        node, parent = stack.pop()
        strays.discard(node.pk)
        seen.update((node.lft, node.rght))
        stack.extend((child, node) for child in node.children)
        expected = parent.level + 1 if parent else 0
        if node.tree_id != tree_id:
            messages.append(f"node {node.pk}: tree_id {node.tree_id}, not its root's pk")
        if node.level != expected:
            messages.append(f"node {node.pk}: level {node.level}, not {expected}")
        if node.lft >= node.rght:
            messages.append(f"node {node.pk}: lft {node.lft} is not below rght {node.rght}")
        if parent and not (parent.lft < node.lft and node.rght < parent.rght):
            messages.append(f"node {node.pk}: not within its parent {parent.pk}")
        for before, after in zip(node.children, node.children[1:], strict=False):
            if before.rght >= after.lft:
                messages.append(f"nodes {before.pk} and {after.pk}: overlap")
    messages += [f"node {pk}: in this tree, but not below its root" for pk in sorted(strays)]
    messages += [f"bound {bound} is taken {n} times" for bound, n in seen.items() if n > 1]
    return messages


def renumber(tree_id: int) -> None:
    """Numbers one tree anew from its ``parent`` column, in the order it has, with fresh gaps.

    For the holder of the tree's lock. Cost: one query to read, one UPDATE per 500 nodes.
    """
    root = skeleton(tree_id)
    if root is None:
        return
    changed = []
    for node, _parent, lft, rght, level in place(root):
        if (node.tree_id, node.lft, node.rght, node.level) != (tree_id, lft, rght, level):
            changed.append(
                statuses().model(pk=node.pk, tree_id=tree_id, lft=lft, rght=rght, level=level)
            )
    statuses().bulk_update(changed, ["tree_id", "lft", "rght", "level"], batch_size=500)


class Room(NamedTuple):
    """Where a new subtree may stand, and the node above it as it is now."""

    tree_id: int
    level: int
    lft: int
    gap: int
    phase: Phase
    """Of the node above, like all that follow."""
    is_container: bool
    task_id: str
    user_id: Any
    action: str
    subject: str


@cache
def _with_last_child() -> Any:
    """Nodes with the last bound that is taken by their children; made once: it is half the cost."""
    children = statuses().filter(parent_id=models.OuterRef("pk")).order_by().values("parent_id")
    last = models.Subquery(children.annotate(last=models.Max("rght")).values("last"))
    place = ("tree_id", "level", "rght", Coalesce(last, "lft"))
    node = ("phase", "is_container", "task_id", "user_id", "action", "subject")
    return statuses().order_by().values_list(*place, *node)


def make_room(parent_pk: int, size: int = 1) -> Room:
    """Room for ``size`` nodes behind the last child of a node, for the holder of the tree's lock.

    One query; where the node's gap is used up its whole tree is numbered anew first.
    """
    parents = _with_last_child().filter(pk=parent_pk)
    while True:
        tree_id, level, rght, last, phase, *node = parents.get()
        free = rght - last - 1
        if free >= 2 * size:
            gap = max(1, free // SHARE // size - 1)
            return Room(tree_id, level + 1, last + 1, gap, Phase(phase), *node)
        renumber(tree_id)


def batches(items: list[Any], size: int = 500) -> Iterator[list[Any]]:
    """The items in lists of at most ``size``, for queries that name each of them."""
    return (items[start : start + size] for start in range(0, len(items), size))
