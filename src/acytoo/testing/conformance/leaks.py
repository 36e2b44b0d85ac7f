"""Detect what a scenario leaves behind: sockets, tasks, threads, event loop errors, and secrets in logs and errors."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acytoo.testing.conformance.subject import SECRETS

_FDS = Path("/proc/self/fd")


def open_sockets() -> int:
    """Return how many sockets this process has open, or 0 on systems without /proc (other than Linux)."""
    count = 0
    if _FDS.exists():
        # os.listdir and os.readlink: pathlib is several times slower, and there are thousands of descriptors.
        for fd in os.listdir(_FDS):  # noqa: PTH208
            with contextlib.suppress(OSError):
                count += os.readlink(f"{_FDS}/{fd}").startswith("socket:")  # noqa: PTH115
    return count


@dataclass
class LeakDetector:
    """The violations of one scenario, each in one line."""

    violations: list[str] = field(default_factory=list)

    def add(self, violation: str) -> None:
        """Add a violation unless it is listed already."""
        if violation not in self.violations:
            self.violations.append(violation)

    def watch_loop(self) -> None:
        """Record the errors that the running event loop reports."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)

    def check_tasks(self) -> None:
        """Record tasks that are still running besides the current one."""
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            self.add(f"left {len(left)} task(s) running: {', '.join(sorted(_name(task) for task in left))}")

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = f"{context.get('message')}{f' ({type(error).__name__})' if error else ''}"
        self.add(f"the event loop reported: {_first_line(message)}")


@contextlib.contextmanager
def detect_leaks() -> Iterator[LeakDetector]:
    """Record what the body leaves behind in the process, its warnings, and the secrets that it logs."""
    detector = LeakDetector()
    gc.freeze()  # so that gc.collect() below does not scan the objects that existed before
    sockets, threads = open_sockets(), set(threading.enumerate())
    handler = _SecretHandler(detector)
    root = logging.getLogger()
    level, hook = root.level, sys.unraisablehook
    sys.unraisablehook = lambda raised: detector.add(f"an exception was ignored: {type(raised.exc_value).__name__}")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    asyncio_level = logging.getLogger("asyncio").level
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield detector
            gc.collect()
        for warning in caught:
            if issubclass(warning.category, (ResourceWarning, RuntimeWarning)):
                detector.add(f"{warning.category.__name__}: {_first_line(str(warning.message))}")
    finally:
        gc.unfreeze()
        sys.unraisablehook = hook
        logging.getLogger("asyncio").setLevel(asyncio_level)
        root.removeHandler(handler)
        root.setLevel(level)
    if (left := open_sockets() - sockets) > 0:
        detector.add(f"left {left} socket(s) open")
    for thread in set(threading.enumerate()) - threads:
        thread.join(1.0)
        if thread.is_alive():
            detector.add(f"left the thread {thread.name} running")


class _SecretHandler(logging.Handler):
    """A handler that searches every record of every logger for secrets and for unhandled errors of asyncio."""

    def __init__(self, detector: LeakDetector) -> None:
        super().__init__(logging.DEBUG)
        self._detector = detector

    def emit(self, record: logging.LogRecord) -> None:
        """Search one record."""
        message = logging.Formatter().format(record)
        if any(secret in message for secret in SECRETS):
            self._detector.add(f"logged a secret to {record.name!r}")
        if record.name == "asyncio" and record.levelno >= logging.ERROR:
            self._detector.add(f"the event loop reported: {_first_line(message)}")


def secret_location(error: BaseException | None) -> str:
    """Return where an error or one of its causes shows a secret, such as "repr (ServerError)", or ""."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        parts = {
            "message": str(error),
            "repr": repr(error),
            "arguments": repr(error.args),
            "attributes": repr(getattr(error, "__dict__", "")),
            "traceback": "".join(traceback.format_exception(error)),
        }
        for location, text in parts.items():
            if any(secret in text for secret in SECRETS):
                return f"{location} ({type(error).__name__})"
        error = error.__cause__ or error.__context__
    return ""


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]
