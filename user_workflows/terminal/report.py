"""What there is to say when a workflow changes, and when it has ended."""

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
    """What a task left for its user."""

    status_id: int
    name: str
    where: str
    """Its address, or the text itself."""
    is_address: bool
    size: int | None


def changes(before: Picture | None, after: Picture) -> list[str]:
    """A line for each node whose state is another one than ``before``; pending ones say nothing.

    What has begun is told before what it contains, what has ended after it.
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
        words = after.state(node)
        if reason := after.reason(node):
            words += f", {reason}" if node.phase is Phase.SKIPPED else f": {reason}"
        lines.append(f"{after.path(node.pk)}: {words}  {steps}")
    return lines


def _key(node: TreeNode | None) -> tuple[object, ...]:
    return (node.phase, node.state, node.attempts, node.is_settled) if node else ()


def failures(picture: Picture, width: int = 100) -> list[Line]:
    """Each failed task: where, why, and how many others were not run because of it.

    Those that prevented most come first, those that were allowed to fail last.
    """
    leaves = [node for node in picture.nodes.values() if not node.is_container]
    skipped = Counter(node.caused_by_id for node in leaves if node.phase is Phase.SKIPPED)
    failed = [
        node
        for node in picture.nodes.values()
        if node.phase is Phase.FAILED and (not node.is_container or node.pk in picture.texts)
    ]
    failed.sort(key=lambda node: (node.allow_failure, -skipped[node.pk]))
    lines: list[Line] = []
    for node in failed:
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
    """Each artifact: which task left it, its name and size, and where it is.

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
    """One line on how it went."""
    root = picture.tree
    words = f"{root.completed_steps}/{root.total_steps} steps"
    if took := short_duration(root.duration(picture.at)):
        words += f" in {took}"
    if root.is_container:
        words += f"; tasks: {counts_label(root.counts)}"
    return [(picture.state(root), "bold"), (f": {words}", "")]
