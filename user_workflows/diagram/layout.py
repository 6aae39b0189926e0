"""The places of boxes and lines in a drawing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from ..phases import NodeType
from .boxes import Box
from .layers import CAPTION, GAP, PADDING, WIDTH, Item, Layers

#: Pixels: between two layers, and around all.
BETWEEN, MARGIN = 40, 12
#: A drawing runs down the page as long as it is not wider than this.
PAGE = 1200


class Place(NamedTuple):
    """The upper left corner of a box, and its height."""

    box: Box
    x: float
    y: float
    height: float


@dataclass(slots=True)
class Layout:
    """A drawing with the places of its items."""

    layers: Layers
    down: bool
    """True if the drawing runs down the page rather than to the right."""
    width: float = 0
    height: float = 0
    edges: list[tuple[float, float]] = field(default_factory=list)
    """The begin and the end of each layer, along the direction of the drawing."""

    def places(self) -> list[Place]:
        """Return the place of each box, in the author's order."""
        found = []
        for item in self.layers.items:
            left, top = item.x, item.y
            if item.is_block:
                left, top = left + PADDING, top + CAPTION
            for at, box in enumerate(item.boxes):
                row, column = divmod(at, item.columns)
                x, y = left + column * (WIDTH + GAP), top + row * (item.row + GAP)
                found.append(Place(box, x, y, item.row))
        return sorted(found, key=lambda place: place.box.rank)


def layout(layers: Layers) -> Layout:
    """Place all items: down the page, or to the right if that is too wide and this narrower."""
    down = _placed(Layout(layers, down=True))
    if down.width <= PAGE:
        return down
    aside = _placed(Layout(layers, down=False))
    return aside if aside.width < down.width else _placed(down)


def _placed(layout: Layout) -> Layout:
    # ``along`` the way that the drawing runs, and ``across`` it.
    items, lines = layout.layers.items, layout.layers.lines
    if not items:
        return layout
    down = layout.down
    along = {item: item.height if down else item.width for item in items}
    across = {item: item.width if down else item.height for item in items}
    layers = [list(layer) for _, layer in groupby(items, key=lambda item: item.layer)]
    middle = _across(layout.layers, layers, across)
    least = min(middle[item] - across[item] / 2 for item in items)
    reach: dict[int, float] = defaultdict(float)
    for line in lines:
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
        # Lines that lead far to the side need space to bend.
        at = round(at + thick + BETWEEN + min(50.0, reach[layer[0].layer] / 12), 1)
    layout.width = max(item.x + item.width for item in items) + MARGIN
    layout.height = max(item.y + item.height for item in items) + MARGIN
    return layout


def _across(drawn: Layers, layers: list[list[Item]], size: dict[Item, float]) -> dict[Item, float]:
    """Return the middle of each item across the direction of the drawing.

    Each branch has a strip of its own, so that chains run straight: what stands side by side
    shares the strip of its container, what stands in order is in the middle of it. Only beside
    callbacks two things may want the same place; then they move apart, and what follows with them.
    """
    middle: dict[Item, float] = {}
    first = {item.boxes[0]: item for item in drawn.items if item.boxes}
    _strips(drawn.root, 0.0, {box: size[item] for box, item in first.items()}, first, middle)
    before = defaultdict(list)
    for line in drawn.lines:
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
        _separate(layer, middle, size)
        moved.update((item, middle[item] - strip.get(item, middle[item])) for item in layer)
    return middle


def _strips(
    root: Box, at: float, own: dict[Box, float], first: dict[Box, Item], middle: dict[Item, float]
) -> None:
    wide: dict[Box, float] = {}
    for box in reversed([*root.walk()]):
        above, below = _parts(box)
        sizes = [own.get(box, 0.0), *(wide[child] for child in above)]
        wide[box] = max(*sizes, _beside(wide[child] for child in below))
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
    """Return the children in the middle of a container, and those that stand side by side."""
    if box.node_type.in_order:
        return box.children, []
    if box.node_type is NodeType.LINK:
        return box.children[:1], box.children[1:]
    return [], box.children


def _beside(sizes: Iterable[float]) -> float:
    found = [size for size in sizes if size]
    return sum(found) + GAP * max(0, len(found) - 1)


def _separate(layer: list[Item], middle: dict[Item, float], size: dict[Item, float]) -> None:
    """Move the items of a layer apart, as little as possible (pool adjacent violators)."""
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
