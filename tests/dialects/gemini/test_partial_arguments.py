"""Calls whose arguments Vertex AI streams in pieces (`streamFunctionCallArguments`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.errors import ProtocolError, RequestError
from acytoo.types import collect
from tests.dialects.gemini.helpers import CONTENTS, decode, read, response, snake_case, sse


def call(*pieces: dict[str, Any], more: bool = True, **fields: Any) -> dict[str, Any]:
    """Return a part with pieces of a call's arguments."""
    if pieces:
        fields["partialArgs"] = list(pieces)
    return {"functionCall": fields | ({"willContinue": True} if more else {})}


def at(path: str, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value}


# Source: cloud.google.com, Vertex AI, "Introduction to function calling" (streaming arguments of function calls).
PIECES = [
    call(name="weather", id="a"),
    call(at("$.city", stringValue="New ", willContinue=True)),
    call(at("$.city", stringValue="Delhi")),
    call(at("$.days[0].number", numberValue=1), at("$.days[0].dry", boolValue=True)),
    call(at("$.days[1]['a b']", nullValue="NULL_VALUE"), at("$.note", stringValue="")),
    call(more=False),
]
ARGUMENTS = {"city": "New Delhi", "days": [{"number": 1, "dry": True}, {"a b": None}], "note": ""}


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_pieces_of_a_call_are_one_call(size: int) -> None:
    body = sse(*[response(part) for part in PIECES], response(reason="STOP"))
    (found,) = collect(read(body, [size])).tool_calls
    assert (found["id"], found["function"]["name"]) == ("a", "weather")
    assert json.loads(found["function"]["arguments"]) == ARGUMENTS


def test_the_pieces_of_a_call_may_have_names_in_snake_case() -> None:
    body = sse(*[snake_case(response(part)) for part in PIECES], response(reason="STOP"))
    (found,) = collect(read(body)).tool_calls
    assert json.loads(found["function"]["arguments"]) == ARGUMENTS
    content = {"role": "model", "parts": [snake_case(part) for part in PIECES]}
    (sent,) = decode({"contents": [*CONTENTS, content]}).messages[-1]["tool_calls"]
    assert json.loads(sent["function"]["arguments"]) == ARGUMENTS


def test_a_call_in_pieces_without_a_name_is_an_error() -> None:
    parts = [call(at("$.n", numberValue=1)), call(more=False)]
    with pytest.raises(ProtocolError, match="without a name"):
        read(sse(*[response(part) for part in parts], response(reason="STOP")))


def test_a_signature_of_the_first_piece_is_kept() -> None:
    signed = {**PIECES[0], "thoughtSignature": "sig"}
    reply = collect(read(sse(*[response(part) for part in [signed, *PIECES[1:]]], response(reason="STOP"))))
    assert reply.message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "sig"}}


def test_two_calls_in_pieces_and_one_at_once_are_three() -> None:
    other = call(at("$.city", stringValue="Rome"), more=False, name="weather", id="b")
    complete = {"functionCall": {"name": "weather", "id": "c", "args": {"city": "Oslo"}}}
    reply = collect(read(sse(response(*PIECES), response(other, complete, reason="STOP"))))
    found = [json.loads(each["function"]["arguments"])["city"] for each in reply.tool_calls]
    assert found == ["New Delhi", "Rome", "Oslo"]


def test_the_next_call_ends_one_that_has_no_last_piece() -> None:
    complete = {"functionCall": {"name": "time", "args": {}}}
    reply = collect(read(sse(response(*PIECES[:-1], complete, reason="STOP"))))
    assert [each["function"]["name"] for each in reply.tool_calls] == ["weather", "time"]


def test_a_call_that_the_finish_reason_cuts_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="weather"):
        read(sse(response(*PIECES[:2], reason="STOP")))


def test_the_arguments_that_the_token_limit_cuts_are_no_complete_object() -> None:
    (found,) = collect(read(sse(response(*PIECES[:2], reason="MAX_TOKENS")))).tool_calls
    assert found["function"]["arguments"] == '{"city":"New "'


@pytest.mark.parametrize("path", ["", "city", "$", "$..city", "$.days[9]", "$.city.name", "$.days[*]", "$.city[0]", 5])
def test_a_path_that_leads_nowhere_is_an_error(path: Any) -> None:
    pieces = [
        call(name="weather"),
        call(at("$.city", stringValue="a")),
        call(at(path, stringValue="b")),
        call(more=False),
    ]
    with pytest.raises(ProtocolError, match="weather"):
        read(sse(response(*pieces, reason="STOP")))


@pytest.mark.parametrize("place", ["$.a.b", "$.a[0]"])
def test_a_value_in_place_of_an_object_or_a_list_is_an_error(place: str) -> None:
    pieces = [
        call(name="weather"),
        call(at(place, stringValue="x")),
        call(at("$.a", stringValue="y")),
        call(more=False),
    ]
    with pytest.raises(ProtocolError, match="weather"):
        read(sse(response(*pieces, reason="STOP")))


def test_a_call_in_pieces_without_an_id_gets_one_like_any_other() -> None:
    pieces = [call(name="weather"), call(at("$.city", stringValue="Rome")), call(more=False)]
    whole = {"functionCall": {"name": "weather", "args": {}}}
    found = collect(read(sse(response(*pieces, whole, reason="STOP")))).tool_calls
    assert len({len(each["id"]) for each in found}) == 1
    assert found[0]["id"] != found[1]["id"]


def test_a_server_reads_such_pieces_in_the_history() -> None:
    """Google's SDKs record each event of a stream as a content of its own."""
    history = [{"role": "model", "parts": [part]} for part in PIECES]
    result = {"functionResponse": {"name": "weather", "id": "a", "response": {}}}
    request = decode({"contents": [*CONTENTS, *history, {"role": "user", "parts": [result]}]})
    (found,) = [found for message in request.messages for found in message.get("tool_calls") or ()]
    assert json.loads(found["function"]["arguments"]) == ARGUMENTS


def test_a_piece_in_the_history_that_fits_nowhere_is_a_bad_request() -> None:
    for parts in ([PIECES[0], call(at("$", stringValue="a"), more=more)] for more in (True, False)):
        with pytest.raises(RequestError, match="does not fit"):
            decode({"contents": [{"role": "model", "parts": parts}]})
