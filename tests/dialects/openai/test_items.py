"""The exact items of deltas and of documents, with what only the server needs back, and where they are among them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.dialects.openai import OpenAI, Variations
from acytoo.errors import AcytooError, ProtocolError, TruncatedError
from acytoo.http import ResponseHead
from acytoo.types import Finish, Item, OpaquePart, Reasoning, Refusal, Start, ToolCall, Usage, collect
from tests.dialects.openai.helpers import DIALECT, STOP, calling, choice, events, read


def own(**fields: Any) -> OpaquePart:
    return OpaquePart("openai", fields)


SUMMARY = {"type": "reasoning.summary", "index": 0}
ENCRYPTED = {"type": "reasoning.encrypted", "index": 1}
HI: list[dict[str, Any]] = [{"content": "Hi"}]

DELTAS: dict[str, tuple[list[dict[str, Any]], list[Item], list[Item]]] = {
    # The deltas, the items before the end, and those of the end.
    "sounds": (
        [
            {"audio": {"id": "x", "transcript": "H"}},
            {"audio": {"data": "QUI="}},
            {"audio": {"data": "QkM=", "transcript": "i"}},
            {"audio": {"expires_at": 5, "id": None}},
        ],
        ["H", "i"],
        [own(audio={"id": "x", "expires_at": 5, "data": "QUJCQw=="})],
    ),
    "sounds cut inside of four letters": (
        [{"audio": {"data": "QU", "transcript": "Hi"}}, {"audio": {"data": "JC"}}],
        ["Hi"],
        [own(audio={"data": "QUJC"})],
    ),
    "sounds that are not base64": (
        [{"audio": {"data": "?", "transcript": "Hi"}}, {"audio": {"data": "!"}}],
        ["Hi"],
        [own(audio={"data": "?!"})],
    ),
    "thinking": ([{"thinking": "hm"}, *HI], [own(reasoning_field="thinking"), Reasoning("hm"), "Hi"], []),
    "reasoning_text": (
        [{"reasoning_text": "h"}, {"reasoning_text": "m", "reasoning_opaque": "o"}, *HI],
        [own(reasoning_field="reasoning_text"), Reasoning("h"), Reasoning("m"), "Hi"],
        [own(reasoning_opaque="o")],
    ),
    "reasoning as parts": (
        [{"reasoning": [{"text": "h"}, "m", {"other": 1}]}, *HI],
        [own(reasoning_field="reasoning"), Reasoning("hm"), "Hi"],
        [],
    ),
    "reasoning as an object": (
        [{"reasoning_content": {"text": "hm"}}, *HI],
        [own(reasoning_field="reasoning_content"), Reasoning("hm"), "Hi"],
        [],
    ),
    "texts as parts": ([{"content": ["a", {"type": "text", "text": "b"}, "", "c"]}], ["a", "b", "c"], []),
    "a thought that is text": (
        [{"content": [{"type": "thinking", "thinking": "hm"}]}, *HI],
        [Reasoning("hm"), "Hi"],
        [],
    ),
    "a thought in parts": (
        [{"content": [{"type": "thinking", "thinking": [{"text": "h"}, "m"]}, {"type": "text", "text": "Hi"}]}],
        [own(reasoning_field="content"), Reasoning("hm"), "Hi"],
        [],
    ),
    "a text before parts": ([{"content": ["a", {"type": "thinking", "thinking": "hm"}]}], ["a", Reasoning("hm")], []),
    "refusals": (
        [{"content": [{"type": "refusal", "refusal": "no"}, {"type": "refusal", "refusal": ""}, {"type": "other"}]}],
        [Refusal("no")],
        [],
    ),
    "blocks of thinking": (
        [
            {"thinking_blocks": [{"type": "thinking", "thinking": "h"}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "m", "signature": "s", "other": None}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "2"}, {"type": "redacted_thinking", "data": "d"}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "3"}]},
            *HI,
        ],
        [Reasoning("h"), Reasoning("m"), Reasoning("2"), Reasoning("3"), "Hi"],
        [
            own(
                thinking_blocks=[
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "thinking", "thinking": "2"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "thinking", "thinking": "3"},
                ]
            )
        ],
    ),
    "details of reasoning": (
        [
            {"reasoning_details": [SUMMARY | {"summary": "h"}]},
            {"reasoning_details": [SUMMARY | {"summary": "m", "id": "i", "format": None}]},
            {"reasoning_details": [SUMMARY | {"summary": "2", "index": 1}, ENCRYPTED | {"data": "d"}]},
            {"reasoning_details": [ENCRYPTED | {"data": "e"}, {"type": "reasoning.text", "text": "3", "index": 1}]},
            *HI,
        ],
        [Reasoning("h"), Reasoning("m"), Reasoning("2"), Reasoning("3"), "Hi"],
        [
            own(
                reasoning_details=[
                    SUMMARY | {"summary": "hm", "id": "i"},
                    SUMMARY | {"summary": "2", "index": 1},
                    ENCRYPTED | {"data": "d"},
                    ENCRYPTED | {"data": "e"},
                    {"type": "reasoning.text", "text": "3", "index": 1},
                ]
            )
        ],
    ),
    "details without a text": (
        [{"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}, *HI],
        ["Hi"],
        [own(reasoning_details=[{"type": "reasoning.text", "signature": "s", "index": 0}])],
    ),
    "images": ([{"images": [{"a": 1}]}, {"images": [{"b": 1}], **HI[0]}], ["Hi"], [own(images=[{"a": 1}, {"b": 1}])]),
    "a call of an earlier version of the API": (
        [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}],
        [ToolCall(0, "call_", "f", "{}")],
        [],
    ),
}


def plain(items: list[Item]) -> list[Item]:
    """Return the items with the beginning of ids that are made here."""
    return [
        msgspec.structs.replace(item, id="call_") if isinstance(item, ToolCall) and len(item.id) > 20 else item
        for item in items
    ]


@pytest.mark.parametrize(("deltas", "items", "end"), DELTAS.values(), ids=DELTAS)
def test_a_delta_has_these_items(deltas: list[dict[str, Any]], items: list[Item], end: list[Item]) -> None:
    assert plain(read(events(*map(choice, deltas), STOP, "[DONE]"))) == [*items, *end, Finish("stop")]
    assert plain(read(events(*map(choice, deltas), "[DONE]"))) == [*items, *end]
    assert plain(read(events(*map(choice, deltas), STOP, STOP, "[DONE]"))) == [*items, *end, Finish("stop")]


def document(**fields: Any) -> list[Item]:
    return DIALECT.read_reply(msgspec.json.encode(fields))


TEXT = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
CUT = {"id": "a", "function": {"name": "f", "arguments": '{"x": '}}
SOURCES: list[dict[str, Any]] = [{"citations": ["u"]}, {"search_results": [{"url": "u"}]}]


@pytest.mark.parametrize(
    ("fields", "items"),
    [
        ({"choices": [TEXT]}, ["Hi", Finish("stop")]),
        ({"choices": [TEXT], "id": "c", "model": "m", "created": 5}, [Start("c", "m", 5), "Hi", Finish("stop")]),
        ({"choices": [TEXT], "id": "c"}, [Start("c"), "Hi", Finish("stop")]),
        ({"choices": [TEXT], "model": "m"}, [Start("", "m"), "Hi", Finish("stop")]),
        (
            {"choices": [TEXT], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            ["Hi", Finish("stop"), Usage(1, 2)],
        ),
        ({"choices": [TEXT], "usage": {}}, ["Hi", Finish("stop")]),
        ({"choices": [TEXT | {"finish_reason": "length"}]}, ["Hi", Finish("length")]),
        ({"choices": [TEXT | {"finish_reason": "eos"}]}, ["Hi", Finish("stop", raw="eos")]),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}, [Finish("stop")]),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, [Finish("stop")]),
        ({"choices": [{"message": {"content": ["Hi"]}, "finish_reason": "stop"}]}, ["Hi", Finish("stop")]),
        ({"choices": [{"text": "Hi", "finish_reason": "stop"}]}, ["Hi", Finish("stop")]),
        ({"choices": [TEXT | {"delta": {"content": "Ho"}}]}, ["Ho", Finish("stop")]),
        ({"choices": [TEXT, {"index": 1, "message": {"content": "Ho"}}]}, ["Hi", Finish("stop")]),
        ({"choices": [{"index": 1, "message": {"content": "Ho"}}, TEXT]}, ["Hi", Finish("stop")]),
        *[({"choices": [TEXT], **fields}, ["Hi", own(**fields), Finish("stop")]) for fields in SOURCES],
        ({"choices": [{"message": {"content": "Hi"}}]}, ["Hi"]),
        ({"choices": [{"message": {"content": "Hi", "refusal": "no"}}]}, ["Hi", Refusal("no")]),
    ],
)
def test_a_document_has_these_items(fields: dict[str, Any], items: list[Item]) -> None:
    assert document(**fields) == items


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ([{"message": {}}], TruncatedError, "the reply has neither content nor finish_reason$"),
        ([{"message": {"tool_calls": [CUT]}}], TruncatedError, "the reply has no finish_reason, and was cut inside a"),
    ],
)
def test_a_document_that_has_no_end_is_an_error(choices: Any, error: type[AcytooError], message: str) -> None:
    with pytest.raises(error, match=message):
        document(choices=choices)
    with pytest.raises(ProtocolError, match="it has no choices"):
        read(b'{"choices":[]}', "application/json")


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([calling({"index": 0, **CUT}), "[DONE]"], r"^the stream ended with \[DONE\] inside a tool call, "),
        ([calling({"index": 0, **CUT}), choice({}, "tool_calls")], "inside the arguments for 'f'"),
        ([choice({"role": "assistant"}), "[DONE]"], r"^the stream ended without finish_reason or \[DONE\] "),
    ],
)
def test_a_stream_that_has_no_end_is_an_error(chunks: list[Any], message: str) -> None:
    with pytest.raises(TruncatedError, match=message):
        read(events(*chunks))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [({"images": [{}]}, "image"), ({"audio": {"id": "a"}}, "audio"), ({"annotations": [{}]}, ""), ({"images": []}, "")],
)
def test_an_image_and_a_sound_are_replies_without_text(fields: Any, kind: str) -> None:
    assert DIALECT.kind_of_part(fields) == kind


@pytest.mark.parametrize(("n", "replies"), [(None, 1), (0, 1), (1, 1), (3, 3), ("3", 3), ("x", 1), (-2, 1)])
def test_a_request_for_several_replies_has_their_number(n: Any, replies: int) -> None:
    assert DIALECT.replies_in({"n": n}) == replies
    assert DIALECT.replies_in({}) == 1


def test_sources_after_the_end_that_are_more_than_before_are_a_second_part() -> None:
    chunks = [
        choice({"content": "Hi"}) | {"citations": ["u"]},
        STOP,
        {"choices": [], "citations": ["u", "v"]},
        "[DONE]",
    ]
    found = [item.fields for item in read(events(*chunks)) if isinstance(item, OpaquePart)]
    assert found == [{"citations": ["u"]}, {"citations": ["u", "v"]}]


CUMULATIVE = OpenAI(Variations(cumulative_texts=True))


def test_pieces_of_a_call_may_each_have_all_its_arguments_so_far() -> None:
    pieces = [
        {"index": 0, "id": "a", "function": {"name": name, "arguments": arguments}}
        for name, arguments in (("fo", ""), ("foo", ""), ("foo", '{"x"'), ("foo", '{"x":1}'), ("foo", '{"x":1}'))
    ]
    reader = CUMULATIVE.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    items = reader.feed(events(*map(calling, pieces), choice({}, "tool_calls"), "[DONE]")) + reader.flush()
    reader.close()
    [call] = collect(items).tool_calls
    assert (call["id"], call["function"]) == ("a", {"name": "foo", "arguments": '{"x":1}'})
