"""A pseudo-terminal for tests: type keys, and wait for text to appear."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.processes import LIMIT, environment

_TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """A pseudo-terminal that is the controlling terminal of a command, for use as a context manager.

    With `stdout`, the command's standard output goes to that file descriptor instead.
    """

    def __init__(self, command: list[str], *, env: dict[str, str] | None = None, stdout: int | None = None) -> None:
        import pty

        self._master, slave = pty.openpty()
        self._output = b""
        self.shown = ""
        """All text that has appeared so far."""
        self._searched = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=environment({"TERM": "dumb", **(env or {})}),
        )
        os.close(slave)

    def press(self, keys: str) -> None:
        """Send the keys to the command."""
        os.write(self._master, keys.encode("utf-8", "surrogateescape"))

    def interrupt(self) -> None:
        """Press Ctrl-C when the command waits for keys. Readline loses a signal that arrives just before that."""
        process = Path(f"/proc/{self._process.pid}")
        while process.exists() and not _is_waiting_for_keys(process):
            time.sleep(0.001)
        self.press(CTRL_C)

    def wait_for(self, text: str) -> str:
        """Wait until the text appears after the previous match. Return everything up to its end."""
        deadline = time.monotonic() + LIMIT
        while (position := self.shown.find(text, self._searched)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not appear in {self.shown!r}")
        start, self._searched = self._searched, position + len(text)
        return self.shown[start : self._searched]

    def wait(self) -> int:
        """Wait until the command exits. Return its exit code."""
        deadline = time.monotonic() + LIMIT
        while self._read(deadline):
            pass
        return self._process.wait(LIMIT)

    def _read(self, deadline: float) -> bool:
        """Read some output. Return False after the deadline, or if the command has closed the terminal."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: on Linux, no process has the other end open
            return False
        self._output += data
        self.shown = self._output.decode("utf-8", "ignore").replace("\r\n", "\n")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def paste(terminal: Terminal, text: str) -> str:
    """Return the keys that a terminal sends for a pasted text: between two marks, if the command has enabled that."""
    is_marked = terminal.shown.rfind("\x1b[?2004h") > terminal.shown.rfind("\x1b[?2004l")
    return f"\x1b[200~{text}\x1b[201~" if is_marked else text


def _is_waiting_for_keys(process: Path) -> bool:
    """Return whether the process sleeps in `poll` or `select`. Some kernels hide where a process sleeps: "0"."""
    wchan = (process / "wchan").read_text()
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "S" and ("poll" in wchan or wchan == "0")
