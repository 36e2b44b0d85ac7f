"""`acytoo batch`: ask for the replies to the rows of a file."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acytoo.cli.exit_codes import error_text, print_error
from acytoo.cli.options import endpoint_options, parse_request_options, provider_from_options
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.batch.run import BatchRun, Summary

_EXIT_CODES = {"complete": 0, "complete with errors": 3, "unfinished": 4}


@click.command
@click.argument("input", metavar="INPUT")
@click.option("-o", "--output", required=True, metavar="FILE", help="File for the replies, one JSON object per line.")
@click.option("-p", "--prompt", metavar="TEXT", help="Prompt with columns in braces, such as 'Summarise: {text}'.")
@click.option("-s", "--system", default="", metavar="TEXT", help="System prompt for every row.")
@click.option("--schema", "schema_file", metavar="FILE", help="JSON schema that every reply has to match.")
@click.option("--option", "pairs", multiple=True, metavar="NAME=VALUE", help="Request option, such as temperature=0.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=100, show_default=True, help="Most requests at once.")
@click.option("--attempts", type=click.IntRange(1), default=5, show_default=True, help="Most requests for one row.")
@click.option("--rpm", type=click.FloatRange(0, min_open=True), metavar="NUMBER", help="Most requests per minute.")
@click.option("--tpm", type=click.FloatRange(0, min_open=True), metavar="NUMBER", help="Most tokens per minute.")
@click.option("--retry-errors", is_flag=True, help="Ask again for the rows that have an error, and for no others.")
@click.option("--overwrite", is_flag=True, help="Begin again: remove the replies and errors that are there.")
@click.option("--accept-changes", is_flag=True, help="Continue although the input or the options have changed.")
@click.option(
    "--input-format",
    type=click.Choice(["jsonl", "csv", "tsv"]),
    help="Format of INPUT, if its suffix does not show it.",
)
@click.option("--drop-unsupported", is_flag=True, help="Drop options that the API does not have, instead of an error.")
@endpoint_options
@click.pass_context
def batch(
    context: click.Context,
    /,
    input: str,
    output: str,
    prompt: str | None,
    system: str,
    schema_file: str | None,
    pairs: tuple[str, ...],
    jobs: int,
    attempts: int,
    rpm: float | None,
    tpm: float | None,
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
    interrupted. Rows that fail are in the .errors.jsonl file beside the output.

    Exits with 0 if every row has a reply, with 3 if some have an error, with 4 if the batch is not finished.

    \b
    Examples:
      acytoo batch prompts.jsonl -o replies.jsonl -m openai/gpt-5-mini
      acytoo batch texts.csv -p 'Summarise: {text}' -o summaries.jsonl -m ollama/llama3.2 -j 4
      acytoo batch prompts.jsonl -o replies.jsonl -m openai/gpt-5-mini --retry-errors
    """
    import asyncio

    from acytoo.batch.run import BatchConfig, BatchRun
    from acytoo.routing.addresses import mask_targets
    from acytoo.secret import mask_url

    address = " ".join([*filter(None, [mask_targets(endpoint["model"] or ""), mask_url(endpoint["url"] or "")])])
    provider = provider_from_options(**endpoint)
    options = parse_request_options(pairs, provider)
    if drop_unsupported:
        options["drop_unsupported"] = True
    run = BatchRun(
        BatchConfig(
            provider=provider,
            input=input,
            output=Path(output),
            address=address,
            input_format=input_format or "",
            prompt=prompt,
            system=system,
            schema=_read_schema(schema_file) if schema_file else None,
            options=options,
            jobs=jobs,
            attempts=attempts,
            requests_per_minute=rpm,
            tokens_per_minute=tpm,
            overwrite=overwrite,
            accept_changes=accept_changes,
            retry_errors=retry_errors,
        )
    )
    summary = asyncio.run(_run(run))
    _report(summary, output)
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


async def _run(run: BatchRun) -> Summary:
    """Run the batch. The first Ctrl-C lets the rows in flight end, the second one leaves them."""
    import asyncio
    import contextlib

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if run.scheduler.stop_reason:
            task.cancel()
        else:
            run.stop(_INTERRUPTED)
            in_flight = run.scheduler.concurrency.in_flight
            click.echo(f"acytoo: waiting for {in_flight} replies; Ctrl-C again leaves them", err=True)

    with contextlib.suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, interrupt)
    try:
        return await run.run()
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _report(summary: Summary, output: str) -> None:
    text = f"{summary.replies} replies, {summary.errors} errors, {summary.new} new in {summary.seconds:.1f} s"
    if summary.cause is not None:
        print_error(f"{error_text(summary.cause)}")
    elif summary.reason:
        text += f"; unfinished: {summary.reason}"
    click.echo(text, err=True)
