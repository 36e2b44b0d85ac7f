"""llama.cpp's server inside this process, through xllamacpp.

The problem: llama.cpp runs native threads that Python knows nothing about. They compete with the caller for the cores,
they ignore signals, and they do not survive a fork.

The strategy: use llama.cpp's own HTTP server on a loopback port with a random key, rather than its C API: it batches
requests, applies chat templates and grammars, and stops when a client disconnects. Import and load it where no
KeyboardInterrupt can arrive, make its threads sleep rather than spin, leave one core to the caller, and never destroy
it in a forked child.

The cost: a model cannot be interrupted while it loads, and a long prompt delays the end of an abandoned request by one
batch of `_BATCH_TOKENS`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acytoo._process import in_forked_child, leak, unleak
from acytoo.embedded.fields import CONTEXT_TOKENS
from acytoo.embedded.gguf import check_header
from acytoo.embedded.grammar_checker import GrammarChecker
from acytoo.errors import EmbeddedError, MissingExtraError
from acytoo.secret import Secret

_SLOTS = 4
"""Requests that are computed at the same time. They share the context."""
_BATCH_TOKENS = 128
"""Prompt tokens computed in one batch. llama.cpp notices only between batches that a client has disconnected."""
_MAX_REPLY_TOKENS = 1024
"""The limit of a reply if the caller sets none. Small models can repeat themselves forever."""
_TEMPERATURE = 0.5
"""The Acytoo protocol's default, so that the same question gets the same kind of reply through every protocol."""
_REPEAT_PENALTY = 1.05
_REPEAT_TOKENS = 64
"""A stronger penalty makes the model avoid names from the prompt, which counts too (docs/decisions.md)."""
_CACHE_MIB = 256
"""Memory for the computed prompts of earlier requests."""
_STUCK_AFTER = 5.0
"""Seconds after which an engine that does not answer is not waited for at exit."""


class Engine:
    """A loaded model, called `name` in replies. `url` is its OpenAI-compatible endpoint on a loopback port.

    `ACYTOO_ENGINE_LOG=1` enables llama.cpp's log on stderr. The header of the file is checked unless it `is_verified`.

    Raises:
        EmbeddedError: The file cannot be read or loaded.
        MissingExtraError: xllamacpp is not installed.
    """

    def __init__(self, model: Path, name: str, template: str | None = None, *, is_verified: bool = False) -> None:
        xllamacpp = _run_uninterrupted(_import_xllamacpp)
        if not is_verified:
            check_header(model)
        self.key = Secret(secrets.token_urlsafe(24))
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.model_alias = {name}
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [self.key.reveal()]
        params.n_ctx = CONTEXT_TOKENS
        params.n_parallel = _SLOTS
        params.n_batch = params.n_ubatch = _BATCH_TOKENS
        params.kv_unified = True
        params.cache_ram_mib = _CACHE_MIB
        params.cpuparams.n_threads = _thread_count()
        params.cpuparams_batch.n_threads = _prompt_thread_count()
        params.warmup = False  # llama.cpp's own would block; see `warm_up`
        if template is not None:
            params.chat_template = template
        params.n_predict = _MAX_REPLY_TOKENS
        params.sampling.temp = _TEMPERATURE
        params.sampling.penalty_repeat = _REPEAT_PENALTY
        params.sampling.penalty_last_n = _REPEAT_TOKENS
        params.ui = False
        params.verbosity = 3 if os.environ.get("ACYTOO_ENGINE_LOG") else -1
        try:
            self._server: Any = _run_uninterrupted(_create_server, xllamacpp, params)
        except (RuntimeError, ValueError) as error:
            raise EmbeddedError(f"cannot load the model {model}: {error}") from error
        if _is_forked_child:
            leak(self._server)
        self.checker = GrammarChecker(model)
        self.url: str = f"{self._server.listening_address}/v1"

    def warm_up(self) -> None:
        """Compute the tokens with which every conversation begins, so that the first request finds them in the cache.

        This releases the GIL, so other threads run meanwhile. Errors are ignored: the first request will report them.
        """
        request = {"messages": [{"role": "user", "content": ""}], "max_tokens": 0}
        with contextlib.suppress(RuntimeError, ValueError):
            self._server.handle_chat_completions(request, lambda answer: None)

    def close(self) -> None:
        """Stop the engine and free its memory. Running replies are aborted.

        An engine that does not answer for `_STUCK_AFTER` seconds is left to the end of the process instead.
        """
        self.checker.close()
        if self._server in _servers:
            if not self._answers():
                _skip_exit_handlers()
                return
            _servers.remove(self._server)
            unleak(self._server)
        self._server = None

    def _answers(self) -> bool:
        """Return whether the thread that computes replies is not stuck. It answers `/slots`.

        The destructor waits for that thread, and holds the GIL meanwhile: no signal could end the process any more.
        """
        parts = urlsplit(self.url)
        request = f"GET /slots HTTP/1.0\r\nAuthorization: Bearer {self.key.reveal()}\r\n\r\n"
        try:
            with socket.create_connection((parts.hostname, parts.port), _STUCK_AFTER) as connection:
                connection.sendall(request.encode())
                return bool(connection.recv(1))
        except OSError:
            return False


