"""`acytoo serve` as a process: over the embedded model, over another server, and its exit."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from acytoo import Acytoo, AsyncGeneratorProvider, dialects
from acytoo.errors import AcytooError, AuthenticationError, RateLimitError, TruncatedError, UnreachableError
from acytoo.providers.ollama import Ollama
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.types import Finish, ToolCall
from tests.processes import ACYTOO, LIMIT, run, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

HELLO: list[Any] = [{"role": "user", "content": "Hello, how are you?"}]


class Serving:
    """A running `acytoo serve` process at the URL that it announced."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url

    def end(self, *signals: signal.Signals) -> tuple[int, str]:
        """Send the signals; return the exit code and what was written to stderr after the announcement."""
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, errors.decode()


@contextlib.contextmanager
def serving(*options: str, env: dict[str, str] | None = None) -> Iterator[Serving]:
    """Run the command on a free port, and kill it if the test has not ended it."""
    process = start([ACYTOO, "serve", "--port", "0", *options], env=env)
    assert process.stderr is not None
    try:
        line = process.stderr.readline().decode()
        assert line.startswith("Acytoo serves http://127.0.0.1:"), line
        yield Serving(process, line.split()[2])
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("model_file")
async def test_the_embedded_model_is_served_to_every_kind_of_client() -> None:
    with serving() as server:
        for dialect in dialects.ALL:
            client = type("Client", (AsyncGeneratorProvider,), {"dialect": dialect})
            base = f"{server.url}/v1" if dialect.name.startswith("openai") else server.url
            stream = client(base).create_async_generator("any", HELLO)
            assert await anext(stream), dialect.name
            await stream.aclose()
        assert await asyncio.to_thread(server.end) == (0, "")


@pytest.mark.usefixtures("model_file")
async def test_twenty_clients_at_once_get_their_replies_from_the_embedded_model() -> None:
    with serving() as server:
        few: dict[str, Any] = {"temperature": 0, "extra_body": {"max_tokens": 4}}
        replies = await asyncio.gather(*(Acytoo(server.url).create_async("", HELLO, **few) for _ in range(20)))
        assert all(replies)
        assert await asyncio.to_thread(server.end) == (0, "")


async def test_a_server_in_front_of_a_server_passes_on_replies_errors_and_truncation() -> None:
    scripts = [
        reply("你好", " 👋").cut_bytes(1),
        status(429, "slow down", retry_after=7),
        reply("Hel", "lo").reset(after=1),
    ]
    async with FakeEndpoint(dialects.Acytoo(), *scripts) as fake:
        with (
            serving("--to", fake.url, env={"ACYTOO_KEY": "k1", "ACYTOO_SERVE_PASSWORD": "p1"}) as inner,
            serving("--to", inner.url, env={"ACYTOO_PASSWORD": "p1"}) as outer,
        ):
            provider = Acytoo(outer.url)
            assert await provider.create_async("m-1", HELLO) == "你好 👋"
            with pytest.raises(RateLimitError, match="slow down") as refused:
                await provider.create_async("m-1", HELLO)
            assert refused.value.retry_after == 7
            with pytest.raises(TruncatedError) as cut:
                await provider.create_async("m-1", HELLO)
            assert cut.value.text == "Hel"
            with pytest.raises(AuthenticationError):
                await Acytoo(inner.url).create_async("m-1", HELLO)
            assert await asyncio.to_thread(outer.end) == (0, "")
            assert await asyncio.to_thread(inner.end) == (0, "1 wrong password from 127.0.0.1\n")
        first = fake.requests[0].json
        assert (first["model"], first["key"], first["password"], len(fake.requests)) == ("m-1", "k1", "", 3)


