"""Boxes in layers, and the lines between them.

Tasks stand in layers, each behind all that it waits for (topological generations). Within a layer
they stand in the author's order: a canvas is nested, so that order alone lets no two lines cross,
except below callbacks. Many with the same surroundings, such as members of a group, become a block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil, sqrt
from typing import TYPE_CHECKING, TypeAlias

import networkx as nx

from ..graph import Barrier, dependencies
from ..phases import NodeType
from .boxes import Box

if TYPE_CHECKING:
    from ..graph import Graph

#: A node of the dependency graph.
Vertex: TypeAlias = Box | Barrier

#: Pixels.
WIDTH, HEIGHT, TALL, GAP = 208, 50, 66, 14
PADDING, CAPTION, JOINT = 12, 26, 10
#: At least so many tasks between the same predecessors and successors become a block.
BLOCK = 7
COLUMNS = 5


@dataclass(slots=True, eq=False)
class Item:
    """One thing in a layer: a box, a block of boxes, a joint, or a line that passes by."""

    boxes: list[Box]
    rank: float
    width: float = 0
    height: float = 0
    columns: int = 1
    row: float = 0
    """The height of each of its boxes."""
    layer: int = 0
    x: float = 0
    y: float = 0

    @property
    def is_block(self) -> bool:
        """True if the item is a frame around several boxes."""
        return len(self.boxes) > 1

    @property
    def is_joint(self) -> bool:
        """True if the item is a point where many wait for many."""
        return not self.boxes and self.width > 0

    @property
    def is_bend(self) -> bool:
        """True if the item is a point that a long line passes."""
        return not self.boxes and not self.is_joint


@dataclass(slots=True, eq=False)
class Line:
    """A piece of a line from one item to an item in the next layer."""

    start: Item
    end: Item
    may_fail: bool
    """True if the task at the end starts even if the one at the start fails."""
    sent: bool
    """True if the line leads from a task to one that it has sent and that nothing waits for."""
    critical: bool = False


@dataclass(slots=True)
class Layers:
    """A drawing before its items have places."""

    root: Box
    graph: Graph
    """The dependencies of the boxes."""
    sender: dict[Box, Box]
    """The senders of boxes that nothing waits for."""
    items: list[Item]
    """All items, by layer and by their order in it."""
    lines: list[Line]


def layers(root: Box, critical: Iterable[Box] = ()) -> Layers:
    """Return the boxes below ``root`` in layers, with the lines along ``critical`` marked."""
    graph = dependencies(root)
    sender = _senders(graph, root)
    item_of = _items(graph, root)
    plain: Graph = nx.DiGraph()
    plain.add_nodes_from(dict.fromkeys(item_of.values()))
    for before, after in graph.edges:
        pair = item_of[before], item_of[after]
        may_fail = not isinstance(before, Barrier) and before.may_fail
        if plain.has_edge(*pair):
            plain.edges[pair]["may_fail"] &= may_fail
        else:
            plain.add_edge(*pair, may_fail=may_fail, sent=False)
    for after, before in sender.items():
        plain.add_edge(item_of[before], item_of[after], may_fail=False, sent=True)
    for layer, generation in enumerate(nx.topological_generations(plain)):
        for item in generation:
            item.layer = layer
    marked = {(item_of[a], item_of[b]) for a, b in _along(graph, list(critical))}
    items, lines = list(plain), []
    for start, end, kind in plain.edges(data=True):
        path = [start, *_bends(plain, start, end), end]
        items += path[1:-1]
        lines += [Line(a, b, **kind, critical=(start, end) in marked) for a, b in pairwise(path)]
    items.sort(key=lambda item: (item.layer, item.rank))
    return Layers(root, graph, sender, items, lines)


def _senders(graph: Graph, root: Box) -> dict[Box, Box]:
    """Return the tasks that have sent others while they ran, by those others."""
    found: dict[Box, Box] = {}
    for box in root.walk():
        above = box.parent
        while above is not None and above.node_type is not NodeType.TASK:
            above = above.parent
        if above is not None and box in graph and not graph.pred[box]:
            found[box] = above
    return found


def _items(graph: Graph, root: Box) -> dict[Vertex, Item]:
    def surroundings(box: Box) -> tuple[object, ...]:
        return box.parent, frozenset(graph.pred[box]), frozenset(graph.succ[box]), box.children

    item_of: dict[Vertex, Item] = {}
    for _, group in groupby((box for box in root.walk() if box in graph), key=surroundings):
        run = list(group)
        for part in [run] if len(run) >= BLOCK else [[box] for box in run]:
            row = TALL if any(box.collapsed for box in part) else HEIGHT
            item = Item(part, part[0].rank, WIDTH, row, row=row)
            if item.is_block:
                item.columns = min(COLUMNS, ceil(sqrt(len(part) / 1.5)))
                rows = ceil(len(part) / item.columns)
                item.width = item.columns * (WIDTH + GAP) - GAP + 2 * PADDING
                item.height = rows * (row + GAP) - GAP + CAPTION + PADDING
            item_of.update(dict.fromkeys(part, item))
    for node in graph:
        if isinstance(node, Barrier):
            ranks = [item_of[before].rank for before in graph.predecessors(node)]
            item_of[node] = Item([], sum(ranks) / len(ranks), JOINT, JOINT)
    return item_of


def _along(graph: Graph, critical: list[Box]) -> Iterable[tuple[Vertex, Vertex]]:
    for before, after in pairwise(critical):
        if graph.has_edge(before, after):
            yield before, after
        for joint in graph.successors(before):
            if isinstance(joint, Barrier) and graph.has_edge(joint, after):
                yield from ((before, joint), (joint, after))


def _bends(plain: Graph, start: Item, end: Item) -> list[Item]:
    """Return an item in each layer that a line passes, behind the callbacks of its start."""
    if end.layer - start.layer < 2:
        return []
    passed = {item for item in plain.successors(start) if item.rank < end.rank}
    passed.update(*(nx.descendants(plain, item) for item in passed))
    ranks = defaultdict(list)
    for item in passed:
        ranks[item.layer].append(item.rank)
    return [
        Item([], max(ranks[layer], default=start.rank), layer=layer)
        for layer in range(start.layer + 1, end.layer)
    ]
