"""Messages and tools that a service cannot be sent as they are."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from acytoo.dialects import OpenAI
from acytoo.dialects.base import Unsupported
from acytoo.dialects.openai import Variations
from acytoo.errors import UnsupportedError
from acytoo.http import Endpoint
from acytoo.types import Request
from tests.dialects.openai.helpers import ENDPOINT, HELLO, decode

IMAGE = {"type": "image_url", "image_url": {"url": "https://h/a.png"}}
TEXT = {"type": "text", "text": "See"}
PDF = {"file_data": "data:application/pdf;base64,AAAA"}
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SEARCH = {"type": "web_search"}


def sent(request: Request, variations: Variations = Variations()) -> tuple[dict[str, Any], list[str]]:
    """Return the body that is sent, and what is left out."""
    unsupported = Unsupported("openai", drop=True)
    body: dict[str, Any] = msgspec.json.decode(OpenAI(variations).encode_request(request, ENDPOINT, unsupported).body)
    return body, unsupported.dropped


def refused(request: Request, variations: Variations = Variations()) -> str:
    """Return the feature that is refused."""
    with pytest.raises(UnsupportedError) as caught:
        OpenAI(variations).encode_request(request, ENDPOINT, Unsupported("openai"))
    return caught.value.feature


@pytest.mark.parametrize(
    ("variations", "messages", "expected"),
    [
        (
            Variations(),
            [{"role": "developer", "content": "Be brief"}, *HELLO],
            [{"role": "system", "content": "Be brief"}, *HELLO],
        ),
        (
            Variations(developer_role=True),
            [{"role": "developer", "content": "Be brief"}, *HELLO],
            [{"role": "developer", "content": "Be brief"}, *HELLO],
        ),
        (
            Variations(),
            [{**HELLO[0], "name": "Ann", "ours": 1}, {"role": "system", "content": "x", "name": "S"}],
            [{**HELLO[0], "name": "Ann"}, {"role": "system", "content": "x", "name": "S"}],
        ),
        (
            Variations(one_system_message=True),
            [{"role": "system", "content": "a"}, *HELLO, {"role": "system", "content": "b"}],
            [{"role": "system", "content": "a\n\nb"}, *HELLO],
        ),
        (
            Variations(alternating_roles=True),
            [*HELLO, {"role": "system", "content": "a"}, *HELLO, {"role": "assistant", "content": "Hi"}],
            [
                {"role": "system", "content": "a"},
                {"role": "user", "content": "Hello\n\nHello"},
                {"role": "assistant", "content": "Hi"},
            ],
        ),
        (
            Variations(alternating_roles=True),
            [*HELLO, {"role": "user", "content": [TEXT]}, {"role": "user", "content": ""}],
            [{"role": "user", "content": [{"type": "text", "text": "Hello"}, TEXT]}],
        ),
        (
            Variations(alternating_roles=True),
            [{"role": "user", "content": ""}, {"role": "user", "content": ""}],
            [{"role": "user", "content": ""}],
        ),
    ],
    ids=range(7),
)
def test_messages_are_sent_as_the_service_wants_them(variations: Variations, messages: Any, expected: Any) -> None:
    assert sent(Request(messages, "m"), variations)[0]["messages"] == expected


def turn(*names: str, content: str | None = None) -> dict[str, Any]:
    """Return a model's turn with calls of these functions, whose ids are their names."""
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(name: str, content: Any) -> dict[str, Any]:
    """Return the result of a call."""
    return {"role": "tool", "tool_call_id": name, "content": content}


def test_neighbouring_turns_are_merged_with_their_calls_and_results_stay_apart() -> None:
    messages: Any = [*HELLO, turn("a", content="Wait"), turn("b"), result("a", "1"), result("b", "2"), *HELLO]
    merged = sent(Request(messages, "m"), Variations(alternating_roles=True))[0]["messages"]
    both = {**turn("a", "b"), "content": "Wait"}
    assert merged == [*HELLO, both, result("a", "1"), result("b", "2"), *HELLO]


