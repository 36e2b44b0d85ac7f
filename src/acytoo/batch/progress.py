"""What people see of a running batch: one line with rate, rest, requests at once, tokens, cost and errors."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from acytoo.batch.budget import Spending

_RATE_SAMPLES = 60
_BAR = 20


class Progress:
    """The line of a running batch. `fraction` returns how much of the input has been read, or None if unknown."""

    def __init__(
        self,
        spending: Spending,
        in_flight: Callable[[], int],
        fraction: Callable[[], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spending = spending
        self._in_flight = in_flight
        self._fraction = fraction
        self._clock = clock
        self._samples: deque[tuple[float, int, float]] = deque(maxlen=_RATE_SAMPLES)
        """The time, finished rows and fraction when the last lines were made."""

    def line(self) -> str:
        """Return the line as it is now."""
        spending = self._spending
        failed = sum(spending.errors.values())
        finished = spending.replies + failed
        fraction = self._fraction()
        now = self._clock()
        self._samples.append((now, finished, fraction or 0.0))
        then, before, fraction_then = self._samples[0]
        rate = (finished - before) / (now - then) if now > then else 0.0
        parts = []
        if fraction is not None:
            full = int(fraction * _BAR)
            parts.append(f"[{'#' * full}{'.' * (_BAR - full)}] {fraction:4.0%}")
        parts.append(f"{finished:,} rows")
        parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
        if fraction is not None and fraction > fraction_then:
            parts.append(f"{duration((1 - fraction) * (now - then) / (fraction - fraction_then))} left")
        parts.append(f"{self._in_flight():,} in flight")
        parts.append(f"{short(spending.input_tokens)} + {short(spending.output_tokens)} tokens")
        if spending.nanodollars:
            parts.append(cost_text(spending))
        if failed:
            parts.append(f"{failed:,} errors ({by_class(spending.errors)})")
        return "  ".join(parts)


def summary_text(spending: Spending, seconds: float) -> str:
    """Return what a run has done, in one line."""
    finished = spending.replies + sum(spending.errors.values())
    rate = finished / seconds if seconds > 0 else 0.0
    text = f"this run: {finished:,} rows in {duration(seconds)} ({rate:,.1f}/s), "
    text += f"{spending.input_tokens:,} + {spending.output_tokens:,} tokens"
    if spending.nanodollars:
        text += f", {cost_text(spending)}"
    return text


def cost_text(spending: Spending) -> str:
    """Return the cost, as a lower bound if that of some replies is unknown."""
    return f"{'at least ' if spending.has_unknown_cost else ''}${spending.dollars:,.4g}"


def by_class(errors: dict[str, int]) -> str:
    """Return how many errors there are of each class, the most frequent first."""
    ordered = sorted(errors.items(), key=lambda item: -item[1])
    return ", ".join([f"{name} {count:,}" for name, count in ordered])


def short(number: int) -> str:
    """Return a number in at most five characters: 950, 1.2k, 34k, 5.6M."""
    value, units = float(number), ["", "k", "M", "G", "T"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    unit = units[0]
    return f"{value:.1f}{unit}" if unit and value < 10 else f"{value:.0f}{unit}"


def duration(seconds: float) -> str:
    """Return a number of seconds as people write it: 4.2 s, 3:05, 1:02:03."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
