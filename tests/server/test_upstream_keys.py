"""The operator's key for a backend never reaches the gateway's clients, whatever the backend repeats."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import Dialect
from acytoo.errors import status_error
from acytoo.http import ResponseHead
from acytoo.secret import redact
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import ScriptedResponse, reply, status
from acytoo.types import Finish, Item, Reasoning, Request, Start, ToolCall, collect
from tests.server.live_server import Response, call, live_server, request

KEY = "sk/upstream-k3y+0123456789-abcdefghijklmnop="
PASSED_THROUGH = [dialect for dialect in dialects.ALL if dialect.can_pass_through]
EACH = pytest.mark.parametrize("dialect", PASSED_THROUGH, ids=lambda dialect: dialect.name)

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "escaped": lambda key: "".join([f"\\u{ord(character):04x}" for character in key]),
    "partly escaped": lambda key: key.replace("k", "\\u006B"),
    "escaped slashes": lambda key: key.replace("/", "\\/"),
    "JSON in JSON": lambda key: json.dumps(json.dumps({"key": key.replace("/", "\\/")}))[1:-1],
    "in base64": lambda key: b64encode(f"user:{key}".encode()).decode(),
    "in URL-safe base64": lambda key: urlsafe_b64encode(f"Bearer {key}\n".encode()).decode(),
    "in hex": lambda key: key.encode().hex(),
    "in a URL": lambda key: "https://x/?key=" + key.replace("/", "%2F").replace("+", "%2b").replace("=", "%3D"),
}
FORM = pytest.mark.parametrize("form", FORMS)
WORDS = ["Hello", " there", " and"]


def shows_key(answer: Response, key: str = KEY) -> bool:
    """Return whether a response has the key in any form, or a long part of it."""
    text = str(answer.headers) + answer.body.decode()
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text).replace("\\", "")
    decoded = "".join([decode(text) for decode in (_from_base64, _from_hex)])
    return redact(text, [key]) != text or any(
        half in shown for half in (key[: len(key) // 2], key[len(key) // 2 :]) for shown in (text, decoded)
    )


def _from_base64(text: str) -> str:
    runs = re.findall(r"[A-Za-z0-9+/_-]{8,}", text)
    decoded = [
        urlsafe_b64decode((run[skip:].translate(str.maketrans("+/", "-_")) + "A===")[: (len(run) - skip + 3) // 4 * 4])
        for run in runs
        for skip in range(4)
    ]
    return b"\n".join(decoded).decode("latin-1")


def _from_hex(text: str) -> str:
    return "\n".join(
        [bytes.fromhex(run[: len(run) // 2 * 2]).decode("latin-1") for run in re.findall(r"[0-9a-f]{8,}", text)]
    )


def stream_of(dialect: Dialect, words: list[str]) -> bytes:
    """Return a stream of some words, without its end."""
    writer = dialect.writer(Request([], "m-1"))
    items: list[Item] = [Start("id-1", "m-1", 7), *words]
    return b"".join([writer.write([item]) for item in items])


def error_of(dialect: Dialect, form: str, key: str = KEY) -> bytes:
    """Return the record of an error that repeats the key."""
    record = dialect.writer(Request([], "m-1")).fail(status_error(401, "invalid key KEY!", code="invalid_key"))
    return record.replace(b"KEY", FORMS[form](key).encode())


def streamed(dialect: Dialect, body: bytes) -> ScriptedResponse:
    """Return the body as a stream of the dialect."""
    return status(200, body=body, content_type=dialect.writer(Request([], "m-1")).content_type)


async def answer_of(dialect: Dialect, script: ScriptedResponse, *, key: str = KEY, **options: Any) -> Response:
    """Return what a client gets of a backend's response that passes through."""
    async with live_server(script, dialect=dialect, provider={"key": key}, drop_unsupported=True) as server:
        return await call(server.port, request(options.pop("client", dialect), **options))


@EACH
@FORM
async def test_an_error_in_mid_stream_does_not_show_it(dialect: Dialect, form: str) -> None:
    body = stream_of(dialect, WORDS) + error_of(dialect, form)
    answer = await answer_of(dialect, streamed(dialect, body))
    assert answer.status == 200
    assert not shows_key(answer)
    assert all(word.encode() in answer.body for word in WORDS)
    assert b"invalid key" in answer.body
    assert b"***" in answer.body