async def test_max_reply_is_also_the_limit_of_what_is_kept_of_a_streamed_reply() -> None:
    pieces = [
        ToolCall(0, "c", "f", '{"a": "'),
        *[ToolCall(0, arguments="x" * 10_000)] * 300,
        ToolCall(0, arguments='"}'),
    ]
    async with FakeEndpoint(dialects.OpenAI(), reply(*pieces, Finish("tool_calls"))) as fake:
        env = {"OPENAI_BASE_URL": fake.url, "OPENAI_API_KEY": "k1"}
        with serving("--to", "openai/m-1", "--max-reply", "1", env=env) as server:
            with pytest.raises(AcytooError, match="larger than 1048576 bytes"):
                async for _ in Ollama(server.url).stream(HELLO, model="m-1"):
                    pass
            assert (await asyncio.to_thread(server.end))[0] == 0


async def test_secrets_are_read_from_files_and_reported_as_arguments(tmp_path: Path) -> None:
    for name in ("password", "key"):
        (tmp_path / name).write_text(f"from-the-{name}-file\n")
    async with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        files = ["--password-file", str(tmp_path / "password"), "--to-key-file", str(tmp_path / "key")]
        with serving("--to", fake.url, *files, "--to-password", "p1") as server:
            provider = Acytoo(server.url, password="from-the-password-file")
            assert await provider.create_async("", HELLO) == "ok"
            code, errors = await asyncio.to_thread(server.end)
    assert (fake.requests[0].json["key"], fake.requests[0].json["password"]) == ("from-the-key-file", "p1")
    assert code == 0
    assert "can read --to-password: use --to-password-file" in errors
    assert "p1" not in errors


async def test_a_client_that_leaves_stops_the_backend_behind_two_servers() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello").stall(after=1)) as fake:
        with serving("--to", fake.url) as inner, serving("--to", inner.url) as outer:
            stream = Acytoo(outer.url).create_async_generator("", HELLO)
            assert await anext(stream) == "Hello"
            await stream.aclose()
            async with asyncio.timeout(LIMIT):
                await fake.disconnected()


async def test_a_route_may_name_other_backends() -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(503, "overloaded"), reply("one")) as fake:
        backends = ("--to", f"deep=http://127.0.0.1:9|fast|{fake.url}/other", "--to", f"fast={fake.url}")
        with serving(*backends) as server:
            assert await Acytoo(server.url).create_async("deep", HELLO) == "one"
            _, log = await asyncio.to_thread(server.end)
    assert "target fast failed" in log


async def test_an_unreachable_backend_is_reported_with_502() -> None:
    with serving("--to", "http://127.0.0.1:9") as server:
        with pytest.raises(Exception, match="backend cannot be reached") as caught:
            await Acytoo(server.url).create_async("", HELLO)
        assert getattr(caught.value, "status", None) == 502


async def test_sigterm_lets_a_running_reply_finish_and_accepts_no_new_request() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo").wait(2.0, after=1)) as fake:
        with serving("--to", fake.url, "--grace", "60") as server:
            stream = Acytoo(server.url).create_async_generator("", HELLO)
            assert await anext(stream) == "Hel"
            server.process.send_signal(signal.SIGTERM)
            assert [text async for text in stream] == ["lo"]
            assert await asyncio.to_thread(server.process.wait, LIMIT) == 0
            with pytest.raises(UnreachableError):
                await Acytoo(server.url).create_async("", HELLO)


async def test_a_rolling_restart_of_a_server_without_workers_is_refused_and_ends_no_reply() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo").wait(1.0, after=1)) as fake:
        with serving("--to", fake.url) as server:
            stream = Acytoo(server.url).create_async_generator("", HELLO)
            assert await anext(stream) == "Hel"
            server.process.send_signal(signal.SIGUSR2)
            assert [text async for text in stream] == ["lo"]
            code, errors = await asyncio.to_thread(server.end)
    assert code == 0
    assert "SIGUSR2 has no effect: a rolling restart needs several workers, such as workers = 2" in errors


