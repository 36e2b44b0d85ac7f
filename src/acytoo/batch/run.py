"""Run a batch from one file to another, and continue it where an earlier run ended."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.batch.asking import asker
from acytoo.batch.budget import Caps, Price, Spending
from acytoo.batch.ids import IdSet, shard_of
from acytoo.batch.limits import Limiter
from acytoo.batch.lines import error_line, reply_line
from acytoo.batch.output import Fingerprint, Output, file_fingerprint, options_fingerprint, read_fingerprint
from acytoo.batch.progress import Progress
from acytoo.batch.requests import Requests
from acytoo.batch.rows import (
    Row,
    Rows,
    ThreadedRows,
    check_output_format,
    format_of,
    import_parquet,
    is_pipe,
    read_rows,
)
from acytoo.batch.scheduler import Result, Scheduler, Stopped
from acytoo.batch.submitted import (
    SubmittedBatches,
    batches_of,
    count_submitted,
    price_in_batches,
    submissions_path,
)
from acytoo.batch.table import checkpoint_of, is_table, write_table
from acytoo.errors import AcytooError, UsageError
from acytoo.types import OPTIONS, Reply

Outcome: TypeAlias = Literal["complete", "complete with errors", "unfinished"]

if TYPE_CHECKING:
    from acytoo.batch.ray_run import RayRunner

_SYNC_EVERY = 5.0
"""Seconds between two syncs of the output."""


class BatchConfig(msgspec.Struct, kw_only=True):
    """What a batch asks, of whom, and where its rows and replies are."""

    provider: AsyncGeneratorProvider
    input: str
    output: Path
    """JSONL, or a Parquet table that is made of it."""
    address: str = ""
    """What the user calls the provider and its model; a changed one is noticed."""
    input_format: str = ""
    model: str = ""
    prompt: str | None = None
    system: str = ""
    schema: dict[str, Any] | None = None
    """A JSON schema for the replies."""
    options: Mapping[str, Any] = {}
    jobs: int = 100
    attempts: int = 5
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    caps: Caps = Caps()
    price: Price | None = None
    shard: tuple[int, int] | None = None
    """The number of a share of the rows, from 1, and how many there are."""
    workers: int = 0
    """How many workers a Ray cluster runs; 0 for this process alone."""
    ray_address: str = ""
    """The address of the cluster; without one, Ray is started on this machine."""
    via_provider: bool = False
    """Whether the provider's own batches are used."""
    poll_every: float = 30.0
    """Seconds after which they are looked at again."""
    max_submission: int | None = None
    """The most rows in one of them, if not as many as the API allows."""
    report: Callable[[str], None] = lambda text: None
    """Gets a line for each step of them."""
    overwrite: bool = False
    accept_changes: bool = False
    retry_errors: bool = False


class Summary(msgspec.Struct):
    """How a run of a batch ended. `replies` and `errors` are all in the files, `spending` is what this run has used."""

    outcome: Outcome
    replies: int
    errors: int
    seconds: float
    spending: Spending
    reason: str = ""
    """Why it is unfinished."""
    cause: AcytooError | None = None
    """The error that stopped it, if one did."""
    has_failed_rows: bool = False
    """Whether there are rows that `retry_errors` asks for again: not only rows that could not be read."""


