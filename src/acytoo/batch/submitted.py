"""Batches of the provider itself: cheaper, answered within a day.

The problem: a batch at the provider outlives the process that submitted it, and must be submitted once, whenever that
process is killed. Some of its requests may expire unanswered.

The strategy: a pass over the input submits the rows that are neither finished nor submitted, in batches of an allowed
size. A file beside the output has a line for each step: before a batch is created, when its id is known, when its
results are in the output. Results are written like any other reply, so that writing them again after a crash finds
what is there already. What has expired is submitted by the next pass. With a cap on cost or tokens, a pass submits only
what is expected to fit beside what is submitted already; the usage of the results makes room for the next one.

If the process is killed between the creation and the next line, the batch is looked for among the latest ones: by its
uploaded file, or else by its time and size.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.batch.budget import Estimate, Price, Spending
from acytoo.batch.ids import IdSet, token_of
from acytoo.batch.output import AppendedFile
from acytoo.batch.requests import Requests
from acytoo.batch.rows import Row
from acytoo.batch.scheduler import Result
from acytoo.client import Client
from acytoo.dialects.batches import BatchAPI, BatchState
from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import (
    AcytooError,
    InvalidReplyError,
    NoTextError,
    ProtocolError,
    ServerError,
    StatusError,
    UsageError,
)
from acytoo.http import Endpoint, HTTPRequest
from acytoo.types import Reply, Request, collect

T = TypeVar("T")

_MAX_BYTES = 64_000_000
"""Bytes of one submission, which is held in memory; all APIs allow more."""

_CLOCK_SKEW = 60.0
"""Seconds by which the provider's clock may differ from ours."""

_LONGEST_PAUSE = 60.0
_ATTEMPTS = 8


class Step(msgspec.Struct, omit_defaults=True):
    """A line of the file of submissions. `number` is that of the submission."""

    number: int
    upload: str = ""
    started: float = 0.0
    tokens: list[str] = []
    """The `custom_id`s of its rows."""
    expected: Estimate = Estimate()
    batch: str = ""
    collected: bool = False


class Submission(msgspec.Struct):
    """A batch at the provider, or one whose creation was interrupted."""

    number: int
    upload: str = ""
    started: float = 0.0
    tokens: list[str] = []
    expected: Estimate = Estimate()
    """What its rows are expected to take."""
    batch: str = ""
    is_collected: bool = False
    was_sent: bool = False
    is_cancelled: bool = False