async def test_nohup_keeps_a_server_running() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the process inherits
        try:
            with serving("--to", fake.url) as server:
                server.process.send_signal(signal.SIGHUP)
                assert await Acytoo(server.url).create_async("", HELLO) == "Hello"
        finally:
            signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_an_idle_server_exits_at_once_with_0_and_no_output(number: signal.Signals) -> None:
    with serving("--to", "http://127.0.0.1:9", "--grace", "3600") as server:
        assert await asyncio.to_thread(server.end, number) == (0, "")


@pytest.mark.parametrize("idle", [True, False], ids=["kept open", "never used"])
async def test_open_connections_without_a_request_do_not_delay_the_exit(idle: bool) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        with serving("--to", fake.url, "--grace", "3600") as server:
            host, _, port = server.url.partition("//")[2].partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            if idle:
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                await reader.readuntil(b"}")
            assert await asyncio.to_thread(server.end) == (0, "")
            assert await reader.read() == b""
            writer.close()


def test_a_port_in_use_is_reported_and_exits_with_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run([ACYTOO, "serve", "--port", str(port), "--to", "http://127.0.0.1:9"])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"acytoo: cannot listen on 127.0.0.1 port {port}: {os.strerror(errno.EADDRINUSE)}\n"


@pytest.mark.parametrize("host", ["host.invalid", "nosuch..host", "a" * 64])
def test_an_unknown_host_is_reported_and_exits_with_2(host: str) -> None:
    done = run([ACYTOO, "serve", "--host", host, "--password", "p", "--to", "http://127.0.0.1:9"])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(f"acytoo: cannot listen on {host} port 8000: ".encode())
    assert done.stderr.count(b"\n") == 1


async def test_the_log_has_a_line_for_each_request_and_no_secret() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        options = ("--to", fake.url, "--to-key", "sk-upstream", "--log")
        with serving(*options, env={"ACYTOO_SERVE_PASSWORD": "pw-server"}) as server:
            await Acytoo(server.url, key="sk-caller", password="pw-server").create_async("", HELLO)
            code, log = await asyncio.to_thread(server.end)
    assert code == 0
    assert "POST /api/completions" in log
    assert not any(secret in log for secret in ("sk-upstream", "pw-server", "sk-caller"))


async def test_the_log_has_no_key_that_a_client_puts_into_the_query() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        with serving("--to", fake.url, "--log", env={"ACYTOO_SERVE_PASSWORD": "pw-server"}) as server:
            paths = ("/v1beta/models/m:generateContent", "/v1beta/models", "/nowhere%0afake", "/")
            for path in paths:
                body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
                async with aiohttp.ClientSession() as session:
                    url = yarl.URL(f"{server.url}{path}?key=pw-server", encoded=True)
                    headers = {"referer": f"{server.url}/?key=pw-server"}
                    async with session.request("POST" if ":" in path else "GET", url, json=body, headers=headers):
                        pass
            _, log = await asyncio.to_thread(server.end)
    lines = log.splitlines()
    assert [path in line for path, line in zip(paths, lines, strict=True)] == [True] * 4
    assert "pw-server" not in log
    assert '" 200 ' in lines[0]


async def test_a_user_agent_cannot_change_the_terminal_or_pretend_to_be_another_line_of_the_log() -> None:
    with serving("--to", "http://127.0.0.1:9", "--log") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", yarl.URL(server.url).port)
        agent = 'x\x9b31m\u202e" 200 \u00e4'.encode() + b"\xff"
        writer.write(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: %b\r\nconnection: close\r\n\r\n" % agent)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        _, log = await asyncio.to_thread(server.end)
    assert r'"x\x9b31m\u202e\" 200 ä\udcff"' in log


async def test_a_closed_standard_output_does_not_disturb_the_server() -> None:
    process = start(["bash", "-c", f'exec "{ACYTOO}" serve --port 0 --to http://127.0.0.1:9 >&-'])
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"Acytoo serves http://127.0.0.1:")
    process.terminate()
    assert await asyncio.to_thread(process.communicate, timeout=LIMIT) == (b"", b"")
    assert process.returncode == 0