@EACH
@FORM
async def test_an_error_in_pieces_does_not_show_it(dialect: Dialect, form: str) -> None:
    text = stream_of(dialect, WORDS)
    error = error_of(dialect, form)
    sizes = (error.find(b"KEY!"), error.find(b"!") - 20, error.find(b"!") - 3, len(error) - 2, len(error) - 1)
    scripts = [streamed(dialect, text + error).wait(0.1, after_bytes=len(text) + size) for size in sizes]
    for answer in await asyncio.gather(*[answer_of(dialect, script) for script in scripts]):
        assert not shows_key(answer)
        assert text in answer.body
        assert b"invalid key" in answer.body


@EACH
async def test_a_stream_that_answers_a_request_for_a_document_does_not_show_it_in_pieces(dialect: Dialect) -> None:
    pieces = [KEY[at : at + 3] for at in range(0, len(KEY), 3)]
    body = stream_of(dialect, ["Hi ", *pieces, " end"]) + end_of(dialect)
    answer = await answer_of(dialect, streamed(dialect, body), stream=False)
    assert answer.status == 200
    assert b"***" in answer.body
    # The digits of others may be in a time.
    assert not any(piece.encode() in answer.body for piece in pieces[3:] if piece.isalpha())


def end_of(dialect: Dialect) -> bytes:
    writer = dialect.writer(Request([], "m-1"))
    writer.write([Start("id-1", "m-1", 7), "x"])
    return writer.write([Finish()]) + writer.end()


@EACH
@FORM
async def test_an_error_at_once_does_not_show_it(dialect: Dialect, form: str) -> None:
    answer = await answer_of(dialect, streamed(dialect, error_of(dialect, form)))
    assert answer.status >= 400
    assert not shows_key(answer)


@EACH
@FORM
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "document"])
@pytest.mark.parametrize("code", [200, 401, 500])
async def test_an_error_document_does_not_show_it(code: int, stream: bool, form: str, dialect: Dialect) -> None:
    document = dialect.write_error(status_error(401, "invalid key KEY!")).body
    body = document.replace(b"KEY", FORMS[form](KEY).encode())
    answer = await answer_of(dialect, status(code, body=body, content_type="application/json"), stream=stream)
    assert answer.status >= 400
    assert not shows_key(answer)


@pytest.mark.parametrize("client", dialects.ALL, ids=lambda dialect: dialect.name)
@FORM
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "document"])
async def test_no_error_of_a_backend_of_another_api_shows_it(stream: bool, form: str, client: Dialect) -> None:
    for behind in (dialects.OpenAI(), dialects.Gemini()):
        document = behind.write_error(status_error(401, "invalid key KEY!")).body.replace(
            b"KEY", FORMS[form](KEY).encode()
        )
        refused = status(401, body=document, content_type="application/json")
        failed = streamed(behind, stream_of(behind, WORDS) + error_of(behind, form))
        for script in (refused, failed):
            assert not shows_key(await answer_of(behind, script, client=client, stream=stream))


@EACH
@pytest.mark.parametrize("form", ["plain", "escaped slashes"])
async def test_another_field_of_a_reply_does_not_show_it(dialect: Dialect, form: str) -> None:
    reply = collect([Start("id-1", "m-1", 7), "Hello KEY", Finish("stop")])
    document = dialect.write_reply(reply, Request([], "m-1")).replace(b"KEY", FORMS[form](KEY).encode())
    answer = await answer_of(dialect, status(200, body=document, content_type="application/json"), stream=False)
    assert answer.status == 200
    assert b"Hello ***" in answer.body
    assert not shows_key(answer)
    body = stream_of(dialect, ["Hello KEY"]).replace(b"KEY", FORMS[form](KEY).encode())
    for size in (len(body), body.find(FORMS[form](KEY).encode()) + 20):
        answer = await answer_of(dialect, streamed(dialect, body).wait(0.1, after_bytes=size))
        assert b"Hello ***" in answer.body
        assert not shows_key(answer)


@EACH
async def test_the_incomplete_record_of_a_cut_stream_does_not_show_it(dialect: Dialect) -> None:
    text = stream_of(dialect, WORDS)
    error = error_of(dialect, "plain")
    for size in (error.find(b"sk/") + 20, error.find(b"sk/") + len(KEY)):
        for cut in (
            streamed(dialect, text + error[:size]),
            streamed(dialect, text + error).reset(after_bytes=len(text) + size),
        ):
            assert not shows_key(await answer_of(dialect, cut))


@EACH
async def test_a_short_key_is_redacted_in_errors_but_a_reply_stays_as_it_is(dialect: Dialect) -> None:
    answer = await answer_of(dialect, streamed(dialect, stream_of(dialect, ["the word"])), key="word")
    assert b"the word" in answer.body
    body = stream_of(dialect, WORDS) + error_of(dialect, "plain", "w0rd")
    assert b"w0rd" not in (await answer_of(dialect, streamed(dialect, body), key="w0rd")).body


