"""An SVG of what was measured: throughput, and the time to the first content, against concurrency."""

from __future__ import annotations

import math
from collections.abc import Sequence

from acytoo.measure import Level
from acytoo.svg import COLOURS, grid, head, round_up

_LEFT, _TOP, _WIDTH, _HEIGHT, _BETWEEN = 64, 44, 250, 200, 100


def plot(levels: Sequence[Level]) -> str:
    """Return two panels: tokens a second, and the median and 95th percentile of the time to the first content."""
    width = _LEFT + 2 * _WIDTH + _BETWEEN + 30
    labels = [str(level.concurrency) for level in levels]
    throughput = [("all", COLOURS[1], [level.tokens_per_second for level in levels])]
    first = [
        ("p50", COLOURS[0], [level.first(0.5) for level in levels]),
        ("p95", COLOURS[2], [level.first(0.95) for level in levels]),
    ]
    panels = [
        *_panel(_LEFT, "Tokens per second", labels, throughput),
        *_panel(_LEFT + _WIDTH + _BETWEEN, "Seconds to the first content", labels, first),
    ]
    label = "Throughput and time to the first content against concurrency"
    return "\n".join([head(width, _TOP + _HEIGHT + 46, label), *panels, "</svg>\n"])


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
            x = left + _WIDTH - 60
            out.append(f'<rect x="{x}" y="{_TOP - 14 + 16 * number}" width="10" height="10" fill="{colour}"/>')
            out.append(f'<text x="{x + 15}" y="{_TOP - 5 + 16 * number}">{name}</text>')
    return out
