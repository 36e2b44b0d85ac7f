"""An SVG of what was measured against concurrency: throughput, time to the first content, and pauses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from acytoo.measure import SHARES, Level
from acytoo.svg import COLOURS, grid, head, round_up

_LEFT, _TOP, _WIDTH, _HEIGHT, _BETWEEN = 64, 54, 250, 200, 90


def plot(levels: Sequence[Level]) -> str:
    """Return three panels: tokens a second, the times to the first content, and the pauses between pieces."""
    labels = [str(level.concurrency) for level in levels]
    quantiles = list(zip(SHARES.items(), (COLOURS[0], COLOURS[2], COLOURS[3]), strict=True))
    panels = [
        ("Tokens per second", [("all", COLOURS[1], [level.tokens_per_second for level in levels])]),
        (
            "Seconds to the first content",
            [(name, colour, [level.first(share) for level in levels]) for (name, share), colour in quantiles],
        ),
        (
            "Milliseconds between two pieces",
            [(name, colour, [1000 * level.gap(share) for level in levels]) for (name, share), colour in quantiles],
        ),
    ]
    out = [
        line
        for place, (title, series) in enumerate(panels)
        for line in _panel(_LEFT + place * (_WIDTH + _BETWEEN), title, labels, series)
    ]
    width = _LEFT + len(panels) * (_WIDTH + _BETWEEN) - _BETWEEN + 30
    label = "Throughput, time to the first content and pauses against concurrency"
    return "\n".join([head(width, _TOP + _HEIGHT + 46, label), *out, "</svg>\n"])


def _panel(left: int, title: str, labels: Sequence[str], series: Sequence[tuple[str, str, list[float]]]) -> list[str]:
    top = round_up(max([value for _, _, values in series for value in values if not math.isnan(value)], default=0.0))
    out = [f'<text class="t" x="{left}" y="20">{title}</text>', *grid(left, _TOP, _WIDTH, _HEIGHT, top)]
    pitch = _WIDTH / max(1, len(labels) - 1) if len(labels) > 1 else 0.0
    start = left if len(labels) > 1 else left + _WIDTH / 2
    for place, label in enumerate(labels):
        x = start + pitch * place
        out.append(f'<text class="m" x="{x:.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{label}</text>')
    out.append(
        f'<text class="m" x="{left + _WIDTH / 2:.1f}" y="{_TOP + _HEIGHT + 36}" text-anchor="middle">'
        "requests at the same time</text>"
    )
    for number, (name, colour, values) in enumerate(series):
        points = [
            (start + pitch * place, _TOP + _HEIGHT * (1 - value / top))
            for place, value in enumerate(values)
            if not math.isnan(value)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        if len(series) > 1:
            x = left + 55 * number
            out.append(f'<rect x="{x}" y="{_TOP - 16}" width="10" height="10" fill="{colour}"/>')
            out.append(f'<text class="m" x="{x + 15}" y="{_TOP - 7}">{name}</text>')
    return out
