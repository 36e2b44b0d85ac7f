"""Batches on a Ray cluster: Ray Data moves the rows and restarts what fails, our workers ask for the replies.

The problem: one process can ask for some thousand replies a second; a cluster for more. A worker may die at any time.

The strategy: one task reads the rows, and `map_batches` hands them to actors, each with a scheduler of its own and
hundreds of requests in flight. Ray runs the batches of an actor that died again, on another one. The driver writes the
results to the same output as a batch on one machine, so that status and continuation are the same, and a row that comes
twice is written once. The actors share the limits of the upstream through one named actor.

The cost: Ray's own start, about ten seconds, and one message to the shared limits for each request if there are any.
"""

from __future__ import annotations

import asyncio
import functools
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.batch.asking import asker
from acytoo.batch.limits import Limiter, Reservation
from acytoo.batch.lines import error_line, reply_line
from acytoo.batch.requests import Requests
from acytoo.batch.rows import Row, row_of
from acytoo.batch.scheduler import Answer, Ask, Result, Scheduler, Stopped, is_refusal
from acytoo.errors import AcytooError, MissingExtraError, UsageError
from acytoo.routing.policy import LONGEST_REQUESTED_PAUSE, wait_of
from acytoo.routing.route import Route
from acytoo.routing.target import Target
from acytoo.types import JSONObject, Usage

_BLOCK_ROWS = 200
"""Rows that are read at a time."""


def import_ray() -> Any:
    """Import Ray with its Data library. Raises MissingExtraError."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("the engine ray", "ray") from error
    return ray


class Worker:
    """Asks for the replies to rows that are handed to it one by one. It belongs to one event loop."""

    def __init__(self, requests: Requests, jobs: int, attempts: int, limits: str = "") -> None:
        self._requests = requests
        self._jobs = jobs
        self._attempts = attempts
        self._limits = limits
        self._queue: asyncio.Queue[Row] = asyncio.Queue()
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, row: Row) -> Result:
        """Return the result for a row. Raises the error that every row would meet."""
        if row.error is not None:
            return Result(row, error=row.error)
        if self._task is None:
            ask = asker(self._requests)
            if self._limits:
                ask = _limited(ask, self._limits)
            scheduler = Scheduler(self._rows(), ask, self._deliver, jobs=self._jobs, attempts=self._attempts)
            self._task = asyncio.create_task(scheduler.run())
            self._task.add_done_callback(self._end)
        elif self._task.done():
            self._end(self._task)
            await self._task
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[id(row)] = future
        self._queue.put_nowait(row)
        return await future

    async def _rows(self) -> AsyncIterator[Row]:
        while True:
            yield await self._queue.get()

    async def _deliver(self, result: Result) -> None:
        future = self._waiting.pop(id(result.row))
        if not future.done():
            future.set_result(result)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Pass the error on that stopped the scheduler."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Stopped):
            error = error.error
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error or asyncio.CancelledError())
        self._waiting.clear()


class Replies:
    """Replies to the rows of any Ray dataset: `dataset.map_batches(Replies, batch_format="pyarrow", …)`.

    The result has the columns of the dataset, and `reply`, `error`, `finish_reason`, `input_tokens`, `output_tokens`.
    """

    def __init__(
        self,
        model: str | AsyncGeneratorProvider,
        *,
        prompt: str | None = None,
        system: str = "",
        jobs: int = 100,
        attempts: int = 5,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the arguments of `batch`, as `fn_constructor_kwargs`. `jobs` is for each actor."""
        from acytoo.routing.addresses import provider

        chosen = provider(model) if isinstance(model, str) else model
        requests = Requests(chosen, prompt=prompt, system=system, row_options=False, writes_lines=True,
                            options=options)  # fmt: skip
        self._worker = Worker(requests, jobs, attempts)

    async def __call__(self, table: Any) -> Any:
        """Return the table with the replies to its rows."""
        import pyarrow

        rows = [row_of(number, fields) for number, fields in enumerate(table.to_pylist(), 1)]
        results = await asyncio.gather(*[self._worker.ask(row) for row in rows])
        usages = [(result.reply.usage if result.reply else None) or Usage() for result in results]
        columns: dict[str, tuple[list[Any], Any]] = {
            "reply": ([result.reply.text if result.reply else None for result in results], pyarrow.string()),
            "error": ([str(result.error) if result.error else None for result in results], pyarrow.string()),
            "finish_reason": ([r.reply.finish_reason if r.reply else None for r in results], pyarrow.string()),
            "input_tokens": ([usage.input_tokens for usage in usages], pyarrow.int64()),
            "output_tokens": ([usage.output_tokens for usage in usages], pyarrow.int64()),
        }
        for name, (values, type) in columns.items():
            table = table.append_column(name, pyarrow.array(values, type))
        return table


