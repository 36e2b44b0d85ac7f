"""Calls of custom tools, which take text instead of JSON: received, sent back, and in requests to a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.dialects import by_name
from acytoo.types import Finish, Reply, collect
from tests.dialects.openai.helpers import CALLED, HELLO, calling, choice, encode, events, read
from tests.dialects.openai_responses.helpers import make_request

RUN = {"id": "a", "type": "custom", "custom": {"name": "run", "input": "ls"}}


def piece(text: str, **fields: Any) -> dict[str, Any]:
    return {"index": 0, "custom": {"input": text, **fields}}


def document(*calls: Any) -> bytes:
    message = {"role": "assistant", "content": None, "tool_calls": [*calls]}
    return json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()


BEGIN = {"id": "a", "type": "custom", **piece("", name="run")}
BODIES: dict[str, bytes] = {
    "pieces": events(calling(BEGIN), calling(piece("l")), calling(piece("s")), CALLED, "[DONE]"),
    "pieces without a finish reason": events(calling(BEGIN), calling(piece("l")), calling(piece("s")), "[DONE]"),
    "at once": events(calling({"index": 0, **RUN}), CALLED),
    "repeated in the last delta": events(
        *[calling(BEGIN), calling(piece("l")), calling(piece("s"))],
        choice({"tool_calls": [{"index": 0, **RUN}]}, "tool_calls"),
    ),
    "repeated as a message": events(
        *[calling(BEGIN), calling(piece("ls"))],
        {"choices": [{"message": {"content": None, "tool_calls": [RUN]}, "finish_reason": "tool_calls"}]},
    ),
    "a document": document(RUN),
}


def reply(body: bytes) -> Reply:
    return collect(read(body, "application/json" if body[:1] == b"{" else "text/event-stream"))


@pytest.mark.parametrize("name", BODIES)
def test_a_call_of_a_custom_tool_is_a_call_with_the_argument_input(name: str) -> None:
    (found,) = reply(BODIES[name]).tool_calls
    assert (found["id"], found["function"]["name"]) == ("a", "run")
    assert json.loads(found["function"]["arguments"]) == {"input": "ls"}


def test_pieces_of_two_custom_calls_may_alternate() -> None:
    other = {"id": "b", "type": "custom", "index": 1, "custom": {"name": "run", "input": "p"}}
    body = events(
        *[calling(BEGIN), calling(other), calling(piece("l"))],
        *[calling({"index": 1, "custom": {"input": "wd"}}), calling(piece("s")), CALLED, "[DONE]"],
    )
    found = [json.loads(call["function"]["arguments"]) for call in reply(body).tool_calls]
    assert found == [{"input": "ls"}, {"input": "pwd"}]


def test_no_input_is_an_empty_text() -> None:
    (found,) = reply(document({"id": "a", "type": "custom", "custom": {"name": "run", "input": None}})).tool_calls
    assert json.loads(found["function"]["arguments"]) == {"input": ""}


def test_two_custom_calls_and_a_function_call_are_three_calls() -> None:
    function = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    second = {"id": "b", "type": "custom", "custom": {"name": "run", "input": "pwd"}}
    pieces = [{"index": index, **call} for index, call in enumerate((RUN, second, function))]
    for body in (document(RUN, second, function), events(*[calling(each) for each in pieces], CALLED)):
        found = reply(body)
        assert [(c["id"], c["function"]["arguments"]) for c in found.tool_calls] == [
            ("a", '{"input":"ls"}'),
            ("b", '{"input":"pwd"}'),
            ("c", "{}"),
        ]


@pytest.mark.parametrize("name", BODIES)
def test_it_goes_back_as_it_was_and_to_another_api_as_a_function_call(name: str) -> None:
    message = reply(BODIES[name]).message
    result = {"role": "tool", "tool_call_id": "a", "content": "ok"}
    request = make_request(HELLO[0], message, result)
    assert encode(request)["messages"][1]["tool_calls"] == [RUN]
    function = {"name": "run", "arguments": '{"input":"ls"}'}
    message["turn_parts"] = []
    assert encode(request)["messages"][1]["tool_calls"] == [{"id": "a", "type": "function", "function": function}]


def test_a_server_writes_calls_of_functions_only_if_the_request_has_no_custom_tool() -> None:
    items = [*read(BODIES["pieces"])]
    openai = by_name("openai")
    writer = openai.writer(make_request())
    for body in (writer.write(items) + writer.end(), openai.write_reply(collect(items), make_request())):
        assert b'"custom"' not in body
        found = reply(body)
        assert found.tool_calls[0]["function"] == {"name": "run", "arguments": '{"input":"ls"}'}
        assert found.finish == Finish("tool_calls")
