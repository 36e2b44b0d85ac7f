"""Streams of Responses whose complete texts and calls have other identifiers than their deltas, or no deltas at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.errors import AcytooError, ProtocolError, TruncatedError
from acytoo.types import Finish, Logprobs, OpaquePart, Reply, Start, ToolCall, collect
from tests.dialects.openai_responses.helpers import (
    CREATED,
    DIALECT,
    DOCUMENT_HEAD,
    STREAM_HEAD,
    encode,
    feed,
    make_request,
    read,
    sse,
)


def delta(text: str, **place: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text, **place}


def text_done(text: str, **place: Any) -> dict[str, Any]:
    return {"type": "response.output_text.done", "text": text, **place}


def part_done(text: str, **place: Any) -> dict[str, Any]:
    return {"type": "response.content_part.done", "part": {"type": "output_text", "text": text}, **place}


def added(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def said(text: str, item_id: str = "msg_1", **fields: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": item_id, "role": "assistant", "content": [part], **fields}


def call(arguments: str = '{"sum":1}', call_id: str = "c1", **fields: Any) -> dict[str, Any]:
    item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": "pay", "arguments": arguments}
    return item | fields


def arguments(text: str, stage: str = "delta", **place: Any) -> dict[str, Any]:
    field = "delta" if stage == "delta" else "arguments"
    return {"type": f"response.function_call_arguments.{stage}", field: text, **place}


def custom(text: str, stage: str = "delta") -> dict[str, Any]:
    field = "delta" if stage == "delta" else "input"
    return {"type": f"response.custom_tool_call_input.{stage}", "output_index": 0, field: text}


def completed(*output: Any, **fields: Any) -> dict[str, Any]:
    response = {"id": "resp_1", "model": "m", "status": "completed", "output": [*output], **fields}
    return {"type": "response.completed", "response": response}


def reply(*events: dict[str, Any]) -> Reply:
    """Return the reply, and assert that any split of its bytes gives the same."""
    body = sse(CREATED, *events)
    replies = [collect(read(body, size)) for size in (0, 1)]
    assert replies[0].text == replies[1].text
    assert [found["function"] for found in replies[0].tool_calls] == [
        call["function"] for call in replies[1].tool_calls
    ]
    return replies[0]


HERE: dict[str, Any] = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
ELSEWHERE: dict[str, Any] = {"output_index": 1, "content_index": 0, "item_id": "msg_9"}

TEXTS: dict[str, list[dict[str, Any]]] = {
    # Sophomoresty/gemini-web2api pull request 57.
    "only the complete text": [text_done("Hello world", **HERE), completed(said("Hello world"))],
    "only the complete text, without identifiers": [text_done("Hello world"), completed(said("Hello world"))],
    "only the complete part": [part_done("Hello world", **HERE), completed()],
    "only the complete item": [done(said("Hello world")), completed()],
    "only the complete response": [completed(said("Hello world"))],
    "only the part at its beginning": [
        {"type": "response.content_part.added", "part": {"type": "output_text", "text": "Hello world"}, **HERE},
        completed(),
    ],
    "only the item at its beginning": [added(said("Hello world")), completed()],
    "a part that begins with its text": [
        {"type": "response.content_part.added", "part": {"type": "output_text", "text": "Hello world"}, **HERE},
        *[delta("Hello ", **HERE), delta("world", **HERE), completed()],
    ],
    "deltas of another name": [
        *[{**delta(text, **HERE), "type": "response.text.delta"} for text in ("Hello ", "world")],
        {**text_done("Hello world", **HERE), "type": "response.text.done"},
        completed(),
    ],
    "deltas of an unknown name": [
        *[{**delta(text, **HERE), "type": "response.future.delta"} for text in ("Hello ", "world")],
        completed(said("Hello world")),
    ],
    "only `output_text`": [completed(output_text="Hello world")],
    "a text in place of parts": [completed(said("") | {"content": "Hello world"})],
    "a part of the type `text`": [completed(said("") | {"content": [{"type": "text", "text": "Hello world"}]})],
    "another item at the end": [
        *[delta("Hello ", **HERE), delta("world", **HERE), text_done("Hello world", **ELSEWHERE)],
        *[part_done("Hello world", **ELSEWHERE), done(said("Hello world", "msg_9"), 1)],
        completed(said("Hello world", "msg_9")),
    ],
    "another part at the end": [
        *[delta("Hello ", **HERE), delta("world", **HERE), text_done("Hello world", **HERE | {"content_index": 1})],
        completed(said("Hello world")),
    ],
    "deltas without identifiers": [
        *[delta("Hello "), delta("world"), text_done("Hello world", **HERE), done(said("Hello world"))],
        completed(said("Hello world")),
    ],
    "an item without id at the end": [
        *[delta("Hello ", item_id="msg_1"), delta("world", item_id="msg_1"), done(said("Hello world") | {"id": None})],
        completed(said("Hello world")),
    ],
    # diegosouzapw/OmniRoute issue 13693.
    "an item that ends too early": [
        *[delta("Hello ", **HERE), text_done("Hello ", **HERE), part_done("Hello ", **HERE), done(said("Hello "))],
        *[delta("world", **HERE), completed(said("Hello world"))],
    ],
    "more in the complete text": [delta("Hello ", **HERE), text_done("Hello world", **HERE), completed()],
    "more in the complete response": [delta("Hello ", **HERE), completed(said("Hello world"))],
    # agentgateway/agentgateway pull request 2281.
    "complete events that are empty": [
        *[delta("Hello ", **HERE), delta("world", **HERE), part_done("", **HERE), done(said("")), completed()]
    ],
    "a complete response with other white space": [
        *[delta("Hello ", **HERE), delta("world", **HERE), completed(said("\nHello world"))]
    ],
    "a second message only in the complete response": [
        *[delta("Hello ", **HERE), done(said("Hello ")), completed(said("Hello "), said("world", "msg_2"))]
    ],
    "a second message only as an item": [
        *[delta("Hello ", **HERE), done(said("world", "msg_2"), 1), completed(said("Hello "), said("world", "msg_2"))]
    ],
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_in_the_reply_once_whichever_events_have_it(name: str) -> None:
    found = reply(*TEXTS[name])
    assert (found.text, found.finish_reason) == ("Hello world", "stop")


CITED = {"type": "url_citation", "url": "https://a.example", "start_index": 0, "end_index": 5, "title": "a"}
ANNOTATED = {"type": "response.output_text.annotation.added", "annotation_index": 0, "annotation": CITED, **HERE}
CITING = said("Hello", status="completed")
CITING["content"][0]["annotations"] = [CITED]
ANNOTATIONS: dict[str, list[dict[str, Any]]] = {
    "only an event": [delta("Hello", **HERE), ANNOTATED, completed()],
    "an event beside an item without them": [delta("Hello", **HERE), ANNOTATED, done(said("Hello")), completed()],
    "an event beside a response without them": [delta("Hello", **HERE), ANNOTATED, completed(said("Hello"))],
    "only the complete item": [delta("Hello", **HERE), done(CITING), completed()],
    "only the complete response": [delta("Hello", **HERE), completed(CITING)],
    "only the complete response, after a text": [delta("Hello", **HERE), text_done("Hello", **HERE), completed(CITING)],
    "all of them": [delta("Hello", **HERE), ANNOTATED, done(CITING), completed(CITING)],
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_the_annotations_of_a_text_are_kept_whichever_event_has_them(name: str) -> None:
    found = reply(*ANNOTATIONS[name])
    assert found.text == "Hello"
    [part] = found.turn_parts
    assert [each["annotations"] for each in part["fields"]["content"]] == [[CITED]]


@pytest.mark.parametrize("kind", ["completed", "incomplete"])
def test_the_last_event_may_have_the_fields_of_the_response(kind: str) -> None:
    usage = {"input_tokens": 3, "output_tokens": 2}
    last = {"type": f"response.{kind}", "sequence_number": 9, "id": "resp_1", "status": kind, "usage": usage}
    found = reply(delta("Hello", **HERE), last | {"incomplete_details": {"reason": "max_output_tokens"}})
    assert found.usage is not None
    assert (found.text, found.usage.output_tokens, found.finish_reason) == ("Hello", 2, "length")
    with pytest.raises(TruncatedError):
        reply(delta("Hello", **HERE), last | {"type": "response.completed", "status": "in_progress"})


def test_a_message_that_is_said_twice_is_in_the_reply_twice() -> None:
    twice = said("Hi"), said("Hi", "msg_2")
    assert reply(completed(*twice)).text == "HiHi"
    assert reply(done(twice[0]), done(twice[1], 1), completed(*twice)).text == "HiHi"
    assert reply(delta("Hi", **HERE), done(twice[0]), completed(*twice)).text == "HiHi"


def test_a_first_message_that_only_the_complete_response_has_is_read_too() -> None:
    assert reply(delta("world", **HERE), completed(said("Hello "), said("world", "msg_2"))).text == "worldHello "


def test_a_complete_text_that_differs_from_its_deltas_is_ignored() -> None:
    assert reply(delta("Hello <b>world</b>", **HERE), completed(said("Hello world"))).text == "Hello <b>world</b>"


def test_the_log_probabilities_of_a_repeated_text_are_read_once() -> None:
    token = {"token": "Hi", "logprob": 0.0, "bytes": [72, 105], "top_logprobs": []}
    part = {"type": "output_text", "text": "Hi", "logprobs": [token]}
    again = {"type": "response.content_part.done", **ELSEWHERE, "part": part}
    items = read(
        sse(CREATED, delta("Hi", **HERE, logprobs=[token]), again, completed(said("Hi") | {"content": [part]}))
    )
    assert [item for item in items if isinstance(item, Logprobs)] == [Logprobs([token])]


CALLS: dict[str, list[dict[str, Any]]] = {
    "deltas before their item": [
        *[arguments('{"sum"', output_index=0), arguments(":1}", output_index=0), done(call()), completed(call())]
    ],
    "only the complete arguments": [
        *[arguments('{"sum":1}', "done", output_index=0, item_id="fc_c1"), completed(call())]
    ],
    "only the complete item": [done(call()), completed()],
    "only the complete response": [completed(call())],
    "another item at the end": [added(call("")), done(call(), 3), completed(call())],
    "another item at the end, after deltas": [
        *[added(call("")), arguments('{"sum":1}', output_index=0), done(call(), 3), completed(call())]
    ],
    "the item twice": [done(call()), done(call(), 1), completed(call())],
    "arguments without identifiers": [
        *[added(call("")), arguments('{"sum"'), arguments(":1}"), arguments('{"sum":1}', "done"), completed(call())]
    ],
    "more in the complete arguments": [
        *[added(call("")), arguments('{"sum"', output_index=0)],
        *[arguments('{"sum":1}', "done", output_index=0), completed()],
    ],
    "more in the complete response": [added(call("")), arguments('{"sum"', output_index=0), completed(call())],
    "other white space in the complete response": [done(call()), completed(call('{"sum": 1}'))],
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_in_the_reply_once_whichever_events_have_it(name: str) -> None:
    (found,) = reply(*CALLS[name]).tool_calls
    assert (found["id"], found["function"]) == ("c1", {"name": "pay", "arguments": '{"sum":1}'})


@pytest.mark.parametrize("other", ['{"sum":2}', '{"sum"'])
def test_complete_arguments_that_contradict_their_deltas_are_an_error(other: str) -> None:
    with pytest.raises(ProtocolError, match="two different sets of arguments") as caught:
        reply(added(call("")), arguments('{"a', output_index=0), done(call(other)), completed(call()))
    assert caught.value.text == ""
    with pytest.raises(ProtocolError, match="two different sets of arguments"):
        reply(done(call()), completed(call(other)))


@pytest.mark.parametrize("item", [said("Hi"), call()])
def test_an_incomplete_item_in_a_completed_response_is_an_error(item: dict[str, Any]) -> None:
    with pytest.raises(TruncatedError, match=f"its {item['type']} is incomplete"):
        reply(completed(item | {"status": "incomplete"}))
    assert reply(completed(item | {"status": "in_progress"})).finish  # some servers never change it


def test_an_incomplete_item_belongs_to_an_incomplete_response() -> None:
    response = completed(said("Hi", status="incomplete"), incomplete_details={"reason": "max_output_tokens"})
    response["response"]["status"] = "incomplete"
    assert reply(response).finish_reason == "length"


# Custom tools, which take text.

RUN = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "run", "input": "ls", "status": "completed"}
CUSTOM: dict[str, list[dict[str, Any]]] = {
    "all events": [
        *[added(RUN | {"input": ""}), custom("l"), custom("s"), custom("ls", "done"), done(RUN), completed(RUN)]
    ],
    "no complete events": [added(RUN | {"input": ""}), custom("l"), custom("s"), completed()],
    "only the complete input": [added(RUN | {"input": ""}), custom("ls", "done"), completed()],
    "only the complete item": [done(RUN), completed()],
    "only the complete response": [completed(RUN)],
}


@pytest.mark.parametrize("name", CUSTOM)
def test_a_call_of_a_custom_tool_is_a_call_with_the_argument_input(name: str) -> None:
    found = reply(*CUSTOM[name])
    assert [(c["id"], c["function"]["name"]) for c in found.tool_calls] == [("c1", "run")]
    assert json.loads(found.tool_calls[0]["function"]["arguments"]) == {"input": "ls"}
    assert found.finish_reason == "tool_calls"


def test_a_call_of_a_custom_tool_and_its_result_go_back_as_such() -> None:
    document = json.dumps(completed(RUN, call(call_id="c2"))["response"]).encode()
    message = collect(feed(DIALECT.reader(DOCUMENT_HEAD), document)).message
    results: list[Any] = [{"role": "tool", "tool_call_id": c["id"], "content": "ok"} for c in message["tool_calls"]]
    sent = encode(make_request({"role": "user", "content": "Hi"}, message, *results))["input"]
    assert sent[1:] == [
        {"type": "custom_tool_call", "call_id": "c1", "name": "run", "input": "ls"},
        {"type": "function_call", "call_id": "c2", "name": "pay", "arguments": '{"sum":1}'},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
        {"type": "function_call_output", "call_id": "c2", "output": "ok"},
    ]


def test_the_input_of_a_custom_tool_may_be_any_text() -> None:
    text = 'print("\\ud83d")\n"\x00'
    (found,) = reply(done(RUN | {"input": text}), completed(RUN | {"input": text})).tool_calls
    assert json.loads(found["function"]["arguments"]) == {"input": text}


def test_a_call_of_a_custom_tool_that_is_cut_is_not_a_reply() -> None:
    items = []
    reader = DIALECT.reader(DOCUMENT_HEAD)
    with pytest.raises(AcytooError):
        items += reader.feed(sse(CREATED, added(RUN | {"input": ""}), custom("rm ")))
        items += reader.flush()
        reader.close()
    assert [item for item in items if isinstance(item, ToolCall)] == [ToolCall(0, "c1", "run")]


SAID = said("Hello world")
NOTED = said("", content=[{"type": "output_text", "text": "Hello world", "annotations": [{"a": 1}]}])
SECOND = {"output_index": 1, "content_index": 0, "item_id": "msg_2"}
AFTER: dict[str, tuple[list[dict[str, Any]], list[Any]]] = {
    "the text": ([text_done("Hello world", **HERE), done(SAID), completed(SAID)], []),
    "the part": ([part_done("Hello world", **HERE), completed(SAID)], []),
    "the item": ([done(SAID), completed(SAID)], []),
    "the response": ([completed(SAID)], []),
    "more": ([delta("!", **HERE), text_done("Hello world!", **HERE), completed(said("Hello world!"))], ["!"]),
    "a second message": (
        [done(SAID), delta("Ho", **SECOND), completed(SAID, said("Ho", "msg_2"))],
        [OpaquePart("openai-responses", part="text"), "Ho"],
    ),
    "annotations": (
        [done(NOTED), completed(NOTED)],
        [OpaquePart("openai-responses", NOTED, "text")],
    ),
}


@pytest.mark.parametrize(("events", "expected"), AFTER.values(), ids=AFTER)
def test_a_text_that_was_forgotten_is_known_when_it_is_repeated(events: list[Any], expected: list[Any]) -> None:
    reader = DIALECT.reader(STREAM_HEAD)
    begin = [added(said("", content=[])), delta("Hello ", **HERE), delta("world", **HERE)]
    assert collect(reader.feed(sse(CREATED, *begin))).text == "Hello world"
    reader.trim(5)
    items = reader.feed(sse(*events)) + reader.flush()
    reader.close()
    assert items[-1] == Finish("stop")
    assert [item for item in items[:-1] if not isinstance(item, Start)] == expected


C1, C2 = call("", "c1"), call("", "c2")
COMPLETE_C2 = call(call_id="c2")

ANNOUNCED_TWICE: dict[str, list[dict[str, Any]]] = {
    "at one place": [
        *[added(C1), added(C2), arguments('{"sum":1}', output_index=0, item_id="fc_c2")],
        *[done(COMPLETE_C2), completed(COMPLETE_C2)],
    ],
    "without places": [
        *[{"type": "response.output_item.added", "item": one} for one in (C1, C2)],
        arguments('{"sum":1}', item_id="fc_c2"),
        *[{"type": "response.output_item.done", "item": COMPLETE_C2}, completed(COMPLETE_C2)],
    ],
    "at two places": [
        *[added(C1), added(C2, 1), arguments('{"sum":1}', output_index=1, item_id="fc_c2")],
        *[done(COMPLETE_C2, 1), completed(COMPLETE_C2)],
    ],
    "with one call_id": [
        *[added(C1), added(C1 | {"id": "fc_2"}, 1), arguments('{"sum":1}', output_index=1, item_id="fc_2")],
        *[done(call(id="fc_2"), 1), completed(call(id="fc_2"))],
    ],
    "and not in the complete response": [added(C1), added(C2), done(COMPLETE_C2), completed()],
    "with its arguments": [added(call()), added(COMPLETE_C2), done(COMPLETE_C2), completed(COMPLETE_C2)],
    "three times": [added(C1), added(C2), added(call("", "c3")), done(call(call_id="c3")), completed()],
}


@pytest.mark.parametrize("name", ANNOUNCED_TWICE)
def test_a_call_that_is_announced_again_with_other_identifiers_is_made_once(name: str) -> None:
    found = reply(*ANNOUNCED_TWICE[name])
    assert [one["function"] for one in found.tool_calls] == [{"name": "pay", "arguments": '{"sum":1}'}]
    assert found.message["tool_calls"] == found.tool_calls


ANNOUNCED_ONCE: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str]]]] = {
    "a call without arguments that the response has": (
        [added(C1), added(C2, 1), done(COMPLETE_C2, 1), completed(C1, COMPLETE_C2)],
        [("c1", "{}"), ("c2", '{"sum":1}')],
    ),
    "a call whose arguments only the response has": (
        [added(C1), added(C2, 1), done(COMPLETE_C2, 1), completed(call('{"sum":2}'), COMPLETE_C2)],
        [("c1", '{"sum":2}'), ("c2", '{"sum":1}')],
    ),
    "a call of another function": (
        [added(C1 | {"name": "ask"}), added(C2, 1), done(COMPLETE_C2, 1), completed()],
        [("c1", "{}"), ("c2", '{"sum":1}')],
    ),
    "calls without any other event": ([added(C1), added(C2, 1), completed()], [("c1", "{}"), ("c2", "{}")]),
    "a call before a text": (
        [added(C1), delta("Hello", **ELSEWHERE), added(C2, 2), done(COMPLETE_C2, 2), completed()],
        [("c1", "{}"), ("c2", '{"sum":1}')],
    ),
    "arguments of the second call first": (
        [
            *[added(C1), added(C2, 1), arguments('{"sum":1}', output_index=1), arguments('{"sum":2}', output_index=0)],
            *[done(call('{"sum":2}')), done(COMPLETE_C2, 1), completed()],
        ],
        [("c1", '{"sum":2}'), ("c2", '{"sum":1}')],
    ),
}


@pytest.mark.parametrize("name", ANNOUNCED_ONCE)
def test_calls_that_are_not_announced_again_are_all_made(name: str) -> None:
    events, calls = ANNOUNCED_ONCE[name]
    assert [(one["id"], one["function"]["arguments"]) for one in reply(*events).tool_calls] == calls
