"""Boxes in layers, and the lines between them.

Tasks stand in layers, each behind all that it waits for (topological generations). Within a layer
they stand in the author's order: a canvas is nested, so that order alone lets no two lines cross,
except below callbacks. Many alike side by side, such as the members of a group, become a block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import networkx as nx

from ..graph import Barrier, dependencies
from ..phases import NodeType
from .boxes import Box

if TYPE_CHECKING:
    from ..graph import Graph

#: Pixels.
WIDTH, HEIGHT, TALL, GAP = 208, 50, 66, 14
PADDING, CAPTION, JOINT = 12, 26, 10
#: So many that wait for the same tasks, and that the same tasks wait for, become a block.
BLOCK = 7
COLUMNS = 5


@dataclass(slots=True, eq=False)
class Item:
    """What takes room in a layer: a box, a block of boxes, a joint, or a line that passes by."""

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
        """Whether it is a frame around several boxes."""
        return len(self.boxes) > 1

    @property
    def is_joint(self) -> bool:
        """Whether many wait for many here."""
        return not self.boxes and self.width > 0

    @property
    def is_bend(self) -> bool:
        """Whether a long line passes here."""
        return not self.boxes and not self.is_joint


@dataclass(slots=True, eq=False)
class Line:
    """A piece of a line from one item to an item in the next layer."""

    start: Item
    end: Item
    may_fail: bool
    """Whether what it leads to starts even if what it comes from fails."""
    sent: bool
    """Whether it says who has sent a task that nobody waits for."""
    critical: bool = False


@dataclass(slots=True)
class Layers:
    """What is drawn, before it has places."""

    root: Box
    graph: Graph
    """Who waits for whom among the boxes."""
    sender: dict[Box, Box]
    """Who has sent what nobody waits for."""
    items: list[Item]
    """By layer, and in each in the order in which they stand."""
    lines: list[Line]


def layers(root: Box, critical: Iterable[Box] = ()) -> Layers:
    """The boxes below ``root`` in layers; the lines along ``critical`` are marked."""
    graph = dependencies(root)
    sender = _sender(graph, root)
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
        way = [start, *_passing(plain, start, end), end]
        items += way[1:-1]
        lines += [Line(a, b, **kind, critical=(start, end) in marked) for a, b in pairwise(way)]
    items.sort(key=lambda item: (item.layer, item.rank))
    return Layers(root, graph, sender, items, lines)


def _sender(graph: Graph, root: Box) -> dict[Box, Box]:
    """Nobody waits for what a task has sent while it ran, but it did not begin by itself."""
    found: dict[Box, Box] = {}
    for box in root.walk():
        above = box.parent
        while above is not None and above.node_type is not NodeType.TASK:
            above = above.parent
        if above is not None and box in graph and not graph.pred[box]:
            found[box] = above
    return found


def _items(graph: Graph, root: Box) -> dict[Any, Item]:
    def alike(box: Box) -> Any:
        return box.parent, frozenset(graph.pred[box]), frozenset(graph.succ[box]), box.children

    item_of: dict[Any, Item] = {}
    for _, group in groupby((box for box in root.walk() if box in graph), key=alike):
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


def _along(graph: Graph, critical: list[Box]) -> Iterable[tuple[Any, Any]]:
    for before, after in pairwise(critical):
        if graph.has_edge(before, after):
            yield before, after
        for joint in graph.successors(before):
            if isinstance(joint, Barrier) and graph.has_edge(joint, after):
                yield from ((before, joint), (joint, after))


def _passing(plain: Graph, start: Item, end: Item) -> list[Item]:
    """A place in each layer that a long line passes: behind the callbacks of where it starts."""
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
