"""An SVG plot of usage over time: stacked bars, one for each day or hour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from acytoo.errors import UsageError
from acytoo.gateway.ledger import UsageRow

_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}"
    ".g{stroke:#d0d7de}.m{fill:#656d76}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.g{stroke:#30363d}"
    ".m{fill:#8b949e}svg{background:#0d1117}}</style>"
)
_COLOURS = ("#1a7f37", "#0969da", "#bf8700", "#cf222e", "#8250df", "#1b7c83", "#8c959f")

_LEFT, _TOP, _WIDTH, _HEIGHT = 70, 46, 440, 230
_LONGEST_NAME = 22
_LONGEST_DAYS = 400

_STEPS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H:00Z"}
"""How a ledger writes days and hours."""


def step_of(since: float, until: float) -> str:
    """Return "hour" for a span of up to two days, else "day". Raises UsageError if it is empty or too long to draw."""
    if not 0 < until - since <= _LONGEST_DAYS * 86400:
        raise UsageError(f"cannot draw this span of time: expected more than nothing, and at most {_LONGEST_DAYS} days")
    return "hour" if until - since <= 2 * 86400 else "day"


def plot_usage(rows: Sequence[UsageRow], since: float, until: float, name: str) -> str:
    """Return a plot of costs, or of tokens if no price is known.

    The rows are grouped by `step_of(since, until)`, and by `name` if that is not "".
    """
    step = step_of(since, until)
    length = 3600 if step == "hour" else 86400
    places = range(int(since // length), int((until - 1e-6) // length) + 1)
    times = [datetime.fromtimestamp(place * length, UTC) for place in places]
    numbers = {time.strftime(_STEPS[step]): number for number, time in enumerate(times)}
    has_cost = any(row.cost for row in rows)
    series: dict[str, list[float]] = {}
    for row in rows:
        values = series.setdefault(row.group[name] or "(none)" if name else "all", [0.0] * len(times))
        values[numbers[row.group[step]]] += _amount(row, has_cost)
    labels = [time.strftime("%H:%M" if step == "hour" else "%m-%d") for time in times]
    title = f"{'Cost' if has_cost else 'Tokens'} per {step}" + (f" by {name}" if name else "")
    return stacked_bars(title, "US dollars" if has_cost else "tokens", labels, series)


def _amount(row: UsageRow, has_cost: bool) -> float:
    return (row.cost or 0) / 1e9 if has_cost else float(row.input_tokens + row.output_tokens)


def stacked_bars(title: str, unit: str, steps: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Return bars, one for each step of time, made of one piece for each name.

    The largest names come first; those for which there is no colour of their own are drawn together as "other".
    """
    shown = _largest(series)
    heights = [sum(values) for values in zip(*shown.values(), strict=True)] or [0.0]
    top = _round_up(max(heights))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {_TOP + _HEIGHT + 44}" role="img" '
        f'aria-label="{_text(title)}">{_STYLE}'
        f'<text class="t" x="12" y="20">{_text(title)}</text>'
        f'<text class="m" x="688" y="20" text-anchor="end">{_text(unit)}</text>'
    ]
    for part in range(5):
        y = _TOP + _HEIGHT * (4 - part) / 4
        out.append(f'<line class="g" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}"/>')
        out.append(f'<text class="m" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{top * part / 4:g}</text>')
    pitch = _WIDTH / max(1, len(steps))
    every = math.ceil(len(steps) * 70 / _WIDTH) or 1
    for place, step in enumerate(steps):
        x, y = _LEFT + pitch * place, float(_TOP + _HEIGHT)
        for number, values in enumerate(shown.values()):
            height = _HEIGHT * values[place] / top
            y -= height
            if height > 0:
                out.append(
                    f'<rect x="{x + pitch * 0.1:.1f}" y="{y:.1f}" width="{pitch * 0.8:.1f}" height="{height:.1f}" '
                    f'fill="{_COLOURS[number]}"/>'
                )
        if place % every == 0:
            middle = x + pitch / 2
            out.append(f'<text class="m" x="{middle:.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{step}</text>')
    for number, name in enumerate(shown):
        y = _TOP + 6 + 22 * number
        out.append(f'<rect x="{_LEFT + _WIDTH + 15}" y="{y}" width="12" height="12" fill="{_COLOURS[number]}"/>')
        out.append(f'<text x="{_LEFT + _WIDTH + 33}" y="{y + 11}">{_text(name)}</text>')
    return "\n".join([*out, "</svg>\n"])


def _largest(series: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return the series in the order of their sums, the smallest ones as "other"."""
    ordered = sorted(series.items(), key=lambda pair: -sum(pair[1]))
    most = len(_COLOURS) if len(ordered) <= len(_COLOURS) else len(_COLOURS) - 1
    shown = dict(ordered[:most])
    if rest := [values for _, values in ordered[most:]]:
        shown["other"] = [sum(values) for values in zip(*rest, strict=True)]
    return shown


def _round_up(value: float) -> float:
    """Return the next number from 1, 2, 4, 5 or 8 times a power of ten: a quarter of it is a short number too."""
    if value <= 0:
        return 1.0
    power: float = 10 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 4, 5, 8) if step * power >= value), 10 * power)


def _text(name: str) -> str:
    """Return a name as XML text: shortened, and without characters that XML does not have."""
    shortened = name if len(name) <= _LONGEST_NAME or " " in name else name[: _LONGEST_NAME - 1] + "…"
    return escape(
        "".join([character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shortened])
    )
