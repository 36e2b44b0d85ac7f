"""What one case leaves behind: sockets, tasks, threads, complaints of the event loop, secrets in the log."""

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
    """How many sockets this process has open; 0 where the system does not tell (it is not Linux)."""
    count = 0
    if _FDS.exists():
        for fd in os.listdir(_FDS):  # noqa: PTH208 - a thousand of them, a thousand times
            with contextlib.suppress(OSError):
                count += os.readlink(f"{_FDS}/{fd}").startswith("socket:")  # noqa: PTH115
    return count


@dataclass
class LeakDetector:
    """The complaints of one case, each in one line."""

    complaints: list[str] = field(default_factory=list)

    def complain(self, complaint: str) -> None:
        """Note it once."""
        if complaint not in self.complaints:
            self.complaints.append(complaint)

    def loop(self) -> None:
        """Listen to the running loop's complaints."""
        asyncio.get_running_loop().set_exception_handler(self._told)

    def tasks(self) -> None:
        """Complain of tasks that run besides the current one."""
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            self.complain(f"left {len(left)} task(s) running: {', '.join(sorted(_name(task) for task in left))}")

    def _told(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = f"{context.get('message')}{f' ({type(error).__name__})' if error else ''}"
        self.complain(f"the event loop complained: {_first_line(message)}")


@contextlib.contextmanager
def watched() -> Iterator[LeakDetector]:
    """Everything that runs inside has to leave the process as it was."""
    watch = LeakDetector()
    gc.freeze()  # what was there before is not looked through again and again
    sockets, threads = open_sockets(), set(threading.enumerate())
    log = _Log(watch)
    root = logging.getLogger()
    level, hook = root.level, sys.unraisablehook
    sys.unraisablehook = lambda raised: watch.complain(f"an error went unseen: {type(raised.exc_value).__name__}")
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    asyncio_level = logging.getLogger("asyncio").level
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield watch
            gc.collect()
        for warning in warned:
            if issubclass(warning.category, (ResourceWarning, RuntimeWarning)):
                watch.complain(f"{warning.category.__name__}: {_first_line(str(warning.message))}")
    finally:
        gc.unfreeze()
        sys.unraisablehook = hook
        logging.getLogger("asyncio").setLevel(asyncio_level)
        root.removeHandler(log)
        root.setLevel(level)
    if (left := open_sockets() - sockets) > 0:
        watch.complain(f"left {left} socket(s) open")
    for thread in set(threading.enumerate()) - threads:
        thread.join(1.0)
        if thread.is_alive():
            watch.complain(f"left the thread {thread.name} running")


class _Log(logging.Handler):
    """Reads every record of every logger for secrets, and errors that nobody handled."""

    def __init__(self, watch: LeakDetector) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        """Read one."""
        message = logging.Formatter().format(record)
        if any(secret in message for secret in SECRETS):
            self._watch.complain(f"the log of {record.name!r} shows a secret")
        if record.name == "asyncio" and record.levelno >= logging.ERROR:
            self._watch.complain(f"the event loop complained: {_first_line(message)}")


def told_secrets(error: BaseException | None) -> str:
    """Where an error, or one that led to it, shows a secret: "its repr", …; "" where none does."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        shown = {
            "its message": str(error),
            "its repr": repr(error),
            "its arguments": repr(error.args),
            "its attributes": repr(getattr(error, "__dict__", "")),
            "its traceback": "".join(traceback.format_exception(error)),
        }
        for where, words in shown.items():
            if any(secret in words for secret in SECRETS):
                return f"{where} ({type(error).__name__})"
        error = error.__cause__ or error.__context__
    return ""


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())


def _first_line(words: str) -> str:
    return words.strip().partition("\n")[0][:200]
