"""SVG plots: bars on a logarithmic scale, and lines on two logarithmic scales."""

from __future__ import annotations

import math
from html import escape

from acytoo.svg import STYLE

_OURS, _OTHERS = "#1a7f37", "#8c959f"
_COLOURS = ("#1a7f37", "#0969da", "#bf8700", "#cf222e", "#8250df")


def bars(title: str, unit: str, values: dict[str, float]) -> str:
    """Return horizontal bars, shortest first, ours in another colour."""
    ordered = sorted(values.items(), key=lambda pair: pair[1])
    low = 10 ** math.floor(math.log10(min(values.values())) - 0.01)
    high = 10 ** math.ceil(math.log10(max(values.values())) + 0.01)
    left, width, row = 165, 430, 26
    height = 62 + row * len(ordered)

    def x(value: float) -> float:
        return left + width * math.log(value / low) / math.log(high / low)

    out = [_head(680, height, title, unit)]
    power = low
    while power <= high * 1.001:
        out.append(f'<line class="g" x1="{x(power):.0f}" y1="46" x2="{x(power):.0f}" y2="{height - 12}"/>')
        out.append(f'<text class="m" x="{x(power):.0f}" y="42" text-anchor="middle">{power:g}</text>')
        power *= 10
    for number, (name, value) in enumerate(ordered):
        y = 54 + row * number
        colour = _OURS if name.startswith("acytoo") else _OTHERS
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        out.append(
            f'<rect x="{left}" y="{y}" width="{max(1.0, x(value) - left):.1f}" height="18" rx="2" fill="{colour}"/>'
        )
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        out.append(f'<text x="{x(value) + 6:.1f}" y="{y + 14}">{shown}</text>')
    return "\n".join([*out, "</svg>\n"])


def lines(title: str, across: str, up: str, series: dict[str, list[tuple[float, float]]]) -> str:
    """Return lines on two logarithmic scales: linear growth rises by a decade per decade."""
    points = [point for line in series.values() for point in line]
    x_low, x_high = (f(p[0] for p in points) for f in (min, max))
    y_low = 10 ** math.floor(math.log10(min(p[1] for p in points)))
    y_high = 10 ** math.ceil(math.log10(max(p[1] for p in points)) + 0.001)

    def place(point: tuple[float, float]) -> str:
        x = 70 + 420 * math.log(point[0] / x_low) / math.log(x_high / x_low)
        y = 290 - 230 * math.log(point[1] / y_low) / math.log(y_high / y_low)
        return f"{x:.1f},{y:.1f}"

    out = [_head(680, 340, title, f"{up}, by {across}; both scales logarithmic")]
    power = y_low
    while power <= y_high * 1.001:
        y = place((x_low, power)).partition(",")[2]
        out.append(f'<line class="g" x1="70" y1="{y}" x2="490" y2="{y}"/>')
        out.append(f'<text class="m" x="62" y="{float(y) + 4:.0f}" text-anchor="end">{power:g}</text>')
        power *= 10
    for value in sorted({point[0] for point in points}):
        x = place((value, y_low)).partition(",")[0]
        out.append(f'<text class="m" x="{x}" y="310" text-anchor="middle">{value:g}</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(place(point) for point in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{colour}"/>' for p in path.split()]
        out.append(f'<rect x="505" y="{60 + 22 * number}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="523" y="{71 + 22 * number}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>\n"])


def _head(width: int, height: int, title: str, unit: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">{STYLE}'
        f'<text class="t" x="12" y="20">{escape(title)}</text>'
        f'<text class="m" x="{width - 12}" y="20" text-anchor="end">{escape(unit)}</text>'
    )
