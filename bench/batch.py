"""What a row of a batch costs: rows a second, CPU for 1,000 rows and peak memory, beside other libraries.

Every contender is a process of its own that reads the same prompts, asks the same upstream, and writes a line for each
reply. The upstream answers after a log-normal time, as chat services do, with a stream or a document, as requested.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.machine import description, warn_if_busy
from bench.peers import missing, python_of
from bench.processes import LOGS, environment
from bench.upstream import _CLOSING, _END, _OPENING, event, framed

DOCUMENT = LOGS / "batch.md"

_MEDIAN_S = 0.2
_SPREAD = 0.5
"""The median time to a reply, and the standard deviation of its logarithm."""

_MOST_S = 3600.0
"""Seconds after which a contender is stopped."""

_TEXTS = ["The answer ", "to that ", "question is ", "not known."]
_STREAM = b"".join([_OPENING, *[framed(event({"content": text})) for text in _TEXTS], _CLOSING, _END])
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "gpt-bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(_TEXTS)}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
}
_BODY = json.dumps(_REPLY).encode()
_DOCUMENT = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Upstream(asyncio.Protocol):
    """One connection of the upstream."""

    def __init__(self) -> None:
        self._received = b""
        self._random = random.Random(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a complete request after its time."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        place = head.lower().find(b"content-length: ")
        if not separator or len(body) < int(head[place + 16 :].split(b"\r")[0]):
            return
        self._received = b""
        answer = _STREAM_HEAD + _STREAM if b'"stream":true' in body.replace(b" ", b"") else _DOCUMENT
        delay = _MEDIAN_S * self._random.lognormvariate(0, _SPREAD)
        asyncio.get_running_loop().call_later(delay, self._write, answer)

    def _write(self, answer: bytes) -> None:
        assert isinstance(self._transport, asyncio.WriteTransport)
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


_OPENAI = """
import asyncio, json, sys
from openai import AsyncOpenAI
url, rows, out, jobs = sys.argv[1:]

async def main():
    client = AsyncOpenAI(base_url=url + "/v1", api_key="k", max_retries=2)
    free = asyncio.Semaphore(int(jobs))
    with open(out, "w") as file:
        async def ask(number, prompt):
            async with free:
                reply = await client.chat.completions.create(
                    model="gpt-bench", messages=[{"role": "user", "content": prompt}])
            file.write(json.dumps({"id": number, "text": reply.choices[0].message.content}) + "\\n")
        await asyncio.gather(*[ask(n, json.loads(line)["prompt"]) for n, line in enumerate(open(rows))])

asyncio.run(main())
"""

_LITELLM = """
import json, sys
import litellm
url, rows, out, jobs = sys.argv[1:]
messages = [[{"role": "user", "content": json.loads(line)["prompt"]}] for line in open(rows)]
replies = litellm.batch_completion(model="openai/gpt-bench", messages=messages, api_base=url + "/v1", api_key="k",
                                   max_workers=int(jobs))
with open(out, "w") as file:
    for number, reply in enumerate(replies):
        file.write(json.dumps({"id": number, "text": reply.choices[0].message.content}) + "\\n")
"""


def _acytoo(url: str, rows: Path, out: Path, jobs: int) -> list[str]:
    program = str(Path(sys.executable).with_name("acytoo"))
    model = ["-m", "compatible/gpt-bench", "--url", f"{url}/v1"]
    return [program, "batch", str(rows), "-o", str(out), "-j", str(jobs), *model]


def _python(name: str, code: str) -> Callable[[str, Path, Path, int], list[str]]:
    return lambda url, rows, out, jobs: [str(python_of(name)), "-c", code, url, str(rows), str(out), str(jobs)]


CONTENDERS = {"acytoo": _acytoo, "openai": _python("openai", _OPENAI), "litellm": _python("litellm", _LITELLM)}


class Figures(msgspec.Struct):
    """What one run took."""

    contender: str
    rows: int
    jobs: int
    rows_per_s: float
    cpu_s_per_1000: float
    peak_mb: float


@contextmanager
def _upstream() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.batch", "upstream"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


def measure(contender: str, url: str, count: int, jobs: int) -> Figures:
    """Run one contender. Raises RuntimeError unless it writes every reply."""
    with tempfile.TemporaryDirectory() as folder:
        rows, out = Path(folder) / "rows.jsonl", Path(folder) / "out.jsonl"
        with rows.open("w") as file:
            file.writelines(json.dumps({"prompt": f"What is the answer to question {n}?"}) + "\n" for n in range(count))
        command = CONTENDERS[contender](url, rows, out, jobs)
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        limit = threading.Timer(_MOST_S, process.kill)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)
        limit.cancel()
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        written = out.read_bytes().count(b"\n") if out.exists() else 0
        if process.returncode or written != count:
            raise RuntimeError(f"{contender} ended with {process.returncode} after {written} of {count} replies")
    return Figures(contender, count, jobs, count / seconds, _cpu(usage) / count * 1000, usage.ru_maxrss / 1024)


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def table(figures: list[Figures]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| rows | at once | | rows/s | CPU s for 1,000 rows | peak MB |",
        "| ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {f.rows:,} | {f.jobs} | {f.contender} | {f.rows_per_s:,.0f} | {f.cpu_s_per_1000:.3f} | {f.peak_mb:.0f} |"
        for f in sorted(figures, key=lambda f: (f.rows, f.jobs))
    ]
    return "\n".join(lines) + "\n"


def run(sizes: list[int], jobs: list[int], with_peers: bool, save: bool, progress: Callable[[str], None]) -> None:
    """Measure every size with each number of requests at once, and print or save the table."""
    warn_if_busy()
    unavailable = missing()
    contenders = [name for name in CONTENDERS if name == "acytoo" or (with_peers and name not in unavailable)]
    figures: list[Figures] = []
    with _upstream() as url:
        for size in sizes:
            for number in jobs:
                for contender in contenders:
                    progress(f"{size:,} rows, {number} at once: {contender}")
                    try:
                        figures.append(measure(contender, url, size, number))
                        progress(f"{figures[-1]}\n")
                    except RuntimeError as error:
                        progress(f"{error}\n")
    text = table(figures)
    print(text)
    if save:
        machine = description()
        about = f"{machine['when']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        about += f"commit {machine['commit']}, other work {machine['busy']}"
        DOCUMENT.write_text(f"# Batches\n\n`python -m bench batch --save`: {about}.\n\n{text}")


if __name__ == "__main__" and sys.argv[1:] == ["upstream"]:
    asyncio.run(_serve())
