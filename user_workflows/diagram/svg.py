"""A layout as SVG: classes and shapes, whose looks are up to the style sheet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from ..phases import Phase
from ..reports.formatting import isolate
from .boxes import Box
from .layers import CAPTION, WIDTH, Item, Line
from .layout import Layout, Place
from .text import box_state, box_steps, clean, clip, name_of, right_to_left

#: The sign of each phase in a square of 16, to be filled by the even-odd rule. No two have the
#: same outline.
SIGNS = {
    Phase.PENDING: "M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14zM8 3a5 5 0 1 1 0 10a5 5 0 1 1 0-10z",
    Phase.RUNNING: "M3.5 1.5L14.5 8L3.5 14.5z",
    Phase.RETRYING: "M8 1.5a6.5 6.5 0 1 0 6.5 6.5h-2.2a4.3 4.3 0 1 1-4.3-4.3v2.3l4.5-3.5L8-1z",
    Phase.SUCCEEDED: "M8 .8a7.2 7.2 0 1 0 0 14.4a7.2 7.2 0 1 0 0-14.4z"
    "M4 8.2l1.4-1.4 1.8 1.8 3.6-3.7 1.4 1.4-5 5.1z",
    Phase.PARTIAL: "M8 .8L15.6 14.8H.4zM7 5.5h2l-.3 4.8h-1.4zM7 11.4h2v2h-2z",
    Phase.FAILED: "M4.9.5h6.2l4.4 4.4v6.2l-4.4 4.4h-6.2l-4.4-4.4v-6.2z"
    "M8 6.6L5.7 4.3 4.3 5.7 6.6 8 4.3 10.3 5.7 11.7 8 9.4"
    " 10.3 11.7 11.7 10.3 9.4 8 11.7 5.7 10.3 4.3z",
    Phase.CANCELED: "M2.5 1h11a1.5 1.5 0 0 1 1.5 1.5v11a1.5 1.5 0 0 1-1.5 1.5h-11"
    "a1.5 1.5 0 0 1-1.5-1.5v-11a1.5 1.5 0 0 1 1.5-1.5zM5 5v6h6v-6z",
    Phase.SKIPPED: "M8 .5L15.5 8 8 15.5.5 8zM4 7.1h8v1.8h-8z",
}  # fmt: skip
#: The parts of a bar in their order: what is over, what went wrong, what is to come.
BAR = (
    Phase.SUCCEEDED, Phase.PARTIAL, Phase.FAILED, Phase.CANCELED,
    Phase.SKIPPED, Phase.RUNNING, Phase.RETRYING, Phase.PENDING,
)  # fmt: skip


def draw_svg(layout: Layout, link: str, key: str, at: datetime, critical: set[Box]) -> SafeString:
    """Return the SVG element: a ``group`` of links, named by its ``title``.

    Not ``role="img"``: that would hide the links from screen readers. ``graphics-document`` is
    not known to most of them. ``key`` is the prefix of ids; ``link`` and ``at`` are as for
    ``diagram``.
    """
    size = f'width="{layout.width:g}" height="{layout.height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="uw-graph-svg" {size} '
        f'viewBox="0 0 {layout.width:g} {layout.height:g}" role="group" '
        f'aria-labelledby="{escape(key)}-title" aria-describedby="{escape(key)}-summary">',
        f'<title id="{escape(key)}-title">{escape(gettext("Which task waits for which"))}</title>',
        *_frames(layout),
        *_lines(layout),
        *(_box(place, link, at, place.box in critical) for place in layout.places()),
        "</svg>",
    ]
    return mark_safe("".join(parts))  # noqa: S308  # All text in it is escaped.


def _lines(layout: Layout) -> Iterator[str]:
    """Yield the lines, critical ones last so that they lie on top, then arrows and joints."""
    arrows: dict[Item, bool] = {}
    critical = {line.start for line in layout.layers.lines if line.critical}
    path: list[Line] = []
    for line in sorted(layout.layers.lines, key=lambda line: line.critical):
        path.append(line)
        if line.end.is_bend:
            continue
        kinds = ["uw-graph-line"]
        kinds += ["uw-graph-critical"] if line.critical else []
        kinds += ["uw-graph-may-fail"] if line.may_fail else []
        kinds += ["uw-graph-sent"] if line.sent else []
        yield f'<path class="{" ".join(kinds)}" d="{_path(layout, path)}"/>'
        if line.end.boxes:
            arrows[line.end] = line.critical
        path = []
    for item, marked in arrows.items():
        x, y = _port(layout, item, end=False)
        shape = f"M{x:g} {y:g}l-5-8h10z" if layout.down else f"M{x:g} {y:g}l-8-5v10z"
        yield f'<path class="uw-graph-arrow{" uw-graph-critical" * marked}" d="{shape}"/>'
    for item in layout.layers.items:
        if item.is_joint:
            kind = f"uw-graph-joint{' uw-graph-critical' * (item in critical)}"
            x, y = item.x + item.width / 2, item.y + item.height / 2
            yield f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{item.width / 2:g}"/>'


def _port(layout: Layout, item: Item, *, end: bool) -> tuple[float, float]:
    if layout.down:
        return round(item.x + item.width / 2, 1), item.y + item.height * end
    return item.x + item.width * end, round(item.y + item.height / 2, 1)


def _path(layout: Layout, lines: list[Line]) -> str:
    """Return a path straight through the layers, with a curve between two where it goes aside."""

    def point(along: float, item: Item) -> str:
        x, y = _port(layout, item, end=False)
        return f"{x:g} {along:g}" if layout.down else f"{along:g} {y:g}"

    first, last = lines[0].start, lines[-1].end
    path = "M{:g} {:g}".format(*_port(layout, first, end=True))
    for start, end in ((line.start, line.end) for line in lines):
        leave, arrive = layout.edges[start.layer][1], layout.edges[end.layer][0]
        if point(0, start) != point(0, end):
            half = round((leave + arrive) / 2, 1)
            curve = (point(half, start), point(half, end), point(arrive - 6, end))
            path += f"L{point(leave, start)}C{' '.join(curve)}"
    x, y = _port(layout, last, end=False)
    return f"{path}L{point((y if layout.down else x) - 6 * bool(last.boxes), last)}"


def _frames(layout: Layout) -> Iterator[str]:
    for item in layout.layers.items:
        parent = item.boxes[0].parent if item.is_block else None
        if parent is None:
            continue
        size = f'width="{item.width:g}" height="{item.height:g}"'
        yield f'<rect class="uw-graph-frame" x="{item.x:g}" y="{item.y:g}" rx="10" {size}/>'
        count = len(item.boxes)
        label = ngettext("%(count)s at once", "%(count)s at once", count) % {"count": count}
        name = clip(clean(parent.node.name), (item.width - 130) / 12)
        text = f"{name} · {label}" if name else label
        yield _text(text, "uw-graph-caption", item.x + 12, item.y, item.width - 24, CAPTION, 17)


def _box(place: Place, link: str, at: datetime, critical: bool) -> str:
    box, x, y, height = place
    phase = box.phase.value.lower()
    name = name_of(box.node)
    state = box_state(box, at)
    kinds = ["uw-graph-node", f"uw-graph-{phase}"]
    kinds += ["uw-graph-critical"] if critical else []
    title = f"{isolate(name)}: {isolate(state)}"
    if critical:
        title += f" ({gettext('on the critical path')})"
    rect = f'width="{WIDTH}" height="{height:g}" rx="7"'
    parts = [
        f'<a class="{" ".join(kinds)}" href="{escape(f"{link}#node-{box.node.uuid}")}">',
        f"<title>{escape(title)}</title>",
        f'<rect class="uw-graph-behind" x="{x + 4:g}" y="{y + 4:g}" {rect}/>' * box.collapsed,
        f'<rect class="uw-graph-box" x="{x:g}" y="{y:g}" {rect}/>',
        f'<path class="uw-graph-sign" transform="translate({x + 11:g} {y + 9:g})" '
        f'fill-rule="evenodd" d="{SIGNS[box.phase]}"/>',
        _text(name, "uw-graph-name", x + 35, y, WIDTH - 43, 26, 21, em=15),
    ]
    for number, text in enumerate(_wrapped(state, (WIDTH - 43) / 12) if box.collapsed else [state]):
        top = y + 25 + 15 * number
        parts.append(_text(text, "uw-graph-state", x + 35, top, WIDTH - 43, 18, 12, em=12))
    return "".join([*parts, *_bar(box, x, y + height), "</a>"])


def _wrapped(label: str, free: float) -> list[str]:
    """Return the label of a branch in two lines, broken behind a comma."""
    first, rest = "", label
    while rest:
        part, comma, after = rest.partition(", ")
        if first and clip(first + part, free) != first + part:
            break
        first, rest = f"{first}{part}{comma}", after
    return [first.rstrip(), rest]


def _bar(box: Box, x: float, bottom: float) -> Iterator[str]:
    """Yield the bar of a branch, by phase, or of a task that runs, by steps."""
    left, top, free = x + 8, bottom - 6, WIDTH - 16.0
    if box.collapsed:
        shares = [(phase, box.counts[phase] / max(1, box.tasks)) for phase in BAR]
    elif box.phase in (Phase.RUNNING, Phase.RETRYING) and box_steps(box.node)[1] > 1:
        done, total = box_steps(box.node)
        shares = [(box.phase, done / total), (Phase.PENDING, 1 - done / total)]
    else:
        return
    for phase, share in shares:
        if share:
            # Even a tiny share stays visible.
            width = round(max(share * free, 2.0), 1)
            kind = f"uw-graph-part uw-graph-{phase.value.lower()}"
            yield f'<rect class="{kind}" x="{left:g}" y="{top:g}" width="{width:g}" height="3"/>'
            left = round(left + width, 1)


def _text(
    text: str, kind: str, x: float, y: float, width: float, height: float, dy: float, em: float = 12
) -> str:
    """Return a line of text in a view of its own, which cuts off what ``clip`` guessed wrong."""
    at = f'x="{width:g}" direction="rtl"' if right_to_left(text) else 'x="0"'
    return (
        f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" aria-hidden="true">'
        f'<text class="{kind}" y="{dy:g}" {at}>{escape(clip(text, width / em))}</text></svg>'
    )
