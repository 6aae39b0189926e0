"""Pieces of text in a drawing. What comes from users is shown as text, whatever is in it."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from django.utils.translation import gettext, ngettext

from ..reports.formatting import format_duration, format_number
from ..reports.labels import counts_label, state_label
from ..tree.nodes import TreeNode
from .boxes import Box

_NARROW = frozenset(" !',.:;I[]`fijlrt|()-")


def clean(text: str) -> str:
    """Return ``text`` as one line that XML can hold and that reorders nothing around it."""
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if char.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
        elif category in ("Cc", "Cs") or ord(char) & 0xFFFE == 0xFFFE:
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif not unicodedata.bidirectional(char).endswith(("O", "E", "I", "PDF")):
            kept.append(char)
    return " ".join("".join(kept).split())


def name_of(node: TreeNode) -> str:
    """Return the name of a node, safe to show."""
    return clean(node.name) or gettext("(no name)")


def clip(text: str, free: float) -> str:
    """Return ``text`` cut to a width of about ``free`` em."""
    width, fits = 0.0, 0
    for length, char in enumerate(text, 1):
        width += _width(char)
        if width <= free - 0.9:
            fits = length
    return text if width <= free else text[:fits].rstrip() + "…"


def box_state(box: Box, at: datetime) -> str:
    """Return the label of a box: its state, steps and duration; of a branch, its tasks by phase."""
    node = box.node
    if box.collapsed:
        tasks = ngettext("%(count)s task", "%(count)s tasks", box.tasks)
        if box.beside:
            tasks = ngettext("%(count)s other", "%(count)s others", box.tasks)
        return f"{tasks % {'count': format_number(box.tasks)}}: {counts_label(box.counts)}"
    label = state_label(
        node.phase, clean(node.state),
        is_settled=node.is_settled, running=1, is_allowed=node.allow_failure,
    )  # fmt: skip
    done, total = box_steps(node)
    if total > 1 and not node.phase.is_terminal:
        label += f" · {done}/{total}"
    seconds = node.duration(at)
    return label if seconds is None else f"{label} · {format_duration(seconds)}"


def box_steps(node: TreeNode) -> tuple[int, int]:
    """Return how many steps of its own a task has completed, and how many it has."""
    done = node.completed_steps - sum(child.completed_steps for child in node.children)
    return done, node.total_steps - sum(child.total_steps for child in node.children)


def _width(char: str) -> float:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(char) in ("W", "F"):
        return 1.1
    if char in _NARROW:
        return 0.36
    return 0.74 if char.isupper() or char in "mwMW@%—…" else 0.58


def right_to_left(text: str) -> bool:
    """Return whether ``text`` runs from right to left."""
    strong = (unicodedata.bidirectional(char) for char in text)
    return next((d in ("R", "AL") for d in strong if d in ("L", "R", "AL")), False)
