"""Requests in every dialect: decoded as encoded, and what an API cannot express is refused by name."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.server_side import secrets_in
from acytoo.dialects.translate import translate
from acytoo.errors import AcytooError, RequestError, UnsupportedError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ServerRequest
from acytoo.messages import content_text
from acytoo.secret import Secret
from acytoo.types import OPTIONS, Request
from tests.dialects.strategies import ARGUMENTS, NAME, TEXT, encode, round_trip, to_server_request
from tests.dialects.test_every_dialect import REMOVED, WRONG_VALUES, every, paths_in, replace_at

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": SCHEMA}}
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def request_with(option: str, value: Any) -> Request:
    """Return a request with an option and with the other options that it needs."""
    others: dict[str, Any] = {}
    if option in ("tool_choice", "parallel_tool_calls"):
        others["tools"] = [TOOL]
    if option == "top_logprobs":
        others["logprobs"] = True
    return Request(HELLO, "m", **{**others, option: value})


FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
OPTION_VALUES: dict[str, tuple[Any, ...]] = {
    "temperature": (0.0, 0.25, 1.0),
    "top_p": (0.5,),
    "top_k": (5,),
    "max_tokens": (1, 5000),
    "stop": (["x"], ["x", "\n\n"]),
    "seed": (7,),
    "presence_penalty": (0.5, -0.5),
    "frequency_penalty": (0.5,),
    "tools": ([TOOL], [TOOL, {"type": "function", "function": {"name": "g", "parameters": SCHEMA}}]),
    "tool_choice": ("auto", "none", "required", {"type": "function", "function": {"name": "f"}}),
    "parallel_tool_calls": (False,),
    "response_format": (FORMAT,),
    "reasoning_effort": ("low", "high"),
    "logprobs": (True,),
    "top_logprobs": (3,),
    "user": ("someone",),
}

INEXPRESSIBLE: dict[str, dict[str, tuple[Any, ...]]] = {
    "gemini": {"parallel_tool_calls": (False,)},
    "ollama": {
        "tool_choice": ("required", {"type": "function", "function": {"name": "f"}}),
        "parallel_tool_calls": (False,),
    },
}
"""Values that an API cannot express although it has the option."""


def comparable(option: str, value: Any) -> Any:
    """Return the part of an option's value that every API with the option can express."""
    if option == "tools":
        return [{k: v for k, v in tool["function"].items() if k != "strict"} for tool in value]
    if option == "response_format":
        return value["json_schema"]["schema"]
    return value


def test_every_option_has_test_values() -> None:
    assert OPTION_VALUES.keys() == OPTIONS


OPTION_CASES = [(option, value) for option, values in OPTION_VALUES.items() for value in values]


@every
@pytest.mark.parametrize(
    ("option", "value"), OPTION_CASES, ids=[f"{name}={value!r:.30}" for name, value in OPTION_CASES]
)
def test_an_option_is_decoded_as_encoded_or_refused_by_name(dialect: Dialect, option: str, value: Any) -> None:
    request = request_with(option, value)
    if option in dialect.options and value not in INEXPRESSIBLE.get(dialect.name, {}).get(option, ()):
        back = getattr(round_trip(dialect, request), option)
        assert back is not None or value in ("auto", "none"), "only these may be expressed by leaving the option out"
        assert back is None or comparable(option, back) == comparable(option, value)
        return
    if value == "auto":  # the default, so no API refuses it
        encode(dialect, Request(HELLO, "m", tool_choice="auto"))
        return
    with pytest.raises(UnsupportedError, match=option):
        encode(dialect, Request(HELLO, "m", **{option: value}))
    unsupported = Unsupported(dialect.name, drop=True)
    dialect.encode_request(request, Endpoint("http://h"), unsupported)
    assert any(option in dropped for dropped in unsupported.dropped)


@every
def test_options_that_are_not_set_are_not_sent(dialect: Dialect) -> None:
    back = round_trip(dialect, Request(HELLO, "m"))
    options = {option for option in OPTIONS if getattr(back, option) is not None}
    assert options <= {"temperature"} if dialect.name == "acytoo" else options <= {"max_tokens"}
    assert back.model == "m"


@every
@pytest.mark.parametrize("stream", [True, False])
def test_the_stream_flag_is_decoded_as_encoded(dialect: Dialect, stream: bool) -> None:
    back = round_trip(dialect, Request(HELLO, "m", stream=stream))
    assert back.stream is (True if dialect.name == "acytoo" else stream)


# Messages.


def meaning(messages: list[Any]) -> list[tuple[Any, ...]]:
    """Return what the messages mean: system texts first, then the turns. A call's id is replaced by its position."""
    system = [("system", text_of(m)) for m in messages if m["role"] in ("system", "developer")]
    ids: list[str] = []
    turns: list[tuple[Any, ...]] = []
    for message in messages:
        if message["role"] == "tool":
            turns.append(("tool", ids.index(message["tool_call_id"]), text_of(message)))
        elif message["role"] in ("user", "assistant"):
            calls = message.get("tool_calls") or []
            ids += [call["id"] for call in calls]
            functions = [call["function"] for call in calls]
            turns.append(
                (
                    message["role"],
                    text_of(message),
                    [(f["name"], msgspec.json.decode(f["arguments"])) for f in functions],
                )
            )
    return system + turns


