"""What a request or an error needs is imported before the first request: later there may be no descriptor for it."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect, by_name
from acytoo.testing import ScriptedResponse, garbage, hang_up, refused_port, reply, status
from acytoo.testing.fakes.endpoint import FakeEndpoint
from acytoo.types import Finish, Reasoning, Start, ToolCall, Usage
from tests.server.live_server import LIMIT, call, example, head, raw_call, request

SCRIPT = """
import asyncio, sys
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import by_name
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.run import serve

_, url, dialect, refused = sys.argv

def backend(url):
    return type("Backend", (AsyncGeneratorProvider,), {"dialect": by_name(dialect)})(url, model="m-1")

def announce(url):
    before = set(sys.modules)
    def report():
        sys.stdin.readline()
        print(*sorted(set(sys.modules) - before), flush=True)
    asyncio.get_running_loop().add_reader(sys.stdin, report)
    print(url, flush=True)

config = ServerConfig(
    {"backend": backend(url), "gone": backend(refused)}, Secret("sesame"), port=0, receive=0.5, max_body=4_000_000
)
asyncio.run(serve(config, announce, access_log=True))
"""

KEY = "authorization: Bearer sesame\r\n"
HELLO = reply(
    Start("id-1", "m-1", 7), Reasoning("hm"), "Hello", ToolCall(0, "call_1", "f", "{}"), Usage(1, 2), Finish("stop")
)
REFUSED = status(429, "slow down").header("retry-after", "Wed, 21 Oct 2099 07:28:00 GMT")
ANSWERS: list[ScriptedResponse] = [
    HELLO,
    HELLO.fail("it broke", after=2),
    HELLO.close(after=1),
    REFUSED,
    garbage(),
    hang_up(),
]


def requests_of(dialect: Dialect) -> list[bytes]:
    """Return requests that are answered, and those that fail in each way, of one API."""
    path, fields = example(dialect)
    chunked = head(f"POST {path} HTTP/1.1", f"{KEY}transfer-encoding: chunked\r\n") + b"2\r\n{}\r\n0\r\n\r\n"
    large = json.dumps({**fields, "x": "x" * 3_000_000}).encode()
    return [
        *[request(dialect, headers=KEY, stream=stream) for stream in (True, False) for _ in ANSWERS],
        request(dialect),  # without the password
        request(dialect, headers=KEY, body=b"{"),
        request(dialect, headers=KEY, body=b"[" * 100_000),
        request(dialect, headers=KEY, body=b'{"a": "\\ud800"}'),
        request(dialect, headers=KEY, body=large),
        request(dialect, headers=f"{KEY}content-encoding: gzip\r\n", body=gzip.compress(b"{}")),
        request(dialect, headers=f"{KEY}content-encoding: zstd\r\n", body=b"no"),
        request(dialect, headers=f"{KEY}content-encoding: deflate\r\n", body=b"no"),
        request(dialect, headers=KEY, body=json.dumps({**fields, "model": "gone"}).encode()),
        request(dialect, headers=KEY)[:-5],  # a body that does not arrive
        chunked,
    ]  # fmt: skip


OTHERS = [
    head("GET /healthz HTTP/1.1"), head("GET / HTTP/1.1"), head("GET /openapi.json HTTP/1.1"),
    head("GET /nowhere HTTP/1.1"), head("DELETE /v1/models HTTP/1.1"), b"nonsense\r\n\r\n",
    *[head(f"GET {path} HTTP/1.1", KEY) for path in ("/v1/models", "/api/tags", "/v1beta/models", "/v1/models/m-1")],
    head("OPTIONS /v1/messages HTTP/1.1", "origin: http://a\r\naccess-control-request-method: POST\r\n"),
    request("openai", headers=f"{KEY}expect: 100-continue\r\n"), request("openai", headers="expect: x\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("upstream", ["openai", "anthropic"])
async def test_no_request_and_no_error_imports_anything(upstream: str) -> None:
    answers = ANSWERS * 100
    with refused_port() as refused:
        async with FakeEndpoint(by_name(upstream), *answers) as fake, asyncio.timeout(LIMIT * 4):
            server = await asyncio.create_subprocess_exec(
                *[sys.executable, "-c", SCRIPT, fake.url, upstream, f"http://127.0.0.1:{refused}"],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert server.stdout is not None
            assert server.stdin is not None
            port = int((await server.stdout.readline()).rpartition(b":")[2])
            for dialect in dialects.ALL:
                for sent in requests_of(dialect):
                    assert (await call(port, sent)).status
            for sent in OTHERS:
                assert await raw_call(port, sent.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nconnection: close\r\n", 1))
            server.stdin.write(b"\n")
            imported = (await server.stdout.readline()).split()
            server.terminate()
            await server.wait()
    assert imported == []
