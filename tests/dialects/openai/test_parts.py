"""Texts, thoughts and refusals are read from wherever compatible servers put them, streamed or not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.types import Item, Reply, collect
from tests.dialects.openai.helpers import DIALECT, STOP, choice, events, read

THOUGHT = {"extra_content": {"google": {"thought": True}}}

PARTS: dict[str, tuple[list[Any], str, str, str]] = {
    # Databricks: BerriAI/litellm issue 9700, cline/cline issue 3032.
    "a summary in the content": (
        [
            {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": "s"}]}]},
            {"content": [{"type": "text", "text": "Hi"}]},
        ],
        "Hi",
        "hm",
        "",
    ),
    "a thought in the content": (
        [{"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}]}],
        "Hi",
        "hm",
        "",
    ),
    "a refusal in the content": ([{"content": [{"type": "refusal", "refusal": "No."}]}], "", "", "No."),
    # The shape of OpenAI's Assistants.
    "a text with annotations": (
        [{"content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}]}],
        "Hi",
        "",
        "",
    ),
    # GitHub Copilot: earendil-works/pi pull request 1502.
    "reasoning_text": ([{"content": None, "reasoning_text": "hm"}, {"content": "Hi"}], "Hi", "hm", ""),
    "reasoning_text beside an empty content": (
        [{"content": "", "reasoning_text": "hm"}, {"content": "Hi"}],
        "Hi",
        "hm",
        "",
    ),
    "thinking": ([{"content": "", "thinking": "hm"}, {"content": "Hi"}], "Hi", "hm", ""),
    # LiteLLM, of whose fields some proxies keep only this one.
    "thinking_blocks": (
        [
            {"content": "", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
            {"content": "Hi"},
        ],
        "Hi",
        "hm",
        "",
    ),
    "thinking_blocks beside the text": (
        [
            {"reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]},
            {"content": "Hi"},
        ],
        "Hi",
        "hm",
        "",
    ),
    # Vertex AI: NousResearch/hermes-agent pull request 91008.
    "thoughts as content": (
        [{"content": "h", **THOUGHT}, {"content": "m", **THOUGHT}, {"content": "Hi"}],
        "Hi",
        "hm",
        "",
    ),
    "another extra_content": (
        [{"content": "Hi", "extra_content": {"google": {"thought_signature": "s"}}}],
        "Hi",
        "",
        "",
    ),
    # OpenAI API reference, "Audio": the words are beside the sound.
    "a spoken reply": (
        [
            {"content": None, "audio": {"id": "audio_1", "transcript": "H"}},
            {"audio": {"data": "AAAA"}},
            {"audio": {"transcript": "i"}},
            {"audio": {"expires_at": 5}},
        ],
        "Hi",
        "",
        "",
    ),
}
"""Deltas, and the text, the reasoning and the refusal in them."""


def parts_of(reply: Reply) -> tuple[str, str, str]:
    return reply.text, "".join([block.get("text", "") for block in reply.reasoning]), reply.refusal


@pytest.mark.parametrize(("deltas", "text", "reasoning", "refusal"), PARTS.values(), ids=PARTS)
def test_parts_of_a_stream_are_read_from_wherever_they_are(
    deltas: list[Any], text: str, reasoning: str, refusal: str
) -> None:
    body = events({"id": "c", "model": "m", **choice({"role": "assistant", "content": ""})}, *map(choice, deltas), STOP)
    assert parts_of(collect(read(body))) == (text, reasoning, refusal)


@pytest.mark.parametrize("name", [name for name in PARTS if len(PARTS[name][0]) == 1 or "beside" in name])
def test_parts_of_a_document_are_read_from_wherever_they_are(name: str) -> None:
    deltas, *expected = PARTS[name]
    message: dict[str, Any] = {"role": "assistant"}
    for delta in deltas:
        message |= delta
    assert parts_of(collect(document(message))) == tuple(expected)


def document(message: dict[str, Any]) -> list[Item]:
    return DIALECT.read_reply(msgspec.json.encode({"choices": [{"message": message, "finish_reason": "stop"}]}))


def test_the_tags_around_the_thoughts_of_googles_endpoint_are_left_out() -> None:
    body = events(
        {"id": "c", "model": "m", **choice({"role": "assistant", "content": ""})},
        choice({"content": "<thought>h", **THOUGHT}),
        choice({"content": "m", **THOUGHT}),
        choice({"content": "</thought>Hi"}),
        choice({"content": "</thought>"}),
        STOP,
    )
    assert parts_of(collect(read(body))) == ("Hi</thought>", "hm", "")
