"""The dependency graph of a workflow as a picture, and the same in words.

    drawing = diagram(status.tree())

and in a template ``{% include "user_workflows/_graph.html" with drawing=drawing %}``. No request,
no query: what it is given is all it needs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import now
from django.utils.translation import gettext, ngettext

from ..graph import dependencies, waits_for
from ..phases import Phase
from ..reports.formatting import format_number, isolate
from ..reports.labels import PHASE_ORDER, counts_label
from ..tree.nodes import TreeNode
from .boxes import MAX_BOXES, Box, boxes
from .critical import critical_path
from .layers import layers
from .layout import Layout, layout
from .svg import SIGNS, drawn
from .text import box_state, name_of

#: Names that are said of what a task waits for; of more, only numbers are.
NAMED = 3


@dataclass(frozen=True, slots=True)
class Step:
    """A box in words."""

    number: int
    """From 1, in the author's order: no step waits for one with a higher number."""
    name: str
    href: str
    phase: Phase
    state: str
    waits: str
    """What it waits for, in words."""
    critical: bool


@dataclass(frozen=True, slots=True)
class Sign:
    """A phase in the legend, and how it is shown."""

    phase: Phase
    count: str
    svg: SafeString


@dataclass(frozen=True, slots=True)
class Diagram:
    """A picture, its legend, and the same in words."""

    key: str
    """A prefix for ids that is this picture's own in its page."""
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
    """The picture of all below ``top``.

    Each box leads to ``#node-`` and the uuid of its node, in the page at the address ``link``;
    empty for the same page. Cost: linear in the number of nodes.
    """
    at = at or now()
    root = boxes(top)
    critical = _critical(top, root, at)
    plan = layout(layers(root, critical))
    key = f"uw-graph-{top.uuid}"
    lines = plan.layers.lines
    return Diagram(
        key=key,
        svg=drawn(plan, link, key, at, set(critical)),
        summary=_summary(top, plan),
        legend=[_sign(phase, top.counts) for phase in PHASE_ORDER if top.counts[phase]],
        has_critical=bool(critical),
        has_collapsed=any(place.box.collapsed for place in plan.places()),
        has_may_fail=any(line.may_fail for line in lines),
        has_sent=any(line.sent for line in lines),
        steps=_steps(plan, link, at, set(critical)),
    )


def _critical(top: TreeNode, root: Box, at: datetime) -> list[Box]:
    """The boxes that the critical path leads through, each once."""
    home: dict[Any, Box] = {node: box for box in root.walk() for node in box.hidden()}
    path = [home[leaf] for leaf in critical_path(dependencies(top), at)]
    return path[:1] + [then for first, then in pairwise(path) if then is not first]


def _summary(top: TreeNode, plan: Layout) -> str:
    tasks, shown = top.counts.total(), len(plan.places())
    words = ngettext("%(count)s task", "%(count)s tasks", tasks) % {"count": format_number(tasks)}
    if tasks:
        words += f": {counts_label(top.counts)}."
    if shown != tasks:
        words += " " + ngettext(
            "Drawn as %(count)s box: branches are taken together.",
            "Drawn as %(count)s boxes: branches are taken together.",
            shown,
        ) % {"count": shown}
    return words


def _sign(phase: Phase, counts: Counter[Phase]) -> Sign:
    path = f'<path class="uw-graph-sign" fill-rule="evenodd" d="{escape(SIGNS[phase])}"/>'
    kind = f"uw-graph-key uw-graph-{phase.value.lower()}"
    svg = f'<svg class="{kind}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">'
    return Sign(phase, format_number(counts[phase]), mark_safe(f"{svg}{path}</svg>"))  # noqa: S308


def _steps(plan: Layout, link: str, at: datetime, critical: set[Box]) -> list[Step]:
    shown = [place.box for place in plan.places()]
    number = {box: at for at, box in enumerate(shown, 1)}
    said: dict[tuple[int, ...], str] = {}
    steps = []
    for box in shown:
        before = tuple(sorted({number[other] for other in waits_for(plan.layers.graph, box)}))
        sender = plan.layers.sender.get(box)
        if before not in said:
            said[before] = _waits([shown[at - 1] for at in before], before)
        steps.append(
            Step(
                number=number[box],
                name=name_of(box.node),
                href=f"{link}#node-{box.node.uuid}",
                phase=box.phase,
                state=box_state(box, at),
                waits=_sent(sender, number[sender]) if sender else said[before],
                critical=box in critical,
            )
        )
    return steps


def _sent(sender: Box, number: int) -> str:
    return gettext("sent by %(task)s") % {"task": f"{isolate(name_of(sender.node))} ({number})"}


def _waits(before: list[Box], numbers: tuple[int, ...]) -> str:
    if not before:
        return gettext("waits for nothing")
    if len(before) <= NAMED:
        pairs = zip(before, numbers, strict=True)
        names = ", ".join(f"{isolate(name_of(box.node))} ({at})" for box, at in pairs)
        return gettext("waits for %(tasks)s") % {"tasks": names}
    return gettext("waits for %(tasks)s") % {"tasks": _ranges(numbers)}


def _ranges(numbers: tuple[int, ...]) -> str:
    """The numbers in few words: "2-61, 64"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


__all__ = ["MAX_BOXES", "Box", "Diagram", "Sign", "Step", "diagram"]
