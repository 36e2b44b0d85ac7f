"""Batches that a server runs for its callers: OpenAI's Batch API over any backend.

A batch asks the server itself, over HTTP, with a secret that stands for its caller. So its rows count against the
caller's limits and are in the ledger, and every backend can answer them. Its output is the checkpoint: after a restart
it goes on with the rows that have no line yet.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.batch.files import FileStore, write_file
from acytoo.batch.output import AppendedFile, errors_path, fingerprint_path
from acytoo.batch.run import BatchConfig, BatchRun
from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import AcytooError, NotFoundError, RequestError, ServerError, StatusError, one_line
from acytoo.secret import Secret
from acytoo.wire.limits import json_excess

_LOG = logging.getLogger("acytoo.server")

ENDPOINTS = ("/v1/chat/completions", "/v1/responses")
"""What the rows of a batch can ask."""

_JOBS = 16
"""Requests of one batch at once."""

_RUNNING = 4
"""Batches of one caller that run at the same time; others wait for their turn."""

MAX_UNFINISHED = 100
"""Batches of one caller that are not finished, running or waiting."""

_UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")

_MAX_ROW = 32 * 1024 * 1024
"""Bytes of a row: a server's limit for the body of a request, unless it has another one."""

_CANCELLED = "cancelled by its owner"
_STOPPING = "the server stops"


class RequestCounts(msgspec.Struct):
    """How many rows a batch has, and how many of them have ended."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class StoredBatch(msgspec.Struct, kw_only=True):
    """A batch, as OpenAI's API describes it. `owner` is the name of the caller's key."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str = "validating"
    created_at: int
    expires_at: int | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    expired_at: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: dict[str, object] | None = None
    request_counts: RequestCounts = msgspec.field(default_factory=RequestCounts)
    metadata: dict[str, str] | None = None
    owner: str = ""

    def document(self) -> dict[str, object]:
        """Return the batch as its API has it."""
        return {
            "object": "batch",
            **{name: getattr(self, name) for name in self.__struct_fields__ if name != "owner"},
        }


