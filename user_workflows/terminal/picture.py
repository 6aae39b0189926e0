"""A picture of a tree at one moment, as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from django.utils.timezone import now
from django.utils.translation import override
from rich.cells import cell_len

from ..phases import WAITING, NodeType, Phase
from ..reports.formatting import isolate
from ..reports.labels import state_label
from ..tree.nodes import TreeNode
from .fitting import fitting
from .text import Line, clean, clip, counts_label, short_duration, wrap


class Glyphs(NamedTuple):
    """The signs that trees are drawn with."""

    symbols: Mapping[Phase, str]
    branch: str
    last: str
    down: str
    full: str
    rest: str
    more: str


UNICODE = Glyphs(dict(zip(Phase, "○●↻✓!✗⊘-", strict=True)), "├─ ", "└─ ", "│  ", "█", "░", "…")
ASCII = Glyphs(dict(zip(Phase, ".>~+!x#-", strict=True)), "|- ", "`- ", "|  ", "#", "-", "~")

_STYLES = {
    Phase.PENDING: "bright_black",
    Phase.RUNNING: "cyan",
    Phase.RETRYING: "yellow",
    Phase.SUCCEEDED: "green",
    Phase.PARTIAL: "yellow",
    Phase.FAILED: "bold red",
    Phase.CANCELED: "magenta",
    Phase.SKIPPED: "bright_black",
}
_TYPES = {NodeType.TASK: "", NodeType.CHAIN: "chain in order", NodeType.GROUP: "group at once"}
_NARROW, _FULL, _WIDE = 60, 90, 110
#: Columns of the state, by the width of the picture, of a bar and of a duration. A state that is
#: longer takes the place of the bar too.
_SHORT_STATE, _STATE, _LONG_STATE, _BAR, _TIME = 14, 19, 25, 10, 6
_DIM = "bright_black"


class _Busy(NamedTuple):
    """Open leaves of a subtree: in a worker, or still to be started."""

    running: int
    waiting: int


@dataclass(slots=True)
class _Layout:
    """The columns of one drawing."""

    width: int
    name: int
    state: int
    steps: int
    brief: bool
    """True if messages get one line each."""
    full: bool
    """True if the types of containers are spelt out."""

    @property
    def narrow(self) -> bool:
        return self.width < _NARROW and not self.full


@dataclass(slots=True)
class Picture:
    """A tree at one moment."""

    tree: TreeNode
    texts: Mapping[int, str] = field(default_factory=dict)
    """The messages of failed leaves, by primary key."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Names of nodes outside the tree that nodes in it were skipped because of."""
    at: datetime | None = None
    glyphs: Glyphs = UNICODE
    nodes: dict[int, TreeNode] = field(init=False)
    """The tree by primary key, parents first."""
    _busy: dict[int, _Busy] = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.at or now()
        self.nodes = {node.pk: node for node in self.tree.walk()}
        self._busy = {}
        for node in reversed(self.nodes.values()):
            busy = [self._busy[child.pk] for child in node.children]
            if not node.is_container and not node.is_settled and node.ended_at is None:
                waiting = node.phase in WAITING
                busy.append(_Busy(int(not waiting), int(waiting)))
            self._busy[node.pk] = _Busy(sum(b.running for b in busy), sum(b.waiting for b in busy))

    def state(self, node: TreeNode, *, short: bool = False) -> str:
        """Return the state of a node, in English; ``short`` leaves out what is open in it."""
        running, waiting = (0, 0) if short else self._busy[node.pk]
        with override(None):
            label = state_label(
                node.phase, isolate(clean(node.state)), is_settled=node.is_settled,
                running=running, waiting=waiting, several=bool(node.children),
                is_allowed=node.allow_failure and not short,
            )  # fmt: skip
        if node.phase is Phase.PARTIAL and short:
            label = "With failures"
        if node.attempts > 1:
            attempt = f"attempt {node.attempts}"
            label += f" ({attempt})" if node.phase is Phase.RETRYING else f", {attempt}"
        return label

    def name(self, pk: int | None) -> str:
        """Return the name of a node, safe to show."""
        node = self.nodes.get(pk or 0)
        return clean(node.name if node else self.names.get(pk or 0, "")) or "(no name)"

    def path(self, pk: int) -> str:
        """Return the names on the path to a node, without the root's."""
        names: list[str] = []
        node: TreeNode | None = self.nodes.get(pk)
        while node is not None and (node is not self.tree or not names):
            names.append(isolate(self.name(node.pk)))
            node = self.nodes.get(node.parent_id or 0) if node is not self.tree else None
        return " / ".join(reversed(names))

    def reason(self, node: TreeNode) -> str:
        """Return why a node failed or was not run; empty if that is not shown at this node."""
        if node.phase is Phase.FAILED:
            return clean(self.texts.get(node.pk, ""))
        if node.phase is Phase.SKIPPED and node.caused_by_id is not None:
            above = self.nodes.get(node.parent_id or 0)
            if above is None or above.phase is not Phase.SKIPPED or node is self.tree:
                return f"not run because of {isolate(self.name(node.caused_by_id))}"
        return ""

    def failed(self) -> list[TreeNode]:
        """Return the tasks that failed, and containers that failed with a message of their own."""
        return [
            node
            for node in self.nodes.values()
            if node.phase is Phase.FAILED and (not node.is_container or node.pk in self.texts)
        ]

    def lines(self, width: int | None = None, height: int | None = None) -> list[Line]:
        """Return the tree in at most ``width`` columns and ``height`` lines, where given.

        Where the height does not suffice, nodes that failed or run are shown, the rest counted.
        """
        layout = self._layout(width, brief=height is not None)
        lines = self._head(layout, bar=20 if width is None else None)
        shown = None if height is None else self._fitting(height - len(lines))
        indent = 2 if layout.narrow else 3
        branch, last, down = (sign[:indent] for sign in self.glyphs[1:4])
        lines += self._notes(self.tree, "", layout)
        stack: list[tuple[TreeNode | Counter[Phase], str, bool]] = []

        def push(node: TreeNode, prefix: str) -> None:
            items: list[TreeNode | Counter[Phase]] = []
            hidden: Counter[Phase] = Counter()
            for child in node.children:
                if shown is None or child.pk in shown:
                    items.append(child)
                else:
                    hidden.update(child.counts)
            if hidden and items:
                items.append(hidden)
            final = len(items) - 1
            stack.extend((item, prefix, i == final) for i, item in reversed([*enumerate(items)]))

        push(self.tree, "")
        while stack:
            item, prefix, is_last = stack.pop()
            start = prefix + (last if is_last else branch)
            below = prefix + (" " * indent if is_last else down)
            if isinstance(item, Counter):
                text = f"{self.glyphs.more} {counts_label(item)}"
                free = layout.width - cell_len(start)
                lines.append([(start, _DIM), (clip(text, free, self.glyphs.more), _DIM)])
                continue
            lines.append(self._row(item, start, layout))
            has_more = bool(item.children) and (
                shown is None or any(child.pk in shown for child in item.children)
            )
            lines += self._notes(item, below + (down if has_more else " " * indent), layout)
            push(item, below)
        return lines

    def _layout(self, width: int | None, *, brief: bool) -> _Layout:
        steps = 2 * len(str(self.tree.total_steps)) + 1
        right = 2 + _STATE + 2 + _BAR + 2 + steps + 2 + _TIME
        if width is None:
            name = max(
                3 * (node.level - self.tree.level) + 2 + 2 * node.is_container
                + cell_len(self.name(node.pk) + self._kind(node, full=True))
                for node in self.nodes.values()
            )  # fmt: skip
            return _Layout(name + right, name, _STATE, steps, brief, full=True)
        state = (_SHORT_STATE, _STATE, _LONG_STATE)[(width >= _FULL) + (width >= _WIDE)]
        name = width - right + _STATE - state
        return _Layout(width, name, state, steps, brief, full=width >= _FULL)

    def _kind(self, node: TreeNode, *, full: bool) -> str:
        if not node.is_container:
            return ""
        return _TYPES.get(node.node_type, node.node_type.value) if full else node.node_type.value

    def _head(self, layout: _Layout, bar: int | None) -> list[Line]:
        """Return the root: its bar fills what its labels leave free, or a line of its own."""
        root, style = self.tree, _STYLES[self.tree.phase]
        symbol = f"{self.glyphs.symbols[root.phase]} "
        kind = self._kind(root, full=layout.full)
        kind = f"  {kind}" if kind and not layout.narrow else ""
        state = self.state(root, short=layout.narrow)
        tail = f"{root.completed_steps}/{root.total_steps} steps"
        if took := short_duration(root.duration(self.at)):
            tail += f"  {took}"
        fixed = cell_len(symbol + kind + state + tail) + 6
        name = self.name(root.pk)
        free = bar or layout.width - fixed - cell_len(name)
        labels: Line = [(symbol, style), ("", "bold"), (kind, _DIM), ("  ", ""), (state, style)]
        if free >= 10:
            labels[1] = (isolate(name), "bold")
            return [[*labels, ("  ", ""), *self._bar(root, free), (f"  {tail}", "")]]
        state = clip(state, layout.width // 2, self.glyphs.more)
        free = layout.width - cell_len(symbol + kind + state) - 2
        labels[1] = (isolate(clip(name, free, self.glyphs.more)), "bold")
        labels[4] = (state, style)
        free = max(0, min(60, layout.width - 4 - len(tail)))
        return [labels, [("  ", ""), *self._bar(root, free), (f"  {tail}", "")]]

    def _row(self, node: TreeNode, start: str, layout: _Layout) -> Line:
        style, more = _STYLES[node.phase], self.glyphs.more
        right = self._narrow_right(node, layout) if layout.narrow else self._right(node, layout)
        free = layout.name
        if layout.narrow:
            free = layout.width - 2 - sum(cell_len(text) for text, _ in right)
        if cell_len(start) > free // 2:
            start = more + start[-(free // 2) :]
        free -= cell_len(start) + 2
        name = self.name(node.pk)
        kind = "" if layout.narrow else self._kind(node, full=layout.full)
        if kind and cell_len(name) + 2 + len(kind) > free:
            kind = self._kind(node, full=False)
        if kind:
            kind = f"  {kind}"
        name = clip(name, max(free - len(kind), 1), more)
        line: Line = [(start, _DIM), (f"{self.glyphs.symbols[node.phase]} ", style)]
        name_style = "" if node.phase not in (Phase.PENDING, Phase.SKIPPED) else _DIM
        line += [(isolate(name), name_style), (kind, _DIM)]
        gap = " " * max(0, free - cell_len(name + kind))
        return [*line, (f"{gap}  ", ""), *right]

    def _right(self, node: TreeNode, layout: _Layout) -> Line:
        """Return state, bar, steps and duration in columns; a long state takes the bar's."""
        style = _STYLES[node.phase]
        merged = layout.state + 2 + _BAR
        if node.phase is Phase.SKIPPED and (reason := self.reason(node)):
            text = f"{self.state(node)}, {reason}"
            free = merged + 2 + layout.steps + 2 + _TIME
            if layout.brief or cell_len(text) <= free:
                return [(clip(text, free, self.glyphs.more), style)]
        state = self.state(node)
        if cell_len(state) > layout.state:
            state = clip(state, merged, self.glyphs.more)
            line: Line = [(state + " " * (merged - cell_len(state)), style)]
        else:
            line = [(state + " " * (layout.state - cell_len(state) + 2), style)]
            has_bar = node.total_steps > 1 and node.phase is not Phase.SKIPPED
            line += self._bar(node, _BAR) if has_bar else [(" " * _BAR, "")]
        steps = f"{node.completed_steps}/{node.total_steps}"
        took = short_duration(node.duration(self.at))
        return [*line, (f"  {steps:>{layout.steps}}", ""), (f"  {took:>{_TIME}}", _DIM)]

    def _narrow_right(self, node: TreeNode, layout: _Layout) -> Line:
        state = clip(self.state(node, short=True), layout.width // 2, self.glyphs.more)
        right: Line = [(state, _STYLES[node.phase])]
        steps = f" {node.completed_steps}/{node.total_steps}"
        # The symbol, some of its indentation and some of the name come first.
        has_space = layout.width - cell_len(state + steps) >= 10
        if has_space and node.total_steps > 1 and not node.is_settled:
            right.append((steps, ""))
        return right

    def _bar(self, node: TreeNode, width: int) -> Line:
        done = node.completed_steps * width // node.total_steps if node.total_steps else 0
        style = _STYLES[node.phase]
        return [(self.glyphs.full * done, style), (self.glyphs.rest * (width - done), _DIM)]

    def _notes(self, node: TreeNode, start: str, layout: _Layout) -> list[Line]:
        reason = self.reason(node)
        if not reason:
            return []
        if node.phase is Phase.SKIPPED and node is not self.tree:
            is_in_row = not layout.narrow and reason in self._right(node, layout)[0][0]
            if layout.brief or is_in_row:
                return []
        free = max(10, layout.width - cell_len(start) - 2)
        texts = wrap(reason, free)
        most = 1 if layout.brief else 3
        if len(texts) > most:
            rest = " ".join(texts[most - 1 :])
            texts = [*texts[: most - 1], clip(rest, free, self.glyphs.more)]
        return [[(start, _DIM), (text, _STYLES[node.phase])] for text in texts]

    def _fitting(self, free: int) -> set[int] | None:
        failed = self.failed()
        lines = dict.fromkeys(self.nodes, 1)
        lines.update((node.pk, 2) for node in failed if self.reason(node))
        failed.sort(key=lambda node: node.allow_failure)
        running = [n for n in self.nodes.values() if not n.children and self._busy[n.pk].running]
        free += 1 - lines[self.tree.pk]
        return fitting(self.nodes, lines, free, failed=failed, running=running)