class BatchRun:
    """One run of a batch. `stop` may be called while `run` is awaited."""

    def __init__(self, config: BatchConfig) -> None:
        """Open the input and the output. Raises UsageError, OutputError."""
        self._config = config
        format = config.input_format or format_of(config.input)
        has_text_columns = format in ("csv", "tsv")
        self._requests = Requests(config.provider, model=config.model, prompt=config.prompt, system=config.system,
                                  schema=config.schema, row_options=not has_text_columns, writes_lines=True,
                                  options=config.options)  # fmt: skip
        self._requests.check_options()
        columns = self._requests.columns or (["prompt"] if has_text_columns and config.prompt is None else [])
        self._replies = replies = checkpoint_of(config.output)
        if config.input != "-" and Path(config.input).resolve() in (config.output.resolve(), replies.resolve()):
            raise UsageError(
                f"the input and the output are the same file: {config.input}"
                if replies == config.output
                else f"the output {config.output} has its replies in {replies} too, which must not be the input"
            )
        check_output_format(config.output)
        if is_table(config.output):
            import_parquet()
            if config.output.exists() and read_fingerprint(replies) is None and not config.overwrite:
                raise UsageError(
                    f"{config.output} exists and is not the output of a batch: use another output, or --overwrite"
                )
        self._open_rows = functools.partial(read_rows, config.input, format, columns)
        if config.via_provider:
            _check_via_provider(config)
        if config.workers:
            from acytoo.batch.ray import import_ray

            import_ray()
            if config.input == "-":
                raise UsageError("the workers cannot read standard input: write it to a file that all of them can read")
        self._rows = self._open_rows()
        try:
            self._output = Output.open(replies, self._fingerprint(), overwrite=config.overwrite,
                                       accept_changes=config.accept_changes)  # fmt: skip
        except BaseException:
            self._rows.close()
            raise
        if config.overwrite:
            submissions_path(replies).unlink(missing_ok=True)
        elif not config.via_provider and (submitted := count_submitted(replies)):
            self._rows.close()
            self._output.close()
            raise UsageError(
                f"{submitted:,} rows are submitted to the provider: collect them with --via provider, or begin again "
                "with --overwrite"
            )
        rows: Iterator[Row] | AsyncIterator[Row] = self._unfinished()
        if is_pipe(config.input):
            rows = self._unfinished_of(ThreadedRows(self._rows))
        self._synced_at = time.monotonic()
        self._finished = IdSet()
        """Rows of this run."""
        price = price_in_batches(config.provider, config.price) if config.via_provider else config.price
        self.spending = Spending(config.caps, price)
        limiter = Limiter(config.requests_per_minute, config.tokens_per_minute)
        self._runner: Scheduler | SubmittedBatches | RayRunner
        if config.via_provider:
            self._runner = SubmittedBatches(config.provider, self._requests, self._rows_left, self._deliver_result,
                                            replies, self.spending, sync=self._output.sync,
                                            poll_every=config.poll_every, max_requests=config.max_submission,
                                            report=config.report)  # fmt: skip
        elif config.workers:
            self._runner = self._ray_runner()
        else:
            self._runner = Scheduler(rows, asker(self._requests), self._deliver, jobs=config.jobs,
                                     attempts=config.attempts, limiter=limiter, spending=self.spending)  # fmt: skip
        self.progress = Progress(self.spending, lambda: self.in_flight, lambda: self._rows.fraction)

    @property
    def stop_reason(self) -> str:
        """Why the run has been stopped before its end, "" if it has not."""
        return self._runner.stop_reason

    @property
    def in_flight(self) -> int:
        """How many requests are under way now."""
        return self._runner.concurrency.in_flight if isinstance(self._runner, Scheduler) else 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many rows have a reply, and how many an error."""
        return len(self._output.done), self._output.errors

    def stop(self, reason: str, *, cancel: bool = False) -> None:
        """Begin no further row; those in flight are completed.

        The provider's own batches go on, and the next run collects their results. With `cancel` they are cancelled, and
        what has been answered is written.
        """
        if cancel and isinstance(self._runner, SubmittedBatches):
            self._runner.cancel(reason)
        else:
            self._runner.stop(reason)

    async def run(self) -> Summary:
        """Ask for all rows that are not finished. Raises OutputError."""
        started = time.monotonic()
        cause: AcytooError | None = None
        try:
            await self._runner.run()
        except Stopped as stopped:
            cause = stopped.error
        finally:
            if not is_pipe(self._config.input):  # a thread may be reading from it
                self._rows.close()
            self._output.close()
        if is_table(self._config.output):
            await asyncio.to_thread(write_table, self._replies, self._config.output)
        reason = self._runner.stop_reason
        errors = self._output.errors
        outcome: Outcome = "unfinished" if reason else "complete with errors" if errors else "complete"
        seconds = time.monotonic() - started
        return Summary(outcome, len(self._output.done), errors, seconds, self.spending, reason, cause,
                       self._output.has_failed_rows)  # fmt: skip

    def _ray_runner(self) -> RayRunner:
        from acytoo.batch.ray import RowOutcome, outcomes, portable
        from acytoo.batch.ray_run import RayRunner

        config, output = self._config, self._output
        create = portable(config.provider)
        requests = functools.partial(_requests, create, config.model, config.prompt, config.system, config.schema,
                                     self._requests.has_row_options, config.options)  # fmt: skip

        def begin() -> Iterator[RowOutcome]:
            rows = functools.partial(_wanted_rows, self._open_rows, output.done, output.failed, self._finished,
                                     config.retry_errors, config.shard)  # fmt: skip
            return outcomes(rows, requests, workers=config.workers, jobs=config.jobs, attempts=config.attempts,
                            requests_per_minute=config.requests_per_minute,
                            tokens_per_minute=config.tokens_per_minute, address=config.ray_address)  # fmt: skip

        def deliver(outcome: RowOutcome) -> None:
            if outcome.id is None:
                output.write_invalid(outcome.number, outcome.line)
            elif self._finished.add(outcome.id):
                if outcome.error:
                    self.spending.note_failure(outcome.error)
                    output.write_error(outcome.id, outcome.line)
                else:
                    self.spending.replies += 1
                    self.spending.note_reply(Reply(usage=outcome.usage))
                    output.write_reply(outcome.id, outcome.line)
                if reason := self.spending.reason_to_stop():
                    self.stop(reason)

        return RayRunner(begin, deliver, lambda: next(self._rows_left(), None) is not None)

    def _rows_left(self) -> Iterator[Row]:
        """Yield the rows that are not finished, from the beginning of the input."""
        with contextlib.closing(self._open_rows()) as rows:
            for row in rows:
                if self._is_wanted(row) and row.id not in self._finished:
                    yield row

    async def _deliver_result(self, result: Result) -> None:
        """Count and write a result of the provider's own batches."""
        if result.reply is not None:
            self.spending.replies += 1
            self.spending.note_reply(result.reply)
        else:
            self.spending.note_failure(type(result.error).__name__)
        self._finished.add(result.row.id)
        await self._deliver(result)

    def _unfinished(self) -> Iterator[Row]:
        """Yield the rows that are not finished; with `retry_errors`, those that have an error."""
        return filter(self._is_wanted, self._rows)

    async def _unfinished_of(self, rows: ThreadedRows) -> AsyncIterator[Row]:
        try:
            async for row in rows:
                if self._is_wanted(row):
                    yield row
        finally:
            rows.close()

    def _is_wanted(self, row: Row) -> bool:
        shard = self._config.shard
        # A row that cannot be read has no id; it is an error of the share of its number.
        if shard is not None and shard_of(row.id, shard[1]) != shard[0] - 1:
            return False
        if row.error is not None:
            self._output.write_invalid(row.number, error_line(row, row.error, 0))
            return False
        return row.id not in self._output.done and (row.id in self._output.failed) is self._config.retry_errors

    async def _deliver(self, result: Result) -> None:
        row, output = result.row, self._output
        if result.reply is not None:
            output.write_reply(row.id, reply_line(row, result.reply, self._requests, result.data))
        else:
            assert result.error is not None
            output.write_error(row.id, error_line(row, result.error, result.attempts))
        now = time.monotonic()
        if now - self._synced_at > _SYNC_EVERY:
            self._synced_at = now
            await asyncio.to_thread(output.sync)

    def _fingerprint(self) -> Fingerprint:
        config = self._config
        shared = {name: value for name, value in config.options.items() if name in OPTIONS or name == "extra_body"}
        shard = "/".join(map(str, config.shard or ()))
        options = {
            "model": config.address,
            "shard": shard,
            "prompt": config.prompt,
            "system": config.system,
            "schema": config.schema,
            **shared,
        }
        return Fingerprint("-" if config.input == "-" else file_fingerprint(Path(config.input)),
                           options_fingerprint(options))  # fmt: skip


