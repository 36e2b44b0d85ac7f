"""Tool calls of every API can be made: each has a name, an id of its own, and arguments that are an object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import ProtocolError
from acytoo.types import collect
from tests.dialects.strategies import read_items

X, Y = '{"x": 1}', '{"y": 2}'


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join([b"data: " + json.dumps(event).encode() + b"\n\n" for event in events])


def anthropic(*calls: tuple[dict[str, Any], list[str]]) -> bytes:
    """Return a stream with a block for each call: its own fields, and the pieces of its input."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "msg_1", "model": "m"}}]
    for index, (block, pieces) in enumerate(calls):
        start = {"type": "tool_use", "input": {}, **block}
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        for piece in pieces:
            delta = {"type": "input_json_delta", "partial_json": piece}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    return sse(*events, {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"})


def gemini(*calls: dict[str, Any]) -> bytes:
    parts = [{"functionCall": call} for call in calls]
    return sse({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "responseId": "r"})


def ollama(*calls: dict[str, Any]) -> bytes:
    line = {"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": [*calls]}, "done": False}
    return json.dumps(line).encode() + b'\n{"model": "m", "done": true, "done_reason": "stop"}\n'


def responses(*events: dict[str, Any], output: Any = ()) -> bytes:
    done = {"id": "resp_1", "model": "m", "status": "completed", "output": [*output]}
    return sse(*events, {"type": "response.completed", "response": done})


def item(call_id: str, arguments: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{call_id}",
        "call_id": call_id,
        "name": "f",
        "arguments": arguments,
    } | fields


def added(index: int, call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": call}


def delta(index: int, text: str) -> dict[str, Any]:
    return {"type": "response.function_call_arguments.delta", "output_index": index, "delta": text}


def done(index: int, call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": call}


TWICE = {
    "anthropic": anthropic(({"id": "a", "name": "f"}, [X]), ({"id": "a", "name": "f"}, [Y])),
    "gemini": gemini({"id": "a", "name": "f", "args": {"x": 1}}, {"id": "a", "name": "f", "args": {"y": 2}}),
    "ollama": ollama(
        {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "a", "function": {"name": "f", "arguments": {"y": 2}}},
    ),
    "openai-responses": responses(
        added(0, item("a")), done(0, item("a", X)), added(1, item("a")), done(1, item("a", Y)),
        output=[item("a", X), item("a", Y)],
    ),
}  # fmt: skip
"""Two calls to which the server gave one id."""

UNNAMED = {
    "anthropic": anthropic(({"id": "a"}, [X])),
    "gemini": gemini({"id": "a", "args": {"x": 1}}),
    "ollama": ollama({"id": "a", "function": {"arguments": {"x": 1}}}),
    "openai-responses": responses(added(0, item("a", name=None)), done(0, item("a", X, name=None))),
}

WITHOUT_ID = {
    "anthropic": anthropic(({"name": "f"}, [X])),
    "gemini": gemini({"name": "f", "args": {"x": 1}}),
    "ollama": ollama({"function": {"name": "f", "arguments": {"x": 1}}}),
    "openai-responses": responses(done(0, item("", X, id=None))),
}


def calls_in(dialect: Dialect, body: bytes) -> list[tuple[str, str, object]]:
    """Return the id, the name and the decoded arguments of each call, and assert that any split gives the same."""
    found = []
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        calls = collect(read_items(dialect, chunks)).tool_calls
        found.append([(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls])
    assert [call[1:] for call in found[0]] == [call[1:] for call in found[1]]
    return found[0]


@pytest.mark.parametrize("name", TWICE)
def test_two_calls_with_one_id_are_two_calls_with_two_ids(name: str) -> None:
    first, second = calls_in(dialects.by_name(name), TWICE[name])
    assert (first[1:], second[1:]) == (("f", {"x": 1}), ("f", {"y": 2}))
    assert first[0] == "a"
    assert second[0] not in ("", "a")


@pytest.mark.parametrize("name", WITHOUT_ID)
def test_a_call_without_an_id_gets_one(name: str) -> None:
    ((call_id, *rest),) = calls_in(dialects.by_name(name), WITHOUT_ID[name])
    assert call_id
    assert rest == ["f", {"x": 1}]


@pytest.mark.parametrize("name", UNNAMED)
def test_arguments_without_a_name_are_an_error(name: str) -> None:
    with pytest.raises(ProtocolError, match="without a name"):
        read_items(dialects.by_name(name), [UNNAMED[name]])


@pytest.mark.parametrize("pieces", [["{}", X], ["{}", '{"x"', ": 1}"], ["", "{}", X, X]])
def test_an_empty_object_before_the_arguments_is_not_a_part_of_them(pieces: list[str]) -> None:
    assert calls_in(dialects.Anthropic(), anthropic(({"id": "a", "name": "f"}, pieces))) == [("a", "f", {"x": 1})]


EARLY = [delta(0, '{"x"'), added(0, item("a")), delta(0, ": 1}"), done(0, item("a", X))]


@pytest.mark.parametrize("events", [EARLY, [EARLY[0], EARLY[2], EARLY[1]], [EARLY[0], EARLY[2], EARLY[3]]])
def test_arguments_before_their_item_belong_to_it(events: list[dict[str, Any]]) -> None:
    assert calls_in(dialects.OpenAIResponses(), responses(*events, output=[item("a", X)])) == [("a", "f", {"x": 1})]


def test_a_call_that_has_another_id_in_the_last_event_is_still_one_call() -> None:
    body = responses(added(0, item("a")), delta(0, X), done(0, item("a", X)), output=[item("b", X)])
    assert calls_in(dialects.OpenAIResponses(), body) == [("a", "f", {"x": 1})]


TWICE_ENCODED = json.dumps(X)
QUOTED = {
    "openai": sse(
        *[
            {"choices": [{"delta": {"tool_calls": [{"index": 0, **piece}]}, "finish_reason": None}]}
            for piece in (
                {"id": "a", "function": {"name": "f", "arguments": TWICE_ENCODED[:4]}},
                {"function": {"arguments": TWICE_ENCODED[4:]}},
            )
        ],
        {"choices": [{"delta": {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": Y}}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ),
    "anthropic": anthropic(
        ({"id": "a", "name": "f"}, [TWICE_ENCODED[:4], TWICE_ENCODED[4:]]), ({"id": "b", "name": "g"}, [Y])
    ),
    "gemini": gemini({"id": "a", "name": "f", "args": TWICE_ENCODED}, {"id": "b", "name": "g", "args": {"y": 2}}),
    "ollama": ollama(
        {"id": "a", "function": {"name": "f", "arguments": TWICE_ENCODED}},
        {"id": "b", "function": {"name": "g", "arguments": {"y": 2}}},
    ),
    "openai-responses": responses(
        added(0, item("a")), delta(0, TWICE_ENCODED[:4]), delta(0, TWICE_ENCODED[4:]),
        done(0, item("a", TWICE_ENCODED)), done(1, item("b", Y, name="g")),
        output=[item("a", TWICE_ENCODED), item("b", Y, name="g")],
    ),
}  # fmt: skip
"""Arguments that were encoded twice: vllm-project/vllm pull request 54964, livekit/agents pull request 5411."""


@pytest.mark.parametrize("name", QUOTED)
def test_arguments_that_were_encoded_twice_are_an_object(name: str) -> None:
    assert calls_in(dialects.by_name(name), QUOTED[name]) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]


def test_arguments_that_are_a_text_stay_one() -> None:
    assert calls_in(dialects.Anthropic(), anthropic(({"id": "a", "name": "f"}, ['"x', '"'])))[0][2] == "x"


def chat(*pieces: str, reason: str | None = "tool_calls") -> bytes:
    """Return a stream with one call, whose arguments arrive in these pieces."""
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": pieces[0]}}
    calls = [first, *[{"index": 0, "function": {"arguments": piece}} for piece in pieces[1:]]]
    end = sse({"choices": [{"delta": {}, "finish_reason": reason}]}) if reason else b"data: [DONE]\n\n"
    return sse(*[{"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": None}]} for call in calls]) + end


CALL = {"id": "a", "function": {"name": "f", "arguments": X + Y}}
JOINED = {
    "openai": chat(X + Y),
    "openai, the second one in pieces": chat(X, Y[:4], Y[4:]),
    "openai, both in one piece": chat(X[:4], X[4:] + Y[:4], Y[4:]),
    "openai, after a blank": chat(X, "\n" + Y),
    "openai, the second one is cut": chat(X + Y[:4], reason="length"),
    "openai, without a finish reason": chat(X + Y, reason=None),
    "openai, equal": chat(X + X),
    "openai, document": json.dumps(
        {"choices": [{"message": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}]}
    ).encode(),
    "anthropic": anthropic(({"id": "a", "name": "f"}, [X[:4], X[4:] + Y[:4], Y[4:]])),
    "gemini": gemini({"id": "a", "name": "f", "args": X + Y}),
    "ollama": ollama(CALL),
    "openai-responses": responses(added(0, item("a")), delta(0, X + Y), done(0, item("a", X + Y))),
    "openai-responses, only at the end": responses(output=[item("a", X + Y)]),
}
"""Two calls whose arguments arrive as those of one."""


@pytest.mark.parametrize("name", JOINED)
def test_the_arguments_of_two_calls_are_never_those_of_one(name: str) -> None:
    with pytest.raises(ProtocolError, match="two different sets of arguments for one call of 'f'"):
        read_items(dialects.by_name(name.partition(",")[0]), [JOINED[name]])


@pytest.mark.parametrize("arguments", [X + "}", "[1]" + X, X + "[1]", '{"x": "\\ud800"}', '{"x": {}{}}', "[" * 9999])
def test_arguments_that_are_broken_in_another_way_are_the_models(arguments: str) -> None:
    for name, body in (
        ("openai", chat(arguments)),
        ("anthropic", anthropic(({"id": "a", "name": "f"}, [arguments]))),
        ("openai-responses", responses(added(0, item("a")), done(0, item("a", arguments)))),
    ):
        (call,) = collect(read_items(dialects.by_name(name), [body])).tool_calls
        assert call["function"]["arguments"] == arguments


REPEATED_FUNCTIONS: list[tuple[Dialect, bytes]] = [
    (
        dialects.OpenAI(),
        sse(
            *[
                {
                    "choices": [
                        {
                            "delta": {
                                "tool_calls": [{"index": i, "id": call_id, "function": {"name": "f", "arguments": X}}]
                            },
                            "finish_reason": end,
                        }
                    ]
                }
                for i, (call_id, end) in enumerate((("a", None), ("b", "tool_calls")))
            ]
        ),
    ),
    (
        dialects.Gemini(),
        sse(
            *[
                {
                    "candidates": [
                        {
                            "content": {"parts": [{"functionCall": {"id": call_id, "name": "f", "args": {"x": 1}}}]},
                            "finishReason": end,
                        }
                    ]
                }
                for call_id, end in (("a", None), ("b", "STOP"))
            ]
        ),
    ),
    (
        dialects.Ollama(),
        b"".join(
            [
                json.dumps(
                    {
                        "message": {"tool_calls": [{"id": call_id, "function": {"name": "f", "arguments": {"x": 1}}}]},
                        "done": done,
                    }
                ).encode()
                + b"\n"
                for call_id, done in (("a", False), ("b", True))
            ]
        ),
    ),
]


@pytest.mark.parametrize(("dialect", "body"), REPEATED_FUNCTIONS, ids=["openai", "gemini", "ollama"])
def test_a_call_in_the_last_record_that_has_an_id_of_its_own_is_another_call(dialect: Dialect, body: bytes) -> None:
    assert [call["id"] for call in collect(read_items(dialect, [body])).tool_calls] == ["a", "b"]
