"""Try schemas and grammars where they can be killed.

The problem: the limits of `constraints` are estimates. A grammar that is within them, and takes very long nevertheless,
would hold up the thread that computes everybody's replies, which nobody can interrupt. And llguidance gives up on some
grammars without an error for the caller.

The strategy: a grammar that is not obviously harmless first generates a few tokens in a child process (see
`grammar_worker`). One that takes too long or crashes ends that process only. The process is started for the first such
grammar, and again after one that ended it; grammars are tried one at a time, equal ones once. Few may wait, so that
nobody waits for minutes.

The cost: a second or two for the first grammar, about a tenth of a second for others, and some memory: the weights are
a mapped file that both processes share. Later tokens may take longer than the first ones; llguidance's own limits hold
for each.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from acytoo.errors import EmbeddedError, ServerError, UsageError, one_line

_SECONDS = 60.0
"""The time for one grammar and for the start of the process. The process itself limits its CPU time."""
_MAX_WAITING = 8
"""Different grammars that are being tried or wait for it. Each may take four seconds, with the start of the process."""
_MAX_RESULTS = 1_000
_MAX_REASON = 300
_KILLED = (-signal.SIGKILL, -signal.SIGTERM) if sys.platform != "win32" else ()
"""Return codes of a process that somebody else has ended. Its own limit sends SIGXCPU."""
_CODE = """import sys
sys.path += sys.argv[2:]
from acytoo.embedded.grammar_worker import main
main(sys.argv[1])"""


class GrammarChecker:
    """The process that tries grammars with the model, and its results."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        self._problems: dict[bytes, str] = {}  # by the hash of the grammar
        self._waiting: list[bytes] = []  # hashes, one for each caller; several threads may append to a list
        self._thread = ThreadPoolExecutor(1, "acytoo-grammars")
        self._is_closed = self._was_killed = False

    async def check(self, grammar: str) -> None:
        """Try a grammar of llguidance.

        Raises:
            UsageError: The engine cannot follow it, or not within the time limit.
            ServerError: Too many others are being tried.
            EmbeddedError: The process cannot be started.
        """
        key = hashlib.sha256(grammar.encode()).digest()
        problem = self._problems.get(key)
        if problem is None:
            if key not in self._waiting and len(set(self._waiting)) >= _MAX_WAITING:
                message = "too many schemas and grammars are being tried: try again later, or use a simpler one"
                raise ServerError(message, status=503, code="overloaded_error", retry_after=5)
            self._waiting.append(key)
            try:
                problem = await asyncio.wrap_future(self._thread.submit(self._try, key, grammar))
            except RuntimeError as error:  # the thread has ended
                raise _closed() from error
            finally:
                self._waiting.remove(key)
        if problem:
            raise UsageError(problem)

    def close(self) -> None:
        """End the process."""
        self._is_closed = True
        if self._process is not None:
            self._process.kill()
        self._thread.shutdown()
        self._end_process()

    def _try(self, key: bytes, grammar: str) -> str:
        """Return the problem of a grammar, "" if it has none."""
        if key not in self._problems:
            if len(self._problems) >= _MAX_RESULTS:
                del self._problems[next(iter(self._problems))]
            self._problems[key] = self._problem_of(grammar)
        return self._problems[key]

    def _problem_of(self, grammar: str) -> str:
        reason = self._answer_to(grammar)
        if reason is None and self._was_killed:  # which says nothing about the grammar
            reason = self._answer_to(grammar)
        if self._is_closed:
            raise _closed()
        if reason is None:
            return "the embedded model takes too long to follow this schema or grammar: simplify it"
        if reason:
            return f"the embedded model cannot follow this schema or grammar: {one_line(reason[:_MAX_REASON])}"
        return ""

    def _answer_to(self, grammar: str) -> str | None:
        if self._process is None and self._ask(None) is None:
            raise EmbeddedError("cannot start the process that tries schemas and grammars: use a simpler one")
        return self._ask(grammar)

    def _ask(self, grammar: str | None) -> str | None:
        """Return the answer of the process to a grammar, or to its start. Return None if it has ended instead."""
        if self._is_closed:
            raise _closed()
        try:
            process = self._process = self._process or _start(self._model)
        except OSError as error:
            raise EmbeddedError(f"cannot start the process that tries grammars: {error.strerror}") from error
        assert process.stdin is not None and process.stdout is not None
        is_late = threading.Event()

        def kill() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(_SECONDS, kill)
        timer.start()
        try:
            if grammar is not None:
                process.stdin.write(json.dumps(grammar).encode() + b"\n")
                process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = b""
        finally:
            timer.cancel()
        if not answer:
            self._end_process()
            self._was_killed = process.returncode in _KILLED and not is_late.is_set()
            return None
        reason: str = json.loads(answer)
        return reason

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError), process:  # closes the pipes and waits
                pass


def _closed() -> EmbeddedError:
    return EmbeddedError("the embedded model was closed")


def _start(model: Path) -> subprocess.Popen[bytes]:
    """Start the process. It imports from where this one does, but never from the current folder."""
    folders = [path for path in sys.path if path not in ("", str(Path.cwd()))]
    own = str(Path(__file__).parents[2])
    command = [sys.executable, "-I", "-c", _CODE, str(model), *folders, own]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
