"""A field with content is kept, whatever record of a reply it is in and whatever precedes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.types import collect
from tests.dialects.strategies import read_items
from tests.dialects.test_recordings import REPLIES, Recording

MARK = "the content that was added"
CALL = {
    "index": 9,
    "id": "call_added",
    "type": "function",
    "function": {"name": "f", "arguments": f'{{"a": "{MARK}"}}'},
}
DELTA_FIELDS: dict[str, Any] = {
    "images": [{"type": "image_url", "image_url": {"url": MARK}}],
    "audio": {"id": MARK},
    "annotations": [{"type": "url_citation", "url_citation": {"url": MARK}}],
    "refusal": MARK,
    "reasoning_content": MARK,
    "reasoning": MARK,
    "reasoning_text": MARK,
    "thinking": MARK,
    "reasoning_opaque": MARK,
    "reasoning_details": [{"type": "reasoning.encrypted", "data": MARK}],
    "thinking_blocks": [{"type": "redacted_thinking", "data": MARK}],
    "tool_calls": [CALL],
}
"""Fields of a delta of OpenAI's API and of compatible servers."""
PARTS: dict[str, Any] = {
    "an image": {"inlineData": {"mimeType": "image/png", "data": MARK}},
    "code": {"executableCode": {"language": "PYTHON", "code": MARK}},
    "a thought": {"text": MARK, "thought": True},
    "a text": {"text": MARK},
    "a call": {"functionCall": {"name": "f", "args": {"a": MARK}}},
    "a signature": {"text": "", "thoughtSignature": MARK},
}
"""Parts of Gemini's API."""


def streams_of(api: str) -> list[Recording]:
    """Return the recorded streams that end without an error."""
    return [one for one in REPLIES if one.api == api and one.name.endswith(".sse") and "error" not in one.entry]


def with_addition(recording: Recording, number: int, add: Callable[[Any], bool]) -> bytes | None:
    """Return a stream in which `add` has changed one of the records that it can change, None if it can change none."""
    events = [event.removeprefix("data:").strip() for event in recording.body.decode().replace("\r", "").split("\n\n")]
    decoded = [msgspec.json.decode(event) if event.startswith("{") else event for event in events]
    changed = []
    for place, document in enumerate(decoded):
        trial = msgspec.json.decode(events[place]) if isinstance(document, dict) else None
        if trial is not None and add(trial):
            changed.append((place, trial))
    if not changed:
        return None
    place, document = changed[number % len(changed)]
    decoded[place] = document
    records = [msgspec.json.encode(one) if isinstance(one, dict) else one.encode() for one in decoded]
    return b"".join([b"data: %b\n\n" % record for record in records if record])


def add_to_delta(field: str) -> Callable[[Any], bool]:
    def add(chunk: Any) -> bool:
        delta = (chunk.get("choices") or [{}])[0].get("delta")
        if not isinstance(delta, dict) or any("reason" in name for name in delta) or delta.get("tool_calls"):
            return False
        if delta.get(field):
            return False
        delta[field] = DELTA_FIELDS[field]
        return True

    return add


@pytest.mark.parametrize("field", DELTA_FIELDS)
@given(st.sampled_from(streams_of("openai")), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_a_field_of_any_delta_of_a_chat_is_kept(field: str, recording: Recording, number: int) -> None:
    body = with_addition(recording, number, add_to_delta(field))
    if body is not None:
        assert MARK.encode() in msgspec.json.encode(read_items(dialects.OpenAI(), [body]))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("first", [True, False])
@given(st.sampled_from(streams_of("gemini")), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_a_part_of_any_event_of_gemini_is_kept(part: str, first: bool, recording: Recording, number: int) -> None:
    def add(event: Any) -> bool:
        parts = (event.get("candidates") or [{}])[0].get("content", {}).get("parts")
        if parts is None:
            return False
        parts.insert(0 if first else len(parts), PARTS[part])
        return True

    body = with_addition(recording, number, add)
    if body is not None:
        assert MARK.encode() in msgspec.json.encode(read_items(dialects.Gemini(), [body]))


TEXT = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
IMAGE = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"%b","images":[{"type":"image_url",'
    b'"image_url":{"url":"%b"}}]},"finish_reason":null}]}\n\n'
)
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@given(st.lists(st.sampled_from(["text", "image"]), min_size=1, max_size=8))
@settings(deadline=None)
def test_every_image_beside_a_text_is_kept(kinds: list[str]) -> None:
    pieces = [(kind, b"t%d " % number, b"i%d" % number) for number, kind in enumerate(kinds)]
    body = b"".join([IMAGE % (text, url) if kind == "image" else TEXT % text for kind, text, url in pieces]) + END
    reply = collect(read_items(dialects.OpenAI(), [body]))
    assert reply.text.encode() == b"".join([text for _, text, _ in pieces])
    urls = [
        image["image_url"]["url"] for part in reply.turn_parts for image in part.get("fields", {}).get("images", [])
    ]
    assert [url.encode() for url in urls] == [url for kind, _, url in pieces if kind == "image"]


def test_the_citations_that_a_block_of_anthropic_starts_with_are_kept() -> None:
    cited = {"type": "text", "text": "Sunny", "citations": [{"type": "char_location", "cited_text": MARK}]}
    events: list[Any] = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": cited},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    body = b"".join([b"data: %b\n\n" % msgspec.json.encode(event) for event in events])
    reply = collect(read_items(dialects.Anthropic(), [body]))
    assert reply.text == "Sunny."
    assert [part["fields"] for part in reply.turn_parts] == [{"citations": cited["citations"]}]