def test_media_in_results_follow_them_in_a_users_message() -> None:
    messages: Any = [
        turn("a", "b", "c"),
        result("a", [TEXT, IMAGE]),
        result("b", [IMAGE]),
        result("c", [TEXT, TEXT]),
        *HELLO,
        turn("d"),
        result("d", [IMAGE]),
    ]
    assert sent(Request(messages, "m"))[0]["messages"] == [
        turn("a", "b", "c"),
        result("a", "See"),
        result("b", "The result is in the next user message."),
        result("c", [TEXT, TEXT]),
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "The result of the call a:"},
                IMAGE,
                {"type": "text", "text": "The result of the call b:"},
                IMAGE,
            ],
        },
        *HELLO,
        turn("d"),
        result("d", "The result is in the next user message."),
        {"role": "user", "content": [{"type": "text", "text": "The result of the call d:"}, IMAGE]},
    ]
    assert sent(Request(messages, "m"), Variations(media_in_results=True))[0]["messages"] == messages
    texts: Any = [turn("c"), result("c", [TEXT, TEXT])]
    assert sent(Request(texts, "m"))[0]["messages"] == texts


@pytest.mark.parametrize(
    ("call_id", "expected"),
    [
        ("abcDEF123", "abcDEF123"),
        ("abcDEF12", ...),
        ("abcDEF1234", ...),
        ("abc_EF123", ...),
        ("é" * 9, ...),
        ("\ud800bcDEF123", ...),
        ("", None),
    ],
)
def test_an_id_of_a_call_has_the_length_that_the_service_wants(call_id: str, expected: Any) -> None:
    call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: Any = [{"role": "assistant", "content": None, "tool_calls": [call]}, result(call_id or "x", "1")]
    body = sent(Request(messages, "m"), Variations(call_id_length=9))[0]["messages"]
    encoded, answered = body[0]["tool_calls"][0]["id"], body[1]["tool_call_id"]
    if expected is ...:
        assert encoded == answered != call_id
        assert len(encoded) == 9
        assert encoded.isalnum()
    elif expected is not None:
        assert encoded == answered == expected
    else:
        assert encoded == ""
    if call_id.isprintable():
        assert sent(Request(messages, "m"))[0]["messages"][0]["tool_calls"][0]["id"] == call_id


def thinking(text: str, *calls: str) -> dict[str, Any]:
    """Return a turn with reasoning, and with calls if any are named."""
    message = {**turn(*calls), "reasoning": [{"text": text}]} if calls else {"role": "assistant", "content": "Hi"}
    return {**message, "reasoning": [{"text": text}]} if text else message


@pytest.mark.parametrize(
    ("variations", "message", "fields"),
    [
        (Variations(reasoning_field="r"), thinking("hm"), {"r": "hm"}),
        (Variations(reasoning_field="r"), thinking(""), {}),
        (Variations(reasoning_field="r"), thinking("", "f"), {}),
        (Variations(reasoning_field="r", calls_need_reasoning=True), thinking("", "f"), {"r": ""}),
        (Variations(reasoning_field="r", calls_need_reasoning=True), thinking(""), {}),
        (Variations(calls_need_reasoning=True), thinking("hm", "f"), {}),
    ],
    ids=range(6),
)
def test_a_turn_has_the_reasoning_that_the_service_wants(variations: Variations, message: Any, fields: Any) -> None:
    [encoded] = sent(Request([message], "m"), variations)[0]["messages"]
    assert encoded == {name: value for name, value in message.items() if name != "reasoning"} | fields


def test_mistral_gets_its_reasoning_as_a_part_of_the_content() -> None:
    [encoded] = sent(Request([thinking("hm")], "m"), Variations(reasoning_field="content"))[0]["messages"]  # type: ignore[list-item]
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert encoded["content"] == [thought, {"type": "text", "text": "Hi"}]


def test_the_name_of_an_author_is_a_preference_of_which_a_strict_service_knows_nothing() -> None:
    strict = Variations(strict_messages=True)
    named: list[Any] = [{**HELLO[0], "name": "Ann"}]
    request = Request(named, "m")
    assert refused(request, strict) == "the name of a message's author"
    assert sent(request, strict) == (sent(Request(HELLO, "m"))[0], ["the name of a message's author"])
    assert sent(request)[0]["messages"] == named
    plain: Any = [turn("a"), result("a", "1")]
    tool: Any = [turn("a"), {**result("a", "1"), "name": "a"}]
    assert sent(Request(tool, "m"), strict) == (sent(Request(plain, "m"))[0], [])


# What other APIs' clients send


def text_file(text: str, **fields: str) -> dict[str, Any]:
    """Return a file with text."""
    data = base64.b64encode(text.encode()).decode()
    return {"type": "file", "file": {"file_data": f"data:text/plain;base64,{data}", **fields}}