def text_of(message: Any) -> str:
    """Return the text of a message that has no other content."""

    def fail(feature: str) -> None:
        raise AssertionError(f"{feature} in a message that had only text")

    return content_text(message.get("content"), fail)


MARKED_TEXT = TEXT.map(lambda text: f"<{text}>")


@st.composite
def conversations(draw: st.DrawFn, tools: bool) -> list[Any]:
    """Draw an optional system message and some turns, of which the user or a tool has the last."""
    messages: list[Any] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(MARKED_TEXT)})
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(MARKED_TEXT)})
        if tools and draw(st.booleans()):
            names = draw(st.lists(NAME, min_size=1, max_size=2, unique=True))
            calls = [
                {"id": f"{turn}-{name}", "type": "function", "function": {"name": name, "arguments": draw(ARGUMENTS)}}
                for name in names
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | MARKED_TEXT), "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(MARKED_TEXT)} for call in calls]
        messages.append({"role": "assistant", "content": draw(MARKED_TEXT)})
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": draw(MARKED_TEXT)})
    return messages


@every
@given(st.data())
@slow
def test_a_conversation_is_decoded_as_encoded(dialect: Dialect, data: st.DataObject) -> None:
    messages = data.draw(conversations("tools" in dialect.options))
    before = msgspec.json.encode(messages)
    assert meaning(round_trip(dialect, Request(messages, "m")).messages) == meaning(messages)
    assert msgspec.json.encode(messages) == before


@every
def test_text_parts_of_a_message_are_decoded_as_their_text(dialect: Dialect) -> None:
    parts: Any = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    back = round_trip(dialect, Request([{"role": "user", "content": parts}], "m"))
    assert [text_of(message) for message in back.messages] == ["Hello"]


@every
def test_a_key_is_sent_and_decoded_but_not_in_the_url_or_repr(dialect: Dialect) -> None:
    outgoing = dialect.encode_request(
        Request(HELLO, "m"), Endpoint("http://h", Secret("s3cret")), Unsupported(dialect.name)
    )
    assert "s3cret" not in outgoing.url
    incoming = to_server_request(outgoing)
    presented = [*secrets_in(incoming), *dialect.body_secrets(incoming.body)]
    assert "s3cret" in [secret.reveal() for secret in presented]
    assert "s3cret" not in repr(dialect.decode_request(incoming))


# Unknown fields.


@every
def test_an_unknown_field_is_kept_within_a_dialect(dialect: Dialect) -> None:
    request = Request(HELLO, "m", extra={"xodd": {"deep": [1, None]}})
    back = round_trip(dialect, request)
    assert back.extra["xodd"] == {"deep": [1, None]}
    assert round_trip(dialect, back).extra["xodd"] == {"deep": [1, None]}


# Invalid requests.


def full_request(dialect: Dialect) -> HTTPRequest:
    """Return a request that uses everything that this API has."""
    options = {name: values[0] for name, values in OPTION_VALUES.items() if name in dialect.options}
    messages = [{"role": "system", "content": "Be kind."}, *HELLO]
    if "tools" in dialect.options:
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":"y"}'}}
        messages.append({"role": "assistant", "content": "Hm", "tool_calls": [call], "reasoning": [{"text": "m"}]})
        messages.append({"role": "tool", "tool_call_id": "a", "content": "z"})
        url = "data:image/png;base64,AAAA"
        image = {"type": "image_url", "image_url": {"url": url}}
        messages.append({"role": "user", "content": [{"type": "text", "text": "This?"}, image]})
    return dialect.encode_request(
        Request(messages, "m", **options), Endpoint("http://h"), Unsupported(dialect.name, drop=True)
    )


