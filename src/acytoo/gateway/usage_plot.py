"""An SVG plot of usage over time: stacked bars, one for each day or hour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from acytoo.errors import UsageError
from acytoo.gateway.ledger import UsageRow
from acytoo.gateway.prices import NANODOLLARS
from acytoo.svg import COLOURS, grid, head, round_up

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
    return (row.cost or 0) / NANODOLLARS if has_cost else float(row.input_tokens + row.output_tokens)


def stacked_bars(title: str, unit: str, steps: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Return bars, one for each step of time, made of one piece for each name.

    The largest names come first; those for which there is no colour of their own are drawn together as "other".
    """
    shown = _largest(series)
    heights = [sum(values) for values in zip(*shown.values(), strict=True)] or [0.0]
    top = round_up(max(heights))
    out = [
        head(700, _TOP + _HEIGHT + 44, _text(title)),
        f'<text class="t" x="12" y="20">{_text(title)}</text>'
        f'<text class="m" x="688" y="20" text-anchor="end">{_text(unit)}</text>',
        *grid(_LEFT, _TOP, _WIDTH, _HEIGHT, top),
    ]
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
                    f'fill="{COLOURS[number]}"/>'
                )
        if place % every == 0:
            middle = x + pitch / 2
            out.append(f'<text class="m" x="{middle:.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{step}</text>')
    for number, name in enumerate(shown):
        y = _TOP + 6 + 22 * number
        out.append(f'<rect x="{_LEFT + _WIDTH + 15}" y="{y}" width="12" height="12" fill="{COLOURS[number]}"/>')
        out.append(f'<text x="{_LEFT + _WIDTH + 33}" y="{y + 11}">{_text(name)}</text>')
    return "\n".join([*out, "</svg>\n"])


def _largest(series: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return the series in the order of their sums, the smallest ones as "other"."""
    ordered = sorted(series.items(), key=lambda pair: -sum(pair[1]))
    most = len(COLOURS) if len(ordered) <= len(COLOURS) else len(COLOURS) - 1
    shown = dict(ordered[:most])
    if rest := [values for _, values in ordered[most:]]:
        shown["other"] = [sum(values) for values in zip(*rest, strict=True)]
    return shown


def _text(name: str) -> str:
    """Return a name as XML text: shortened, and without characters that XML does not have."""
    shortened = name if len(name) <= _LONGEST_NAME or " " in name else name[: _LONGEST_NAME - 1] + "…"
    return escape(
        "".join([character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shortened])
    )
