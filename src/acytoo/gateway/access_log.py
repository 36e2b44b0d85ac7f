"""The access log: a line of JSON for each request.

The problem: a write to a pipe whose reader has stalled, or to a slow disk, would hold up every reply. The strategy: the
event loop only appends to a queue, and a thread writes what has gathered there. The cost: `kill -9` loses the lines of
the last moment, and a destination that does not take them loses those beyond the queue's limit; their number is logged.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any

import msgspec

from acytoo.errors import UsageError
from acytoo.gateway.prices import NANODOLLARS
from acytoo.gateway.summary import Summary

_LOG = logging.getLogger("acytoo.server")

_MAX_WAITING = 10_000
"""Lines that wait to be written; further ones are dropped."""

_GATHERING = 0.2
"""Seconds in which lines gather for one write."""

_STREAMS = {"stdout": 1, "stderr": 2}

_TIME_TO_FINISH = 5.0
"""Seconds that the last lines get when the log is closed."""


class AccessLog:
    """A log of requests: a Consumer of summaries.

    `destination` is "stderr", "stdout" or `file:PATH`. Lines are appended, so several workers can share a file.
    """

    def __init__(self, destination: str = "stderr") -> None:
        """Open the log and start its thread. Raises UsageError if the file cannot be opened."""
        self._destination = destination.removeprefix("file:")
        self._is_file = destination not in _STREAMS
        self._file = _open(self._destination) if self._is_file else _STREAMS[destination]
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        """Lines for which the queue had no place. The event loop counts them, the thread the next two."""
        self._failed = 0
        """Lines that could not be written."""
        self._reported = 0
        """How many of both the log has reported in itself."""
        self._is_failing = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="acytoo-access-log", daemon=True)
        self._thread.start()

    def started(self) -> None:
        """Do nothing: a request is logged when it has ended."""

    def ended(self, summary: Summary) -> None:
        """Log a request."""
        if len(self._waiting) >= _MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.append(msgspec.json.encode(fields_of(summary)))
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Open the file by its name again, after it was renamed. Raises UsageError; then the old one stays in use."""
        if self._is_file:
            file = _open(self._destination)
            with self._lock:
                self._file, old = file, self._file
                self._is_failing = False
            os.close(old)

    def close(self) -> None:
        """Write the lines that wait, and end the thread. Does nothing the second time."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake.set()
        self._thread.join(_TIME_TO_FINISH)
        if self._is_file and not self._thread.is_alive():
            os.close(self._file)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait()
            self._wake.clear()  # before the queue is emptied: a line that comes later sets it again
            is_last = self._stop.wait(_GATHERING)
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            missing = self._dropped + self._failed - self._reported
            report = [msgspec.json.encode({"time": _time(None), "dropped_lines": missing})] if missing else []
            if lines or report:
                written = self._write([*lines, *report])
                self._failed += max(0, len(lines) - written)
                if written > len(lines):
                    self._reported += missing

    def _write(self, lines: list[bytes]) -> int:
        """Write lines, and return how many of them were written completely."""
        data = b"\n".join([*lines, b""])
        with self._lock:
            # After a failure, there may be the beginning of a line: ours, or another worker's.
            left = memoryview(b"\n" + data if self._is_failing else data)
            try:
                while left:
                    left = left[os.write(self._file, left) :]
            except OSError as error:  # a full disk, a closed pipe: the server goes on
                if not self._is_failing:
                    _LOG.error("cannot write the access log to %s: %s", self._destination, error.strerror)
                self._is_failing = True
            else:
                self._is_failing = False
        return max(0, len(lines) - bytes(left).count(b"\n"))


def fields_of(summary: Summary) -> dict[str, Any]:
    """Return the fields of a request's line. Without those of models if it was not a request to a model."""
    fields: dict[str, Any] = {
        "time": _time(summary.started_at),
        "request_id": summary.request_id,
        "peer": summary.peer,
        "key": summary.key,
        "method": summary.method,
        "path": summary.path,
        "status": summary.status,
        "seconds": round(summary.seconds, 6),
        "sent_bytes": summary.sent,
        "user_agent": summary.user_agent,
    }
    if summary.error:
        fields["error"] = summary.error
    if summary.traceparent:
        fields["trace_id"] = summary.traceparent.split("-")[1]
    if summary.dialect:
        fields["dialect"] = summary.dialect
        fields["model"] = summary.model
    if summary.first_content is not None:
        fields["first_content"] = round(summary.first_content, 6)
    if rows := summary.rows:
        costs = [row.cost for row in rows]
        fields |= {
            "target": rows[-1].target,
            "attempts": sum(row.target != "" for row in rows),
            "outcome": rows[-1].outcome,
            "input_tokens": sum(row.input_tokens for row in rows),
            "output_tokens": sum(row.output_tokens for row in rows),
            "cost_dollars": None if None in costs else sum(cost or 0 for cost in costs) / NANODOLLARS,
        }
    return fields


def _time(at: float | None) -> str:
    """Return a point in time, by default now, as RFC 3339 has it."""
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _open(path: str) -> int:
    """Return a file to append to. Raises UsageError."""
    try:
        # 0o640: who uses which model is not for every user of the machine.
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise UsageError(f"cannot open the access log {path!r}: {error.strerror}") from error
