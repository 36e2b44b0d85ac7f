"""Token counts are found wherever servers put them, whatever they call them, in streams that pass through too."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.dialects import Dialect
from acytoo.http import ResponseHead
from acytoo.types import Usage, collect
from tests.dialects.test_reported_streams import (
    ANTHROPIC,
    DONE,
    ENDED,
    HI,
    MESSAGE_EVENTS,
    OPENAI,
    RESPONSES,
    STARTED,
    STOP,
    TEXT_BLOCK,
    WHOLE,
    completed,
    events,
    sse,
    stopped,
)


def with_usage(**usage: Any) -> bytes:
    return sse(HI, {**STOP, "usage": usage}) + DONE


def in_choice(usage: Any) -> bytes:
    return sse(HI, {**STOP, "choices": [{**STOP["choices"][0], "usage": usage}]}) + DONE


def after_start(*deltas: Any) -> bytes:
    return events(STARTED, *TEXT_BLOCK, *[stopped(usage=usage) for usage in deltas], ENDED)


STREAMS: dict[str, tuple[Dialect, bytes, Usage]] = {
    "UKGovernmentBEIS/inspect_ai#5528: reasoning is not counted in completion_tokens": (
        OPENAI,
        with_usage(
            prompt_tokens=32,
            completion_tokens=9,
            total_tokens=135,
            completion_tokens_details={"reasoning_tokens": 94},
        ),
        Usage(32, 103, reasoning_tokens=94),
    ),
    "promptfoo/promptfoo#9507: reasoning is counted in completion_tokens": (
        OPENAI,
        with_usage(
            prompt_tokens=500,
            completion_tokens=500,
            total_tokens=1000,
            completion_tokens_details={"reasoning_tokens": 200},
        ),
        Usage(500, 500, reasoning_tokens=200),
    ),
    "higress-group/higress#1568: the usage is in the choice": (
        OPENAI,
        in_choice({"prompt_tokens": 10, "completion_tokens": 79, "total_tokens": 89}),
        Usage(10, 79),
    ),
    "Moonshot: cached_tokens beside prompt_tokens": (
        OPENAI,
        with_usage(prompt_tokens=10, completion_tokens=2, cached_tokens=8),
        Usage(10, 2, 8),
    ),
    "Groq: the usage is in x_groq": (
        OPENAI,
        sse(HI, {**STOP, "x_groq": {"id": "r", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}}) + DONE,
        Usage(3, 4),
    ),
    "the names of the Responses API in a chat": (
        OPENAI,
        with_usage(input_tokens=3, output_tokens=4, total_tokens=7),
        Usage(3, 4),
    ),
    "the names of a chat in the Responses API": (
        RESPONSES,
        events(*MESSAGE_EVENTS, completed(output=[WHOLE], usage={"prompt_tokens": 3, "completion_tokens": 4})),
        Usage(3, 4),
    ),
    "the names of a chat in Anthropic's API": (
        ANTHROPIC,
        events(*TEXT_BLOCK, stopped(usage={"prompt_tokens": 3, "completion_tokens": 4}), ENDED),
        Usage(3, 4),
    ),
    "envoyproxy/ai-gateway#1631: a later 0 stands for no count": (
        ANTHROPIC,
        after_start({"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5}),
        Usage(10, 5),
    ),
    "vercel/ai#10671: only the end has the count": (
        ANTHROPIC,
        events(
            {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 0}}},
            *TEXT_BLOCK,
            stopped(usage={"input_tokens": 7, "output_tokens": 5}),
            ENDED,
        ),
        Usage(7, 5),
    ),
    "the end knows that all of the request was cached": (
        ANTHROPIC,
        after_start({"input_tokens": 0, "cache_read_input_tokens": 10, "output_tokens": 5}),
        Usage(10, 5, 10),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_usage_of_a_stream_is_found(name: str) -> None:
    dialect, body, usage = STREAMS[name]
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    assert collect(reader.feed(body) + reader.flush()).usage == usage


@pytest.mark.parametrize("name", STREAMS)
def test_the_usage_of_a_stream_that_passes_through_is_found(name: str) -> None:
    dialect, body, usage = STREAMS[name]
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    for start in range(0, len(body), 100):
        reader.scan(body[start : start + 100])
    reader.flush()
    reader.close()
    assert reader.current.received().usage == usage