class _Part:
    """Rows that are submitted together."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.tokens: list[str] = []
        self.size = 0
        self.expected = Estimate()

    def add(self, line: bytes, token: str, estimate: Estimate) -> None:
        self.lines.append(line)
        self.tokens.append(token)
        self.size += len(line) + 1
        self.expected += estimate


def submissions_path(output: Path) -> Path:
    """Return the file of submissions: `replies.submitted.jsonl` beside `replies.jsonl`."""
    return output.with_name(f"{output.stem}.submitted.jsonl")


def batches_of(provider: AsyncGeneratorProvider) -> BatchAPI:
    """Return how a provider takes batches. Raises UsageError if it does not."""
    api = provider.dialect.batches() if provider.dialect is not None else None
    if api is None:
        raise UsageError(f"{provider.address_name()} has no batches of its own: leave out --via provider")
    return api


def price_in_batches(provider: AsyncGeneratorProvider, price: Price | None) -> Price | None:
    """Return what knows the cost of a reply in a batch. Raises UsageError if the provider has no batches."""
    share = batches_of(provider).share_of_price(provider.client().endpoint)

    def reduced(reply: Reply) -> int | None:
        cost = price(reply) if price is not None else None
        return None if cost is None else round(cost * share)

    return None if price is None else reduced


class SubmittedBatches:
    """The submissions of a batch, of this and earlier runs."""

    def __init__(
        self,
        provider: AsyncGeneratorProvider,
        requests: Requests,
        rows: Callable[[], Iterator[Row]],
        deliver: Callable[[Result], Awaitable[None]],
        output: Path,
        spending: Spending,
        *,
        sync: Callable[[], None] = lambda: None,
        poll_every: float = 30.0,
        max_requests: int | None = None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Open the file of submissions.

        `rows` returns the rows that are not finished, each time that it is called. `spending` has the caps, and gets
        what is delivered. `sync` has that survive a loss of power. `max_requests`: how many rows a batch has, if not as
        many as the API allows. Raises UsageError if the provider has no batches.
        """
        self._api = batches_of(provider)
        self._client: Client = provider.client()
        self._dialect = self._client.dialect
        self._requests = requests
        self._rows = rows
        self._deliver = deliver
        self._sync = sync
        self._poll_every = poll_every
        self._max_requests = min(max_requests or self._api.max_requests, self._api.max_requests)
        self._report = report
        self._spending = spending
        self._delivered = 0
        """Rows that have got a result in this run."""
        self._stopping = asyncio.Event()
        self._is_cancelling = False
        self._ending = asyncio.Event()
        """Set as soon as the run is stopped or its batches are cancelled: nothing more is submitted."""
        self.stop_reason = ""
        self._file = AppendedFile(submissions_path(output))
        self._file.cut_torn_line()
        self._submissions = _read_steps(submissions_path(output))

    def stop(self, reason: str) -> None:
        """Wait no longer; what has been submitted is collected by the next run."""
        self.stop_reason = self.stop_reason or reason
        self._stopping.set()
        self._ending.set()

    def cancel(self, reason: str) -> None:
        """Submit nothing more, and cancel what is submitted; what has been answered until then is collected."""
        self.stop_reason = self.stop_reason or reason
        self._is_cancelling = True
        self._ending.set()

    async def run(self) -> None:
        """Submit all rows, wait, and write their results, until every row is finished or the run is stopped."""
        try:
            for submission in self._open():
                if not submission.batch and not await self._find(submission):
                    self._finish(submission)  # it was never created: its rows are submitted again
            fruitless = 0
            while fruitless < _ATTEMPTS and not self._ending.is_set():
                before = self._delivered
                has_submitted = await self._submit_all()
                await self._collect_all()
                if not (has_submitted or self._is_left()):
                    break
                fruitless = 0 if self._delivered > before else fruitless + 1
            if fruitless == _ATTEMPTS:
                self.stop(f"some requests were not answered in {_ATTEMPTS} batches")
            elif self.stop_reason and not self._open() and not self._is_left():
                self.stop_reason = ""  # it came after the last result
        finally:
            self._file.close()

    def _open(self) -> list[Submission]:
        return [each for each in self._submissions if not each.is_collected]

    def _is_left(self) -> bool:
        return next(self._rows(), None) is not None

    # Submit.

    async def _submit_all(self) -> bool:
        """Submit the rows that are neither finished nor submitted. Return whether there were any."""
        waiting = IdSet()
        for submission in self._open():
            for token in submission.tokens:
                waiting.add(token)
        expected = sum([submission.expected for submission in self._open()], Estimate())
        has_submitted = False
        excess = ""
        part = _Part()
        for row in self._rows():
            if self._ending.is_set():
                return has_submitted
            token = token_of(row.id)
            if token in waiting:
                continue
            try:
                request = self._requests.single(row)
                line = self._line(request, token)
            except AcytooError as error:
                await self._give(Result(row, error=error))
                continue
            estimate = self._spending.estimate(request)
            if excess := self._spending.excess(expected + estimate):
                break
            if part.lines and (len(part.lines) >= self._max_requests or part.size + len(line) > _MAX_BYTES):
                has_submitted |= await self._submit(part)
                part = _Part()
            part.add(line, token, estimate)
            expected += estimate
        if part.lines and not self._ending.is_set():
            has_submitted |= await self._submit(part)
        if excess and not self._open():
            self.cancel(excess)
        return has_submitted

    def _line(self, request: Request, token: str) -> bytes:
        encoded = self._dialect.encode_request(request, self._client.endpoint, self._requests.unsupported())
        return self._api.line(token, encoded.body)

    async def _submit(self, part: _Part) -> bool:
        lines = part.lines
        submission = Submission(len(self._submissions), "", time.time(), part.tokens, part.expected)
        api, dialect = self._api, self._dialect
        if api.upload(dialect, self._client.endpoint, []) is not None:
            upload = await self._repeat(lambda: self._upload(lines))
            if upload is None:
                return False
            submission.upload = upload
        self._submissions.append(submission)
        self._write(
            Step(submission.number, submission.upload, submission.started, submission.tokens, submission.expected)
        )
        if await self._repeat(lambda: self._create(submission, lines)) is None:
            return False
        self._report(f"submitted {len(lines):,} rows as {submission.batch}")
        return True

    async def _upload(self, lines: list[bytes]) -> str:
        def request_at(endpoint: Endpoint) -> HTTPRequest:
            request = self._api.upload(self._dialect, endpoint, lines)
            assert request is not None
            return request

        return await self._send(request_at, self._api.uploaded)

    async def _create(self, submission: Submission, lines: list[bytes]) -> bool:
        # An attempt that failed without an answer may have created the batch all the same.
        if submission.was_sent and await self._find(submission):
            return True
        submission.was_sent = True
        states = await self._send(
            lambda at: self._api.create(self._dialect, at, lines, submission.upload), self._api.states
        )
        self._note_batch(submission, states[0].id)
        return True

    async def _find(self, submission: Submission) -> bool:
        """Look for the batch of a submission whose creation was interrupted. Return whether it is there."""
        known = {each.batch for each in self._submissions}
        states = await self._repeat(
            lambda: self._send(lambda at: self._api.recent(self._dialect, at), self._api.states)
        )
        for state in states or ():
            if state.id in known:
                continue
            if submission.upload:
                is_found = state.source == submission.upload
            else:
                is_found = state.created >= submission.started - _CLOCK_SKEW and state.total == len(submission.tokens)
            if is_found:
                self._note_batch(submission, state.id)
                return True
        return False

    def _note_batch(self, submission: Submission, id: str) -> None:
        submission.batch = id
        self._write(Step(submission.number, batch=id))

    # Collect.

    async def _collect_all(self) -> None:
        """Wait for the batches and write their results, as each of them ends."""
        while not self._stopping.is_set() and (pending := self._open()):
            for submission in pending:
                if self._is_cancelling and not submission.is_cancelled:
                    await self._cancel(submission)
                state = await self._repeat(functools.partial(self._state, submission.batch))
                if state is None or self._stopping.is_set():
                    return
                self._report(f"{state.id}: {state.counts}")
                if state.has_ended and not await self._collect(submission, state):
                    return
            if self._open():
                await self._wait(self._poll_every)

    async def _cancel(self, submission: Submission) -> None:
        submission.is_cancelled = True
        with contextlib.suppress(StatusError):  # it has ended already
            await self._repeat(
                lambda: self._send(lambda at: self._api.cancel(self._dialect, at, submission.batch), self._api.states)
            )

    async def _state(self, batch: str) -> BatchState:
        states = await self._send(lambda at: self._api.retrieve(self._dialect, at, batch), self._api.states)
        return states[0]

    async def _collect(self, submission: Submission, state: BatchState) -> bool:
        """Write the results of a batch that has ended. Return whether the run goes on."""
        if state.failure:
            self._finish(submission)
            if not state.is_full:
                raise ServerError(f"the provider has refused the batch {state.id}: {state.failure}")
            self._report(f"{state.id}: {state.failure}")
            await self._wait(self._poll_every)
            return True
        wanted = dict.fromkeys(submission.tokens)
        rows = {token: row for row in self._rows() if (token := token_of(row.id)) in wanted}
        for place in state.results:
            if not await self._collect_file(place, rows):
                return False
        self._finish(submission)
        return True

    async def _collect_file(self, place: str, rows: dict[str, Row]) -> bool:
        """Write the results in a file. It is kept on disk first, so that it is complete before any of it counts."""
        with tempfile.TemporaryFile() as file:

            async def download() -> bool:
                file.seek(0)
                file.truncate()
                async for chunk in self._client.download(lambda c: self._api.result(self._dialect, c.endpoint, place)):
                    file.write(chunk)
                return True

            if await self._repeat(download) is None:
                return False
            file.seek(0)
            for line in file:
                if line.strip():
                    await self._write_result(line, rows)
        return True

    def _finish(self, submission: Submission) -> None:
        self._sync()  # the results must not be lost if this line is not
        submission.is_collected = True
        self._write(Step(submission.number, collected=True))

    async def _write_result(self, line: bytes, rows: dict[str, Row]) -> None:
        try:
            result = self._api.read_result(self._dialect, line)
        except UNDECODABLE as error:
            raise ProtocolError(f"a result of the provider's batch cannot be read: {error}") from error
        row = rows.pop(result.custom_id, None)
        if row is None:  # not one of ours, or written by a run that was killed
            return
        if result.error is not None:
            await self._give(Result(row, error=result.error, attempts=1))
        elif result.items is not None:
            reply = collect(result.items)
            try:
                data = self._requests.data_of(row, reply)
            except (InvalidReplyError, NoTextError) as error:
                self._spending.note_reply(reply)
                await self._give(Result(row, error=error, attempts=1))
            else:
                await self._give(Result(row, reply, data, attempts=1))

    async def _give(self, result: Result) -> None:
        self._delivered += 1
        await self._deliver(result)
        if reason := self._spending.reason_to_stop():
            self.cancel(reason)

    # Requests.

    async def _send(self, request_at: Callable[[Endpoint], HTTPRequest], read: Callable[[bytes], T]) -> T:
        body = await self._client.document(lambda c: request_at(c.endpoint))
        try:
            return read(body)
        except (*UNDECODABLE, KeyError) as error:
            raise ProtocolError(f"the provider's answer about batches cannot be read: {error}") from error

    async def _repeat(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do something, again after failures that may go away. Return None if the run is stopped meanwhile."""
        for attempt in range(_ATTEMPTS):
            try:
                return await work()
            except AcytooError as error:
                if not error.retryable or attempt == _ATTEMPTS - 1:
                    raise
                await self._wait(getattr(error, "retry_after", None) or min(_LONGEST_PAUSE, 2.0**attempt))
                if self._stopping.is_set():
                    return None
        return None

    async def _wait(self, seconds: float) -> None:
        """Wait for so long, or until the run is stopped or its batches are to be cancelled."""
        try:
            async with asyncio.timeout(seconds):
                await (self._stopping if self._is_cancelling else self._ending).wait()
        except TimeoutError:
            pass

    def _write(self, step: Step) -> None:
        self._file.append(msgspec.json.encode(step) + b"\n")
        self._file.sync()


def count_submitted(output: Path) -> int:
    """Return how many rows are submitted to the provider and not collected."""
    path = submissions_path(output)
    submissions = _read_steps(path) if path.exists() else []
    return sum([len(each.tokens) for each in submissions if not each.is_collected])


def _read_steps(path: Path) -> list[Submission]:
    """Return the submissions of earlier runs. Raises UsageError for a file that no batch has written."""
    submissions: list[Submission] = []
    decode = msgspec.json.Decoder(Step).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                step = decode(line)
                if step.number == len(submissions):
                    submissions.append(Submission(step.number, step.upload, step.started, step.tokens, step.expected))
                submission = submissions[step.number]
            except (*UNDECODABLE, IndexError) as error:
                raise UsageError(f"{path}, line {number} is not that of a batch: {error}") from error
            submission.batch = step.batch or submission.batch
            submission.is_collected |= step.collected
    return submissions