@pytest.mark.parametrize("client", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("size", [1, 5, 22, 100])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "document"])
async def test_a_key_in_pieces_of_a_translated_reply_is_replaced(stream: bool, size: int, client: Dialect) -> None:
    for behind in (dialects.OpenAI(), dialects.Anthropic(), dialects.Acytoo()):
        if behind.name == client.name and behind.can_pass_through:
            continue
        pieces = [KEY[at : at + size] for at in range(0, len(KEY), size)]
        scripts = [
            reply(Start("id-1", "m-1", 7), *texts, Finish("stop"))
            for texts in (["Hello ", *pieces, " there"], ["Hello ", *pieces])
        ]
        for script in scripts:
            answer = await answer_of(behind, script, client=client, stream=stream)
            assert answer.status == 200
            assert answer.is_complete
            assert KEY[:4] not in text_of(client, answer)
            assert "***" in text_of(client, answer)


def text_of(dialect: Dialect, answer: Response) -> str:
    """Return the text of a complete reply as a client reads it."""
    reader = dialect.reader(ResponseHead(answer.status, answer.headers))
    items = [*reader.feed(answer.body), *reader.flush()]
    reader.close()
    return collect(items).text


@EACH
@pytest.mark.parametrize("size", [1, 2, 3, 5, 10, 15, 22, 34])
async def test_a_key_in_the_records_of_a_passed_reply_is_replaced(size: int, dialect: Dialect) -> None:
    pieces = [KEY[at : at + size] for at in range(0, len(KEY), size)]
    joined = ["Hello " + pieces[0], *pieces[1:-1], pieces[-1] + " there"]
    call = [ToolCall(0, "call_1", "send", ""), *[ToolCall(0, arguments=piece) for piece in ['{"to": "', *pieces, '"}']]]
    for texts in (["Hello ", *pieces, " there"], joined):
        answer = await answer_of(dialect, reply(Start("id-1", "m-1", 7), *texts, Finish("stop")))
        assert answer.is_complete
        assert re.fullmatch(r"Hello (sk/|sk|s)?\*\*\* there", text_of(dialect, answer))
    called: list[Item] = ["Hello", *call, Finish("tool_calls")]
    reasoned: list[Item] = [*map(Reasoning, ["hm ", *pieces]), "Hello", Finish("stop")]
    for items in (called, reasoned):
        answer = await answer_of(dialect, reply(Start("id-1", "m-1", 7), *items))
        assert answer.is_complete
        assert b"***" in answer.body
        assert not any(f'"{piece}"'.encode() in answer.body for piece in pieces[1:-1])


async def test_records_that_begin_like_a_key_leave_unchanged_before_the_error_of_a_cut_reply() -> None:
    dialect = dialects.OpenAI()
    body = stream_of(dialect, ["Hello ", KEY[:3], KEY[3:9]])
    assert (await answer_of(dialect, streamed(dialect, body))).body.startswith(body)


async def test_the_beginning_of_a_key_at_the_end_of_a_cut_reply_is_sent_before_the_error() -> None:
    script = reply(Start("id-1", "m-1", 7), "Hello ", KEY[:8], Finish("stop")).close(after=3)
    answer = await answer_of(dialects.OpenAI(), script, client=dialects.Anthropic())
    assert KEY[:8].encode() in answer.body
    assert b"error" in answer.body


class Legacy(AsyncGeneratorProvider):
    """A legacy class whose backend repeats the key."""

    refuses = False

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Any, api_key: str = ""
    ) -> AsyncIterator[str]:
        yield "Hello "
        for at in range(0, len(api_key), 5):
            yield api_key[at : at + 5]
        if cls.refuses:
            raise status_error(401, f"invalid key {api_key}!")


class Refusing(Legacy):
    """The same, with an error at the end."""

    refuses = True


@pytest.mark.parametrize("client", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "document"])
@pytest.mark.parametrize("legacy", [Legacy, Refusing])
async def test_a_legacy_provider_does_not_show_it(legacy: type[Legacy], stream: bool, client: Dialect) -> None:
    backend = legacy("http://127.0.0.1:9", key=KEY)
    server, url = await start(ServerConfig({"old": backend}, port=0, grace=0.1, drop_unsupported=True))
    try:
        answer = await call(urlsplit(url).port or 0, request(client, stream=stream))
    finally:
        await server.close()
    assert not shows_key(answer)
    if legacy is Legacy:
        assert answer.is_complete
        assert text_of(client, answer) == "Hello ***"
    elif client.name != "acytoo" or not stream:
        assert b"***" in answer.body
