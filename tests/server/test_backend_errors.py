"""What a backend's failure shows: everything to the operator's log, no address of the backend to clients."""

from __future__ import annotations

import json
import logging
from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import status_error
from acytoo.testing import ScriptedResponse, garbage, hang_up, page, redirect, reply, status
from acytoo.types import Finish, Request, Start
from tests.dialects.test_finish import sse
from tests.server.live_server import call, live_server, request

ALL = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
STREAM = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "document"])

HOST = "backend.invalid"
UNREACHABLE: dict[str, dict[str, Any]] = {
    "no such host": {"url": f"http://{HOST}:8123"},
    "nothing listens": {"url": "http://127.0.0.9:9"},
    "no such socket": {"url": "http+unix://%2Ftmp%2Fbackend.invalid.sock"},
    "no proxy": {"url": f"http://{HOST}:8123", "proxy": "http://127.0.0.9:9"},
    "no SOCKS proxy": {"url": f"http://{HOST}:8123", "proxy": "socks5h://127.0.0.9:9"},
    "no tunnel": {"url": f"https://{HOST}:8123", "proxy": "http://127.0.0.9:9"},
}
ANSWERS: dict[str, ScriptedResponse] = {
    "hangs up": hang_up(),
    "not HTTP": garbage(),
    "a page": page("intranet"),
    "a redirect": redirect(f"http://{HOST}:8123/elsewhere"),
    "a redirect loop": redirect("/elsewhere"),
    "an invalid redirect": redirect(f"http://[{HOST}"),
    "cut": reply(Start("id-1", "m-1", 7), *["word "] * 20, Finish("stop")).reset(after_bytes=100),
}
PLACES = (HOST, "8123", "127.0.0.9", "intranet", "sock")


@ALL
@STREAM
@pytest.mark.parametrize("case", UNREACHABLE)
async def test_an_error_about_a_backend_does_not_show_clients_where_it_is(
    case: str, stream: bool, dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    async with live_server(hang_up(), dialect=dialect, provider=UNREACHABLE[case]) as server:
        answer = await call(server.port, request(dialect, stream=stream))
        assert answer.status == 502
        assert not [place for place in PLACES if place in answer.body.decode()]
        assert "backend cannot be reached" in answer.body.decode()
    (record,) = [record for record in caplog.records if record.name == "acytoo.server"]
    assert record.levelno == logging.WARNING
    assert [place for place in PLACES if place in record.getMessage()]


@ALL
@STREAM
@pytest.mark.parametrize("case", ANSWERS)
async def test_an_error_about_a_response_does_not_show_clients_where_it_came_from(
    case: str, stream: bool, dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    for behind in (dialect, dialects.OpenAI()):
        async with live_server(ANSWERS[case], dialect=behind) as server:
            answer = await call(server.port, request(dialect, stream=stream))
            for place in (*PLACES, str(server.fake.port), "127.0.0.1"):
                assert place not in answer.body.decode()
            if case != "cut":
                assert answer.status == 502
                assert [record for record in caplog.records if record.name == "acytoo.server"]


async def test_the_log_has_a_failure_in_mid_stream_too(caplog: pytest.LogCaptureFixture) -> None:
    text = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hello"}}]}\n\n'
    broken = status(200, body=text + b"data: <html>\n\n", content_type="text/event-stream")
    async with live_server(broken) as server:
        answer = await call(server.port, request("anthropic"))
        assert (answer.status, answer.is_complete) == (200, False)
        assert b"HTML" not in answer.body
    assert [record for record in caplog.records if "HTML" in record.getMessage()]


PROBLEM = {"message": "no GPU is left", "code": 503, "status": "UNAVAILABLE", "type": "overloaded_error"}
REPORTS: dict[str, list[bytes]] = {
    "openai": [
        sse({"error": PROBLEM}) + b"data: [DONE]\n\n",
        sse({"error": "no GPU is left"}),
        sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": PROBLEM}]}),
        sse({"object": "error", "message": "no GPU is left", "code": 503}),
    ],
    "anthropic": [sse({"type": "error", "error": PROBLEM}), sse({"error": PROBLEM})],
    "gemini": [
        sse({"error": PROBLEM}),
        json.dumps({"error": PROBLEM}, indent=2).encode(),
        json.dumps([{"error": PROBLEM}], indent=2).encode() + b"\r\n",
    ],
    "openai-responses": [
        sse({"type": "error", "message": "no GPU is left", "code": "server_error"}),
        sse({"type": "response.failed", "response": {"status": "failed", "error": PROBLEM}}),
        sse({"type": "error", "error": PROBLEM}, {"type": "response.failed", "response": {"error": PROBLEM}}),
    ],
    "ollama": [b'{"error": "no GPU is left"}\n', b'{"error": "no GPU is left"}'],
}
"""Ways in which services report an error in mid-stream, in each API that passes through."""


@pytest.mark.parametrize("name", REPORTS)
async def test_an_error_in_a_stream_that_passes_through_is_reported_once(name: str) -> None:
    dialect = dialects.by_name(name)
    texts = dialect.writer(Request([])).write([Start("id-1", "m-1", 7), "Hello", " there"])
    own = dialect.writer(Request([])).fail(status_error(503, "no GPU is left"))
    for report in [*REPORTS[name], own]:
        whole = status(200, body=texts + report, content_type=dialect.writer(Request([])).content_type)
        for script in (whole, whole.wait(0.05, after_bytes=len(texts)), whole.wait(0.05, after_bytes=len(texts) + 9)):
            async with live_server(script, dialect=dialect) as server:
                answer = await call(server.port, request(dialect, stream=True))
            assert answer.body.startswith(texts)
            error = answer.body.removeprefix(texts)
            assert error.count(b"no GPU is left") == own.count(b"no GPU is left")
            assert [line[:7] for line in error.splitlines()] == [line[:7] for line in own.splitlines()]
            assert answer.is_complete is dialect.writer(Request([])).error_ends_reply


CALL = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": '}}
BEFORE_DONE = {
    "a call that is cut": {"delta": {"tool_calls": [CALL]}, "finish_reason": None},
    "a finish reason that is a failure": {"delta": {}, "finish_reason": "abort"},
}


@pytest.mark.parametrize("name", BEFORE_DONE)
async def test_clients_that_stop_at_done_get_the_error_before_it(name: str) -> None:
    head = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
    last = b"data: " + msgspec.json.encode({"id": "1", "choices": [BEFORE_DONE[name]]}) + b"\n\n"
    whole = status(200, body=head * 3 + last + b"data: [DONE]\n\n", content_type="text/event-stream")
    for script in (whole, whole.wait(0.05, after_bytes=len(head)), whole.wait(0.05, after_bytes=3 * len(head) + 9)):
        async with live_server(script) as server:
            answer = await call(server.port, request(stream=True))
        assert answer.body.startswith(head * 3 + last)
        assert b'"error"' in answer.body
        assert b"data: [DONE]" not in answer.body
        assert not answer.is_complete


async def test_a_log_line_of_a_failure_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with live_server(redirect("http://other.invalid/" + "\u2028forged".encode().decode("latin-1"))) as server:
        await call(server.port, request())
    (record,) = [record for record in caplog.records if record.name == "acytoo.server"]
    assert "forged" in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1
