"""`acytoo bench`: measure how soon and how fast an endpoint answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from acytoo.cli.exit_codes import error_text, print_error
from acytoo.cli.options import address_argument, endpoint_options, provider_from_options, select_address
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider
    from acytoo.measure import Level

_FULL, _LIGHT = "█", "░"
_PROMPT = "Write a story about a lighthouse."


@click.command
@address_argument
@endpoint_options
@click.option("-c", "--concurrency", default="1,4,16", show_default=True, metavar="NUMBERS", help="Requests at once.")
@click.option(
    "-n", "--requests", type=click.IntRange(1), default=16, show_default=True, help="Requests at each of them."
)
@click.option("-p", "--prompt", default=_PROMPT, show_default=True, metavar="TEXT", help="What is asked.")
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True, help="Most tokens of a reply.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--plot",
    "image",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw them against concurrency, as .svg or .png.",
)
@click.pass_context
def bench(
    context: click.Context,
    /,
    address: str | None,
    concurrency: str,
    requests: int,
    prompt: str,
    max_tokens: int,
    as_json: bool,
    image: Path | None,
    **endpoint: Any,
) -> None:
    """Measure how soon and how fast an endpoint answers.

    Every request costs tokens. Exits with 1 if a reply was not complete.

    \b
    Examples:
      acytoo bench -m openai/gpt-5-mini -c 1,8,32 -n 64
      acytoo bench http://localhost:8000 --plot server.svg
    """
    import asyncio

    from acytoo.measure import levels_of
    from acytoo.svg import image_writer

    select_address(address, endpoint)
    try:
        numbers = list(dict.fromkeys(levels_of(concurrency)))
    except ValueError:
        raise UsageError(f"invalid --concurrency {concurrency!r}: expected numbers such as 1,4,16") from None
    write = image_writer(image) if image is not None else None
    provider = provider_from_options(**endpoint)
    limits: dict[str, object] = {}
    if provider.dialect is None or "max_tokens" in provider.dialect.options:
        limits["max_tokens"] = max_tokens
    measurement = _Measurement(provider, numbers, requests, prompt, limits)
    try:
        asyncio.run(measurement.run())
    finally:  # also after Ctrl-C: the finished levels have cost tokens
        levels = measurement.levels
        if levels:
            _report(levels, as_json)
        if levels and write is not None:
            from acytoo.measure.plot import plot

            write(plot(levels))
    if any(len(level.complete) < len(level.samples) for level in levels):
        context.exit(1)


class _Measurement:
    """The levels of concurrency one after the other, and the line that shows how far it is."""

    def __init__(
        self,
        provider: AsyncGeneratorProvider,
        numbers: list[int],
        requests: int,
        prompt: str,
        options: dict[str, object],
    ) -> None:
        self._provider = provider
        self._sizes = {number: max(requests, number) for number in numbers}
        self._prompt = prompt
        self._options = options
        self._current: Level | None = None
        self.levels: list[Level] = []
        """The finished levels."""
        self._started = 0.0

    async def run(self) -> None:
        """Measure all levels, with a line that shows the progress in a terminal."""
        import asyncio

        from acytoo.cli.terminal import ProgressLine

        line = ProgressLine(self.line)
        showing = asyncio.create_task(line.show())
        try:
            for number, size in self._sizes.items():
                self.levels.append(await self._measure(number, size))
        finally:
            showing.cancel()
            line.clear()

    async def _measure(self, number: int, size: int) -> Level:
        import time

        from acytoo.measure import Level, measure

        self._current, self._started = Level(number, 0.0, []), time.perf_counter()
        return await measure(
            self._provider,
            prompt=self._prompt,
            concurrency=number,
            requests=size,
            options=self._options,
            on_reply=self._current.samples.append,
        )

    def line(self) -> str:
        """Return what is known now."""
        import time

        from acytoo.batch.progress import by_class

        if (level := self._current) is None:
            return ""
        level.seconds = time.perf_counter() - self._started
        levels = [*self.levels, level]
        replies = sum(len(level.samples) for level in levels)
        parts = [f"{replies}/{sum(self._sizes.values())} replies", f"{level.concurrency} at once"]
        if level.complete:
            parts += [f"{level.tokens_per_second:,.1f} tokens/s", f"first content {_seconds(level.first(0.5))}"]
        errors = sum([Counter(level.errors) for level in levels], Counter[str]())
        if errors:
            parts.append(f"{errors.total():,} errors ({by_class(errors)})")
        return "  ".join(parts)


def _report(levels: list[Level], as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps([level.document() for level in levels], indent=2))
    else:
        from acytoo.cli.terminal import width

        _print_table(levels)
        for title, bars in _bars(levels):
            click.echo(f"\n{title}")
            for line in _bar_lines(bars, width() - 1):
                click.echo(line)
    for level in levels:
        failed = [sample.error for sample in level.samples if sample.error is not None]
        if failed:
            print_error(f"{level.concurrency} at once: {len(failed)} not complete, the first: {error_text(failed[0])}")


def _print_table(levels: list[Level]) -> None:
    from acytoo.measure import SHARES

    shares = [*SHARES]
    heads = ["at once", "replies", "first content", *shares[1:], "pause", *shares[1:], "tokens/s", "of one"]
    heads[2], heads[2 + len(shares)] = (f"{heads[place]} {shares[0]}" for place in (2, 2 + len(shares)))
    lines = [
        [
            str(level.concurrency),
            str(len(level.complete)),
            *[_seconds(level.first(share)) for share in SHARES.values()],
            *[_seconds(level.gap(share)) for share in SHARES.values()],
            _speed(level, level.tokens_per_second),
            _speed(level, level.speed(0.5)),
        ]
        for level in levels
    ]
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for line in (heads, *lines):
        click.echo("  ".join([cell.rjust(width) for cell, width in zip(line, widths, strict=True)]))


def _bars(levels: list[Level]) -> list[tuple[str, list[_Bar]]]:
    """Return a title and a bar for each level, of what changes with the concurrency."""
    speeds = [(level, level.tokens_per_second) for level in levels]
    firsts = [(level, level.first(0.5), level.first(0.95)) for level in levels if level.complete]
    return [
        ("tokens/s", [_Bar(level.concurrency, value, value, _speed(level, value)) for level, value in speeds]),
        (
            f"time to the first content: {_FULL} half of the replies, {_LIGHT} 95 %",
            [
                _Bar(level.concurrency, half, most, f"{_seconds(half)}, {_seconds(most)}")
                for level, half, most in firsts
            ],
        ),
    ]


class _Bar(NamedTuple):
    """A bar: full up to `value`, light up to `most`, and then a text."""

    concurrency: int
    value: float
    most: float
    text: str


def _bar_lines(bars: list[_Bar], columns: int) -> Iterator[str]:
    """Yield the bars as lines of at most so many columns, all to one scale that begins at 0."""
    highest = max([bar.most for bar in bars], default=0.0) or 1.0
    labels = [str(bar.concurrency) for bar in bars]
    margin = max(map(len, labels), default=0)
    room = min(60, max(10, columns - margin - 3 - max([len(bar.text) for bar in bars], default=0)))
    for label, bar in zip(labels, bars, strict=True):
        full, whole = round(room * bar.value / highest), round(room * bar.most / highest)
        yield f"{label.rjust(margin)}  {_FULL * full}{_LIGHT * (whole - full)} {bar.text}"


def _speed(level: Level, value: float) -> str:
    if math.isnan(value):  # no reply has two tokens
        return "-"
    return f"{'~' if any(sample.is_estimated for sample in level.complete) else ''}{value:,.1f}"


def _seconds(value: float) -> str:
    if math.isnan(value):  # there was none
        return "-"
    return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.2f} s"
