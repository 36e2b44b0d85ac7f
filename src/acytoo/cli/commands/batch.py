"""`acytoo batch`: ask for the replies to the rows of a file."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acytoo.cli.exit_codes import error_text, print_error, replace_controls
from acytoo.cli.options import endpoint_options, parse_request_options, provider_from_options
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.batch.run import BatchRun, Summary

_FIRST_FAILURES = 100
"""Failed rows before the first reply after which a batch stops by itself."""

_EXIT_CODES = {"complete": 0, "complete with errors": 3, "unfinished": 4}


@click.command
@click.argument("arguments", nargs=-1, required=True, metavar="INPUT")
@click.option("-o", "--output", metavar="FILE", help="File for the replies: JSONL, or .parquet.")
@click.option("-p", "--prompt", metavar="TEXT", help="Prompt with columns in braces, such as 'Summarise: {text}'.")
@click.option("-s", "--system", default="", metavar="TEXT", help="System prompt for every row.")
@click.option("--schema", "schema_file", metavar="FILE", help="JSON schema that every reply has to match.")
@click.option("--option", "pairs", multiple=True, metavar="NAME=VALUE", help="Request option, such as temperature=0.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=100, show_default=True, help="Most requests at once.")
@click.option("--attempts", type=click.IntRange(1), default=5, show_default=True, help="Most requests for one row.")
@click.option("--rpm", type=click.FloatRange(0, min_open=True), metavar="NUMBER", help="Most requests per minute.")
@click.option("--tpm", type=click.FloatRange(0, min_open=True), metavar="NUMBER", help="Most tokens per minute.")
@click.option("--max-cost", type=click.FloatRange(0, min_open=True), metavar="DOLLARS", help="Stop at this cost.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="NUMBER", help="Stop at so many tokens, in and out.")
@click.option("--max-failures", metavar="NUMBER", help="Stop at so many failed rows, or at a share such as 5%.")
@click.option("--deadline", metavar="TIME", help="Stop after this time, such as 90s, 30m or 8h.")
@click.option(
    "--via",
    type=click.Choice(["provider"]),
    help="Use the provider's own batches (OpenAI, Anthropic): cheaper, but answered within a day.",
)
@click.option(
    "--poll",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --via provider looks for results.",
)
@click.option("--engine", type=click.Choice(["ray"]), help="Run on a Ray cluster that can read INPUT.")
@click.option("--address", default="", metavar="ADDRESS", help="Ray cluster; by default Ray starts on this machine.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Workers of --engine ray.")
@click.option("--shard", metavar="N/M", help="Only this one of M shares of the rows, such as 3/16, by hash of the id.")
@click.option("--retry-errors", is_flag=True, help="Ask again for the rows that have an error, and for no others.")
@click.option("--overwrite", is_flag=True, help="Begin again: remove the replies and errors that are there.")
@click.option("--accept-changes", is_flag=True, help="Continue although the input or the options have changed.")
@click.option(
    "--input-format",
    type=click.Choice(["jsonl", "csv", "tsv", "parquet"]),
    help="Format of INPUT, if its suffix does not show it.",
)
@click.option("--drop-unsupported", is_flag=True, help="Drop options that the API does not have, instead of an error.")
@endpoint_options
@click.pass_context
def batch(
    context: click.Context,
    /,
    arguments: tuple[str, ...],
    output: str | None,
    prompt: str | None,
    system: str,
    schema_file: str | None,
    pairs: tuple[str, ...],
    jobs: int,
    attempts: int,
    rpm: float | None,
    tpm: float | None,
    max_cost: float | None,
    max_tokens: int | None,
    max_failures: str | None,
    deadline: str | None,
    via: str | None,
    poll: float,
    engine: str | None,
    address: str,
    workers: int,
    shard: str | None,
    retry_errors: bool,
    overwrite: bool,
    accept_changes: bool,
    input_format: str | None,
    drop_unsupported: bool,
    **endpoint: Any,
) -> None:
    """Write the replies to a file of prompts.

    INPUT is JSONL, CSV, TSV or Parquet; - is JSONL from standard input. A row has a prompt or messages, or the
    columns of --prompt, or is a request in OpenAI's Batch format. The same command continues a batch that was
    interrupted. Rows that fail are in the .errors.jsonl file beside the output. The caps are for one run; the rows
    in flight are completed.

    Exits with 0 if every row has a reply, with 3 if some have an error, with 4 if the batch is not finished.

    \b
    Examples:
      acytoo batch prompts.jsonl -o replies.jsonl -m openai/gpt-5-mini -j 200 --max-cost 20
      acytoo batch texts.csv -p 'Summarise: {text}' -o summaries.jsonl -m ollama/llama3.2 -j 4
      acytoo batch prompts.jsonl -o replies.jsonl -m openai/gpt-5-mini --retry-errors
      acytoo batch prompts.jsonl -o replies-3.jsonl -m openai/gpt-5-mini --shard 3/16
      acytoo batch status replies.jsonl
    """
    if arguments[0] == "status" and len(arguments) == 2:
        _print_status(Path(arguments[1]))
        return
    if len(arguments) > 1:
        raise UsageError(f"expected one INPUT, got {' '.join(arguments)}")
    if output is None:
        raise UsageError("missing -o FILE: the file for the replies, with which the batch can be continued")
    import asyncio

    from acytoo.batch.budget import Caps, price_of
    from acytoo.batch.run import BatchConfig, BatchRun
    from acytoo.routing.addresses import mask_targets
    from acytoo.secret import mask_url

    named = " ".join([*filter(None, [mask_targets(endpoint["model"] or ""), mask_url(endpoint["url"] or "")])])
    provider = provider_from_options(**endpoint)
    options = parse_request_options(pairs, provider, "--option")
    if drop_unsupported:
        options["drop_unsupported"] = True
    failures, share = _parse_failures(max_failures) if max_failures else (None, None)
    seconds = _parse_duration(deadline) if deadline else None
    run = BatchRun(
        BatchConfig(
            provider=provider,
            input=arguments[0],
            output=Path(output),
            address=named,
            input_format=input_format or "",
            prompt=prompt,
            system=system,
            schema=_read_schema(schema_file) if schema_file else None,
            options=options,
            jobs=jobs,
            attempts=attempts,
            requests_per_minute=rpm,
            tokens_per_minute=tpm,
            caps=Caps(max_cost, max_tokens, failures, share, None if retry_errors or via else _FIRST_FAILURES),
            price=price_of(provider, must_be_known=max_cost is not None),
            via_provider=via is not None,
            poll_every=poll,
            report=_report_step,
            workers=workers if engine else 0,
            ray_address=address,
            shard=_parse_shard(shard) if shard else None,
            overwrite=overwrite,
            accept_changes=accept_changes,
            retry_errors=retry_errors,
        )
    )
    summary = asyncio.run(_run(run, seconds, deadline))
    _report(summary, Path(output))
    if summary.reason == _INTERRUPTED:
        context.exit(130)
    context.exit(_EXIT_CODES[summary.outcome])


_INTERRUPTED = "interrupted"


def _read_schema(path: str) -> dict[str, Any]:
    import msgspec

    try:
        schema = msgspec.json.decode(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise UsageError(f"{path} is not a JSON schema: expected an object")
    return schema


def _parse_failures(text: str) -> tuple[int | None, float | None]:
    """Return the number of failures, or their share."""
    number = text.removesuffix("%")
    if number.isascii() and number.isdigit() and int(number) > 0:
        if number == text:
            return int(number), None
        if int(number) <= 100:
            return None, int(number) / 100
    raise UsageError(f"invalid --max-failures {text}: expected a number of rows, or a share from 1% to 100%")


def _parse_shard(text: str) -> tuple[int, int]:
    """Return the number of a shard, from 1, and how many there are."""
    number, _, shards = text.partition("/")
    are_numbers = number.isascii() and number.isdigit() and shards.isascii() and shards.isdigit()
    if are_numbers and 1 <= int(number) <= int(shards):
        return int(number), int(shards)
    raise UsageError(f"invalid --shard {text}: expected a number and how many there are, such as 3/16")


def _parse_duration(text: str) -> float:
    """Return a duration in seconds."""
    number = text.rstrip("smhd")
    with contextlib.suppress(ValueError, KeyError):
        seconds = float(number) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[text[len(number) :]]
        if 0 < seconds < 1e9:
            return seconds
    raise UsageError(f"invalid --deadline {text}: expected a time such as 90s, 30m or 8h")


async def _run(run: BatchRun, seconds: float | None, deadline: str | None) -> Summary:
    """Run the batch. The first Ctrl-C lets the rows in flight end, the second one leaves them."""
    import asyncio

    from acytoo.cli.terminal import ProgressLine

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if run.stop_reason:
            task.cancel()
        else:
            run.stop(_INTERRUPTED)
            line.clear()
            if run.in_flight:
                click.echo(f"acytoo: waiting for {run.in_flight} replies; Ctrl-C again leaves them", err=True)

    with contextlib.suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, interrupt)
    if seconds is not None:
        loop.call_later(seconds, lambda: run.stop(f"the deadline of {deadline} has passed", cancel=True))
    line = ProgressLine(run.progress.line)
    showing = asyncio.create_task(line.show())
    try:
        return await run.run()
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        showing.cancel()
        line.clear()


def _report_step(text: str) -> None:
    """Print a step of the provider's own batches in a terminal."""
    import sys

    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r\x1b[K{replace_controls(text)}", err=True)


def _report(summary: Summary, output: Path) -> None:
    from acytoo.batch.output import errors_path
    from acytoo.batch.progress import by_class, summary_text

    if summary.cause is not None:
        print_error(error_text(summary.cause))
    errors = summary.spending.errors
    shown = f" ({by_class(errors)})" if errors else ""
    place = f", see {errors_path(output)}" if summary.errors else ""
    click.echo(f"{summary.replies:,} replies, {summary.errors:,} errors{shown}{place}", err=True)
    click.echo(summary_text(summary.spending, summary.seconds), err=True)
    if summary.reason and summary.cause is None:
        click.echo(f"not finished: {summary.reason}", err=True)
    if summary.outcome == "complete with errors" and summary.has_failed_rows:
        click.echo("--retry-errors asks again for rows that have an error", err=True)


def _print_status(output: Path) -> None:
    from acytoo.batch.progress import by_class
    from acytoo.batch.status import status_of

    status = status_of(output)
    errors = sum(status.errors.values())
    click.echo(f"{output}: {'running' if status.is_running else 'not running'}")
    for name, value in status.options.items():
        click.echo(f"  {name}: {replace_controls(value)}")
    click.echo(f"  replies: {status.replies:,}, with {status.input_tokens:,} + {status.output_tokens:,} tokens")
    shown = f" ({by_class(status.errors)}), {status.retryable:,} may succeed later" if errors else ""
    click.echo(f"  errors: {errors:,}{shown}")
    if status.submitted:
        click.echo(f"  submitted to the provider: {status.submitted:,} rows")
