"""The server remembers the items of its Responses, and resolves what a client sends in their place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.openai_responses.memory import _MIN_ID, ResponsesMemory
from acytoo.http import ServerRequest
from acytoo.testing import reply
from acytoo.types import Finish, Item, Reasoning, Start, ToolCall
from tests.server.live_server import LiveServer, call, live_server, request

HELLO = {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
THOUGHT: list[Item] = [
    Start("resp_0123456789abcdef01234567", "m-1", 7),
    Reasoning("Hm."),
    "It is",
    ToolCall(0, "call_1", "weather", '{"city":"Paris"}'),
    Finish("tool_calls"),
]

BACKENDS = [dialects.OpenAI(), dialects.Anthropic(), dialects.OpenAIResponses()]
over_every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
streamed_or_not = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "complete"])


@asynccontextmanager
async def serving(backend: Dialect, **settings: Any) -> AsyncIterator[LiveServer]:
    async with live_server(reply(*THOUGHT), dialect=backend, **settings) as server:
        yield server


async def send(server: LiveServer, *, key: str = "", stream: bool = False, **fields: Any) -> tuple[int, Any]:
    """Return the status and the response, which is the last event of a stream."""
    body = {"model": "m-1", "stream": stream, **fields}
    headers = f"authorization: Bearer {key}\r\n" if key else ""
    response = await call(server.port, request("openai-responses", headers=headers, body=json.dumps(body).encode()))
    text = response.body.decode()
    if not text.startswith("{"):
        lines = [line for line in text.splitlines() if line.startswith("data: ")]
        return response.status, json.loads(lines[-1].removeprefix("data: "))["response"]
    return response.status, json.loads(text)


def references(response: Any) -> list[Any]:
    """Return what the AI SDK sends of a reply: references to its items, and its calls themselves."""
    return [
        item if item["type"] == "function_call" else {"type": "item_reference", "id": item["id"]}
        for item in response["output"]
    ]


def assert_knows_the_conversation(server: LiveServer) -> None:
    """Assert that the second request that the backend received has every turn."""
    sent = server.fake.requests[1].decode(server.fake.dialect)
    assert [message["role"] for message in sent.messages] == ["user", "assistant", "tool"]
    assert b"Hello" in server.fake.requests[1].body
    assert b"It is" in server.fake.requests[1].body
    assert [call["function"]["name"] for call in sent.messages[1]["tool_calls"]] == ["weather"]
    assert sent.messages[2]["content"] == "sunny"


@over_every_backend
@streamed_or_not
async def test_references_to_items_of_an_earlier_reply_are_resolved(backend: Dialect, stream: bool) -> None:
    async with serving(backend) as server:
        _, first = await send(server, input=[HELLO], stream=stream)
        assert {item["type"] for item in first["output"]} >= {"message", "function_call"}
        status, _ = await send(server, input=[HELLO, *references(first), RESULT], stream=stream)
        assert status == 200
        assert b"item_reference" not in server.fake.requests[1].body
        assert_knows_the_conversation(server)


@pytest.mark.parametrize("backend", BACKENDS[:2], ids=lambda backend: backend.name)
@streamed_or_not
async def test_the_turns_before_a_previous_response_are_sent_to_another_api(backend: Dialect, stream: bool) -> None:
    async with serving(backend) as server:
        _, first = await send(server, input="Hello", stream=stream)
        status, _ = await send(server, previous_response_id=first["id"], input=[RESULT], stream=stream)
        assert status == 200
        assert_knows_the_conversation(server)


async def test_a_previous_response_is_left_to_a_backend_of_the_same_api() -> None:
    async with serving(dialects.OpenAIResponses()) as server:
        _, first = await send(server, input=[HELLO])
        await send(server, previous_response_id=first["id"], input=[RESULT])
        assert server.fake.requests[1].json["previous_response_id"] == first["id"]


async def test_what_was_not_to_be_stored_is_not_known() -> None:
    async with serving(dialects.OpenAI()) as server:
        _, first = await send(server, input=[HELLO], store=False)
        for fields in ({"input": references(first)}, {"previous_response_id": first["id"], "input": "x"}):
            status, error = await send(server, **fields)
            assert status == 400
            assert "send the items themselves: store: false" in error["error"]["message"]
        assert len(server.fake.requests) == 1


async def test_an_unknown_reference_is_an_error_also_where_unsupported_things_are_dropped() -> None:
    async with serving(dialects.OpenAI(), drop_unsupported=True) as server:
        for reference in ("msg_0123456789abcdef01234567", 5, None):
            status, error = await send(server, input=[HELLO, {"type": "item_reference", "id": reference}])
            assert status == 400
            assert "send the items themselves: store: false" in error["error"]["message"]
        assert server.fake.requests == []


async def test_an_unknown_reference_is_left_to_a_backend_of_the_same_api() -> None:
    async with serving(dialects.OpenAIResponses()) as server:
        items = [HELLO, {"type": "item_reference", "id": "msg_of_an_earlier_server"}]
        assert (await send(server, input=items))[0] == 200
        assert server.fake.requests[0].json["input"] == items


async def test_an_unsupported_option_names_the_flag_of_the_server() -> None:
    async with serving(dialects.OpenAIResponses()) as server:
        body = {"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "seed": 7}
        response = await call(server.port, request("openai", body=json.dumps(body).encode()))
        assert response.status == 400
        assert b"--drop-unsupported" in response.body


# The memory alone.


def incoming(key: str = "", **fields: Any) -> ServerRequest:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return ServerRequest("/v1/responses", headers, json.dumps({"input": "Hello", **fields}).encode())


def message(id_: str, text: str = "Hi") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": id_, "role": "assistant", "status": "completed", "content": content}


def give_out(memory: ResponsesMemory, *items: Any, key: str = "", response_id: str = "resp_" + "1" * 24) -> None:
    response = {"id": response_id, "status": "completed", "output": list(items)}
    memory.turn(incoming(key)).watch(json.dumps(response).encode())


def resolve(memory: ResponsesMemory, id_: str, key: str = "") -> Any:
    turn = memory.turn(incoming(key, input=[{"type": "item_reference", "id": id_}]))
    return json.loads(turn.request.body)["input"][0]


ID = "msg_" + "a" * 24


def test_an_item_belongs_to_the_key_that_it_was_given_to() -> None:
    memory = ResponsesMemory()
    give_out(memory, message(ID), key="one")
    assert resolve(memory, ID, "one") == message(ID)
    for other in ("two", ""):
        assert resolve(memory, ID, other)["type"] == "item_reference"


def test_an_id_that_stands_for_two_items_stands_for_none() -> None:
    memory = ResponsesMemory()
    give_out(memory, message(ID))
    give_out(memory, message(ID))
    assert resolve(memory, ID) == message(ID)
    for text in ("Other", "Hi", "Third"):
        give_out(memory, message(ID, text))
        assert resolve(memory, ID)["type"] == "item_reference"


def test_an_id_that_could_be_guessed_is_not_kept() -> None:
    memory = ResponsesMemory()
    give_out(memory, message("msg_473"))
    assert resolve(memory, "msg_473")["type"] == "item_reference"


def test_the_oldest_items_make_room() -> None:
    memory = ResponsesMemory(max_size=2000)
    ids = [f"msg_{number:024}" for number in range(20)]
    for id_ in ids:
        give_out(memory, message(id_, "x" * 200))
    known = [id_ for id_ in ids if resolve(memory, id_)["type"] == "message"]
    assert known == ids[-len(known) :]
    assert 3 <= len(known) <= 7


def test_the_history_of_several_responses_is_in_their_order() -> None:
    memory = ResponsesMemory()
    before: dict[str, Any] = {}
    for number in range(3):
        turn = memory.turn(incoming("", input=f"question {number}", **before))
        response_id = f"resp_{number:024}"
        output = [message(f"msg_{number:024}", f"answer {number}")]
        turn.watch(json.dumps({"id": response_id, "status": "completed", "output": output}).encode())
        before = {"previous_response_id": response_id}
    turn = memory.turn(incoming("", input="last", **before))
    asked = dialects.OpenAIResponses().decode_request(turn.request).request
    expected = [f"{what} {number}" for number in range(3) for what in ("question", "answer")]
    assert [each["content"] for each in turn.with_history(asked).messages] == [*expected, "last"]


def test_items_are_known_although_the_last_event_has_none() -> None:
    memory = ResponsesMemory()
    turn = memory.turn(incoming())
    events = [
        {"type": "response.output_item.done", "item": message(ID)},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}},
    ]
    for event in events:
        data = f"event: {event['type']}\r\ndata: {json.dumps(event)}\r\n\r\n".encode()
        assert turn.watch(data) == data
    assert resolve(memory, ID) == message(ID)


@pytest.mark.parametrize("item", [None, 5, "x", [], {}, {"id": 5}, {"id": None}])
def test_an_item_without_an_id_is_passed_on_and_not_remembered(item: object) -> None:
    memory = ResponsesMemory()
    turn = memory.turn(incoming())
    events = [
        {"type": "response.output_item.done", "item": item},
        {"type": "response.output_item.done", "item": message(ID)},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}},
    ]
    for event in events:
        data = f"data: {json.dumps(event)}\n\n".encode()
        assert turn.watch(data) == data
    assert resolve(memory, ID) == message(ID)


def test_items_of_a_reply_that_was_cut_are_not_known() -> None:
    memory = ResponsesMemory()
    event = {"type": "response.output_item.done", "item": message(ID)}
    memory.turn(incoming()).watch(f"data: {json.dumps(event)}\n\n".encode())
    assert resolve(memory, ID)["type"] == "item_reference"


@pytest.mark.parametrize(
    "body", [b"item_reference", b'["item_reference"]', b'{"input": "item_reference"}', b'{"input": ["item_reference"]}']
)
def test_a_malformed_request_is_left_as_it_is(body: bytes) -> None:
    turn = ResponsesMemory().turn(ServerRequest("/v1/responses", {}, body))
    assert turn.request.body.replace(b" ", b"") == body.replace(b" ", b"")
    assert turn.watch(b'{"id": "x", "status": "completed"}')


@pytest.mark.parametrize(
    ("fields", "status", "is_known"),
    [
        ({}, "completed", True),
        ({}, "incomplete", True),
        ({}, "failed", False),
        ({}, None, False),
        ({"store": True}, "completed", True),
        ({"store": None}, "completed", True),
        ({"store": False}, "completed", False),
    ],
)
def test_a_reply_is_remembered_if_it_is_one_and_may_be_stored(fields: Any, status: str | None, is_known: bool) -> None:
    memory = ResponsesMemory()
    response = {"id": "resp_" + "1" * 24, "status": status, "output": [message(ID)]}
    turn = memory.turn(incoming(**fields))
    data = json.dumps(response).encode()
    assert turn.watch(data) == data
    assert (resolve(memory, ID)["type"] == "message") is is_known
    after = memory.turn(incoming(previous_response_id=response["id"]))
    assert after.has_history(turn.stored_by) is True
    assert after.has_history(turn.stored_by + 1) is not is_known


def test_the_longest_id_that_is_too_short_to_be_kept_is_one_shorter() -> None:
    memory = ResponsesMemory()
    for size, kind in ((_MIN_ID - 1, "item_reference"), (_MIN_ID, "message")):
        id_ = "m" * size
        give_out(memory, message(id_))
        assert resolve(memory, id_)["type"] == kind


def test_a_history_with_a_gap_or_a_circle_is_left_to_the_backend() -> None:
    memory = ResponsesMemory()
    ids = [f"resp_{number:024}" for number in range(3)]
    for id_, previous in zip(ids, (ids[1], ids[0], "resp_" + "9" * 24), strict=True):
        turn = memory.turn(incoming(previous_response_id=previous))
        turn.watch(json.dumps({"id": id_, "status": "completed", "output": []}).encode())
    for previous in ids:
        turn = memory.turn(incoming(previous_response_id=previous))
        asked = dialects.OpenAIResponses().decode_request(turn.request).request
        assert turn.with_history(asked) is asked
    turn = memory.turn(incoming())
    asked = dialects.OpenAIResponses().decode_request(turn.request).request
    assert turn.with_history(asked) is asked


def test_a_reply_gets_an_id_of_its_own() -> None:
    turn = ResponsesMemory().turn(incoming())
    assert turn.without_id([Start("resp_1", "m", 7), "Hi"]) == [Start("", "m", 7), "Hi"]
    items: list[Item] = ["Hi", Finish("stop")]
    assert turn.without_id(items) is items


def test_of_a_stream_only_the_records_with_an_end_are_looked_at() -> None:
    memory = ResponsesMemory()
    turn = memory.turn(incoming())
    last = {"id": "resp_" + "1" * 24, "status": "incomplete", "output": [message(ID)]}
    for event in (
        {"type": "response.output_text.delta", "delta": "Hi", "response": last},
        {"type": "response.incomplete", "response": last},
    ):
        assert resolve(memory, ID)["type"] == "item_reference"
        turn.watch(f"data: {json.dumps(event)}\n\n".encode())
    assert resolve(memory, ID) == message(ID)
