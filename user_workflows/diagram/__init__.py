"""The dependency graph of a workflow as a picture and as text.

    drawing = diagram(status.tree())

and in a template ``{% include "user_workflows/_graph.html" with drawing=drawing %}``. It
needs neither a request nor the database.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import now
from django.utils.translation import gettext, ngettext

from ..graph import dependencies, waits_for
from ..phases import Phase
from ..reports.formatting import format_number, isolate
from ..reports.labels import PHASE_ORDER, counts_label
from ..tree.nodes import TreeNode
from .boxes import Box, boxes
from .critical import critical_path
from .layers import layers
from .layout import Layout, layout
from .svg import SIGNS, draw_svg
from .text import box_state, name_of

#: Up to so many predecessors of a task are named; more are given by their numbers.
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One box as text."""

    number: int
    """From 1, in the author's order: no step waits for one with a higher number."""
    name: str
    href: str
    phase: Phase
    state: str
    waits: str
    """The steps that it waits for, as text."""
    critical: bool


@dataclass(frozen=True, slots=True)
class Sign:
    """A phase in the legend."""

    phase: Phase
    count: str
    svg: SafeString


@dataclass(frozen=True, slots=True)
class Diagram:
    """A picture, its legend and its description as text."""

    key: str
    """A prefix for ids that no other picture in the page has."""
    svg: SafeString
    summary: str
    legend: list[Sign]
    """The phases that occur."""
    has_critical: bool
    has_collapsed: bool
    has_may_fail: bool
    has_sent: bool
    steps: list[Step]


def diagram(top: TreeNode, *, link: str = "", at: datetime | None = None) -> Diagram:
    """Return the picture of all below ``top``. The cost is linear in the number of nodes.

    Boxes link into the page with the address ``link`` (empty for the same page), by ``#node-`` and
    the uuid of their nodes. Durations are counted to ``at``, or to now.
    """
    at = at or now()
    root = boxes(top)
    critical = _critical(top, root, at)
    plan = layout(layers(root, critical))
    key, lines = f"uw-graph-{top.uuid}", plan.layers.lines
    return Diagram(
        key=key,
        svg=draw_svg(plan, link, key, at, set(critical)),
        summary=_summary(top, plan),
        legend=[_sign(phase, top.counts) for phase in PHASE_ORDER if top.counts[phase]],
        has_critical=bool(critical),
        has_collapsed=any(place.box.collapsed for place in plan.places()),
        has_may_fail=any(line.may_fail for line in lines),
        has_sent=any(line.sent for line in lines),
        steps=_steps(plan, link, at, set(critical)),
    )


def _critical(top: TreeNode, root: Box, at: datetime) -> list[Box]:
    """Return the boxes that the critical path leads through, each once."""
    home = {node: box for box in root.walk() for node in box.hidden()}
    path = [home[leaf] for leaf in critical_path(dependencies(top), at)]
    return path[:1] + [then for first, then in pairwise(path) if then is not first]


def _summary(top: TreeNode, plan: Layout) -> str:
    tasks, shown = top.counts.total(), len(plan.places())
    text = ngettext("%(count)s task", "%(count)s tasks", tasks) % {"count": format_number(tasks)}
    if tasks:
        text += f": {counts_label(top.counts)}."
    if shown != tasks:
        text += " " + ngettext(
            "Drawn as %(count)s box: branches are taken together.",
            "Drawn as %(count)s boxes: branches are taken together.",
            shown,
        ) % {"count": shown}
    return text


def _sign(phase: Phase, counts: Counter[Phase]) -> Sign:
    path = f'<path class="uw-graph-sign" fill-rule="evenodd" d="{escape(SIGNS[phase])}"/>'
    kind = f"uw-graph-key uw-graph-{phase.value.lower()}"
    svg = f'<svg class="{kind}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">'
    return Sign(phase, format_number(counts[phase]), mark_safe(f"{svg}{path}</svg>"))  # noqa: S308


def _steps(plan: Layout, link: str, at: datetime, critical: set[Box]) -> list[Step]:
    shown = [place.box for place in plan.places()]
    numbers = {box: number for number, box in enumerate(shown, 1)}
    labels: dict[tuple[int, ...], str] = {}  # Many members of a group wait for the same.
    steps = []
    for box in shown:
        before = tuple(sorted({numbers[other] for other in waits_for(plan.layers.graph, box)}))
        sender = plan.layers.sender.get(box)
        if before not in labels:
            labels[before] = _waits([shown[number - 1] for number in before], before)
        waits = labels[before]
        if sender:
            waits = gettext("sent by %(task)s") % {"task": _named(sender, numbers[sender])}
        name, href = name_of(box.node), f"{link}#node-{box.node.uuid}"
        state, is_critical = box_state(box, at), box in critical
        steps.append(Step(numbers[box], name, href, box.phase, state, waits, is_critical))
    return steps


def _named(box: Box, number: int) -> str:
    return f"{isolate(name_of(box.node))} ({number})"


def _waits(before: list[Box], numbers: tuple[int, ...]) -> str:
    if not before:
        return gettext("waits for nothing")
    tasks = _ranges(numbers)
    if len(before) <= MAX_NAMED:
        tasks = ", ".join(map(_named, before, numbers))
    return gettext("waits for %(tasks)s") % {"tasks": tasks}


def _ranges(numbers: tuple[int, ...]) -> str:
    """Return the numbers in short: "2-61, 64"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
