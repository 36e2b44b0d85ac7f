"""A terminal with somebody in front of it who types and waits for words to appear."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.processes import LIMIT, environment

_TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """`with Terminal([ACYTOO, "chat"]) as terminal`: the command has it as its controlling terminal.

    `stdout` may be a file that takes standard output instead.
    """

    def __init__(self, command: list[str], *, env: dict[str, str] | None = None, stdout: int | None = None) -> None:
        import pty

        self._master, slave = pty.openpty()
        self._printed = b""
        self.shown = ""
        self._seen = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=environment({"TERM": "dumb", **(env or {})}),
        )
        os.close(slave)

    def press(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._master, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C once the command waits for keys: readline sleeps through one that comes just before that."""
        process = Path(f"/proc/{self._process.pid}")
        while process.exists() and not _waits_for_keys(process):
            time.sleep(0.001)
        self.press(CTRL_C)

    def wait_for(self, text: str) -> str:
        """Wait until the text appears after what was waited for last; all that appeared until then."""
        deadline = time.monotonic() + LIMIT
        while (place := self.shown.find(text, self._seen)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} never appeared; what did is {self.shown!r}")
        began, self._seen = self._seen, place + len(text)
        return self.shown[began : self._seen]

    def wait(self) -> int:
        """The exit code, when the command has ended."""
        deadline = time.monotonic() + LIMIT
        while self._read(deadline):
            pass
        return self._process.wait(LIMIT)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux tells that nobody has the other end any more
            return False
        self._printed += data
        self.shown = self._printed.decode("utf-8", "ignore").replace("\r\n", "\n")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def _waits_for_keys(process: Path) -> bool:
    """Whether it sleeps in `select`; "0" is all that some machines tell of where a process sleeps."""
    where = (process / "wchan").read_text()
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "S" and ("poll" in where or where == "0")
