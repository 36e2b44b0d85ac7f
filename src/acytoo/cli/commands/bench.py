"""`acytoo bench`: measure how soon and how fast an endpoint answers."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acytoo.cli.exit_codes import error_text, print_error, replace_controls
from acytoo.cli.options import endpoint_options, provider_from_options
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider
    from acytoo.measure import Level, Sample

_PROMPT = "Write a story about a lighthouse."


@click.command
@click.argument("address", required=False, metavar="[URL]")
@endpoint_options
@click.option("-c", "--concurrency", default="1,4,16", show_default=True, metavar="NUMBERS", help="Requests at once.")
@click.option(
    "-n", "--requests", type=click.IntRange(1), default=16, show_default=True, help="Requests at each of them."
)
@click.option("-p", "--prompt", default=_PROMPT, show_default=True, metavar="TEXT", help="What is asked.")
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True, help="Most tokens of a reply.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg", help="Draw them against concurrency."
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
    plot: Path | None,
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

    if address and endpoint["url"]:
        raise UsageError("the URL is set twice: use either URL or --url")
    endpoint["url"] = address or endpoint["url"]
    try:
        numbers = list(dict.fromkeys(levels_of(concurrency)))
    except ValueError:
        raise UsageError(f"invalid --concurrency {concurrency!r}: expected numbers such as 1,4,16") from None
    provider = provider_from_options(**endpoint)
    limits: dict[str, object] = {}
    if provider.dialect is None or "max_tokens" in provider.dialect.options:
        limits["max_tokens"] = max_tokens
    levels = asyncio.run(_measure(provider, numbers, requests, prompt, limits))
    _report(levels, as_json, plot)
    if any(len(level.complete) < len(level.samples) for level in levels):
        context.exit(1)


async def _measure(
    provider: AsyncGeneratorProvider, numbers: list[int], requests: int, prompt: str, options: dict[str, object]
) -> list[Level]:
    from acytoo.measure import measure

    shows_progress = sys.stderr is not None and sys.stderr.isatty()
    levels = []
    for number in numbers:
        done = 0

        def note(sample: Sample, number: int = number) -> None:
            nonlocal done
            done += 1
            if shows_progress:
                click.echo(f"\r{number} at once: {done}/{max(requests, number)} ", nl=False, err=True)

        levels.append(
            await measure(
                provider,
                prompt=prompt,
                concurrency=number,
                requests=max(requests, number),
                options=options,
                on_reply=note,
            )
        )
        if shows_progress:
            click.echo("\r" + " " * 40 + "\r", nl=False, err=True)
    return levels


def _report(levels: list[Level], as_json: bool, path: Path | None) -> None:
    if as_json:
        import json

        click.echo(json.dumps([level.document() for level in levels], indent=2))
    else:
        _print_table(levels)
    for level in levels:
        failed = [sample.error for sample in level.samples if sample.error is not None]
        if failed:
            print_error(f"{level.concurrency} at once: {len(failed)} not complete, the first: {error_text(failed[0])}")
    if path is not None:
        from acytoo.measure.plot import plot

        try:
            path.write_text(plot(levels), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _print_table(levels: list[Level]) -> None:
    head = ["at once", "replies", "first p50", "p95", "pause p50", "p95", "tokens/s", "of one", ""]
    most = max([level.tokens_per_second for level in levels], default=0.0) or 1.0
    lines = []
    for level in levels:
        about = "~" if any(sample.is_estimated for sample in level.complete) else ""
        lines.append(
            [
                str(level.concurrency),
                str(len(level.complete)),
                *[_seconds(level.first(share)) for share in (0.5, 0.95)],
                *[_seconds(level.gap(share)) for share in (0.5, 0.95)],
                f"{about}{level.tokens_per_second:,.1f}",
                "-" if math.isnan(level.speed(0.5)) else f"{about}{level.speed(0.5):,.1f}",
                "█" * round(20 * level.tokens_per_second / most),
            ]
        )
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for line in (head, *lines):
        cells = [cell.rjust(width) for cell, width in zip(line[:-1], widths[:-1], strict=True)]
        click.echo(replace_controls("  ".join([*cells, line[-1]])).rstrip())


def _seconds(value: float) -> str:
    if math.isnan(value):  # there was none
        return "-"
    return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:,.2f} s"