@pytest.mark.parametrize(
    ("part", "encoded", "dropped"),
    [
        (TEXT, TEXT, ""),
        (IMAGE, IMAGE, ""),
        ({"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}, ..., ""),
        ({"type": "refusal", "refusal": "no"}, ..., ""),
        ({"type": "file", "file": PDF}, {"type": "file", "file": {**PDF, "filename": "document.pdf"}}, ""),
        ({"type": "file", "file": {**PDF, "filename": "a.pdf"}}, ..., ""),
        ({"type": "file", "file": {"file_id": "f1"}}, ..., ""),
        ({"type": "file", "file": {"file_url": "https://h/a"}}, None, "a file's URL"),
        ({"type": "file", "file": {"file_data": "data:image/tiff;base64,AA"}}, None, "image/tiff files"),
        ({"type": "file", "file": {"file_data": "AAAA"}}, ..., ""),
        ({"type": "video", "video": 1}, None, "video content"),
    ],
    ids=range(11),
)
def test_a_part_that_only_another_api_knows_is_refused_by_name(part: Any, encoded: Any, dropped: str) -> None:
    message: Any = {"role": "user", "content": [part, TEXT]}
    request = Request([message], "m", extra_for="gemini")
    body, left_out = sent(request)
    expected = [] if encoded is None else [part if encoded is ... else encoded]
    assert body["messages"] == [{"role": "user", "content": [*expected, TEXT]}]
    assert left_out == [dropped][: bool(dropped)]
    if dropped:
        assert refused(request) == dropped
        [alone] = sent(Request([{"role": "user", "content": [part]}], "m", extra_for="gemini"))[0]["messages"]
        assert alone["content"] == ""
        assert sent(Request([message], "m"))[0]["messages"] == [message]


def test_a_text_file_of_another_apis_client_becomes_text() -> None:
    request = Request([{"role": "user", "content": [text_file("Hello", filename="a.txt")]}], "m", extra_for="gemini")  # type: ignore[list-item]
    [message] = sent(request)[0]["messages"]
    [part] = message["content"]
    assert part.keys() == {"type", "text"}
    assert part["type"] == "text"
    assert "Hello" in part["text"]
    assert "a.txt" in part["text"]


@pytest.mark.parametrize(
    ("tools", "kept", "dropped"),
    [
        ([F], [F], []),
        ([F, SEARCH], [F], ["the tool type 'web_search'"]),
        ([SEARCH, {"type": "computer"}], None, ["the tool type 'web_search'", "the tool type 'computer'"]),
    ],
)
def test_a_tool_that_only_another_api_runs_is_refused_by_name(tools: Any, kept: Any, dropped: list[str]) -> None:
    request = Request(HELLO, "m", tools=tools, tool_choice="auto", parallel_tool_calls=True, extra_for="gemini")
    body, left_out = sent(request)
    assert (body.get("tools"), left_out) == (kept, dropped)
    assert ("tool_choice" in body, "parallel_tool_calls" in body) == (kept is not None, kept is not None)
    if dropped:
        assert refused(request) == dropped[0]


@pytest.mark.parametrize(
    ("variations", "passes"),
    [
        (Variations(), True),
        (Variations(cumulative_texts=True), False),
        (Variations(think_tags=True), False),
        (Variations(think_tags="open"), False),
        (Variations(cumulative_texts=True, think_tags=True), False),
    ],
)
def test_a_stream_is_passed_on_only_if_it_is_as_the_api_has_it(variations: Variations, passes: bool) -> None:
    assert OpenAI(variations).can_pass_through is passes


@pytest.mark.parametrize(
    ("older", "newer", "limit"),
    [(5, 9, 9), (9, 5, 9), (None, 5, 5), (5, None, 5), (True, 5, 5), ("x", 5, 5), (5, 5, 5)],
)
def test_the_larger_of_two_limits_holds(older: Any, newer: Any, limit: int) -> None:
    assert decode({"messages": HELLO, "max_tokens": older, "max_completion_tokens": newer}).max_tokens == limit


# Turns that cannot be sent as they are.


NAMED = {"role": "developer", "content": "Be brief", "name": "Ann"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (NAMED, {"role": "system", "content": "Be brief", "name": "Ann"}),
        ({**turn("a"), "name": "Ann"}, {**turn("a"), "name": "Ann"}),
        ({**turn("a"), "refusal": "no"}, {**turn("a"), "refusal": "no"}),
        ({"role": "assistant", "content": "Hi", "ours": 1}, {"role": "assistant", "content": "Hi"}),
        ({"role": "assistant", "content": None, "refusal": "no", "ours": 1}, {"content": None, "refusal": "no"}),
        ({"role": "user", "content": "Hi", "tool_call_id": "a", "ours": 1}, {"content": "Hi", "tool_call_id": "a"}),
    ],
    ids=range(6),
)
def test_a_message_keeps_all_fields_that_this_api_has(message: Any, expected: dict[str, Any]) -> None:
    body, left_out = sent(Request([message], "m"))
    assert body["messages"] == [{"role": message["role"]} | expected]
    assert left_out == []


SAID = {"type": "text", "text": "Hi"}


def opaque(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "opaque", "source": "openai", "fields": fields}


def of_call(fields: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "tool_call", "index": index, "source": "openai", "fields": fields}


CALL = turn("a")["tool_calls"][0]
INPUT = {**CALL, "function": {"name": "a", "arguments": '{"input":"ls"}'}}
BACK: dict[str, tuple[list[Any], list[Any], dict[str, Any]]] = {
    # The parts of a turn, its calls, and what is sent back beside the role and the content.
    "details": (
        [opaque({"reasoning_details": [{"a": 1}]}), opaque({"reasoning_field": "reasoning"})],
        [],
        {"reasoning_details": [{"a": 1}]},
    ),
    "a field": ([opaque({"reasoning_field": "thinking"})], [], {"thinking": "hm"}),
    "fields of several parts": (
        [opaque({"annotations": [1], "unknown": 1}), opaque({"images": [2], "annotations": []})],
        [],
        {"images": [2]},
    ),
    "a sound": ([opaque({"audio": {"id": "x", "data": "AAAA"}})], [], {"audio": {"id": "x"}}),
    "a sound without an id": ([opaque({"audio": {"data": "AAAA"}})], [], {}),
    "another API": ([{"type": "opaque", "source": "gemini", "fields": {"annotations": [1]}}], [], {}),
    "fields of a call": (
        [of_call({"extra": 1}, 1)],
        [CALL, {**CALL, "id": "b"}],
        {"tool_calls": [CALL, {**CALL, "id": "b", "extra": 1}]},
    ),
    "a call of another API": ([], [{**CALL, "index": 0, "extra_content": {}}], {"tool_calls": [CALL]}),
    "a custom call": (
        [of_call({"type": "custom", "custom": {"name": "x", "input": "y", "format": "z"}})],
        [INPUT],
        {"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "a", "input": "ls", "format": "z"}}]},
    ),
    "a custom call without more": (
        [of_call({"type": "custom"})],
        [{"type": "function", "function": INPUT["function"]}],
        {"tool_calls": [{"id": "", "type": "custom", "custom": {"name": "a", "input": "ls"}}]},
    ),
    "arguments that are blanks": (
        [],
        [{**CALL, "function": {"name": "a", "arguments": " \n"}}],
        {"tool_calls": [CALL]},
    ),
    "a call without an id": ([], [{"function": CALL["function"]}], {"tool_calls": [{"function": CALL["function"]}]}),
}


@pytest.mark.parametrize("case", BACK)
def test_a_turn_goes_back_with_what_its_server_needs(case: str) -> None:
    parts, calls, fields = BACK[case]
    plain: Any = {"role": "assistant", "content": "Hi"} | ({"tool_calls": calls} if calls else {})
    thinking: Any = {**plain, "reasoning": [{"text": "h"}, {"text": "m"}, {"data": "x"}]}
    known = {part["index"] for part in parts if part["type"] == "tool_call"}
    others: list[Any] = [{"type": "reasoning", "index": number} for number in range(3)] + [SAID]
    others += [{"type": "tool_call", "index": number} for number in range(len(calls)) if number not in known]
    thinking["turn_parts"] = [*parts, *others]
    body, left_out = sent(Request([thinking], "m"))
    assert (body["messages"], left_out) == ([{"role": "assistant", "content": "Hi"} | fields], [])
    [message] = sent(Request([thinking], "m"), Variations(strict_messages=True))[0]["messages"]
    assert not message.keys() & {"reasoning_details", "annotations", "images", "audio"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"content": "Hi", "annotations": [1], "reasoning": "hm"},
            {
                "content": "Hi",
                "reasoning": [{"text": "hm"}],
                "turn_parts": [opaque({"annotations": [1]}), {"type": "reasoning", "index": 0}, SAID],
            },
        ),
        (
            {"content": None, "images": [1], "tool_calls": turn("a")["tool_calls"]},
            {
                "content": None,
                "tool_calls": turn("a")["tool_calls"],
                "turn_parts": [opaque({"images": [1]}), {"type": "tool_call", "index": 0}],
            },
        ),
        ({"content": [TEXT], "annotations": [1]}, {"content": [TEXT], "annotations": [1]}),
        ({"content": "Hi", "annotations": [], "reasoning": ""}, {"content": "Hi", "annotations": []}),
        ({"content": "Hi", "reasoning_text": "hm"}, {"content": "Hi", "reasoning": [{"text": "hm"}]}),
        ({"content": "Hi", "reasoning_content": 5}, {"content": "Hi", "reasoning_content": 5}),
    ],
    ids=range(6),
)
def test_a_clients_turn_keeps_what_only_a_compatible_server_knows(message: Any, expected: Any) -> None:
    [decoded] = decode({"messages": [{"role": "assistant", **message}]}).messages
    assert decoded == {"role": "assistant", **expected}


