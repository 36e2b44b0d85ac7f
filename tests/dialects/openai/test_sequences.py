"""Streams of OpenAI's compatible servers in which something is where others do not have it, with their exact items."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.errors import AcytooError, AuthenticationError, ServerError
from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Refusal, Start, Usage
from tests.dialects.openai.helpers import calling, choice, events, read

D = {"id": "c", "model": "m"}
SEEN = Start("c", "m")
IMAGE = {"a": 1}


def m(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {**D, "choices": [{"index": 0, "message": fields, "finish_reason": finish}]}


def c(delta: Any, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {**D, **choice(delta, finish, **fields)}


STREAMS: dict[str, tuple[list[Any], list[Item]]] = {
    "lists repeated": (
        [
            c(
                {
                    "content": "Hi",
                    "images": [IMAGE],
                    "annotations": [IMAGE],
                    "thinking_blocks": [{"type": "thinking", "thinking": "h", "signature": "s"}],
                    "reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}],
                }
            ),
            m(
                "stop",
                content="Hi",
                images=[IMAGE],
                annotations=[IMAGE],
                thinking_blocks=[{"type": "thinking", "thinking": "h", "signature": "s"}],
                reasoning_details=[{"type": "reasoning.encrypted", "data": "d"}],
            ),
        ],
        [
            SEEN,
            Reasoning(text="h"),
            "Hi",
            OpaquePart(
                source="openai",
                fields={
                    "reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}],
                    "annotations": [{"a": 1}],
                    "thinking_blocks": [{"type": "thinking", "thinking": "h", "signature": "s"}],
                    "images": [{"a": 1}],
                },
            ),
            Finish(),
        ],
    ),
    "lists only first": (
        [c({"content": "Hi", "images": [IMAGE], "annotations": [IMAGE]}), m("stop", content="Hi")],
        [SEEN, "Hi", OpaquePart(source="openai", fields={"annotations": [{"a": 1}], "images": [{"a": 1}]}), Finish()],
    ),
    "more of message": (
        [
            c({"content": "He", "reasoning_content": "h"}),
            m("stop", content="Hello", reasoning_content="hm", refusal="no"),
        ],
        [
            SEEN,
            OpaquePart(source="openai", fields={"reasoning_field": "reasoning_content"}),
            Reasoning(text="h"),
            "He",
            Reasoning(text="m"),
            "llo",
            Refusal(text="no"),
            Finish(),
        ],
    ),
    "more refusal": (
        [c({"refusal": "n"}), m("stop", refusal="no")],
        [SEEN, Refusal(text="n"), Refusal(text="o"), Finish()],
    ),
    "message after role": (
        [c({"role": "assistant"}), m(content="He"), m(content="llo"), c({}, "stop")],
        [SEEN, "He", "llo", Finish()],
    ),
    "message grows": ([m(content="He"), m(content="Hello"), c({}, "stop")], [SEEN, "He", "llo", Finish()]),
    "message grows, then pieces": (
        [m(content="He"), m(content="Hello"), m(content="you"), c({}, "stop")],
        [SEEN, "He", "llo", "you", Finish()],
    ),
    "message differs": ([c({"content": "Hello"}), m("stop", content="Bye")], [SEEN, "Hello", Finish()]),
    "usage first chunk": (
        [
            c({"content": "Hi"}),
            {**D, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            c({}, "stop"),
        ],
        [SEEN, "Hi", Usage(input_tokens=1, output_tokens=2), Finish()],
    ),
    "usage after end": (
        [
            c({"content": "Hi"}),
            c({"content": "!"}),
            c({}, "stop"),
            {**D, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ],
        [SEEN, "Hi", "!", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "usage with end": (
        [c({"content": "Hi"}), {**c({}, "stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}}],
        [SEEN, "Hi", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "usage zeros": (
        [
            c({"content": "Hi"}),
            {**c({}, "stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            {**D, "choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        ],
        [SEEN, "Hi", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "usage only zeros": (
        [c({"content": "Hi"}), {**c({}, "stop"), "usage": {"prompt_tokens": 0, "completion_tokens": 0}}],
        [SEEN, "Hi", Finish(), Usage()],
    ),
    "groq": (
        [
            c({"content": "Hi"}),
            {**c({}, "stop"), "x_groq": {"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
        ],
        [SEEN, "Hi", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "moonshot": (
        [c({"content": "Hi"}), c({}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 2})],
        [SEEN, "Hi", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "groq and own": (
        [
            c({"content": "Hi"}),
            {
                **c({}, "stop"),
                "x_groq": {"usage": {"prompt_tokens": 9, "completion_tokens": 9}},
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            },
        ],
        [SEEN, "Hi", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "minimax": (
        [c({"content": "Hi"}), {**c({}, "stop"), "base_resp": {"status_code": 0, "status_msg": ""}}],
        [SEEN, "Hi", Finish()],
    ),
    "empty piece": (
        [
            calling({"index": 0}),
            calling({"index": 0, "function": {"arguments": ""}}),
            c({"content": "Hi"}),
            c({}, "stop"),
        ],
        [SEEN, "Hi", Finish()],
    ),
    "surrogate": (
        [
            c({"content": "Hi"}),
            c({"content": "a"}),
            '{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}',
            '{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"\\ude00"},"finish_reason":null}]}',
            c({}, "stop"),
        ],
        [SEEN, "Hi", "a", "\U0001f600", Finish()],
    ),
    "surrogate alone": (
        [
            c({"content": "Hi"}),
            c({"content": "a"}),
            '{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}',
            c({}, "stop"),
        ],
        [SEEN, "Hi", "a", "\ufffd", Finish()],
    ),
    "finish null text": (
        [c({"content": "Hi"}), c({}, "null"), c({"content": "!"}, "None"), c({}, "stop")],
        [SEEN, "Hi", "!", Finish()],
    ),
    "finishReason": (
        [c({"content": "Hi"}), {"choices": [{"delta": {}, "finishReason": "STOP"}]}],
        [SEEN, "Hi", Finish(raw="STOP")],
    ),
    "logprobs": (
        [c({"content": "Hi"}, logprobs={"content": [{"token": "Hi"}]}), c({}, "stop")],
        [SEEN, "Hi", Logprobs(tokens=[{"token": "Hi"}]), Finish()],
    ),
    "repeats all at the end": (
        [c({"content": "Hello"}), c({"content": " you"}), c({"content": "Hello you"}, "stop")],
        [SEEN, "Hello", " you", Finish()],
    ),
}


@pytest.mark.parametrize(("chunks", "items"), STREAMS.values(), ids=STREAMS)
def test_a_stream_has_these_items(chunks: list[Any], items: list[Item]) -> None:
    assert read(events(*chunks, "[DONE]")) == items


ERRORS: dict[str, tuple[list[Any], type[AcytooError], str]] = {
    "groq error": ([c({"content": "Hi"}), {**c({}), "x_groq": {"error": "over"}}], ServerError, "over"),
    "minimax error": (
        [
            c({"content": "Hi"}),
            {
                **D,
                "choices": None,
                "usage": {"total_tokens": 1},
                "base_resp": {"status_code": 1004, "status_msg": "no"},
            },
        ],
        AuthenticationError,
        "401: no",
    ),
    "minimax error 2": (
        [c({"content": "Hi"}), {**c({}, "stop"), "base_resp": {"status_code": 1004, "status_msg": "no"}}],
        AuthenticationError,
        "401: no",
    ),
    "error beside text": (
        [c({"content": "Hi"}), {**c({"content": "!"}), "error": {"message": "no", "code": 500}}],
        ServerError,
        "500: no",
    ),
    "error in choice": (
        [c({"content": "Hi"}), c({"content": "!"}, error={"message": "no", "code": 500})],
        ServerError,
        "500: no",
    ),
}


@pytest.mark.parametrize(("chunks", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_a_stream_that_reports_an_error_raises(chunks: list[Any], error: type[AcytooError], message: str) -> None:
    with pytest.raises(error) as caught:
        read(events(*chunks, "[DONE]"))
    assert str(caught.value) == message
