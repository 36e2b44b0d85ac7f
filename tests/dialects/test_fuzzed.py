"""Regressions that fuzzing (`python -m bench fuzz`) discovered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects import ResponseHead, ServerRequest
from acytoo.errors import ProtocolError, ReplyError, RequestError, TruncatedError
from acytoo.types import Request, collect
from tests.dialects.strategies import read_items


@pytest.mark.parametrize(
    "skipped", [b'"\xff": "error"', b'"error": "\xff"', b'"x": ' + b"[" * 5000 + b"]" * 5000 + b', "error": null']
)
def test_invalid_utf8_or_deep_nesting_in_an_unused_field_does_not_crash(skipped: bytes) -> None:
    reader = dialects.OpenAI().reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    with pytest.raises((TruncatedError, ProtocolError)):
        reader.feed(b"data: {" + skipped + b"}\n\n")
        reader.close()


@pytest.mark.parametrize("alternatives", [0.5, "x", {"a": 1}, [[]], ["x"], [None]])
def test_alternatives_that_are_not_tokens_are_left_out_for_gemini(alternatives: Any) -> None:
    token = {"token": "Hi", "logprob": -0.5, "top_logprobs": alternatives}
    choice = {"message": {"content": "Hi"}, "logprobs": {"content": [token]}, "finish_reason": "stop"}
    items = read_items(dialects.OpenAI(), [msgspec.json.encode({"choices": [choice]})], "application/json")
    writer = dialects.Gemini().writer(Request([]))
    assert b'"topCandidates":[{"candidates":[]}]' in writer.write(items)
    assert b'"topCandidates":[{"candidates":[]}]' in dialects.Gemini().write_reply(collect(items), Request([]))


@pytest.mark.parametrize("kind", [{}, [], {"a": {}}, None, 5])
def test_openrouters_details_may_have_a_type_that_is_not_text(kind: Any) -> None:
    delta = {"content": "Hi", "reasoning_details": [{"type": kind, "text": "m"}, {"type": kind, "text": "n"}]}
    record = msgspec.json.encode({"choices": [{"delta": delta, "finish_reason": "stop"}]})
    assert "Hi" in read_items(dialects.OpenAI(), [b"data: " + record + b"\n\ndata: [DONE]\n\n"])


@pytest.mark.parametrize("part", [{"type": "text"}, {"type": "text", "executableCode": {}}, {"type": 5}])
def test_a_gemini_part_with_a_type_of_its_own_is_not_taken_for_text(part: Any) -> None:
    body = msgspec.json.encode({"contents": [{"role": "user", "parts": [part]}]})
    path = "/v1beta/models/m:generateContent"
    try:
        request = dialects.Gemini().decode_request(ServerRequest(path, {}, body)).request
    except RequestError as error:
        assert error.status == 400
        return
    assert request.messages[0]["content"] == [{**part, "type": "executableCode" if len(part) > 1 else "type"}]


def test_deep_nesting_around_a_lone_surrogate_is_an_error() -> None:
    block = b'{"a":' * 900 + rb'"\ud800"' + b"}" * 900
    start = b'{"type":"message_start","message":{"content":[' + block + b"]}}"
    with pytest.raises(ReplyError):  # how deep is too deep depends on the version of Python
        read_items(dialects.Anthropic(), [b"data: " + start + b"\n\n"])