def test_tools_without_a_type_are_functions_of_this_api_too() -> None:
    untyped: Any = {"function": F["function"]}
    body, left_out = sent(Request(HELLO, "m", tools=[untyped, SEARCH], extra_for="gemini"))  # type: ignore[list-item]
    assert (body["tools"], left_out) == ([untyped], ["the tool type 'web_search'"])


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ({"file_data": "https://h/a.PNG?x=1"}, [{"type": "image_url", "image_url": {"url": "https://h/a.PNG?x=1"}}]),
        ({"file_data": "http://h/a.webp"}, [{"type": "image_url", "image_url": {"url": "http://h/a.webp"}}]),
        ({"file_data": "https://h/a.pdf"}, [{"type": "file", "file": {"file_url": "https://h/a.pdf"}}]),
        ({"file_data": "data:application/pdf;base64,AA"}, None),
        ({"file_id": "f"}, None),
        ("https://h/a.png", None),
    ],
    ids=range(6),
)
def test_a_file_with_an_address_as_its_data_is_an_image_or_a_file_there(file: Any, parts: Any) -> None:
    part: Any = {"type": "file", "file": file}
    assert OpenAI().plain_parts(part) == parts


def test_a_tool_that_takes_text_is_sent_as_such_only_to_servers_that_have_it() -> None:
    custom: Any = {"type": "custom", "custom": {"name": "a"}}
    messages: Any = [{"role": "assistant", "content": None, "tool_calls": [INPUT]}, result("a", "ok")]
    request = Request(messages, "m", tools=[custom])
    body, _ = sent(request, Variations(custom_tools=True))
    assert body["tools"] == [custom]
    assert body["messages"][0]["tool_calls"] == [{"id": "a", "type": "custom", "custom": {"name": "a", "input": "ls"}}]
    body, _ = sent(request)
    assert [tool["type"] for tool in body["tools"]] == ["function"]
    assert body["messages"][0]["tool_calls"] == [INPUT]


