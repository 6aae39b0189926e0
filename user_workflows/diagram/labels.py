"""Pieces of text in a drawing. What comes from users is shown as text, whatever is in it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from datetime import datetime

from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

from ..phases import STATE_TEXTS, Phase
from ..reports.formatting import format_duration
from ..tree.nodes import TreeNode
from .boxes import Box

#: What went wrong and what runs comes first.
PHASE_ORDER = (
    Phase.FAILED, Phase.CANCELED, Phase.RUNNING, Phase.RETRYING,
    Phase.SUCCEEDED, Phase.PARTIAL, Phase.SKIPPED, Phase.PENDING,
)  # fmt: skip
_NARROW = frozenset(" !',.:;I[]`fijlrt|()-")


def clean(text: str) -> str:
    """One line of ``text`` that XML can hold and that turns nothing around it."""
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
    """The name of a node, safe to show."""
    return clean(node.name) or gettext("(no name)")


def clip(text: str, room: float) -> str:
    """``text``, cut to about ``room`` times the size of its letters."""
    width, fits = 0.0, 0
    for at, char in enumerate(text):
        width += _width(char)
        if width <= room - 0.9:
            fits = at + 1
    return text if width <= room else text[:fits].rstrip() + "…"


def count_label(box: Box) -> str:
    """What a box stands for: "480 tasks: 10 failed, 470 succeeded"."""
    count = box.tasks
    words = ngettext("%(count)s task", "%(count)s tasks", count)
    if box.beside:
        words = ngettext("%(count)s other", "%(count)s others", count)
    return f"{words % {'count': group_digits(count)}}: {counts_label(box.counts)}"


def counts_label(counts: Counter[Phase]) -> str:
    """Tasks by phase: "10 failed, 470 succeeded"."""
    told = [phase for phase in PHASE_ORDER if counts[phase]]
    return ", ".join(f"{group_digits(counts[phase])} {phase.label.lower()}" for phase in told)


def group_digits(number: int) -> str:
    """A number as it is written where the reader lives: 10,000."""
    return str(number_format(number, force_grouping=True))


def box_state(box: Box, at: datetime) -> str:
    """The state of a box in words, with what is known of steps and time."""
    if box.collapsed:
        return count_label(box)
    node = box.node
    words = str(node.phase.label)
    if node.phase is Phase.RUNNING and node.state not in STATE_TEXTS.values():
        words = clean(node.state) or words
    if node.phase is Phase.FAILED and node.allow_failure:
        words = gettext("%(state)s (allowed)") % {"state": words}
    elif node.phase in (Phase.FAILED, Phase.CANCELED) and not node.is_settled:
        words = gettext("%(state)s (still running)") % {"state": words}
    done, total = box_steps(node)
    if total > 1 and not node.phase.is_terminal:
        words += f" · {done}/{total}"
    seconds = node.duration(at)
    return words if seconds is None else f"{words} · {format_duration(seconds)}"


def box_steps(node: TreeNode) -> tuple[int, int]:
    """How many steps of its own a task has completed, and of how many."""
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
    """Whether ``text`` begins at the right."""
    strong = (unicodedata.bidirectional(char) for char in text)
    return next((d in ("R", "AL") for d in strong if d in ("L", "R", "AL")), False)