@pytest.mark.parametrize(
    ("dialect", "option"),
    [
        *[(dialects.Gemini(), option) for option in ("top_k", "max_tokens", "seed", "top_logprobs")],
        *[(dialects.Ollama(), option) for option in ("top_k", "max_tokens", "seed")],
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_whole_number_may_be_sent_as_a_float(dialect: Dialect, option: str) -> None:
    """Google's SDK for Python sends `"topK": 40.0`, and Ollama's server reads every number as a float."""
    options: dict[str, Any] = {"logprobs": True, option: 7} if option == "top_logprobs" else {option: 7}
    incoming = to_server_request(encode(dialect, Request(HELLO, "m", **options)))
    body = re.sub(rb":7(?=[,}])", b":7.0", incoming.body)
    assert body != incoming.body
    value = getattr(dialect.decode_request(msgspec.structs.replace(incoming, body=body)).request, option)
    assert (type(value), value) == (int, 7)


@every
def test_a_field_that_is_null_is_not_set(dialect: Dialect) -> None:
    incoming = to_server_request(full_request(dialect))
    document = msgspec.json.decode(incoming.body)
    for field in document.keys() - {"messages", "input", "contents"}:
        nulled, absent = ({**document, field: None}, {k: v for k, v in document.items() if k != field})
        decoded = [
            dialect.decode_request(msgspec.structs.replace(incoming, body=msgspec.json.encode(body))).request
            for body in (nulled, absent)
        ]
        for request in decoded:  # translation leaves out an extra field that is null
            request.extra = {name: value for name, value in request.extra.items() if value is not None}
        assert decoded[0] == decoded[1], field


@every
@given(st.data())
@slow
def test_a_wrong_value_anywhere_is_a_400_or_can_be_encoded_by_every_dialect(
    dialect: Dialect, data: st.DataObject
) -> None:
    incoming = to_server_request(full_request(dialect))
    document = msgspec.json.decode(incoming.body)
    path = data.draw(st.sampled_from(paths_in(document)))
    body = msgspec.json.encode(replace_at(document, path, data.draw(WRONG_VALUES)))
    try:
        request = dialect.decode_request(msgspec.structs.replace(incoming, body=body)).request
    except RequestError as error:
        assert error.status == 400
        assert len(error.message) > 10
        return
    for target in dialects.ALL:
        try:
            target.encode_request(
                translate(request, dialect), Endpoint("http://h"), Unsupported(target.name, drop=True)
            )
        except UsageError:
            pass
        except RequestError as error:
            assert error.status == 400  # without its role, an item is a reference to one


ALLOWED_TOOLS = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
}
STRUCTURED_OPTIONS = [(option, value) for option, value in OPTION_CASES if isinstance(value, (list, dict))]
WRONG_SHAPES: list[Any] = [None, 5, "x", [], {}, True, [5], ["x"], [{}], {"x": 5}, {"type": "function"}, REMOVED]
WRONG_SHAPES += [{"type": "function", "function": "x"}, {"type": "allowed_tools", "allowed_tools": 5}]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *STRUCTURED_OPTIONS,
        ("tool_choice", ALLOWED_TOOLS),
        ("tools", [TOOL, {"type": "custom", "custom": {"name": "sh"}}]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_of_a_wrong_shape_is_a_400_or_can_be_encoded_by_every_dialect(option: str, value: Any) -> None:
    for path in paths_in(value):
        for wrong in WRONG_SHAPES:
            body = {"messages": HELLO, "model": "m", "tools": [TOOL]} | {option: replace_at(value, path, wrong)}
            try:
                request = dialects.OpenAI().decode_request(ServerRequest("", {}, msgspec.json.encode(body))).request
            except RequestError as error:
                assert option in error.message
                continue
            for target in dialects.ALL:
                try:
                    target.encode_request(
                        translate(request, dialects.OpenAI()),
                        Endpoint("http://h"),
                        Unsupported(target.name, drop=True),
                    )
                except UsageError as error:
                    assert option in error.message


@pytest.mark.parametrize("function", ["x", 5, None, {}, {"name": 5}, []])
def test_a_tool_choice_that_names_no_function_is_a_400(function: Any) -> None:
    body = {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "function", "function": function}}
    with pytest.raises(RequestError, match="tool_choice must be"):
        dialects.OpenAI().decode_request(ServerRequest("", {}, msgspec.json.encode(body)))


@every
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b'"x"', b"null", b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000, b"{}"],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_not_a_request_is_a_400(dialect: Dialect, body: bytes) -> None:
    incoming = msgspec.structs.replace(to_server_request(encode(dialect, Request(HELLO, "m"))), body=body)
    with pytest.raises(RequestError) as caught:
        dialect.decode_request(incoming)
    assert caught.value.status == 400
    assert caught.value.message


@every
@given(st.binary(max_size=60))
@slow
def test_any_bytes_as_a_body_raise_only_acytoo_errors(dialect: Dialect, body: bytes) -> None:
    incoming = msgspec.structs.replace(to_server_request(encode(dialect, Request(HELLO, "m"))), body=body)
    try:
        dialect.decode_request(incoming)
    except AcytooError:
        pass


@every
@pytest.mark.parametrize("text", ["\ud83d", "a\udfffb"])
def test_a_lone_surrogate_is_an_error_before_anything_is_sent(dialect: Dialect, text: str) -> None:
    with pytest.raises(UsageError):
        encode(dialect, Request([{"role": "user", "content": text}], "m"))


@pytest.mark.parametrize(
    ("body", "once"),
    [
        (b'{"model":"a","messages":[]}', None),
        (b'{ "model" : "a",\n "messages":[ ] }', None),
        (b'{"model":"a","x":{"x":1},"y":[{"x":1}]}', None),
        (b'{"model":"a","model":"b"}', b'{"model":"b"}'),
        (b'{"x":1,"model":"a","x":2}', b'{"x":2,"model":"a"}'),
        (b'{ "model": "a", "model": "b" }', b'{"model":"b"}'),
    ],
)
@every
def test_a_body_is_changed_only_if_it_has_a_field_twice(dialect: Dialect, body: bytes, once: bytes | None) -> None:
    assert dialect.unambiguous(body) == (once or body)
