"""Many prompts: rows in, replies out, in the order in which they are complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import Any

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.batch.asking import asker
from acytoo.batch.limits import Limiter
from acytoo.batch.requests import Requests
from acytoo.batch.rows import Row, row_of, unique
from acytoo.batch.scheduler import Ask, Result, Scheduler, Stopped

__all__ = ["Ask", "Result", "Row", "batch", "results"]


async def batch(
    model: str | AsyncGeneratorProvider,
    rows: Iterable[object] | AsyncIterable[object],
    *,
    prompt: str | None = None,
    system: str = "",
    schema: dict[str, Any] | None = None,
    jobs: int = 100,
    attempts: int = 5,
    rpm: float | None = None,
    tpm: float | None = None,
    **options: Any,
) -> AsyncGenerator[Result, None]:
    """Yield a result for each row, in the order in which the replies are complete.

    `model` is an address, such as "openai/gpt-5-mini", or a provider, which may be a Route. A row is a prompt, or a
    dict with `prompt` or `messages`, or with the columns of `prompt`, such as "Summarise: {text}". Its `id` is by
    default its number, from 1. With a JSON schema, a result has its reply as `data`.

    `jobs` is the most requests at once, `attempts` how many a row may take, `rpm` and `tpm` the requests and tokens per
    minute; the limits that an upstream reports are respected anyway. `options` are request options. Rows are read when
    they are needed, and no further ones while results wait to be taken.

    Raises the error that every row would meet, such as AuthenticationError for a wrong key; any other error is the
    `error` of its row's result.
    """
    from acytoo.routing.addresses import provider

    chosen = provider(model) if isinstance(model, str) else model
    requests = Requests(chosen, prompt=prompt, system=system, schema=schema, options=options)
    requests.check_options()
    numbered = _numbered(rows) if isinstance(rows, AsyncIterable) else unique(_rows_of(rows))
    stream = results(numbered, asker(requests), jobs=jobs, attempts=attempts, limiter=Limiter(rpm, tpm))
    try:
        async for result in stream:
            yield result
    finally:
        await stream.aclose()


async def results(
    rows: Iterator[Row] | AsyncIterator[Row],
    ask: Ask,
    *,
    jobs: int = 100,
    attempts: int = 5,
    limiter: Limiter | None = None,
) -> AsyncGenerator[Result, None]:
    """Yield a result for each row, asked for with `ask`. Raises the error that stops the batch."""
    queue: asyncio.Queue[Result | None] = asyncio.Queue(max(jobs, 1))
    scheduler = Scheduler(rows, ask, queue.put, jobs=jobs, attempts=attempts, limiter=limiter)

    async def run() -> None:
        try:
            await scheduler.run()
        finally:
            await queue.put(None)

    task = asyncio.create_task(run())
    try:
        while (result := await queue.get()) is not None:
            yield result
        try:
            await task
        except Stopped as stopped:
            raise stopped.error from None
    finally:
        task.cancel()
        while not task.done():  # it may wait for room in the queue
            with suppress(asyncio.QueueEmpty):
                queue.get_nowait()
            await asyncio.sleep(0)
        with suppress(asyncio.CancelledError, Exception):
            await task


def _rows_of(values: Iterable[object]) -> Iterator[Row]:
    for number, value in enumerate(values, 1):
        yield value if isinstance(value, Row) else row_of(number, value)


async def _numbered(values: AsyncIterable[object]) -> AsyncIterator[Row]:
    number = 0
    async for value in values:
        number += 1
        yield value if isinstance(value, Row) else row_of(number, value)