def _create_server(xllamacpp: Any, params: Any) -> Any:
    """Return a llama.cpp server that is destroyed by `Engine.close` only.

    After Ctrl-C nobody takes the server. Its destructor, just after the constructor, waits forever for its thread.
    """
    server = xllamacpp.Server(params)
    leak(server)
    _servers.append(server)
    return server


def _run_uninterrupted(function: Callable[..., Any], *args: Any) -> Any:
    """Call a native function in another thread, because only the main thread receives KeyboardInterrupt.

    Ctrl-C takes effect when the function has returned. Raised inside, it would deadlock xllamacpp's constructor, and
    crash the initialization of orjson, which xllamacpp imports.
    """
    with ThreadPoolExecutor(1, "acytoo-loading") as pool:
        return pool.submit(function, *args).result()


def _thread_count() -> int:
    """Return the number of processors minus one.

    llama.cpp's threads wait for each other by spinning: one that has to share its core stalls all the others.
    """
    return max(1, (os.cpu_count() or 2) - 1)


_uses_idle_processors = False


def use_idle_processors() -> None:
    """Read prompts on all processors if they are idle when a model is loaded.

    For a program that only waits for the reply. With other work on the processors, it would be slower than one thread.
    """
    global _uses_idle_processors
    _uses_idle_processors = True


def _prompt_thread_count() -> int:
    if _uses_idle_processors and hasattr(os, "getloadavg") and os.getloadavg()[0] < 0.5:
        return os.cpu_count() or 1
    return _thread_count()


def _import_xllamacpp() -> Any:
    """Import xllamacpp with a low spin count for its OpenMP threads.

    By default, GNU OpenMP threads spin for milliseconds while they wait for each other. On two busy cores that raised
    the CPU time of a token from 16 to 120 ms (measured). The library reads the variable only while it is loaded, so it
    is removed afterwards and child processes do not inherit it.
    """
    is_unset = "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if is_unset:
        os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError("the embedded model", "local") from error
    finally:
        if is_unset:
            del os.environ["GOMP_SPINCOUNT"]
    return xllamacpp


_servers: list[Any] = []
_is_forked_child = False


@in_forked_child
def _leak_servers() -> None:
    """Prevent that a forked child destroys llama.cpp's servers or runs its exit handlers.

    Both would wait forever for threads that exist only in the parent. Leaked servers are never destroyed.
    """
    global _is_forked_child
    if not _servers:
        return
    _is_forked_child = True
    for server in _servers:
        leak(server)
    _servers.clear()
    _skip_exit_handlers()


def _skip_exit_handlers() -> None:
    """Let the process exit without llama.cpp's exit handlers, but with its own status.

    They cannot be removed, but glibc calls the last registered handler first: ours exits before they run.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc; it passes the exit status to the handler
        libc.on_exit(libc._exit, None)
