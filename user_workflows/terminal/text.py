"""Pieces of text for terminals. What comes from users is shown as text, whatever is in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from functools import partial

from django.utils.translation import override
from rich.cells import cell_len

from ..phases import Phase
from ..reports import formatting, labels
from ..reports.formatting import END, ISOLATE

Span = tuple[str, str]
"""A text and its rich style."""
Line = list[Span]


def clean(text: str) -> str:
    """Return ``text`` as one line without anything that a terminal would obey."""
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if char.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
        elif category in ("Cc", "Cs", "Cn"):
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif "\N{VARIATION SELECTOR-1}" <= char <= "\N{VARIATION SELECTOR-16}":
            continue  # Terminals disagree on their widths.
        elif category != "Cf" or char == "\N{ZERO WIDTH NON-JOINER}":
            kept.append(char)
    return " ".join("".join(kept).split())


def clip(text: str, width: int, more: str = "…") -> str:
    """Return ``text`` cut to ``width`` terminal cells."""
    if cell_len(text) <= width:
        return text
    kept, free = "", width - len(more)
    for char in text:
        if cell_len(kept + char) > free:
            break
        kept += char
    kept = kept.rstrip()
    if kept.count(ISOLATE) > kept.count(END):
        kept += END
    return kept + more if free >= 0 else ""


def wrap(text: str, width: int) -> list[str]:
    """Return ``text`` in lines of at most ``width`` terminal cells; long words are broken."""
    lines = [""]
    for word in text.split():
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += " " + word
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if lines[-1] and cell_len(lines[-1] + char) > width:
                lines.append("")
            lines[-1] += char
    return lines


short_duration = partial(formatting.format_duration, compact=True)


def counts_label(counts: Mapping[Phase, int]) -> str:
    """Return leaves by phase, in English: "480 succeeded, 12 pending"."""
    with override(None):
        return labels.counts_label(counts)


def plain(lines: Iterable[Line]) -> str:
    """Return lines without their styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