def _check_via_provider(config: BatchConfig) -> None:
    """Raise UsageError for what the provider's own batches cannot do."""
    if config.input == "-":
        raise UsageError("the input of --via provider is read more than once: write it to a file")
    batches_of(config.provider)


def _requests(
    create: Callable[[], AsyncGeneratorProvider],
    model: str,
    prompt: str | None,
    system: str,
    schema: dict[str, Any] | None,
    row_options: bool,
    options: Mapping[str, Any],
) -> Requests:
    """Return the requests of a batch on another machine."""
    return Requests(create(), model=model, prompt=prompt, system=system, schema=schema, row_options=row_options,
                    writes_lines=True, options=options)  # fmt: skip


def _wanted_rows(
    open_rows: Callable[[], Rows],
    done: IdSet,
    failed: IdSet,
    finished: IdSet,
    retry_errors: bool,
    shard: tuple[int, int] | None,
) -> Iterator[Row]:
    """Yield the rows that are not finished, and those that cannot be read, on another machine."""
    with contextlib.closing(open_rows()) as rows:
        for row in rows:
            if shard is not None and shard_of(row.id, shard[1]) != shard[0] - 1:
                continue
            is_wanted = row.id not in done and (row.id in failed) is retry_errors and row.id not in finished
            if is_wanted or row.error is not None:
                yield row
