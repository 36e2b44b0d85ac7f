"""Checks of the fields of decoded JSON: a request's wrong field is a 400 that names it, a reply's is ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from acytoo.dialects.fields import (
    count,
    decode_body,
    object_or_empty,
    objects_in,
    optional_object,
    optional_objects,
    require,
    without_none,
)
from acytoo.errors import RequestError
from acytoo.http import ServerRequest


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: require({}, "id", str, "call"), "call.id is missing or not text"),
        (lambda: require({"id": None}, "id", str, "call"), "call.id is missing or not text"),
        (lambda: require({"f": []}, "f", dict, "call"), "call.f is missing or not an object"),
        (lambda: require({"f": {}}, "f", list, "call"), "call.f is missing or not a list"),
        (lambda: optional_object([], "x"), "x must be an object"),
        (lambda: optional_objects({}, "x"), "x must be a list of objects"),
        (lambda: optional_objects([{}, 5], "x"), "x must be a list of objects"),
        (lambda: decode_body(ServerRequest("/", {}, b"[]")), "Expected `object`"),
        (lambda: decode_body(ServerRequest("/", {}, b"{")), "truncated"),
        (lambda: decode_body(ServerRequest("/", {}, b'{"a": "\xff"}')), "utf-8"),
    ],
)
def test_a_wrong_field_of_a_request_is_a_400_that_names_it(check: Callable[[], object], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        check()
    assert message in caught.value.message
    assert (caught.value.status, caught.value.code) == (400, "invalid_request_error")


def test_a_correct_field_of_a_request_is_returned() -> None:
    assert require({"id": ""}, "id", str, "call") == ""
    assert optional_object(None, "x") == {}
    assert optional_objects(None, "x") == []
    assert optional_objects([{"a": 1}], "x") == [{"a": 1}]
    assert decode_body(ServerRequest("/", {}, b'{"a":1}')) == {"a": 1}


def test_an_optional_object_is_a_copy() -> None:
    fields = {"a": 1}
    optional_object(fields, "x")["b"] = 2
    assert fields == {"a": 1}


@pytest.mark.parametrize("value", [None, 5, "x", True])
def test_a_wrong_field_of_a_reply_is_ignored(value: Any) -> None:
    assert object_or_empty(value) == {}
    assert objects_in(value) == []
    assert objects_in([value, {"a": 1}]) == [{"a": 1}]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5),
        (5.9, 5),
        (0, 0),
        (-1, 0),
        (2**63, 0),
        (float("inf"), 0),
        (float("nan"), 0),
        ("5", 5),
        ("five", 0),
        (None, 0),
        ([], 0),
    ],
)
def test_a_count_is_a_number_that_is_not_negative(value: Any, number: int) -> None:
    assert count(value) == number


def test_only_fields_that_are_none_are_removed() -> None:
    assert without_none({"a": None, "b": 0, "c": "", "d": []}) == {"b": 0, "c": "", "d": []}
