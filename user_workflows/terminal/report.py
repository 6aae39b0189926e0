"""Lines about what has changed in a workflow, and about how it has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ..phases import Phase
from ..reports.formatting import format_size
from ..tree.nodes import TreeNode
from .picture import Picture
from .text import Line, clean, clip, counts_label, short_duration, wrap


class Artifact(NamedTuple):
    """An artifact of a task."""

    status_id: int
    name: str
    where: str
    """The address of the artifact, or its text."""
    is_address: bool
    size: int | None


def changes(before: Picture | None, after: Picture) -> list[str]:
    """Return a line for each node whose state has changed, but for new pending ones.

    Nodes that have begun stand before their children, nodes that have ended behind them.
    """
    root = after.tree
    steps = f"[{root.completed_steps}/{root.total_steps} steps]"
    lines = []
    stack = [(root, False)]
    while stack:
        node, left = stack.pop()
        if not left:
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.children))
        if left is not node.is_settled:
            continue
        known = before.nodes.get(node.pk) if before else None
        if _key(known) == _key(node) or (not known and node.phase is Phase.PENDING):
            continue
        state = after.state(node)
        if reason := after.reason(node):
            state += f", {reason}" if node.phase is Phase.SKIPPED else f": {reason}"
        lines.append(f"{after.path(node.pk)}: {state}  {steps}")
    return lines


def _key(node: TreeNode | None) -> tuple[object, ...]:
    return (node.phase, node.state, node.attempts, node.is_settled) if node else ()


def failures(picture: Picture, width: int = 100) -> list[Line]:
    """Return lines on each failed task: where, why, and how many others did not run because of it.

    Tasks that prevented most come first, tasks that were allowed to fail last.
    """
    leaves = [node for node in picture.nodes.values() if not node.is_container]
    skipped = Counter(node.caused_by_id for node in leaves if node.phase is Phase.SKIPPED)
    lines: list[Line] = []
    for node in sorted(picture.failed(), key=lambda n: (n.allow_failure, -skipped[n.pk])):
        symbol = picture.glyphs.symbols[node.phase]
        lines.append([(f"{symbol} ", "bold red"), (picture.path(node.pk), "bold")])
        lines[-1].append((f"  {picture.state(node)}", "red"))
        if reason := picture.reason(node):
            lines += [[(f"    {text}", "")] for text in wrap(reason, max(10, width - 4))]
        if count := skipped[node.pk]:
            tasks = "1 task" if count == 1 else f"{count} tasks"
            lines.append([(f"    {tasks} not run because of this", "yellow")])
    return lines


def artifacts(picture: Picture, found: Iterable[Artifact], width: int = 100) -> list[Line]:
    """Return lines on each artifact: the path of its task, its name, size and address or text.

    An address stands whole on a line of its own, a text is cut.
    """
    lines: list[Line] = []
    for artifact in found:
        line = [(f"{picture.path(artifact.status_id)}: ", ""), (clean(artifact.name), "bold")]
        if artifact.size is not None:
            line.append((f"  {format_size(artifact.size)}", "bright_black"))
        where = clean(artifact.where)
        if not artifact.is_address:
            where = clip(where, max(10, width - 4), picture.glyphs.more)
        lines += [line, [(f"    {where}", "cyan" if artifact.is_address else "")]]
    return lines


def verdict(picture: Picture) -> Line:
    """Return one line on how the workflow has ended."""
    root = picture.tree
    summary = f"{root.completed_steps}/{root.total_steps} steps"
    if took := short_duration(root.duration(picture.at)):
        summary += f" in {took}"
    if root.is_container:
        summary += f"; tasks: {counts_label(root.counts)}"
    return [(picture.state(root), "bold"), (f": {summary}", "")]
