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
    "a thought in the content, as text": (
        [{"content": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "Hi"}]}],
        "Hi",
        "hm",
        "",
    ),
    "a thought in the content, in the shape of Responses": (
        [
            {"content": [{"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}]},
            {"content": [{"type": "output_text", "text": "Hi"}]},
        ],
        "Hi",
        "hm",
        "",
    ),
    # MoonshotAI/kimi-code issue 3928: servers and gateways that have several names of one field.
    "one thought in several fields beside each other": (
        [
            {"reasoning": "hm", "reasoning_content": "hm", "reasoning_text": "hm", "thinking": "hm"},
            {"content": "Hi"},
        ],
        "Hi",
        "hm",
        "",
    ),
    "one thought in a field beside the content": (
        [{"reasoning_content": "hm", "content": [{"type": "thinking", "thinking": "hm"}]}, {"content": "Hi"}],
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


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def test_generated_images_are_a_part_of_the_turn_streamed_or_not() -> None:
    # agentjido/req_llm#933: OpenRouter's image is alone in its chunk, beside an empty text.
    body = events(choice({"content": "", "images": [IMAGE]}), choice({"content": "Hi"}), "[DONE]")
    for reply in (collect(read(body)), collect(document({"content": "Hi", "images": [IMAGE]}))):
        assert reply.text == "Hi"
        assert [part["fields"] for part in reply.turn_parts if part["type"] == "opaque"] == [{"images": [IMAGE]}]


def test_an_image_alone_is_a_reply() -> None:
    assert collect(read(events(choice({"content": "", "images": [IMAGE]}), "[DONE]"))).turn_parts


@pytest.mark.parametrize("indices", [(0, 0), (0, 1)])
@pytest.mark.parametrize("order", [1, -1], ids=["text first", "calls first"])
def test_a_document_whose_text_and_calls_are_in_two_choices_is_one_reply(indices: tuple[int, int], order: int) -> None:
    # GitHub Copilot: zeroclaw-labs/zeroclaw#2136, HKUDS/nanobot#1555.
    messages: list[Any] = [
        {"role": "assistant", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]},
    ]
    choices = [
        {"index": index, "message": message, "finish_reason": "tool_calls"}
        for index, message in zip(indices, messages[::order], strict=True)
    ]
    reply = collect(DIALECT.read_reply(msgspec.json.encode({"choices": choices})))
    assert (reply.text, [call["id"] for call in reply.tool_calls]) == ("Hi", ["a"])
