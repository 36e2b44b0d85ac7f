"""Checks of the fields of decoded JSON: required and optional ones, counts, lists of objects."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from acytoo.dialects.json import UNDECODABLE, decoder
from acytoo.errors import RequestError
from acytoo.http import ServerRequest
from acytoo.secret import truncate
from acytoo.types import JSONObject

T = TypeVar("T")

_KINDS: dict[type, str] = {str: "text", dict: "an object", list: "a list"}


def invalid(message: str) -> RequestError:
    """Return the error that a server answers a malformed request with (400).

    A value in the message may be as long as the request.
    """
    return RequestError(truncate(message, 2000), status=400, code="invalid_request_error")


def decode_body(request: ServerRequest, type_: Any = JSONObject) -> Any:
    """Decode a request's JSON body. Raises RequestError (400) that names the wrong place."""
    try:
        return decoder(type_).decode(request.body)
    except UNDECODABLE as error:
        raise invalid(f"invalid request body: {error}") from error


def require(fields: Mapping[str, object], name: str, kind: type[T], where: str) -> T:
    """Return a required field of a request. Raises RequestError (400) if it is missing or of another type."""
    value = fields.get(name)
    if not isinstance(value, kind):
        raise invalid(f"{where}.{name} is missing or not {_KINDS[kind]}")
    return value


def optional_object(value: object, where: str) -> JSONObject:
    """Return a copy of an optional object of a request, {} for null. Raises RequestError (400) for another type."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"{where} must be an object")
    return dict(value)


def optional_objects(value: object, where: str) -> list[JSONObject]:
    """Return an optional list of objects of a request, [] for null. Raises RequestError (400) for anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(f"{where} must be a list of objects")
    return value


def object_or_empty(value: object) -> JSONObject:
    """Return the value if it is an object, else {}: for optional fields of a reply."""
    return value if isinstance(value, dict) else {}


def objects_in(value: object) -> list[JSONObject]:
    """Return the objects in what should be a list of them: for optional fields of a reply."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_or_empty(value: object) -> str:
    """Return a text of a reply, a number as text, "" for anything else: for names and identifiers."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def count(value: object) -> int:
    """Return a number of tokens or seconds from a reply, 0 for anything that is not one. Some servers send text."""
    if type(value) is int and 0 <= value < 2**63:
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 2**63 else 0


def whole_number(value: object) -> object:
    """Return a limit of a request that is a fraction or text as the integer that bounds it, anything else unchanged.

    Most services read such a number, so that a server which only passes it on must not count another.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if not isinstance(value, float) or math.isnan(value):
        return value
    return math.ceil(max(-_LARGEST, min(value, _LARGEST)))


def integer(value: object) -> object:
    """Return a whole number that has a fraction of zero (`40.0`) as an integer, anything else unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST else value


_NUMBER = re.compile(r"\s*[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,4})?\s*", re.ASCII)

_LARGEST = 2.0**53
"""The integers up to this one are exact in a float."""


def without_none(fields: Mapping[str, object]) -> JSONObject:
    """Return the fields whose value is not None."""
    return {name: value for name, value in fields.items() if value is not None}
