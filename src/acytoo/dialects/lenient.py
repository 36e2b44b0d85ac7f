"""Lenient decoding of a reply, for JSON that the typed decoder refused.

The problem: servers send wrong types in fields that nobody needs (`"id": 123`, `"usage": []`), and msgspec refuses the
complete record for one of them. The strategy: only such a record is decoded again, without types. Then its values are
fitted into the same structs: a value that does not fit is converted if that is possible (a number as an id, a
numeric text as a number), else its field keeps its default. A field marked `NEEDED` carries content: a value that does
not fit there still fails the reply, unless it is empty. The cost: nothing for records that are as expected.
"""

from __future__ import annotations

import functools
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

import msgspec

from acytoo.dialects.fields import text_or_empty
from acytoo.dialects.json import UNDECODABLE, decoder
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.wire.limits import MAX_ELEMENTS, json_excess

T = TypeVar("T")

NEEDED = msgspec.Meta(extra={"needed": True})
"""Marks a field (`Annotated[str | None, NEEDED]`) without whose value a reply would not be complete."""

REASON = msgspec.Meta(extra={"reason": True})
"""Marks a field with the reason why a reply ended, which some servers send as an object."""

_MISFIT = object()

_MAX_DIGITS = 10
"""The digits of a key beyond which it is not the number of an element."""


def decode_document(body: bytes, type_: type[T]) -> T:
    """Decode a document, leniently if necessary. Lone surrogates become U+FFFD.

    Raises what msgspec raises if it is not JSON, msgspec.ValidationError if a value that is needed does not fit.
    """
    try:
        decoded: T = decoder(cast("Any", type_)).decode(body)
        return decoded
    except UNDECODABLE as error:
        try:
            return decode_lenient(replace_lone_escapes(body), type_)
        except msgspec.ValidationError:
            raise
        except UNDECODABLE:
            raise error from None


def decode_lenient(record: bytes, type_: type[T]) -> T:
    """Decode JSON and fit it into a struct or a list of structs, keeping lone surrogates.

    Raises msgspec.DecodeError if it is not JSON, msgspec.ValidationError if a value that is needed does not fit.
    """
    if len(record) > MAX_ELEMENTS and (excess := json_excess(record, max_depth=len(record))):
        raise msgspec.ValidationError(f"The document {excess}")
    import json  # slow to import, and rarely needed

    text = record.decode()
    document = None
    reason = ""
    try:
        document = json.loads(text)  # unlike msgspec, it accepts lone surrogates and NaN
    except ValueError as error:
        reason = str(error)
    if reason:  # not raised above: the error of `json` has the record as a field, which may contain a secret
        raise msgspec.DecodeError(reason)
    return fit(document, type_)


def fit(document: object, type_: type[T]) -> T:
    """Return decoded JSON as a value of the type. Raises msgspec.ValidationError if a needed value does not fit."""
    fitted = _fit(document, type_, True)
    if fitted is _MISFIT:
        raise msgspec.ValidationError(f"Expected another type than `{_json_type(document)}`")
    return fitted  # type: ignore[return-value]


def _fit(value: object, type_: Any, needed: bool) -> object:
    """Return the value as one of the type, `_MISFIT` if it is not."""
    if type_ is Any or type_ is object:
        return value
    origin = get_origin(type_)
    if origin is Annotated:
        return _fit(value, get_args(type_)[0], needed)
    if origin in (Union, UnionType):
        fitted = (_fit(value, member, needed) for member in get_args(type_))
        return next((member for member in fitted if member is not _MISFIT), _MISFIT)
    if origin is list:
        return _fit_list(value, get_args(type_)[0], needed)
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return _fit_struct(value, type_) if isinstance(value, dict) else _MISFIT
    if type_ is NoneType:
        return None if value is None else _MISFIT
    return _fit_scalar(value, origin or type_, needed)


def _fit_struct(document: dict[str, object], type_: type[msgspec.Struct]) -> msgspec.Struct:
    fields = {}
    for field in _fields(type_):
        value = document.get(field.encode_name)
        if value is None:  # protocol buffers' JSON may have the field's own name
            value = document.get(field.name)
        marks = field.type.__metadata__ if get_origin(field.type) is Annotated else ()
        needed = NEEDED in marks
        if REASON in marks and isinstance(value, dict) and value:
            value = reason_in(value)
        fitted = _fit(value, field.type, needed)
        if fitted is not _MISFIT:
            fields[field.name] = fitted
        elif needed and not is_empty(value):
            raise msgspec.ValidationError(f"Unexpected `{_json_type(value)}` in `{field.encode_name}`")
    return type_(**fields)


def reason_in(value: dict[str, object]) -> str:
    """Return the reason in an object that a server has sent in place of it."""
    texts = [text for name in ("type", "reason", "code") if isinstance(text := value.get(name), str) and text]
    return texts[0] if texts else "unknown"


def is_empty(value: object) -> bool:
    """Return whether a value means that there is none. 0 might be a part of a text."""
    return value is False or value in (None, "", [], {})


def elements_of(value: object) -> object:
    """Return the elements of what should be a list of objects, anything else unchanged.

    A single object counts as a list of one. PHP writes a list with a gap as an object by number, which becomes the
    `index` of each element. The list or an element of it may be JSON text.
    """
    value = _from_text(value)
    if isinstance(value, dict) and value:
        if not all(key.isdecimal() and len(key) < _MAX_DIGITS for key in value):
            return [value]
        numbered = [(key, _from_text(value[key])) for key in sorted(value, key=int)]
        return [{"index": int(key), **element} if isinstance(element, dict) else element for key, element in numbered]
    return [_from_text(element) for element in value] if isinstance(value, list) else value


def _from_text(value: object) -> object:
    """Return the object or the list that a text is as JSON, anything else unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        if len(value) > MAX_ELEMENTS and json_excess(value.encode("utf-8", "replace"), max_depth=len(value)):
            return value
        import json  # slow to import, and rarely needed

        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _fit_list(value: object, type_: Any, needed: bool) -> object:
    """Return the elements that fit."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        value = elements_of(value)
    elif isinstance(value, dict) and value:
        value = [value]
    if not isinstance(value, list):
        return _MISFIT
    fitted = [(element, _fit(element, type_, needed)) for element in value]
    if needed and any(member is _MISFIT and not is_empty(element) for element, member in fitted):
        return _MISFIT
    return [member for _, member in fitted if member is not _MISFIT]


def _fit_scalar(value: object, type_: Any, needed: bool) -> object:
    if type_ is str:
        if needed or isinstance(value, str):  # a number is no part of a text
            return value if isinstance(value, str) else _MISFIT
        return text_or_empty(value) or _MISFIT
    if type_ is bool:
        return True if value in (True, "true", "True") else value if isinstance(value, bool) else _MISFIT
    if type_ in (int, float):
        return _fit_number(value, type_)
    return value if isinstance(value, type_) else _MISFIT


def _fit_number(value: object, type_: type[int] | type[float]) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return _MISFIT
    try:
        number = float(value)
        return type_(value if isinstance(value, int) else number) if -(2**63) <= number < 2**63 else _MISFIT
    except (ValueError, OverflowError):
        return _MISFIT


@functools.cache
def _fields(type_: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(type_)


_JSON_TYPES = {NoneType: "null", bool: "bool", int: "int", float: "float", str: "str", list: "array", dict: "object"}


def _json_type(value: object) -> str:
    return _JSON_TYPES[type(value)]
