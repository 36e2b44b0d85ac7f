"""OpenAI's writer: items to replies and errors, and back through the reader."""

from __future__ import annotations

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects import OpenAI
from acytoo.dialects.base import Dialect
from acytoo.errors import ServerError, TimedOutError
from acytoo.types import Finish, Reply, Request, Usage, collect
from tests.dialects.openai.helpers import DIALECT, HELLO, decode, read


def test_usage_is_streamed_only_if_the_request_includes_it() -> None:
    for include in (True, False):
        writer = DIALECT.writer(decode({"messages": HELLO, "stream_options": {"include_usage": include}}))
        body = writer.write(["Hi", Finish("stop"), Usage(1, 2)]) + writer.end()
        assert (Usage(1, 2) in read(body)) is include


def test_an_error_in_mid_stream_is_an_event_without_done() -> None:
    writer = DIALECT.writer(Request(HELLO, "m"))
    body = writer.write(["Hi"]) + writer.fail(TimedOutError("idle", 5))
    assert b"[DONE]" not in body
    with pytest.raises(ServerError, match="did not continue") as caught:
        read(body)
    assert caught.value.status == 504


def test_an_empty_reply_is_streamed_as_a_role_and_an_end() -> None:
    writer = DIALECT.writer(Request(HELLO, "m"))
    first, second, third = writer.end().split(b"\n\n")[:3]
    assert msgspec.json.decode(first[6:])["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert msgspec.json.decode(second[6:])["choices"][0]["finish_reason"] == "stop"
    assert third == b"data: [DONE]"


def test_a_ping_is_a_comment_that_readers_skip() -> None:
    writer = DIALECT.writer(Request(HELLO, "m"))
    body = writer.ping + writer.write(["Hi"]) + writer.ping + writer.write([Finish()]) + writer.end()
    assert collect(read(body)).text == "Hi"


def test_a_complete_reply_has_the_shape_that_clients_check() -> None:
    reply = Reply("Hi", usage=Usage(3, 4, 1, 0, 2), finish=Finish("length"), id="c", model="m", created=7)
    assert msgspec.json.decode(DIALECT.write_reply(reply, Request(HELLO, "m"))) == {
        "id": "c",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }


@pytest.mark.parametrize("dialect", [OpenAI(), dialects.OpenAIResponses()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("type_", "code", "param"),
    [
        ("invalid_request_error", "context_length_exceeded", "messages"),
        ("invalid_request_error", "invalid_api_key", None),
        ("insufficient_quota", "insufficient_quota", None),
        ("server_error", None, None),
    ],
)
def test_an_errors_type_code_and_param_are_written_as_they_were_read(
    dialect: Dialect, type_: str, code: str | None, param: str | None
) -> None:
    fields = {"message": "No.", "type": type_, "param": param, "code": code}
    error = dialect.read_error(400, msgspec.json.encode({"error": fields}))
    assert (error.code, error.type, error.param) == (code or type_, type_, param or "")
    written = msgspec.json.decode(dialect.write_error(error).body)["error"]
    assert written == fields | {"code": code or type_}


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (dialects.Anthropic(), '"type":"invalid_request_error","message":"No."'),
        (dialects.Gemini(), '"status":"INVALID_ARGUMENT"'),
        (dialects.Ollama(), '{"error":"No."}'),
        (dialects.Acytoo(), '"type":"invalid_request_error"'),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_error_of_this_api_is_written_in_the_shape_of_the_others(dialect: Dialect, text: str) -> None:
    body = b'{"error":{"message":"No.","type":"invalid_request_error","code":"context_length_exceeded"}}'
    assert text in dialect.write_error(DIALECT.read_error(400, body)).body.decode()
