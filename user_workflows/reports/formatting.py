"""Pieces of text that the terminal, the pages and the pictures write alike."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

from django.utils.translation import gettext

#: Put around text, these keep its direction from turning what stands beside it.
ISOLATE, END = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"


def isolate(text: str) -> str:
    """``text`` such that right-to-left letters in it do not turn around what stands beside it."""
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return ISOLATE + text + END
    return text


def format_size(count: int | None) -> str:
    """Bytes in few letters: 312 B, 4.2 kB, 18 MB."""
    if count is None:
        return ""
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5 or unit == "TB":
            break
        number /= 1000
    return f"{number:.1f} {unit}" if number < 9.95 and unit != "B" else f"{number:.0f} {unit}"


def format_duration(seconds: float | None, *, compact: bool = False) -> str:
    """Seconds in few letters: "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "4 d 02 h".

    ``compact`` is for terminals, which are not translated: 0.4s, 12s, 3m05s, 2h07m, 4d02h.
    """
    if seconds is None:
        return ""
    units = ("d", "h", "m", "s")
    if not compact:
        units = (gettext("d"), gettext("h"), gettext("min"), gettext("s"))
    gap = "" if compact else " "
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}{gap}{units[-1]}"
    whole = round(seconds)
    steps = zip((86400, 3600, 60, 1), units, strict=True)
    for (size, unit), (part, small) in pairwise(steps):
        if whole >= size:
            return f"{whole // size}{gap}{unit}{gap}{whole % size // part:02}{gap}{small}"
    return f"{whole}{gap}{units[-1]}"
