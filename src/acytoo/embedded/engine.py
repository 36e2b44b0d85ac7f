"""The engine: llama.cpp's own server inside this process, through xllamacpp."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from acytoo._process import in_forked_child, leak
from acytoo.errors import EmbeddedError, MissingExtraError
from acytoo.secret import Secret

_CONTEXT = 8192
_SLOTS = 4
_BATCH = 128
"""Tokens of prompts computed at once: only between batches does the engine see that a client has left."""
_LONGEST_REPLY = 1024
"""Tokens after which a reply ends where the caller set no limit: small models can repeat themselves for ever."""
_REPEAT_PENALTY = 1.05


class Engine:
    """A loaded model, called `name` in replies; `url` is its OpenAI-compatible endpoint on a loopback port.

    `ACYTOO_ENGINE_LOG=1` lets llama.cpp talk on stderr. Raises MissingExtraError, EmbeddedError.
    """

    def __init__(self, model: Path, name: str, template: str | None = None) -> None:
        xllamacpp = _imported()
        _check_gguf(model)
        self.key = Secret(secrets.token_urlsafe(24))
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.model_alias = {name}
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [self.key.reveal()]
        params.n_ctx = _CONTEXT
        params.n_parallel = _SLOTS
        params.n_batch = params.n_ubatch = _BATCH
        params.kv_unified = True
        params.cache_ram_mib = 256
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
        params.warmup = False
        if template is not None:
            params.chat_template = template
        params.n_predict = _LONGEST_REPLY
        params.sampling.penalty_repeat = _REPEAT_PENALTY
        params.ui = False
        params.verbosity = 3 if os.environ.get("ACYTOO_ENGINE_LOG") else -1
        try:
            self._server: Any = _loaded(xllamacpp, params)
        except (RuntimeError, ValueError) as error:
            raise EmbeddedError(f"the model {model} cannot be loaded: {error}") from error
        _servers.append(self._server)
        if _forked:
            leak(self._server)
        self.url: str = f"{self._server.listening_address}/v1"

    def warm_up(self) -> None:
        """Let the model read how every conversation begins, so that the first one need not wait for that.

        It takes none of Python's time: other threads go on meanwhile. A model that cannot, says so to who asks next.
        """
        truncate = {"messages": [{"role": "user", "content": ""}], "max_tokens": 0}
        with contextlib.suppress(RuntimeError, ValueError):
            self._server.handle_chat_completions(truncate, lambda answer: None)

    def close(self) -> None:
        """End the engine and free its memory; what it is generating is dropped."""
        if self._server in _servers:
            _servers.remove(self._server)
        self._server = None


def _loaded(xllamacpp: Any, params: Any) -> Any:
    """llama.cpp's server, loaded in a thread, where no KeyboardInterrupt falls into it: it would wait for ever.

    One that comes meanwhile is raised when the model is loaded, which cannot be stopped halfway.
    """
    with ThreadPoolExecutor(1, "acytoo-loading") as pool:
        return pool.submit(xllamacpp.Server, params).result()


def _threads() -> int:
    """All processors but one: llama.cpp's threads wait for each other by spinning, so one that is busy stalls all."""
    return max(1, (os.cpu_count() or 2) - 1)


def _imported() -> Any:
    """xllamacpp, its OpenMP threads told not to spin for long while they wait for each other.

    By GNU OpenMP's default they do so for milliseconds; where other work has the cores that made a token cost 120 ms of
    CPU time in place of 16 (observed on two cores). The library reads the variable when it is loaded, never again.
    """
    quiet = "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if quiet:
        os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError("the embedded model", "local") from error
    finally:
        if quiet:
            del os.environ["GOMP_SPINCOUNT"]
    return xllamacpp


def _check_gguf(model: Path) -> None:
    try:
        with model.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise EmbeddedError(f"the model file {model} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise EmbeddedError(f"{model} is not a GGUF file")


_servers: list[Any] = []
_forked = False


@in_forked_child
def _after_fork() -> None:
    """In a child forked from a process with an engine, no engine ever ends but with the process.

    Ending one, and llama.cpp's own end when a process exits, wait there for ever for a thread of the parent's.
    Where the C library can, the child is ended just before that (Linux).
    """
    global _forked
    if not _servers:
        return
    _forked = True
    for server in _servers:
        leak(server)
    _servers.clear()
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):
        library.on_exit(library._exit, None)