class _RowReplies:
    """The engine's actor: rows as JSON in, lines of the output out."""

    def __init__(self, requests: Callable[[], Requests], jobs: int, attempts: int, limits: str) -> None:
        self._requests = requests()
        self._worker = Worker(self._requests, jobs, attempts, limits)

    async def __call__(self, table: Any) -> Any:
        import pyarrow

        rows = [_decoded(data) for data in table.column("row").to_pylist()]
        results = await asyncio.gather(*[self._worker.ask(row) for row in rows])
        outcomes = [msgspec.json.encode(_outcome_of(result, self._requests)) for result in results]
        return pyarrow.table({"outcome": pyarrow.array(outcomes, pyarrow.binary())})


class RowOutcome(msgspec.Struct):
    """The result of a row on its way to the driver. Without an id, it is a row that could not be read."""

    number: int
    id: int | str | None
    line: bytes
    error: str = ""
    usage: Usage | None = None


class _SentRow(msgspec.Struct):
    """A row on its way to a worker; `problem` is why it could not be read."""

    number: int
    id: int | str
    fields: JSONObject = {}
    problem: str = ""


_decode_row = msgspec.json.Decoder(_SentRow).decode


def encoded(row: Row) -> bytes:
    """Return a row as it is sent to a worker."""
    problem = str(row.error) if row.error is not None else ""
    return msgspec.json.encode(_SentRow(row.number, row.id, row.fields, problem))


def _decoded(data: bytes) -> Row:
    sent = _decode_row(data)
    return Row(sent.number, sent.id, sent.fields, UsageError(sent.problem) if sent.problem else None)


def _outcome_of(result: Result, requests: Requests) -> RowOutcome:
    row = result.row
    if result.reply is not None:
        line = reply_line(row, result.reply, requests, result.data)
        return RowOutcome(row.number, row.id, line, usage=result.reply.usage)
    assert result.error is not None
    line = error_line(row, result.error, result.attempts)
    return RowOutcome(row.number, row.id if row.error is None else None, line, type(result.error).__name__)


def portable(provider: AsyncGeneratorProvider) -> Callable[[], AsyncGeneratorProvider]:
    """Return what creates the same provider on another machine. The targets of a route get their default limits."""
    if not isinstance(provider, Route):
        return functools.partial(_identity, provider)
    return functools.partial(_route, [(target.name, portable(target.provider)) for target in provider.targets])


def _identity(provider: AsyncGeneratorProvider) -> AsyncGeneratorProvider:
    return provider


def _route(targets: list[tuple[str, Callable[[], AsyncGeneratorProvider]]]) -> AsyncGeneratorProvider:
    return Route(*[Target(create(), name=name) for name, create in targets])


