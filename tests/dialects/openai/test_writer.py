"""OpenAI's writer: items to replies and errors, and back through the reader."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects import OpenAI
from acytoo.dialects.base import Dialect
from acytoo.dialects.openai import OpenAICompletions
from acytoo.errors import ServerError, TimedOutError
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    Usage,
    collect,
)
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
        "system_fingerprint": None,
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


def test_a_completion_is_written_as_texts() -> None:
    endpoint = OpenAICompletions()
    items: list[Item] = [
        Start("c1", "m", 7),
        "He",
        Reasoning("hm"),
        "llo",
        Refusal("no"),
        Finish("length"),
        Usage(3, 2),
    ]
    writer = endpoint.writer(Request(HELLO, "m", extra={"stream_options": {"include_usage": True}}))
    events = (writer.write(items) + writer.end()).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    *chunks, usage = [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events[:-2]]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["He", "llo", "no", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "length"]
    assert {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        ("c1", "text_completion", 7, "m")
    }
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 5)
    document = msgspec.json.decode(endpoint.write_reply(collect(items[:4] + items[5:]), Request(HELLO, "m")))
    assert document["choices"] == [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert document["object"] == "text_completion"


TOKENS: list[Any] = [
    {"token": "He", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "He", "logprob": -0.5}]},
    {"token": "llo", "logprob": -1.5, "bytes": None, "top_logprobs": []},
    {"token": "!", "logprob": -2.5},
]


def test_the_logprobs_of_a_completion_are_in_lists_beside_its_text() -> None:
    endpoint = OpenAICompletions()
    items: list[Item] = ["Hello", Logprobs(TOKENS[:2]), "!", Logprobs(TOKENS[2:]), Finish("stop")]
    writer = endpoint.writer(Request(HELLO, "m"))
    events = (writer.write(items) + writer.end()).split(b"\n\n")[:-2]
    choices = [msgspec.json.decode(event.removeprefix(b"data: "))["choices"][0] for event in events]
    lists = {"tokens": ["He", "llo"], "token_logprobs": [-0.5, -1.5], "top_logprobs": [{"He": -0.5}, {}]}
    assert [choice["text"] for choice in choices] == ["Hello", "!", ""]
    assert choices[0]["logprobs"] == {**lists, "text_offset": [0, 2]}
    assert (choices[1]["logprobs"]["text_offset"], choices[2]["logprobs"]) == ([5], None)
    (choice,) = msgspec.json.decode(endpoint.write_reply(collect(items), Request(HELLO, "m")))["choices"]
    assert choice["logprobs"]["tokens"] == ["He", "llo", "!"]
    assert choice["logprobs"]["text_offset"] == [0, 2, 5]


def test_log_probabilities_without_a_text_are_not_lost_in_a_completion() -> None:
    writer = OpenAICompletions().writer(Request(HELLO, "m"))
    written = writer.write(["He"]) + writer.write([Logprobs(TOKENS[:1])])
    choices = [msgspec.json.decode(event[6:])["choices"][0] for event in written.split(b"\n\n")[:-1]]
    assert [(choice["text"], choice["logprobs"] is None) for choice in choices] == [("He", True), ("", False)]


@pytest.mark.parametrize("items", [["He", "llo", Finish()], [Start("c1"), "Hello"], []])
def test_an_echo_is_the_prompt_before_the_text(items: list[Item]) -> None:
    endpoint, request = OpenAICompletions(), Request(HELLO, "m", extra={"echo": True}, extra_for="openai")
    writer = endpoint.writer(request)
    written = b"".join([writer.write([item]) for item in items]) + writer.end()
    events = [msgspec.json.decode(event[6:]) for event in written.split(b"\n\n")[:-2]]
    text = "".join([item for item in items if isinstance(item, str)])
    assert "".join([event["choices"][0]["text"] for event in events]) == "Hello" + text
    assert len({event["id"] for event in events}) == 1
    (choice,) = msgspec.json.decode(endpoint.write_reply(collect(items), request))["choices"]
    assert choice["text"] == "Hello" + text


def test_a_completion_without_a_finish_reason_ends_with_stop() -> None:
    writer = OpenAICompletions().writer(Request(HELLO, "m"))
    last = (writer.write(["Hi"]) + writer.end()).split(b"\n\n")[-3]
    assert msgspec.json.decode(last.removeprefix(b"data: "))["choices"][0]["finish_reason"] == "stop"


def test_an_empty_thought_and_a_part_of_another_api_are_not_written() -> None:
    writer = DIALECT.writer(Request(HELLO, "m"))
    before = writer.write(["Hi"])
    assert before
    assert writer.write([Reasoning(""), OpaquePart("gemini", {"a": 1}), Usage(1, 2)]) == b""


def test_a_call_of_a_custom_tool_without_an_id_gets_one() -> None:
    tools: list[Any] = [{"type": "custom", "custom": {"name": "sh"}}]
    writer = DIALECT.writer(decode({"messages": HELLO, "tools": tools}))
    body = writer.write([ToolCall(0, "", "sh", '{"input":"ls"}'), Finish("tool_calls")]) + writer.end()
    [call] = collect(read(body)).tool_calls
    assert call["id"].startswith("call_")
    assert len(call["id"]) > 10


@pytest.mark.parametrize("finish", [[], [Finish("stop")], [Finish("tool_calls")]], ids=["none", "stop", "tool_calls"])
def test_a_reply_with_calls_ends_with_the_reason_on_which_clients_make_them(finish: list[Item]) -> None:
    items: list[Item] = [ToolCall(0, "a", "f", "{}"), *finish]
    request = Request(HELLO, "m")
    writer = DIALECT.writer(request)
    assert b'"finish_reason":"tool_calls"' in writer.write(items) + writer.end()
    document = msgspec.json.decode(DIALECT.write_reply(collect(items), request))
    assert document["choices"][0]["finish_reason"] == "tool_calls"


def documents(items: list[Item], request: Request | None = None) -> list[Any]:
    """Return the chunks of a stream, written in one batch and item by item, which must be the same."""
    writer, in_parts = DIALECT.writer(request or Request(HELLO, "m")), DIALECT.writer(request or Request(HELLO, "m"))
    at_once = writer.write(items) + writer.end()
    one_by_one = b"".join([in_parts.write([item]) for item in items]) + in_parts.end()
    assert one_by_one.count(b"\n\n") == at_once.count(b"\n\n")
    *events, done, rest = at_once.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events]


ROLE = {"role": "assistant", "content": ""}
SIGNED = {"google": {"thought_signature": "s"}}
TOKEN: Any = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}

DELTAS: dict[str, tuple[list[Item], list[Any]]] = {
    "texts": (["He", "llo"], [{"content": "He"}, {"content": "llo"}]),
    "a thought": ([Reasoning("hm"), "Hi"], [{"reasoning_content": "hm"}, {"content": "Hi"}]),
    "a refusal": ([Refusal("no")], [{"refusal": "no"}]),
    "calls": (
        [
            ToolCall(0, "a", "f", '{"x":'),
            ToolCall(1, "b", "g", "{}", "s", "gemini"),
            ToolCall(0, arguments="1}"),
            ToolCall(0, signature="s", source="gemini"),
        ],
        [
            {
                "tool_calls": [
                    {"index": 0, "function": {"arguments": '{"x":', "name": "f"}, "id": "a", "type": "function"}
                ]
            },
            {
                "tool_calls": [
                    {
                        "index": 1,
                        "function": {"arguments": "{}", "name": "g"},
                        "id": "b",
                        "type": "function",
                        "extra_content": SIGNED,
                    }
                ]
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": ""}, "extra_content": SIGNED}]},
        ],
    ),
    "what a compatible server has": (
        [
            OpaquePart("openai", {"reasoning_field": "reasoning"}),
            Reasoning("hm"),
            OpaquePart("openai", {"annotations": [{"a": 1}], "unknown": 1}),
            OpaquePart("openai", {"unknown": 1}),
        ],
        [{"reasoning": "hm"}, {"annotations": [{"a": 1}]}],
    ),
    "Mistral's thoughts": (
        [OpaquePart("openai", {"reasoning_field": "content"}), Reasoning("hm")],
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}],
    ),
}


@pytest.mark.parametrize("start", [[], [Start("c1", "m1", 7)]], ids=["without a start", "with a start"])
@pytest.mark.parametrize("case", DELTAS)
def test_every_chunk_has_the_fields_of_the_documented_ones(case: str, start: list[Item]) -> None:
    items, deltas = DELTAS[case]
    before = int(time.time())
    chunks = documents([*start, *items, Finish("length")])
    created = {chunk["created"] for chunk in chunks}
    if start:
        assert created == {7}
    else:
        assert before <= min(created) == max(created) <= time.time()
    for chunk in chunks:
        assert chunk.keys() == {"id", "object", "created", "model", "choices"}
        assert chunk["object"] == "chat.completion.chunk"
        assert (chunk["id"], chunk["model"]) == (("c1", "m1") if start else (chunks[0]["id"], "m"))
        (choice,) = chunk["choices"]
        assert choice.keys() == {"index", "delta", "logprobs", "finish_reason"}
        assert (choice["index"], choice["logprobs"]) == (0, None)
    assert chunks[0]["id"].startswith("chatcmpl-" if not start else "c1")
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [ROLE, *deltas, {}]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]


def test_log_probabilities_are_in_a_chunk_of_their_own() -> None:
    _, text, logprobs, _ = documents(["Hi", Logprobs([TOKEN]), Finish()])
    assert text["choices"][0]["logprobs"] is None
    assert logprobs["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": {"content": [TOKEN], "refusal": None},
        "finish_reason": None,
    }


def test_the_last_chunk_has_the_usage_and_no_choice() -> None:
    request = decode({"messages": HELLO, "model": "m", "stream_options": {"include_usage": True}})
    last = documents(["Hi", Usage(3, 4, 1, 0, 2), Finish()], request)[-1]
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert documents(["Hi", Finish()], request)[-1]["choices"]


def test_an_error_event_has_the_status_as_its_code() -> None:
    written = DIALECT.writer(Request(HELLO, "m")).fail(TimedOutError("idle", 5))
    assert written.startswith(b'data: {"error":{')
    assert written.endswith(b"}}\n\n")
    error = msgspec.json.decode(written.removeprefix(b"data: "))["error"]
    assert error["code"] == 504
    assert "did not continue" in error["message"]


@pytest.mark.parametrize(
    ("reply", "content", "refusal"),
    [
        (Reply(""), "", None),
        (Reply("Hi"), "Hi", None),
        (Reply("", refusal="no"), None, "no"),
        (Reply("Hi", refusal="no"), "Hi", "no"),
    ],
)
def test_a_message_has_a_content_unless_it_has_something_else(reply: Reply, content: Any, refusal: Any) -> None:
    before = int(time.time())
    document = msgspec.json.decode(DIALECT.write_reply(reply, Request(HELLO, "asked")))
    assert before <= document["created"] <= time.time()
    assert document["model"] == "asked"
    assert document["id"].startswith("chatcmpl-")
    message = document["choices"][0]["message"]
    assert message == {"role": "assistant", "content": content, "refusal": refusal}


@pytest.mark.parametrize(
    ("start", "written"),
    [
        (Start("c1"), ("c1", "m", None)),
        (Start("", "m1"), (None, "m1", None)),
        (Start("", "", 7), (None, "m", 7)),
        (Start("c1", "m1", 7), ("c1", "m1", 7)),
    ],
)
@pytest.mark.parametrize("endpoint", [OpenAI(), OpenAICompletions()], ids=["chat", "completion"])
def test_what_a_start_lacks_is_made_here(endpoint: OpenAI, start: Start, written: tuple[Any, ...]) -> None:
    writer = endpoint.writer(Request(HELLO, "m"))
    before = int(time.time())
    *events, _, _ = (writer.write([start, "Hi", Finish()]) + writer.end()).split(b"\n\n")
    chunks = [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events]
    [(made_id, model, created)] = {(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks}
    assert (written[0] or made_id, written[1], written[2] or created) == (made_id, model, created)
    assert made_id.startswith(written[0] or "chatcmpl-")
    assert created == written[2] or before <= created <= time.time()


CUSTOM: list[Any] = [{"type": "custom", "custom": {"name": "sh"}}]


def custom_call(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, **fields}]}


def test_the_text_of_a_custom_call_is_written_at_the_end() -> None:
    request = decode({"messages": HELLO, "model": "m", "tools": CUSTOM})
    calls: list[Item] = [
        ToolCall(0, "a", "sh", '{"inp'),
        ToolCall(0, arguments='ut":"l'),
        ToolCall(1, "b", "f", "{}"),
        ToolCall(0, arguments='s"}'),
        ToolCall(0, signature="s", source="gemini"),
        Finish("tool_calls"),
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in documents(calls, request)]
    function = {"index": 1, "function": {"arguments": "{}", "name": "f"}, "id": "b", "type": "function"}
    assert deltas == [
        ROLE,
        custom_call(id="a", type="custom", custom={"name": "sh", "input": ""}),
        {"tool_calls": [function]},
        custom_call(extra_content=SIGNED),
        custom_call(custom={"input": "ls"}),
        {},
    ]


@pytest.mark.parametrize(
    ("signature", "fields", "expected"),
    [
        ("", {"extra_content": {"a": 1}, "x": 1}, {"extra_content": {"a": 1}, "x": 1}),
        ("s", {"extra_content": {"a": 1}, "x": 1}, {"x": 1}),
        ("s", {"extra_content": {"a": 1}}, None),
        ("", {"type": "custom", "custom": {"name": "f"}}, None),
        ("", {"type": "custom", "x": 1}, {"x": 1}),
    ],
    ids=range(5),
)
def test_a_stream_has_what_only_its_server_knows_of_a_call(signature: str, fields: Any, expected: Any) -> None:
    items: list[Item] = [
        ToolCall(0, "a", "f", "{}"),
        ToolCall(1, "b", "g", "{}", signature, "gemini" if signature else ""),
        OpaquePart("openai/host", fields, "tool_call", 1),
    ]
    _, _, _, *own, last = [chunk["choices"][0]["delta"] for chunk in documents(items)]
    assert own == ([] if expected is None else [{"tool_calls": [{"index": 1, **expected}]}])
    assert last == {}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (None, "stop"),
        (Finish("stop"), "stop"),
        (Finish("length"), "length"),
        (Finish("content_filter"), "content_filter"),
        (Finish("pause_turn"), "length"),
        (Finish("new_reason"), "stop"),
    ],
    ids=range(6),
)
def test_a_finish_reason_is_one_that_clients_know(finish: Finish | None, reason: str) -> None:
    items: list[Item] = ["Hi", *([finish] if finish is not None else [])]
    assert documents(items)[-1]["choices"][0]["finish_reason"] == reason
    document = msgspec.json.decode(DIALECT.write_reply(collect(items), Request(HELLO, "m")))
    assert document["choices"][0]["finish_reason"] == reason


CALL_ITEM = ToolCall(0, "a", "f", "{}")
BESIDE: dict[str, tuple[list[Item], dict[str, Any], dict[str, Any]]] = {
    # The items, the fields of the message, and those of the document.
    "a thought": ([Reasoning("hm"), "Hi"], {"content": "Hi", "reasoning_content": "hm"}, {}),
    "a thought in another field": (
        [OpaquePart("openai", {"reasoning_field": "thinking"}), Reasoning("hm"), "Hi"],
        {"content": "Hi", "thinking": "hm"},
        {},
    ),
    "a thought as a part": (
        [OpaquePart("openai", {"reasoning_field": "content"}), Reasoning("hm"), "Hi"],
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "Hi"},
            ]
        },
        {},
    ),
    "a thought as a part, without a text": (
        [OpaquePart("openai", {"reasoning_field": "content"}), Reasoning("hm")],
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {},
    ),
    "own fields": (
        ["Hi", OpaquePart("openai/h", {"images": [1], "audio": {"id": "x"}, "unknown": 1, "annotations": []})],
        {"content": "Hi", "images": [1], "audio": {"id": "x"}},
        {},
    ),
    "sources": (["Hi", OpaquePart("openai", {"citations": ["u"]})], {"content": "Hi"}, {"citations": ["u"]}),
    "own fields of a call": (
        [CALL_ITEM, OpaquePart("openai", {"x": 1, "type": "custom", "custom": {}}, "tool_call", 0)],
        {
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "x": 1}],
        },
        {},
    ),
    "another API": (["Hi", OpaquePart("gemini", {"images": [1]})], {"content": "Hi"}, {}),
}


@pytest.mark.parametrize(("items", "message", "beside"), BESIDE.values(), ids=BESIDE)
def test_a_document_has_what_a_compatible_server_adds(
    items: list[Item], message: dict[str, Any], beside: dict[str, Any]
) -> None:
    document = msgspec.json.decode(DIALECT.write_reply(collect([*items, Finish()]), Request(HELLO, "m")))
    assert document["choices"][0]["message"] == {"role": "assistant", "refusal": None, **message}
    assert document.keys() - {"id", "object", "created", "model", "choices", "system_fingerprint"} == beside.keys()
    assert beside.items() <= document.items()


def test_a_custom_call_in_a_document_has_its_text_and_its_signature() -> None:
    request = decode({"messages": HELLO, "model": "m", "tools": CUSTOM})
    items: list[Item] = [ToolCall(0, "a", "sh", '{"input":"ls"}', "s", "gemini"), ToolCall(1, "b", "f", "{}"), Finish()]
    document = msgspec.json.decode(DIALECT.write_reply(collect(items), request))
    assert document["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}, "extra_content": SIGNED},
        {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]
