"""The operator's key for a backend never reaches the gateway's clients, whatever the backend repeats."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import status_error
from acytoo.secret import redact
from acytoo.testing import ScriptedResponse, status
from acytoo.types import Finish, Item, Request, Start, collect
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
    "in a URL": lambda key: "https://x/?key=" + key.replace("/", "%2F").replace("+", "%2b").replace("=", "%3D"),
}
FORM = pytest.mark.parametrize("form", FORMS)
WORDS = ["Hello", " there", " and"]


def shows_key(answer: Response, key: str = KEY) -> bool:
    """Return whether a response has the key in any form, or a long part of it."""
    text = str(answer.headers) + answer.body.decode()
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text).replace("\\", "")
    return redact(text, [key]) != text or key[: len(key) // 2] in text or key[len(key) // 2 :] in text


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
    async with live_server(script, dialect=dialect, provider={"key": key}) as server:
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
