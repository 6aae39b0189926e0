"""The rows of a tree that a page shows: what is open, which children, what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from ..phases import NodeType, Phase
from ..reports import labels
from ..tree.nodes import TreeNode
from .counts import PhaseCounts, counts_by_node, sum_counts
from .tree_rows import TreeRow
from .view_state import PHASE_FILTERS, ViewState

#: Children of one container that are shown at once.
PAGE_SIZE = 50
#: A tree of no more nodes is all open.
ALL_OPEN_NODES = 30
#: Paths to failed and running tasks are opened up to so many rows.
MAX_OPENED_ROWS = 150


@dataclass(slots=True, eq=False)
class MoreRow:
    """A row in place of the children that are not shown."""

    parent: UUID
    level: int
    first: int
    """The position of the first shown child, from 1."""
    last: int
    total: int
    after: UUID | None
    """The child that the next page begins behind; None at the end."""
    next: str
    back: str
    rest: list[str]
    """The tasks in the children behind this page, by phase."""
    is_more: bool = True


class VisibleRows:
    """The rows of one page; ``artifacts`` are the numbers of artifacts by key of the node."""

    def __init__(
        self, top: TreeNode, view_state: ViewState, *, at: datetime, artifacts: Mapping[int, int]
    ) -> None:
        self.top, self.view_state, self.at = top, view_state, at
        self.nodes = {node.pk: node for node in top.walk()}
        self._counts = counts_by_node(top)
        self._artifacts = artifacts
        #: True if tasks that were asked to stop have had their time to.
        self.can_force = False
        #: The number of nodes that match the filter; None where there is none.
        self.found: int | None = None
        self._matched = self._match() if view_state.is_filter else None
        self._open = self._open_nodes()

    def close(self) -> None:
        """Close all rows but those on the path to a match of the filter."""
        if self._matched is None:
            self._open = set()

    @property
    def counts(self) -> PhaseCounts:
        """The tasks of the whole tree."""
        return sum_counts([self.top], self._counts)

    def rows(self) -> Iterator[TreeRow | MoreRow]:
        """Yield the root and all that is open below it."""
        yield self._row(self.top, 1, 1)
        if self.top.pk in self._open:
            yield from self.below(self.top)

    def below(self, node: TreeNode, after: UUID | None = None) -> Iterator[TreeRow | MoreRow]:
        """Yield one page of a node's children, each with what is open below it."""
        pages = [self._page(node, after)]
        while pages:
            for row, child in pages[-1]:
                yield row
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
        for position, child in enumerate(children[start:end], start + 1):
            yield self._row(child, position, len(children)), child
        if len(children) > PAGE_SIZE:
            yield self._more(node, children, start, min(end, len(children))), None

    def _more(self, node: TreeNode, children: list[TreeNode], start: int, end: int) -> MoreRow:
        rest = sum_counts(children[end:], self._counts).tasks_by_phase()
        after = children[end - 1].uuid if end < len(children) else None
        before = children[start - PAGE_SIZE - 1].uuid if start > PAGE_SIZE else None
        return MoreRow(
            node.uuid, node.level - self.top.level + 2, start + 1, end, len(children), after,
            next=self.view_state.page_query(children, after) if after else "",
            back=self.view_state.page_query(children, before) if start else "",
            rest=list(labels.count_labels(rest).values()),
        )  # fmt: skip

    def _start(self, children: list[TreeNode], after: UUID | None) -> int:
        if len(children) <= PAGE_SIZE and after is None:
            return 0
        behind = {after} if after else self.view_state.after
        for index, child in enumerate(children):
            if child.uuid in behind:
                return min(index + 1, len(children) - 1)
        shown = (index for index, child in enumerate(children) if child.pk in self._path)
        return next(shown, 0) // PAGE_SIZE * PAGE_SIZE

    def _children(self, node: TreeNode) -> list[TreeNode]:
        if self._matched is None:
            return node.children
        found = [child for child in node.children if child.pk in self._matched]
        return found or (node.children if node.pk in self._matched else [])

    def _row(self, node: TreeNode, position: int, siblings: int) -> TreeRow:
        cause = self.nodes.get(node.caused_by_id or 0)
        is_open = node.pk in self._open
        return TreeRow(
            node=node, at=self.at, counts=sum_counts([node], self._counts),
            level=node.level - self.top.level + 1, position=position, siblings=siblings,
            children=len(node.children), artifacts=self._artifacts.get(node.pk, 0),
            caused_by=cause.name if cause else None, is_open=is_open, can_force=self.can_force,
            toggle=self.view_state.toggle_query(node.uuid, is_open) if node.children else "",
        )  # fmt: skip

    def _match(self) -> set[int]:
        """Return the matches of the filter and all above them, and count the matches."""
        phases = PHASE_FILTERS[self.view_state.phase][1] if self.view_state.phase else ()
        needle = self.view_state.search.casefold()
        matched: set[int] = set()
        self.found = 0
        for node in self.nodes.values():
            is_wanted = not phases or (node.phase in phases and node.node_type is NodeType.TASK)
            if is_wanted and needle in node.name.casefold():
                self.found += 1
                matched |= {node.pk, *self._ancestors(node)}
        return matched

    def _ancestors(self, node: TreeNode) -> Iterator[int]:
        above = self.nodes.get(node.parent_id or 0)
        while above is not None:
            yield above.pk
            above = self.nodes.get(above.parent_id or 0)

    @cached_property
    def _path(self) -> set[int]:
        """The node that was asked for and all above it."""
        goal = next((n for n in self.nodes.values() if n.uuid == self.view_state.node), None)
        return {goal.pk, *self._ancestors(goal)} if goal else set()

    def _open_nodes(self) -> set[int]:
        nodes, state = self.nodes.values(), self.view_state
        if self._matched is not None:
            found = self._open_paths(node for node in nodes if node.pk in (self._matched or ()))
        elif len(self.nodes) <= ALL_OPEN_NODES:
            found = set(self.nodes)
        else:
            urgent = (Phase.FAILED, Phase.RUNNING, Phase.RETRYING)
            leaves = [node for node in nodes if node.phase in urgent and not node.children]
            found = self._open_paths(sorted(leaves, key=lambda node: urgent.index(node.phase)))
        if state.opened or state.closed:
            by_uuid = {node.uuid: node.pk for node in nodes}
            found |= {by_uuid[uuid] for uuid in state.opened if uuid in by_uuid}
            found -= {by_uuid[uuid] for uuid in state.closed if uuid in by_uuid}
        found |= {pk for pk in self._path if self.nodes[pk].uuid != state.node}
        return {pk for pk in found if self.nodes[pk].children}

    def _open_paths(self, goals: Iterable[TreeNode]) -> set[int]:
        """Return the nodes above the goals, as many as ``MAX_OPENED_ROWS`` allows."""
        found = {self.top.pk}
        rows = min(PAGE_SIZE, len(self.top.children))
        for goal in goals:
            if rows >= MAX_OPENED_ROWS:
                break
            for pk in self._ancestors(goal):
                if pk in found:
                    break
                found.add(pk)
                rows += min(PAGE_SIZE, len(self.nodes[pk].children))
        return found
