"""OpenAI's requests: the shared shape to a body, and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.dialects import OpenAI
from acytoo.dialects.base import Unsupported
from acytoo.dialects.openai import OpenAICompletions, Variations
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError, UsageError
from acytoo.http import Endpoint, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Request
from tests.dialects.openai.helpers import DIALECT, ENDPOINT, HELLO, decode, encode


def test_the_smallest_request_has_only_these_fields() -> None:
    outgoing = DIALECT.encode_request(Request(HELLO, "m"), Endpoint("http://h/v1/", Secret("k")), Unsupported("openai"))
    assert outgoing.url == "http://h/v1/chat/completions"
    assert outgoing.headers == {"accept": "*/*", "content-type": "application/json", "authorization": "Bearer k"}
    assert msgspec.json.decode(outgoing.body) == {
        "model": "m",
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_request_without_streaming_has_no_stream_fields() -> None:
    assert encode(Request(HELLO, "m", stream=False)) == {"model": "m", "messages": HELLO}
    extra = {"stream_options": {"include_usage": True}, "seed_list": []}
    assert encode(Request(HELLO, "m", stream=False, extra=extra)) == {"model": "m", "messages": HELLO, "seed_list": []}


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        (OpenAI(Variations(option_names={"max_tokens": "max_completion_tokens"})), "max_completion_tokens", 5),
        (OpenAI(), "max_tokens", 5),
        (OpenAI(Variations(stream_usage=False)), "stream_options", None),
    ],
)
def test_a_field_varies_with_the_server(dialect: OpenAI, field: str, value: object) -> None:
    assert encode(Request(HELLO, "m", max_tokens=5), dialect).get(field) == value


_ASKED = {"include_usage": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", _ASKED),
        (',"stream_options":null', _ASKED),
        (', "stream_options" : {"include_obfuscation": false}', {"include_obfuscation": False, **_ASKED}),
        (r',"stream\u005foptions":{"include_obfuscation":false}', {"include_obfuscation": False, **_ASKED}),
        (',"stream_options":{"include_usage":false}', _ASKED),
        (',"stream_options":{"include_usage":true}', None),
        (r',"\u0073tream_options":{"include_usage":true}', None),
        (',"stream_options":7', None),
    ],
)
@pytest.mark.parametrize("text", ["Hi", r"say \"stream_options\"", "stream_options", r"gr\u00fc\u00dfe"])
@pytest.mark.parametrize("end", ["}", " } \r\n\t"])
def test_the_body_of_a_passed_stream_asks_for_usage_unless_its_client_does(
    options: str, expected: object, text: str, end: str
) -> None:
    fields = f'{{"model":"m","messages":[{{"role":"user","content":"{text}"}}],"stream":true'
    body = OpenAI().with_usage(f"{fields}{options}{end}".encode())
    if expected is None:
        assert body is None
    else:
        assert msgspec.json.decode(body or b"") == {**msgspec.json.decode(f"{fields}}}"), "stream_options": expected}


def test_azure_has_its_own_path_query_and_header() -> None:
    azure = OpenAI(Variations(path="/chat/completions", key_header="api-key"))
    endpoint = Endpoint("https://h/openai/deployments/d?api-version=1", Secret("k"))
    outgoing = azure.encode_request(Request(HELLO, "m"), endpoint, Unsupported("openai"))
    assert outgoing.url == "https://h/openai/deployments/d/chat/completions?api-version=1"
    assert outgoing.headers["api-key"] == "k"


@pytest.mark.parametrize(("field", "expected"), [("", None), ("reasoning_content", "hm")])
def test_reasoning_is_sent_back_only_to_a_server_that_wants_it(field: str, expected: str | None) -> None:
    turn: Any = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "h"}, {"text": "m"}, {"data": "x"}]}
    message = encode(Request([turn], "m"), OpenAI(Variations(reasoning_field=field)))["messages"][0]
    assert message.get("reasoning_content") == expected
    assert "reasoning" not in message


def test_encoding_does_not_change_the_request() -> None:
    turn: Any = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}], "ours": 1}
    request = Request([turn, *HELLO], "m", stop=["x"], extra={"a": 1})
    before = msgspec.json.encode(request)
    encode(request)
    assert msgspec.json.encode(request) == before


def test_extra_fields_of_the_user_are_sent_and_take_precedence() -> None:
    extra = {"temperature": 2, "min_p": 0.1, "stream_options": {"include_usage": False, "x": 1}}
    body = encode(Request(HELLO, "m", temperature=1, extra=extra))
    assert (body["temperature"], body["min_p"], body["model"]) == (2, 0.1, "m")
    assert body["stream_options"] == {"include_usage": False, "x": 1}
    assert encode(Request(HELLO, "m", extra={"stream_options": {"x": 1}}))["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    ("arguments", "expected"), [({"city": "Paris"}, '{"city":"Paris"}'), ({}, "{}"), (None, "{}"), ("{oops", "{oops")]
)
def test_a_calls_arguments_are_sent_as_json_text(arguments: object, expected: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turn: Any = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = encode(Request([turn], "m"))
    assert body["messages"][0]["tool_calls"] == [{**call, "function": {"name": "f", "arguments": expected}}]
    assert call["function"] == {"name": "f", "arguments": arguments}


def test_extra_fields_of_another_dialect_are_refused_by_name() -> None:
    request = Request(HELLO, "m", extra={"keep_alive": 5}, extra_for="ollama")
    with pytest.raises(UnsupportedError, match="keep_alive"):
        encode(request)
    unsupported = Unsupported("openai", drop=True)
    outgoing = DIALECT.encode_request(request, ENDPOINT, unsupported)
    assert (unsupported.dropped, b"keep_alive" in outgoing.body) == (["keep_alive"], False)


@pytest.mark.parametrize("text", ["\ud83d", "a\udfff"])
def test_a_request_that_is_not_valid_json_raises_before_it_is_sent(text: str) -> None:
    with pytest.raises(UsageError, match="a lone surrogate"):
        encode(Request([{"role": "user", "content": text}], "m"))


def test_a_request_without_stream_does_not_stream() -> None:
    for body in ({"messages": HELLO}, {"messages": HELLO, "stream": None}, {"messages": HELLO, "stream": False}):
        assert decode(body).stream is False
    assert decode({"messages": HELLO, "stream": True}).stream is True


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"max_completion_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 4, "max_completion_tokens": None}, "max_tokens", 4),
        ({"stop": "x"}, "stop", ["x"]),
        ({"stop": ["x", "y"]}, "stop", ["x", "y"]),
        ({"temperature": 1}, "temperature", 1.0),
        ({"temperature": None}, "temperature", None),
        ({"n": 1}, "extra", {}),
        ({"usage": {"include": True}}, "extra", {"stream_options": {"include_usage": True}}),
        (
            {"usage": {"include": True}, "stream_options": {"include_obfuscation": False}},
            "extra",
            {"stream_options": {"include_obfuscation": False, "include_usage": True}},
        ),
        ({"usage": {"include": False}}, "extra", {}),
        ({"usage": {"include": True, "more": 1}}, "extra", {"usage": {"include": True, "more": 1}}),
        ({"usage": None}, "extra", {"usage": None}),
        ({"min_p": 0.1}, "extra", {"min_p": 0.1}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", ...),
        ({"tool_choice": "auto", "tools": TOOLS}, "tool_choice", "auto"),
        ({"tool_choice": "auto"}, "tool_choice", None),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", None),
        ({"tools": []}, "tools", None),
    ],
)
def test_a_field_of_the_body_becomes_an_option(body: dict[str, Any], name: str, value: object) -> None:
    request = decode({"messages": HELLO, **body})
    assert getattr(request, name) == (body[name] if value is ... else value)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_sent_back_is_kept(field: str) -> None:
    turn: Any = {"role": "assistant", "content": "Hi", field: "hm"}
    assert decode({"messages": [turn]}).messages == [
        {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}]}
    ]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "request body"),
        (b"{", "request body"),
        (b"\xff", "request body"),
        (b"[]", "request body"),
        (b'{"messages": "\xff"}', "request body"),
        (b"[" * 100_000, "request body"),
        ({}, "messages is missing"),
        ({"messages": None}, "messages is missing"),
        ({"messages": []}, "messages is empty"),
        ({"messages": "Hello"}, "messages must be a list"),
        ({"messages": ["Hello"]}, r"messages\[0\] must be a dict"),
        ({"messages": [*HELLO, {"role": "king", "content": ""}]}, r"messages\[1\] has the role 'king'"),
        ({"messages": [{"role": ["user"], "content": ""}]}, r"messages\[0\] has the role"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\] \(user\) has no content"),
        ({"messages": [{"role": "user", "content": 5}]}, r"messages\[0\] has content of type int"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, r"messages\[0\]\.content\[0\]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"messages\[0\]\.content\[0\]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, r"messages\[0\]\.tool_calls\[0\]"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, r"messages\[0\]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": [], "function": {"name": "f"}}]}]},
            r"messages\[0\]\.tool_calls\[0\]",
        ),
        ({"messages": [{**HELLO[0], "reasoning": [5]}]}, r"messages\[0\]"),
        ({"messages": HELLO, "temperature": "hot"}, "invalid temperature 'hot': expected a number$"),
        ({"messages": HELLO, "stop": [5]}, r"invalid stop \[5\]: expected text or a list of texts$"),
        ({"messages": HELLO, "tools": {"f": 1}}, "invalid tools {'f': 1}: expected a list of objects$"),
        ({"messages": HELLO, "tools": ["f"]}, r"invalid tools \['f'\]: expected a list of objects$"),
        ({"messages": HELLO, "tools": [{"type": "function"}]}, r"tools\[0\] must be like"),
        ({"messages": HELLO, "tools": [{"type": "function", "function": {"name": 5}}]}, r"tools\[0\] must be like"),
        ({"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": 5}}, "response_format must be"),
        ({"messages": HELLO, "response_format": {}}, "response_format must be"),
        ({"messages": HELLO, "stream": "yes"}, "invalid stream 'yes': expected true or false$"),
        ({"messages": HELLO, "model": 5}, "invalid model 5: expected text$"),
    ],
)
def test_a_malformed_body_is_refused_with_the_name_of_the_place(body: object, place: str) -> None:
    with pytest.raises(RequestError, match=place) as caught:
        decode(body)
    assert caught.value.status == 400


# Completions.


def completion(**fields: Any) -> Request:
    """Return the request that a server reads from a body of `/v1/completions`."""
    body = msgspec.json.encode({"model": "m", **fields})
    return OpenAICompletions().decode_request(ServerRequest("/v1/completions", {}, body)).request


@pytest.mark.parametrize("prompt", ["Hi", ["Hi"]])
def test_the_prompt_of_a_completion_becomes_a_message(prompt: Any) -> None:
    request = completion(prompt=prompt, max_tokens=5, stop="x", n=1, best_of=1, echo=False, logprobs=None, suffix="")
    assert request.messages == [{"role": "user", "content": "Hi"}]
    assert (request.max_tokens, request.stop, request.stream, request.extra) == (5, ["x"], False, {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "prompt must be text"),
        ({"prompt": []}, "prompt has 0 texts"),
        ({"prompt": ["a", "b"]}, "prompt has 2 texts: send a request for each"),
        ({"prompt": [1, 2]}, "prompt must be text: a chat model takes no tokens"),
        ({"prompt": [[1]]}, "prompt must be text: a chat model takes no tokens"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "best_of": 2}, "best_of above 1"),
        ({"prompt": "x", "n": 2}, "n above 1"),
        ({"prompt": "x", "n": "2"}, "n above 1"),
        ({"prompt": "x", "echo": 1}, "echo"),
        ({"prompt": "x", "echo": True, "logprobs": 1}, "echo with logprobs"),
        ({"prompt": "x", "logprobs": "1"}, "logprobs"),
        ({"prompt": "x", "logprobs": -1}, "logprobs"),
    ],
)
def test_what_only_completions_can_do_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        completion(**fields)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("asked", "logprobs", "top"),
    [(None, None, None), (False, None, None), (0, True, None), (True, True, 1), (3, True, 3)],
)
def test_the_logprobs_of_a_completion_are_those_of_a_chat(asked: Any, logprobs: Any, top: Any) -> None:
    request = completion(prompt="Hi", logprobs=asked)
    assert (request.logprobs, request.top_logprobs) == (logprobs, top)


def test_echo_is_not_sent_to_another_endpoint() -> None:
    request = translate(completion(prompt="Hi", echo=True), OpenAICompletions())
    assert encode(request) == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(("content", "sent"), [(None, "I cannot"), ("", "I cannot"), ("Well", "Well")])
def test_a_refusal_is_the_text_of_a_turn_for_a_server_without_the_field(content: str | None, sent: str) -> None:
    turn: Any = {"role": "assistant", "content": content, "refusal": "I cannot"}
    strict = OpenAI(Variations(strict_messages=True))
    assert encode(Request([*HELLO, turn], "m"), strict)["messages"][1] == {"role": "assistant", "content": sent}


def test_several_replies_are_reported_as_unsupported() -> None:
    for n, fine in ((None, True), (1, True), (2, False)):
        request = Request(HELLO, "m", extra={"n": n})
        if fine:
            encode(request)
        else:
            with pytest.raises(UnsupportedError) as caught:
                encode(request)
            assert caught.value.feature == "n above 1"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("functions", "functions are deprecated, and for this API only: send tools"),
        ("store", None),
        ("previous_response_id", None),
    ],
)
def test_deprecated_tools_are_refused_with_what_to_send(field: str, message: str | None) -> None:
    error = DIALECT.conversation_error(field)
    assert (error and error.message) == message