def test_only_google_gets_the_signature_of_a_call() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "s"}}}
    turns: Any = [{"role": "assistant", "content": None, "tool_calls": [signed]}]
    request = Request(turns, "m")
    for url, expected in (
        ("https://generativelanguage.googleapis.com/v1beta/openai", signed),
        ("https://api.openai.com/v1", CALL),
    ):
        outgoing = OpenAI().encode_request(request, Endpoint(url), Unsupported("openai"))
        assert msgspec.json.decode(outgoing.body)["messages"][0]["tool_calls"] == [expected]


def test_batches_are_for_the_path_of_chats() -> None:
    line = msgspec.json.decode(OpenAI().batches().line("r", b"{}"))
    assert line == {"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": {}}


@pytest.mark.parametrize(
    ("turns", "alternating"),
    [
        ([[TEXT], "Hi"], [TEXT, {"type": "text", "text": "Hi"}]),
        (["a", "b", "c"], "a\n\nb\n\nc"),
    ],
    ids=range(2),
)
def test_neighbouring_messages_are_merged_in_their_order(turns: Any, alternating: Any) -> None:
    messages: Any = [{"role": "user", "content": content} for content in turns]
    [message] = sent(Request(messages, "m"), Variations(alternating_roles=True))[0]["messages"]
    assert message == {"role": "user", "content": alternating}