class BatchService:
    """The files and batches of one server."""

    def __init__(self, folder: Path, secret_of: Callable[[str], Secret | None]) -> None:
        """Open the folder. `secret_of` returns what presents a caller to the server, None if it has gone.

        Raises OSError, and UsageError if another server has the folder.
        """
        self.files = FileStore(folder)
        self._lock = AppendedFile(folder / "lock")
        self._lock.lock()
        self._folder = folder
        self._secret_of = secret_of
        self._url = ""
        self._is_stopping = False
        self._batches: dict[str, StoredBatch] = {}
        self._runs: dict[str, BatchRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The running batches; an unfinished one without a task waits for its turn."""
        for path in folder.glob("batch_*.json"):
            with suppress(*UNDECODABLE, OSError):
                batch = msgspec.json.decode(path.read_bytes(), type=StoredBatch)
                self._batches[batch.id] = batch
        unfinished = [batch for batch in self._batches.values() if batch.status in _UNFINISHED]
        self.files.remove_incomplete(
            {id for batch in unfinished for id in (batch.output_file_id, batch.error_file_id) if id is not None}
        )

    def start(self, url: str) -> None:
        """Go on with the batches that are not finished. `url` is the server's own."""
        self._url = url
        for owner in {batch.owner for batch in self._batches.values()}:
            self._begin_next(owner)

    def stop(self) -> None:
        """Begin no further rows. The next start goes on with them."""
        self._is_stopping = True
        for run in self._runs.values():
            run.stop(_STOPPING)

    async def close(self) -> None:
        """Wait until the rows in flight are written."""
        self.stop()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=10.0)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._lock.close()

    def create(
        self, owner: str, input_file_id: str, endpoint: str, completion_window: str, metadata: dict[str, str] | None
    ) -> StoredBatch:
        """Begin a batch. Raises RequestError, NotFoundError, and ServerError if it cannot be written."""
        if endpoint not in ENDPOINTS:
            raise RequestError(f"unknown endpoint {endpoint!r}: use {' or '.join(ENDPOINTS)}", status=400)
        if self.files.get(input_file_id, owner).purpose != "batch":
            raise RequestError(f"the purpose of {input_file_id} is not batch: upload it with that", status=400)
        if (count := len(self._unfinished(owner))) >= MAX_UNFINISHED:
            problem = f"you have {count} batches that are not finished: wait until one is, or cancel one"
            raise RequestError(problem, status=429, code="batch_limit_exceeded")
        batch = StoredBatch(
            id=f"batch_{secrets.token_hex(12)}",
            endpoint=endpoint,
            input_file_id=input_file_id,
            completion_window=completion_window,
            created_at=int(time.time()),
            metadata=metadata,
            owner=owner,
        )
        self._save(batch)
        self._batches[batch.id] = batch
        self._begin_next(owner)
        return batch

    def get(self, batch_id: str, owner: str) -> StoredBatch:
        """Return a batch of the caller. Raises NotFoundError."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.owner != owner:
            raise NotFoundError(f"there is no batch {batch_id!r}", status=404, code="not_found_error")
        if (run := self._runs.get(batch_id)) is not None:
            self._count(batch, run)
        return batch

    def list(self, owner: str) -> list[StoredBatch]:
        """Return the batches of a caller, the newest first."""
        batches = [self.get(batch.id, owner) for batch in self._batches.values() if batch.owner == owner]
        return sorted(batches, key=lambda batch: (batch.created_at, batch.id), reverse=True)

    def cancel(self, batch_id: str, owner: str) -> StoredBatch:
        """Stop a batch: no further row is begun, and what has been answered is kept. Raises RequestError."""
        batch = self.get(batch_id, owner)
        if batch.status not in _UNFINISHED or batch.status == "finalizing":
            raise RequestError(f"the batch is {batch.status} already", status=400)
        batch.status, batch.cancelling_at = "cancelling", int(time.time())
        self._save(batch)
        if (run := self._runs.get(batch_id)) is not None:
            run.stop(_CANCELLED)
        elif batch_id not in self._tasks:
            self._begin(batch)  # which is done at once, so it need not wait for its turn
        return batch

    # One batch.

    def _unfinished(self, owner: str) -> Sequence[StoredBatch]:
        """Return a caller's batches that are not finished, the oldest first."""
        batches = [batch for batch in self._batches.values() if batch.owner == owner and batch.status in _UNFINISHED]
        return sorted(batches, key=lambda batch: (batch.created_at, batch.id))

    def _begin_next(self, owner: str) -> None:
        """Begin as many of a caller's batches as may run at the same time."""
        unfinished = self._unfinished(owner)
        waiting = [batch for batch in unfinished if batch.id not in self._tasks]
        free = _RUNNING - (len(unfinished) - len(waiting))
        for batch in waiting[: max(0, free)]:
            self._begin(batch)

    def _begin(self, batch: StoredBatch) -> None:
        def end(task: asyncio.Task[None]) -> None:
            del self._tasks[batch.id]
            if not self._is_stopping:
                self._begin_next(batch.owner)

        task = self._tasks[batch.id] = asyncio.get_running_loop().create_task(self._run(batch))
        task.add_done_callback(end)

    async def _run(self, batch: StoredBatch) -> None:
        try:
            if batch.finalizing_at is None and not await self._ask(batch):
                return  # the server stops
            self._finish(batch)
        except StatusError as error:
            self._fail(batch, error)
        except (AcytooError, OSError) as error:  # its message has the path, which is for the operator only
            _LOG.error("batch %s: %s", batch.id, one_line(str(error)))
            self._fail(batch, ServerError("the files of the batch cannot be read or written", status=507))
        except Exception:
            _LOG.exception("internal error in batch %s", batch.id)
            self._fail(batch, ServerError("internal server error", status=500))

    async def _ask(self, batch: StoredBatch) -> bool:
        """Ask for all rows. Return whether they are finished. Raises AcytooError, OSError."""
        secret = self._secret_of(batch.owner)
        if secret is None:
            raise RequestError(f"the key {batch.owner!r} does not exist any more", status=400)
        if self._is_stopping:
            return False
        total = await asyncio.to_thread(self._check_rows, batch)
        config = BatchConfig(
            provider=self._provider(secret),
            input=str(self.files.path(batch.input_file_id)),
            input_format="jsonl",
            output=self._output(batch),
            jobs=_JOBS,
        )
        try:
            run = await asyncio.to_thread(BatchRun, config)
        except AcytooError:
            self._require_input(batch)
            raise
        self._runs[batch.id] = run
        batch.request_counts.total = total
        try:
            if self._is_stopping:
                run.stop(_STOPPING)
            elif batch.status == "cancelling":
                run.stop(_CANCELLED)
            else:
                batch.status, batch.in_progress_at = "in_progress", batch.in_progress_at or int(time.time())
                self._save(batch)
            summary = await run.run()
        finally:
            del self._runs[batch.id]
            self._count(batch, run)
        if summary.reason == _STOPPING:
            self._save(batch)
            return False
        if summary.cause is not None:
            batch.errors = _errors(summary.cause)
        return True

    def _check_rows(self, batch: StoredBatch) -> int:
        """Return how many rows a batch has. Raises RequestError for a row of another endpoint, or no rows."""
        total = 0
        self._require_input(batch)
        with self.files.path(batch.input_file_id).open("rb") as lines:
            for number, line in enumerate(iter(partial(lines.readline, _MAX_ROW + 1), b""), 1):
                if len(line) > _MAX_ROW:
                    raise RequestError(f"line {number} is larger than {_MAX_ROW} bytes", status=400)
                if not line.strip():
                    continue
                total += 1
                if excess := json_excess(line):  # a run decodes rows on the event loop
                    raise RequestError(f"line {number}: the JSON {excess}", status=400)
                try:
                    row = msgspec.json.decode(line, type=_RowHead)
                except UNDECODABLE:
                    continue  # the run makes it an error of its own
                if row.url and row.url != batch.endpoint:
                    raise RequestError(
                        f"line {number} is for {row.url}, but the batch is for {batch.endpoint}", status=400
                    )
        if not total:
            raise RequestError("the input file is empty", status=400)
        return total

    def _require_input(self, batch: StoredBatch) -> None:
        """Raise RequestError if the input file has been deleted."""
        if not self.files.path(batch.input_file_id).exists():
            raise RequestError("the input file has been deleted", status=400)

    def _provider(self, secret: Secret) -> AsyncGeneratorProvider:
        from acytoo.registry import provider

        return provider("compatible", url=f"{self._url}/v1", key=secret, trust_env=False)

    def _output(self, batch: StoredBatch) -> Path:
        return self._folder / f"{batch.id}.replies.jsonl"

    def _count(self, batch: StoredBatch, run: BatchRun) -> None:
        replies, errors = run.counts
        batch.request_counts.completed, batch.request_counts.failed = replies, errors

    def _finish(self, batch: StoredBatch) -> None:
        """Make files of the output and the errors. A start after a crash does it again from the beginning.

        The ids are noted first, so that a crash loses no output that has moved: then all rows would be asked again.
        """
        output = self._output(batch)
        places = {"output_file_id": output, "error_file_id": errors_path(output)}
        names = {"output_file_id": f"{batch.id}_output.jsonl", "error_file_id": f"{batch.id}_error.jsonl"}
        if batch.finalizing_at is None:
            batch.finalizing_at = int(time.time())
            for field, path in places.items():
                if path.exists() and path.stat().st_size:
                    setattr(batch, field, self.files.new_id())
            if batch.status != "cancelling":
                batch.status = "finalizing"
            self._save(batch)
        for field, path in places.items():
            if file_id := getattr(batch, field):
                self.files.adopt(file_id, batch.owner, names[field], "batch_output", path)
            path.unlink(missing_ok=True)
        fingerprint_path(output).unlink(missing_ok=True)
        now = int(time.time())
        if batch.errors is not None:
            batch.status, batch.failed_at = "failed", now
        elif batch.status == "cancelling":
            batch.status, batch.cancelled_at = "cancelled", now
        else:
            batch.status, batch.completed_at = "completed", now
        self._save(batch)

    def _fail(self, batch: StoredBatch, error: AcytooError) -> None:
        _LOG.warning("batch %s failed: %s", batch.id, one_line(str(error)))
        batch.status, batch.failed_at, batch.errors = "failed", int(time.time()), _errors(error)
        with suppress(ServerError):  # the disk is full: the next start tries again
            self._save(batch)

    def _save(self, batch: StoredBatch) -> None:
        write_file(self._folder / f"{batch.id}.json", msgspec.json.encode(batch))


def _errors(error: AcytooError) -> dict[str, object]:
    """Return what a batch that has failed shows of the reason."""
    code = getattr(error, "code", "") or "invalid_request"
    return {"object": "list", "data": [{"code": code, "message": str(error), "param": None, "line": None}]}


class _RowHead(msgspec.Struct):
    url: str = ""
