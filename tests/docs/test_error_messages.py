"""docs/errors.md: each message in it is raised, and the classes in it are those of errors.py."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from acytoo import Acytoo, AcytooError, Messages, dialects, errors, provider
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply
from acytoo.testing.fakes.certificates import Authority
from acytoo.testing.script import responses
from acytoo.types import Finish, OpaquePart, ToolCall
from tests.dialects.test_finish import sse
from tests.processes import ACYTOO, run, script
from tests.server.live_server import live_server, raw_call

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
MESSAGES = [text for text in re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE) if not text.endswith("Error")]
PATTERNS = {text: re.compile(".+?".join(map(re.escape, text.split("…"))), re.DOTALL) for text in MESSAGES}
HI: Messages = [{"role": "user", "content": "Hi"}]
SHORT = 0.05
TEXTS = ("a", "b", Finish("stop"))

Produce = Callable[[], Awaitable[str]]


def wrong(function: Callable[[], Any]) -> Produce:
    """Return what calls a function and returns the message of its error."""

    async def produce() -> str:
        with pytest.raises(AcytooError) as caught:
            result = function()
            if inspect.isawaitable(result):
                await result
        return str(caught.value)

    return produce


def answered(answer: ScriptedResponse, api: str = "openai", method: str = "create_async", **settings: Any) -> Produce:
    """Return what calls an endpoint that answers as scripted, and returns the message of the error."""

    async def produce() -> str:
        async with FakeEndpoint(dialects.by_name(api), answer) as fake:
            client = Acytoo(fake.url) if api == "acytoo" else provider("compatible/m", url=fake.url, **settings)
            arguments = (HI,) if method == "reply" else ("", HI)
            return await wrong(lambda: getattr(client, method)(*arguments))()

    return produce


def calling(arguments: str, reason: str | None) -> bytes:
    """Return a stream with one call."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}
    return sse({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": reason}]})


async def untrusted() -> str:
    """Call an endpoint whose certificate is signed by nobody whom this machine trusts."""
    async with FakeEndpoint(dialects.OpenAI(), reply(*TEXTS), tls=Authority().server_context()) as fake:
        return await wrong(lambda: provider("compatible/m", url=fake.url).create_async("", HI))()


async def connecting() -> str:
    """Call an address whose queue of connections is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        async with filled(listening.getsockname()):
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            return await wrong(lambda: Acytoo(url, timeout={"connect": SHORT}).create_async("", HI))()


@asynccontextmanager
async def filled(address: tuple[str, int]) -> AsyncIterator[None]:
    """Keep connections to an address that nobody accepts until it takes no more."""
    waiting = [socket.socket() for _ in range(4)]
    try:
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(address)
        yield
    finally:
        for connection in waiting:
            connection.close()


def free_url() -> str:
    """Return the URL of a port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def served(
    first: str = "POST /api/completions",
    *,
    headers: str = "",
    host: str = "127.0.0.1",
    fields: dict[str, Any] | None = None,
    backend: ScriptedResponse | None = None,
    **settings: Any,
) -> Produce:
    """Return what asks a server in the Acytoo protocol, and returns the message of its error."""
    body = json.dumps(fields or {"messages": HI}).encode()
    sent = f"{first} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {len(body)}\r\n\r\n"

    async def produce() -> str:
        async with live_server(backend or reply(*TEXTS), **settings) as server:
            received = await raw_call(server.port, sent.encode() + body)
        document = json.loads(received.partition(b"\r\n\r\n")[2])
        return str(document["error"]["message"])

    return produce


def command(*arguments: str) -> Produce:
    """Return what runs a command and returns its message."""

    async def produce() -> str:
        done = await asyncio.to_thread(run, [ACYTOO, *arguments])
        assert done.returncode
        return done.stderr.decode().strip()

    return produce


async def port_in_use() -> str:
    """Serve on a port that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return await command("serve", "--port", str(taken.getsockname()[1]))()


def ask(*, messages: Any = HI, **options: Any) -> Produce:
    """Return what makes a call that is wrong before anything is sent."""
    return wrong(lambda: Acytoo("http://127.0.0.1:9").create_async("", messages, **options))


async def missing_extra() -> str:
    """Use a SOCKS proxy in a process that cannot import python-socks."""
    code = """
        import sys
        sys.modules["python_socks"] = None
        from acytoo import Acytoo, MissingExtraError
        try:
            hi = [{"role": "user", "content": "Hi"}]
            list(Acytoo("http://127.0.0.1:9", proxy="socks5://127.0.0.1:9").create_completion("", hi))
        except MissingExtraError as error:
            sys.exit(str(error))
    """
    done = await asyncio.to_thread(run, script(code))
    return done.stderr.decode().strip()


PRODUCERS: list[Produce] = [
    wrong(lambda: Acytoo("example.com")),
    ask(messages="Hi"),
    ask(messages=[]),
    ask(messages=[{"role": "bot", "content": "Hi"}]),
    ask(messages=[{"role": "user"}]),
    ask(temprature=1),
    wrong(lambda: provider("opnai")),
    wrong(lambda: provider("openai", key="k").create_async("", HI)),
    wrong(lambda: provider("compatible").create_async("m", HI)),
    wrong(lambda: Acytoo("http://127.0.0.1:9", proxy="ftp://x")),
    wrong(lambda: Acytoo("embedded://other").create_async("", HI)),
    ask(max_tokens=1),
    served(fields={"messages": HI, "unknown": 1}),
    missing_extra,
    wrong(lambda: Acytoo("embedded:///no/such.gguf").create_async("", HI)),
    wrong(lambda: Acytoo(free_url()).create_async("", HI)),
    wrong(lambda: Acytoo("http://no-such-host.invalid").create_async("", HI)),
    answered(responses.hang_up()),
    untrusted,
    wrong(lambda: Acytoo("http://127.0.0.1:9", proxy=free_url()).create_async("", HI)),
    connecting,
    answered(responses.silent(), timeout={"first_byte": SHORT}),
    answered(reply(*TEXTS).stall(after=1), timeout={"idle": SHORT}),
    answered(reply(*TEXTS).stall(after=1), timeout={"total": SHORT}),
    answered(responses.status(401, "Incorrect API key provided")),
    wrong(lambda: provider("openai").create_async("m", HI)),
    answered(responses.status(401, body="")),
    answered(responses.page("502 Bad Gateway", 502)),
    answered(reply(*TEXTS).fail(after=1)),
    answered(responses.redirect("https://elsewhere.example/")),
    answered(reply(*TEXTS).reset(after=1)),
    answered(reply("a", "b").without_end()),
    answered(responses.status(200, body=calling('{"x"', None) + b"data: [DONE]\n\n", content_type="text/event-stream")),
    answered(responses.status(200, body=calling('{"x": 1}{"x": 2}', "tool_calls"), content_type="text/event-stream")),
    answered(responses.status(200, body=""), "acytoo"),
    answered(reply("ab é").cut_bytes(1).end(after_bytes=4), "acytoo"),
    answered(responses.page()),
    answered(responses.garbage()),
    answered(reply("a" * 5000, Finish("stop")), method="reply", max_reply=1000),
    answered(reply(ToolCall(0, "c", "f", "{}"), Finish("tool_calls"))),
    answered(reply(OpaquePart("openai", {"images": [{"type": "image_url"}]}), Finish("stop"))),
    served(password="secret"),
    served(headers="origin: https://other.example\r\n"),
    served(host="chat.example.com"),
    served(provider={"url": free_url()}),
    served(backend=responses.page()),
    served(backend=reply(OpaquePart("openai", {"images": [{"type": "image_url"}]}), Finish("stop"))),
    served(max_body=5),
    served("GET /v1/chat/completions"),
    port_in_use,
    command("serve", "--host", "0.0.0.0"),
    command("-m", "opnai/x", "Hi"),
    command("-m", "openai/x", "Hi"),
]
"""What raises the messages. Add one for each that is added to the page."""


@pytest.fixture(scope="module")
def raised() -> list[str]:
    """Return the messages that are really raised."""

    async def main() -> list[str]:
        return [await produce() for produce in PRODUCERS]

    with pytest.MonkeyPatch.context() as patch:
        for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "COMPATIBLE_URL"):
            patch.delenv(variable, raising=False)
        return asyncio.run(main())


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_raised(message: str, raised: list[str]) -> None:
    assert [text for text in raised if PATTERNS[message].fullmatch(text)]


def test_no_message_is_raised_that_the_page_does_not_have(raised: list[str]) -> None:
    assert not [text for text in raised if not any(pattern.fullmatch(text) for pattern in PATTERNS.values())]


def test_every_class_of_error_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+Error)`", PAGE))
    ours = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, AcytooError)}
    assert not ours - named
