"""What only a terminal needs: whole words at the edge, no echo of keys during a reply, lines that show progress."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator

_PIECES = re.compile(r"\n|[ \t]+|[\x21-\x7e]+|.")
"""A newline, spaces, a run of ASCII, or any other character."""


class WordWrapper:
    """Move a word that does not fit into a line to the next one, so that a terminal of `columns` does not break it.

    Text is shown at once: a word that turns out to be too long is erased by backspaces. The last column stays free,
    because terminals differ in where the cursor is after it. Words longer than a line are broken by the terminal.
    """

    def __init__(self, columns: int) -> None:
        self._width = columns - 1
        self._column = 0
        self._word = ""
        """The part of the current word that is shown."""

    def feed(self, text: str) -> str:
        """Return what to write for the text."""
        return "".join([self._add(piece) for piece in _PIECES.findall(text)])

    def _add(self, piece: str) -> str:
        if piece == "\n":
            self._column, self._word = 0, ""
            return piece
        if piece[0] in " \t":
            return self._add_space(piece)
        if _is_wide(piece):  # a line may be broken before and after it
            self._word = ""
            shown = self._add_to_word(piece)
            self._word = ""
            return shown
        return self._add_to_word(piece)

    def _add_space(self, space: str) -> str:
        self._word = ""
        end = len(("." * self._column + space).expandtabs(8))
        self._column = min(end, self._width)  # at the edge, the next word begins a line
        return space if end <= self._width else ""

    def _add_to_word(self, piece: str) -> str:
        size, shown_size = _columns(piece), _columns(self._word)
        if self._column + size <= self._width:
            shown = piece
            self._column += size
        elif self._column > shown_size and shown_size + size <= self._width:
            shown = "\b" * shown_size + " " * shown_size + "\n" + self._word + piece
            self._column = shown_size + size
        else:
            shown = piece
            self._column = (self._column + size) % (self._width + 1)
        self._word = (self._word + piece)[-self._width - 1 :]  # a longer word is never moved to the next line
        return shown


def _columns(text: str) -> int:
    return len(text) if text.isascii() else sum(2 if _is_wide(c) else not unicodedata.combining(c) for c in text)


def _is_wide(piece: str) -> bool:
    return len(piece) == 1 and unicodedata.east_asian_width(piece) in "WF"


def width() -> int:
    """Return the number of columns of the terminal."""
    return max(20, shutil.get_terminal_size().columns)


def height() -> int:
    """Return the number of lines of the terminal."""
    return max(2, shutil.get_terminal_size().lines)


def can_move_cursor() -> bool:
    """Return whether input and output are a terminal that understands escape sequences."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return sys.platform == "win32" or os.environ.get("TERM", "") not in ("", "dumb", "unknown")


@contextlib.contextmanager
def silent_keyboard() -> Iterator[None]:
    """Do not show what is typed meanwhile. The terminal keeps it for the next prompt, and Ctrl-C still works."""
    if sys.platform == "win32" or sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = [*before]
    silent[3] &= ~(termios.ECHO | termios.ICANON)  # with ICANON, the end of a line of more than 4095 bytes is lost
    termios.tcsetattr(descriptor, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


@contextlib.contextmanager
def marked_pastes() -> Iterator[None]:
    """Let the terminal mark what is pasted meanwhile ("bracketed paste").

    A prompt that knows the marks takes pasted lines for one message. Without them, each line would be sent.
    """
    if not can_move_cursor():
        yield
        return
    sys.stdout.write("\x1b[?2004h")
    sys.stdout.flush()
    try:
        yield
    finally:
        sys.stdout.write("\x1b[?2004l")
        sys.stdout.flush()


class WaitingSign:
    """A line on stderr, if that is a terminal, with the seconds spent waiting; `clear` removes it. Shown after two."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._is_shown = False
        self._activity = "reading the prompt"
        self._thread = threading.Thread(target=self._run, name="acytoo-waiting", daemon=True)
        if sys.stderr is not None and sys.stderr.isatty():
            self._thread.start()

    def _run(self) -> None:
        started = time.monotonic()
        delay = 2.0
        while not self._is_over.wait(delay):
            delay = 1.0
            self._is_shown = True
            seconds = time.monotonic() - started
            sys.stderr.write(f"\r({self._activity}, {seconds:.0f} s; Ctrl-C stops)".ljust(50))
            sys.stderr.flush()

    def show_thinking(self) -> None:
        """Say from now on that the model thinks."""
        self._activity = "thinking"

    def clear(self) -> None:
        """Remove the line. Later calls do nothing."""
        if self._is_over.is_set():
            return
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_shown:
            sys.stderr.write("\r" + " " * 50 + "\r")
            sys.stderr.flush()


class ProgressLine:
    """A line at the bottom of a terminal, written again twice a second. Nothing is shown if stderr is not one."""

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line
        self._is_shown = False

    async def show(self) -> None:
        """Show the line, again and again."""
        import asyncio

        while sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{self._line()[: width() - 1]}")
            sys.stderr.flush()
            self._is_shown = True
            await asyncio.sleep(0.5)

    def clear(self) -> None:
        """Remove the line."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_shown = False
