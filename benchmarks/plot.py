"""A plot of costs by size, on logarithmic scales, as SVG."""

from __future__ import annotations

import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 440, 70, 50, 40, 190
COLOURS = ("#1f77b4", "#d62728", "#555555", "#2ca02c")


def plot(curves: dict[str, dict[int, float]]) -> str:
    """Return an SVG of milliseconds over the number of tasks, with a line for each curve."""
    sizes = [n for points in curves.values() for n in points]
    costs = [cost for points in curves.values() for cost in points.values()]
    x0, x1 = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))
    y0, y1 = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))

    def x(n: float) -> float:
        return LEFT + (math.log10(n) - x0) / (x1 - x0 or 1) * (WIDTH - LEFT - RIGHT)

    def y(ms: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(ms) - y0) / (y1 - y0 or 1) * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        "<title>Time to publish a chord, by its number of tasks</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">Publishing a chord: ms by tasks</text>',
    ]
    for power in range(x0, x1 + 1):
        at = x(10**power)
        parts.append(_line(at, TOP, at, HEIGHT - BOTTOM, "#dddddd"))
        parts.append(_text(at, HEIGHT - BOTTOM + 18, f"{10**power:,}", "middle"))
    for power in range(y0, y1 + 1):
        at = y(10**power)
        parts.append(_line(LEFT, at, WIDTH - RIGHT, at, "#dddddd"))
        parts.append(_text(LEFT - 8, at + 4, f"{10**power:,}", "end"))
    legend = TOP
    for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
        places = [(x(n), y(ms)) for n, ms in sorted(points.items())]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places]
        legend += 20
        parts.append(_text(WIDTH - RIGHT + 20, legend, name, "start", colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