def outcomes(
    rows: Callable[[], Iterator[Row]],
    requests: Callable[[], Requests],
    *,
    workers: int,
    jobs: int,
    attempts: int,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    address: str = "",
) -> Iterator[RowOutcome]:
    """Yield the outcome of every row, in any order; after the death of a worker, some may come twice.

    `rows` and `requests` are called on the cluster. `jobs` requests at once are divided among the `workers`. Without
    the address of a cluster, Ray is started on this machine.
    """
    ray = import_ray()
    is_cluster = bool(address or os.environ.get("RAY_ADDRESS")) or ray.is_initialized()
    if not ray.is_initialized():
        own = {} if is_cluster else {"include_dashboard": False}
        ray.init(address or None, log_to_driver=False, logging_level="ERROR", **own)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A worker can use a core. On one machine all of them have to start, whatever it has.
    share = 1.0 if is_cluster else min(1.0, round(ray.cluster_resources()["CPU"] / (2 * workers), 3))
    limits = ""
    holder = None
    if requests_per_minute is not None or tokens_per_minute is not None:
        limits = f"acytoo-limits-{uuid.uuid4().hex}"
        actor = ray.remote(num_cpus=0)(SharedLimits)
        holder = actor.options(name=limits).remote(requests_per_minute, tokens_per_minute)
    each = max(1, jobs // workers)
    # Ray waits for all rows of a call, so a worker needs calls with twice as many rows as it has requests at once.
    size = min(_BLOCK_ROWS, max(1, each // 2))
    dataset = ray.data.read_datasource(_row_source(rows), ray_remote_args={"num_cpus": share}).map_batches(
        _RowReplies,
        batch_size=size,
        batch_format="pyarrow",
        concurrency=workers,
        max_concurrency=-(-2 * each // size),
        num_cpus=share,
        fn_constructor_args=(requests, each, attempts, limits),
    )
    decode = msgspec.json.Decoder(RowOutcome).decode
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            for data in batch.column("outcome").to_pylist():
                yield decode(data)
    finally:
        if holder is not None:
            ray.kill(holder)


def _row_source(rows: Callable[[], Iterator[Row]]) -> Any:
    """Return the data source of rows. One task reads them, block by block, so that their numbers are exact."""
    import pyarrow
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def read() -> Iterator[Any]:
        block: list[bytes] = []
        for row in rows():
            block.append(encoded(row))
            if len(block) == _BLOCK_ROWS:
                yield pyarrow.table({"row": pyarrow.array(block, pyarrow.binary())})
                block = []
        if block:
            yield pyarrow.table({"row": pyarrow.array(block, pyarrow.binary())})

    class RowSource(Datasource):  # type: ignore[misc]
        """The rows of a batch."""

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *arguments: Any, **options: Any) -> list[Any]:
            metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(read, metadata)]

    return RowSource()


class SharedLimits:
    """The limits of an upstream for all workers; one named actor of Ray."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._limiter = Limiter(requests, tokens)
        self._reservations: dict[int, Reservation] = {}
        self._resumes_at = 0.0
        self._next = 0

    def reserve(self, row: bytes) -> tuple[int, float]:
        """Take what a row needs. Return the number of the reservation, and the seconds to wait."""
        import time

        reservation, delay = self._limiter.reserve(_decoded(row))
        self._next += 1
        self._reservations[self._next] = reservation
        return self._next, max(delay, self._resumes_at - time.monotonic())

    def settle(self, number: int, usage: Usage | None, wait: float | None) -> None:
        """Replace the estimate of a request with what it has used; `wait` pauses all workers."""
        import time

        self._limiter.settle(self._reservations.pop(number), usage)
        if wait is not None:
            self._resumes_at = max(self._resumes_at, time.monotonic() + min(wait, LONGEST_REQUESTED_PAUSE))


def _limited(ask: Ask, name: str) -> Ask:
    """Return `ask` within the shared limits of that name."""
    ray = import_ray()
    limits = ray.get_actor(name)

    async def ask_within(row: Row) -> Answer:
        number, delay = await limits.reserve.remote(encoded(row))
        if delay > 0:
            await asyncio.sleep(delay)
        usage, wait = None, None
        try:
            answer = await ask(row)
            usage = answer.reply.usage
            return answer
        except AcytooError as error:
            wait = wait_of(error) if is_refusal(error) else None
            raise
        finally:
            limits.settle.remote(number, usage, wait)

    return ask_within
