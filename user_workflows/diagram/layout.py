"""Where boxes and lines stand in a drawing.

Tasks stand in layers, each behind all that it waits for (topological generations). Within a layer
they stand in the author's order: a canvas is nested, so that order alone lets no two lines cross,
except below callbacks. Many alike side by side, such as the members of a group, become a block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx

from ..graph import Barrier, dependencies
from ..phases import NodeType
from .boxes import Box

if TYPE_CHECKING:
    from ..graph import Graph

#: Pixels.
WIDTH, HEIGHT, TALL, GAP = 208, 50, 66, 14
PADDING, CAPTION = 12, 26
JOINT, BETWEEN, MARGIN = 10, 40, 12
#: A drawing runs down the page as long as it is not wider than this.
PAGE = 1200
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


class Place(NamedTuple):
    """The upper left corner of a box, and its height."""

    box: Box
    x: float
    y: float
    height: float


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
class Layout:
    """A drawing, but for how it looks."""

    root: Box
    graph: Graph
    """Who waits for whom among the boxes."""
    sender: dict[Box, Box]
    """Who has sent what nobody waits for."""
    items: list[Item]
    lines: list[Line]
    down: bool
    """Whether it runs down the page rather than to the right."""
    width: float = 0
    height: float = 0
    edges: list[tuple[float, float]] = field(default_factory=list)
    """Where each layer begins and ends."""

    def places(self) -> list[Place]:
        """Each box and where it stands, in the author's order."""
        found = []
        for item in self.items:
            left, top = item.x, item.y
            if item.is_block:
                left, top = left + PADDING, top + CAPTION
            for at, box in enumerate(item.boxes):
                row, column = divmod(at, item.columns)
                x, y = left + column * (WIDTH + GAP), top + row * (item.row + GAP)
                found.append(Place(box, x, y, item.row))
        return sorted(found, key=lambda place: place.box.rank)


def layout(root: Box, critical: Iterable[Box] = ()) -> Layout:
    """The drawing of the boxes below ``root``; the lines along ``critical`` are marked."""
    graph = dependencies(root)
    sender = _sender(graph, root)
    items, lines = _layered(graph, root, sender, list(critical))
    down = _placed(Layout(root, graph, sender, items, lines, down=True))
    if down.width <= PAGE:
        return down
    aside = _placed(Layout(root, graph, sender, items, lines, down=False))
    return aside if aside.width < down.width else _placed(down)


def _layered(
    graph: Graph, root: Box, sender: dict[Box, Box], critical: list[Box]
) -> tuple[list[Item], list[Line]]:
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
    marked = {(item_of[a], item_of[b]) for a, b in _along(graph, critical)}
    items, lines = list(plain), []
    for start, end, kind in plain.edges(data=True):
        way = [start, *_passing(plain, start, end), end]
        items += way[1:-1]
        lines += [Line(a, b, **kind, critical=(start, end) in marked) for a, b in pairwise(way)]
    items.sort(key=lambda item: (item.layer, item.rank))
    return items, lines


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


# -- coordinates: ``along`` the layers, and ``across``, within one ----------------------------


def _placed(layout: Layout) -> Layout:
    if not layout.items:
        return layout
    down = layout.down
    along = {item: item.height if down else item.width for item in layout.items}
    across = {item: item.width if down else item.height for item in layout.items}
    layers = [list(layer) for _, layer in groupby(layout.items, key=lambda item: item.layer)]
    middle = _across(layout, layers, across)
    least = min(middle[item] - across[item] / 2 for item in layout.items)
    reach: dict[int, float] = defaultdict(float)
    for line in layout.lines:
        far = abs(middle[line.start] - middle[line.end])
        reach[line.start.layer] = max(reach[line.start.layer], far)
    at = float(MARGIN)
    layout.edges = []
    for layer in layers:
        thick = max(along[item] for item in layer)
        layout.edges.append((at, at + thick))
        for item in layer:
            begin = round(at + (thick - along[item]) / 2, 1)
            beside = round(MARGIN + middle[item] - least - across[item] / 2, 1)
            item.x, item.y = (beside, begin) if down else (begin, beside)
        # Lines that lead far to the side need room to bend.
        at = round(at + thick + BETWEEN + min(50.0, reach[layer[0].layer] / 12), 1)
    layout.width = max(item.x + item.width for item in layout.items) + MARGIN
    layout.height = max(item.y + item.height for item in layout.items) + MARGIN
    return layout


def _across(layout: Layout, layers: list[list[Item]], size: dict[Item, float]) -> dict[Item, float]:
    """The middle of each item.

    Each branch has a strip of its own, so that chains run straight: what stands side by side
    shares the strip of its container, what stands in order is in the middle of it. Only beside
    callbacks two things may want the same place; then they move apart, and what follows with them.
    """
    middle: dict[Item, float] = {}
    first = {item.boxes[0]: item for item in layout.items if item.boxes}
    _strips(layout.root, 0.0, {box: size[item] for box, item in first.items()}, first, middle)
    before = defaultdict(list)
    for line in layout.lines:
        before[line.end].append(line.start)
    strip = dict(middle)
    moved: dict[Item, float] = {}
    for layer in layers:
        for item in layer:
            near = before[item]
            if item in middle:
                middle[item] += sum(moved[other] for other in near) / max(1, len(near))
            else:
                ends = [middle[other] for other in near]
                middle[item] = (min(ends) + max(ends)) / 2
        _settle(layer, middle, size)
        moved.update((item, middle[item] - strip.get(item, middle[item])) for item in layer)
    return middle


def _strips(
    root: Box,
    at: float,
    own: dict[Box, float],
    first: dict[Box, Item],
    middle: dict[Item, float],
) -> None:
    wide: dict[Box, float] = {}
    for box in reversed([*root.walk()]):
        above, below = _parts(box)
        room = [own.get(box, 0.0), *(wide[child] for child in above)]
        wide[box] = max(*room, _beside(wide[child] for child in below))
    stack = [(root, at)]
    while stack:
        box, at = stack.pop()
        if box in first:
            middle[first[box]] = at
        above, below = _parts(box)
        stack += [(child, at) for child in above]
        at -= _beside(wide[child] for child in below) / 2
        for child in below:
            stack.append((child, at + wide[child] / 2))
            at += wide[child] + GAP * (wide[child] > 0)


def _parts(box: Box) -> tuple[list[Box], list[Box]]:
    """The children that stand in the middle of a container, and those that stand side by side."""
    if box.node_type.in_order:
        return box.children, []
    if box.node_type is NodeType.LINK:
        return box.children[:1], box.children[1:]
    return [], box.children


def _beside(sizes: Iterable[float]) -> float:
    found = [size for size in sizes if size]
    return sum(found) + GAP * max(0, len(found) - 1)


def _settle(layer: list[Item], middle: dict[Item, float], size: dict[Item, float]) -> None:
    """Moves the items of a layer apart, as little as possible (pool adjacent violators)."""
    offset, offsets = 0.0, []
    for at, item in enumerate(layer):
        if at:
            offset += (size[layer[at - 1]] + size[item]) / 2 + GAP
        offsets.append(offset)
    pools: list[tuple[float, int]] = []  # The sum and the number of the places wanted.
    for item, offset in zip(layer, offsets, strict=True):
        total, count = middle[item] - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            pooled = pools.pop()
            total, count = total + pooled[0], count + pooled[1]
        pools.append((total, count))
    wanted = [total / count for total, count in pools for _ in range(count)]
    for item, place, offset in zip(layer, wanted, offsets, strict=True):
        middle[item] = place + offset
