"""Numbers, sizes and durations as people read them, and the isolation of right-to-left text."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

#: Put around text, these keep its direction from turning what stands beside it.
ISOLATE, END = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"


def isolate(text: str) -> str:
    """Return ``text`` so that right-to-left letters in it do not reorder what stands beside it."""
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return ISOLATE + text + END
    return text


def format_number(number: int) -> str:
    """Return a number with its digits grouped as the reader's language does: 10,000."""
    return str(number_format(number, force_grouping=True))


def format_size(count: int | None) -> str:
    """Return a number of bytes in few letters: 312 B, 4.2 kB, 18 MB; empty for None."""
    if count is None:
        return ""
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5 or unit == "TB":
            break
        number /= 1000
    return f"{number:.1f} {unit}" if number < 9.95 and unit != "B" else f"{number:.0f} {unit}"


def format_duration(seconds: float | None, *, compact: bool = False) -> str:
    """Return seconds in few letters: "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "4 d 02 h".

    Compact as terminals show it, untranslated: 0.4s, 12s, 3m05s. Empty for None.
    """
    if seconds is None:
        return ""
    gap, units = "", ("d", "h", "m", "s")
    if not compact:
        gap, units = " ", (gettext("d"), gettext("h"), gettext("min"), gettext("s"))
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}{gap}{units[-1]}"
    whole = round(seconds)
    for (size, unit), (part, small) in pairwise(zip((86400, 3600, 60, 1), units, strict=True)):
        if whole >= size:
            return f"{whole // size}{gap}{unit}{gap}{whole % size // part:02}{gap}{small}"
    return f"{whole}{gap}{units[-1]}"


def rough_duration(seconds: float) -> str:
    """Return a rough duration for an estimate: "about 3 minutes"."""
    if seconds < 45:
        return gettext("less than a minute")
    minutes = round(seconds / 60)
    if minutes < 90:
        return ngettext("about %(n)d minute", "about %(n)d minutes", minutes) % {"n": minutes}
    hours = round(seconds / 3600)
    if hours < 36:
        return ngettext("about %(n)d hour", "about %(n)d hours", hours) % {"n": hours}
    days = round(seconds / 86400)
    return ngettext("about %(n)d day", "about %(n)d days", days) % {"n": days}
