"""How much of a tree the page shows at first: what is open, which children, what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from uuid import UUID

from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from ..phases import NodeType, Phase
from ..reports import labels
from ..tree.nodes import TreeNode
from .counts import PhaseCounts, add_nodes, counts_by_node
from .tree_rows import TreeRow

#: Children of one container that are shown at once.
PAGE_SIZE = 50
#: A tree of no more nodes is all open.
ALL_OPEN_NODES = 30
#: Ways to failed and running tasks are opened up to so many rows.
MAX_OPENED_ROWS = 150

#: What may be asked for, and the phases that it means.
PHASE_FILTERS = {
    "failed": (_("Failed"), (Phase.FAILED,)),
    "running": (_("Running"), (Phase.RUNNING, Phase.RETRYING)),
    "pending": (_("Pending"), (Phase.PENDING,)),
    "succeeded": (_("Succeeded"), (Phase.SUCCEEDED, Phase.PARTIAL)),
    "canceled": (_("Canceled or skipped"), (Phase.CANCELED, Phase.SKIPPED)),
}


@dataclass(slots=True)
class ViewState:
    """What a user wants to see of a tree, as it stands in the address."""

    opened: set[UUID] = field(default_factory=set)
    closed: set[UUID] = field(default_factory=set)
    after: set[UUID] = field(default_factory=set)
    """Children behind which a page begins."""
    node: UUID | None = None
    """The node to which the way is opened."""
    phase: str = ""
    search: str = ""
    query: QueryDict = field(default_factory=QueryDict)

    @classmethod
    def of(cls, query: QueryDict) -> ViewState:
        """The wish in a query string; what is not understood is not heard."""
        node = _uuids(query, "node")
        return cls(
            _uuids(query, "open"),
            _uuids(query, "close"),
            _uuids(query, "after"),
            next(iter(node), None),
            query.get("phase", "") if query.get("phase") in PHASE_FILTERS else "",
            query.get("q", "").strip()[:200],
            query,
        )

    @property
    def is_filter(self) -> bool:
        """Whether only some nodes are wanted."""
        return bool(self.phase or self.search)

    def toggled(self, uuid: UUID, is_open: bool) -> str:
        """The query string with this node closed, if it is open, or opened."""
        query = self.query.copy()
        for name in ("open", "close"):
            query.setlist(name, [v for v in query.getlist(name) if v != str(uuid)])
        query.appendlist("close" if is_open else "open", str(uuid))
        query.pop("node", None)
        return "?" + query.urlencode()

    def turned(self, siblings: list[TreeNode], after: UUID | None) -> str:
        """The query string with these siblings shown from behind ``after`` on."""
        query = self.query.copy()
        if given := query.getlist("after"):
            own = {str(node.uuid) for node in siblings}
            query.setlist("after", [v for v in given if v not in own])
        if after is not None:
            query.appendlist("after", str(after))
        query.pop("node", None)
        return "?" + query.urlencode()


def _uuids(query: QueryDict, name: str) -> set[UUID]:
    found = set()
    for text in query.getlist(name)[:200]:
        try:
            found.add(UUID(text))
        except ValueError:
            continue
    return found


@dataclass(slots=True, eq=False)
class MoreRow:
    """Stands in place of children that are not shown."""

    parent: UUID
    level: int
    first: int
    """Of the shown ones, from 1."""
    last: int
    total: int
    after: UUID | None
    """The child that the next page begins behind; None at the end."""
    next: str = ""
    back: str = ""
    rest: list[str] = field(default_factory=list)
    """What is in those that are not shown."""

    is_more = True


class VisibleRows:
    """The rows of one page."""

    def __init__(
        self,
        top: TreeNode,
        wish: ViewState,
        *,
        at: datetime,
        artifacts: Mapping[int, int],
    ) -> None:
        self.top, self.wish, self.at = top, wish, at
        self.nodes = {node.pk: node for node in top.walk()}
        self.tallies: dict[int, PhaseCounts] = counts_by_node(top)
        self._artifacts = artifacts
        #: Whether what was asked to stop has had its time to.
        self.can_force = False
        self._wanted = self._matching() if wish.is_filter else None
        self._open = self._opened()

    def close(self) -> None:
        """Closes all that is not on the way to something that was asked for."""
        if self._wanted is None:
            self._open = set()

    @property
    def tally(self) -> PhaseCounts:
        """Of the whole."""
        return self._tally(self.top)

    @property
    def found(self) -> int | None:
        """How many nodes are what was asked for; None where all are shown."""
        return None if self._wanted is None else self._matches

    def rows(self) -> Iterator[TreeRow | MoreRow]:
        """From the top down, all that is open."""
        yield self._row(self.top, 1, 1)
        if self.top.pk in self._open:
            yield from self.below(self.top)

    def below(self, node: TreeNode, after: UUID | None = None) -> Iterator[TreeRow | MoreRow]:
        """One page of a node's children, each with what is open below it."""
        pages = [self._page(node, after)]
        while pages:
            for line, child in pages[-1]:
                yield line
                if child is not None and child.pk in self._open:
                    pages.append(self._page(child))
                    break
            else:
                pages.pop()

    def _page(
        self, node: TreeNode, after: UUID | None = None
    ) -> Iterator[tuple[TreeRow | MoreRow, TreeNode | None]]:
        children = self._children(node)
        start = self._start(children, after)
        end = start + PAGE_SIZE
        for place, child in enumerate(children[start:end], start + 1):
            yield self._row(child, place, len(children)), child
        if len(children) > PAGE_SIZE:
            yield self._more(node, children, start, min(end, len(children))), None

    def _more(self, node: TreeNode, children: list[TreeNode], start: int, end: int) -> MoreRow:
        rest = PhaseCounts()
        add_nodes(rest, children[end:], self.tallies)
        follow = children[end - 1].uuid if end < len(children) else None
        before = children[start - PAGE_SIZE - 1].uuid if start > PAGE_SIZE else None
        return MoreRow(
            node.uuid,
            self._level(node) + 1,
            start + 1,
            end,
            len(children),
            follow,
            next=self.wish.turned(children, follow) if follow else "",
            back=self.wish.turned(children, before) if start else "",
            rest=[text for _, _, text in labels.count_labels(rest.by_phase())],
        )

    def _start(self, children: list[TreeNode], after: UUID | None) -> int:
        if len(children) <= PAGE_SIZE and after is None:
            return 0
        behind = {after} if after else self.wish.after
        for place, child in enumerate(children):
            if child.uuid in behind:
                return min(place + 1, len(children) - 1)
        if self.wish.node:
            way = self._way
            for place, child in enumerate(children):
                if child.pk in way:
                    return place // PAGE_SIZE * PAGE_SIZE
        return 0

    def _level(self, node: TreeNode) -> int:
        return node.level - self.top.level + 1

    def _children(self, node: TreeNode) -> list[TreeNode]:
        if self._wanted is None:
            return node.children
        found = [child for child in node.children if child.pk in self._wanted]
        return found or (node.children if node.pk in self._wanted else [])

    def _tally(self, node: TreeNode) -> PhaseCounts:
        found = PhaseCounts()
        add_nodes(found, [node], self.tallies)
        return found

    def _row(self, node: TreeNode, place: int, siblings: int) -> TreeRow:
        cause = self.nodes.get(node.caused_by_id or 0)
        is_open = node.pk in self._open
        return TreeRow(
            pk=node.pk,
            uuid=node.uuid,
            parent_id=node.parent_id,
            level=self._level(node),
            node_type=node.node_type,
            name=node.name,
            phase=node.phase,
            text=node.state,
            allow_failure=node.allow_failure,
            attempts=node.attempts,
            started_at=node.started_at,
            settled_at=node.settled_at,
            ended_at=node.ended_at,
            last_seen_at=node.last_seen_at,
            cause=cause.name if cause and node.phase is Phase.SKIPPED else "",
            tally=self._tally(node),
            children=len(node.children),
            artifacts=self._artifacts.get(node.pk, 0),
            at=self.at,
            place=place,
            siblings=siblings,
            is_open=is_open,
            toggle=self.wish.toggled(node.uuid, is_open) if node.children else "",
            can_force=self.can_force,
        )

    # -- what is open ---------------------------------------------------------------------------

    def _matching(self) -> set[int]:
        phases = PHASE_FILTERS[self.wish.phase][1] if self.wish.phase else ()
        needle = self.wish.search.casefold()
        wanted: set[int] = set()
        self._matches = 0
        for node in self.nodes.values():
            if phases and (node.phase not in phases or node.node_type is not NodeType.TASK):
                continue
            if needle and needle not in node.name.casefold():
                continue
            self._matches += 1
            wanted |= self._above(node.pk) | {node.pk}
        return wanted

    def _above(self, pk: int) -> set[int]:
        found = set()
        above = self.nodes[pk].parent_id
        while above in self.nodes and above not in found:
            found.add(above)
            above = self.nodes[above].parent_id
        return found

    @cached_property
    def _way(self) -> set[int]:
        goal = next((n for n in self.nodes.values() if n.uuid == self.wish.node), None)
        return self._above(goal.pk) | {goal.pk} if goal else set()

    def _opened(self) -> set[int]:
        if self._wanted is not None:
            found = self._ways(
                node for node in self.nodes.values() if node.pk in (self._wanted or ())
            )
        elif len(self.nodes) <= ALL_OPEN_NODES:
            found = {node.pk for node in self.nodes.values() if node.children}
        else:
            urgent = (Phase.FAILED, Phase.RUNNING, Phase.RETRYING)
            found = self._ways(
                node
                for phase in urgent
                for node in self.nodes.values()
                if node.phase is phase and not node.children
            )
        wish = self.wish
        if wish.opened or wish.closed or wish.node:
            by_uuid = {node.uuid: node.pk for node in self.nodes.values()}
            found |= {by_uuid[uuid] for uuid in wish.opened if uuid in by_uuid}
            found -= {by_uuid[uuid] for uuid in wish.closed if uuid in by_uuid}
            found |= {pk for pk in self._way if self.nodes[pk].uuid != wish.node}
        return {pk for pk in found if self.nodes[pk].children}

    def _ways(self, goals: Iterator[TreeNode]) -> set[int]:
        found = {self.top.pk}
        rows = min(PAGE_SIZE, len(self.top.children))
        for goal in goals:
            if rows >= MAX_OPENED_ROWS:
                break
            above = goal.parent_id
            while above in self.nodes and above not in found:
                found.add(above)
                rows += min(PAGE_SIZE, len(self.nodes[above].children))
                above = self.nodes[above].parent_id
        return found
