"""The process in which `GrammarChecker` tries grammars: the same model with a small context, one grammar at a time.

It reads a grammar a line, as JSON, and answers each line with a problem, "" if there is none. A grammar that takes too
much CPU time ends the process. The reason why llguidance gives up is known only from llama.cpp's log on stderr; if its
text changes, such a grammar counts as one without a problem.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_CPU_SECONDS = 2.0
"""For a grammar's first tokens. A model that is slow without a grammar gets more."""
_TOKENS = 4
_HARMLESS = '%llguidance {}\nstart: "a"'


def main(model: str) -> None:
    """Answer the grammars of stdin until its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes stdin
    with os.fdopen(os.dup(1), "w") as answers:
        errors = _captured_errors()
        os.dup2(2, 1)
        try_grammar = _load(model)
        begin = time.process_time()
        try_grammar(_HARMLESS)
        limit = _CPU_SECONDS + 3 * (time.process_time() - begin)
        print(json.dumps(""), file=answers, flush=True)
        for line in sys.stdin:
            _limit_cpu(limit)
            errors.clear()
            try_grammar(json.loads(line))
            print(json.dumps(errors[0] if errors else ""), file=answers, flush=True)
    os._exit(0)  # llama.cpp's exit handlers could wait for its threads


def _captured_errors() -> list[str]:
    """Redirect stderr to a thread of this process. Return the list of llguidance's errors, which grows."""
    errors: list[str] = []
    readable, writable = os.pipe()
    os.dup2(writable, 2)

    def read() -> None:
        with os.fdopen(readable, "rb") as log:
            for line in log:
                _, found, error = line.partition(b"llg error: ")
                if found:
                    errors.append(error.decode(errors="replace").strip())

    threading.Thread(target=read, daemon=True).start()
    return errors


def _load(model: str) -> Callable[[str], None]:
    """Load the model. Return a function that generates a few tokens with a grammar."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [os.urandom(24).hex()]
    params.n_ctx = 128
    params.n_batch = params.n_ubatch = 32
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.no_extra_bufts = True  # the weights are the mapped file alone, which the parent has mapped too
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    params.ui = False
    params.verbosity = 1  # errors
    server: Any = xllamacpp.Server(params)

    def try_grammar(grammar: str) -> None:
        request = {"prompt": "a", "n_predict": _TOKENS, "temperature": 0, "grammar": grammar}
        with suppress(RuntimeError, ValueError):
            server.handle_completions(request, lambda answer: None)

    return try_grammar


def _limit_cpu(seconds: float) -> None:
    """Let the system end this process after some more seconds of CPU time. The parent limits the time on Windows."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        with suppress(ValueError):  # the limit of the user is lower
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), most))
