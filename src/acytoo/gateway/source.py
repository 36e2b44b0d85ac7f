"""A config file's text: where each value is, and how its tables are decoded, with errors that name the line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.inspect import LiteralType, StructType, Type, UnionType, VarTupleType, type_info

from acytoo.errors import UsageError
from acytoo.gateway.secrets import did_you_mean
from acytoo.gateway.toml_lines import KeyPath

T = TypeVar("T")

_WRONG = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`")
_INVALID_CHOICE = re.compile(r"Invalid enum value '(.*)'")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")

_ALIASES = {
    "api_key": "key", "base_url": "url", "api_base": "url", "token": "key", "secret": "hash",
    "rpm": "requests_per_minute", "rpd": "requests_per_day", "tpm": "tokens_per_minute", "tpd": "tokens_per_day",
    "budget": "budget_per_month", "max_parallel_requests": "concurrent", "target": "to", "model": "to",
    "ttl": "cache", "cache_read": "cached", "expiry": "expires", "ledgers": "ledger",
}  # fmt: skip
"""Names that other gateways use, if they are not spelled like ours."""


TABLES_OF_TABLES = ("upstreams", "models", "keys", "prices")
"""The tables whose entries have names of the user's own."""


class Source(msgspec.Struct, frozen=True):
    """A config file's path, and the line of each of its values."""

    path: Path
    lines: Mapping[KeyPath, int]

    def place(self, path: KeyPath) -> str:
        """Return the file and the line of a value, or of the table that lacks it."""
        for size in range(len(path), 0, -1):
            if line := self.lines.get(path[:size]):
                return f"{self.path}:{line}"
        return str(self.path)

    def error(self, path: KeyPath, message: str) -> UsageError:
        """Return the error for a wrong value."""
        return UsageError(f"{self.place(path)}: {message}")

    def syntax_error(self, error: Exception, text: str) -> UsageError:
        """Return the error for a text that is not TOML."""
        match = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = (match.group(1) if match else None) or text.count("\n") + 1
        reason = str(error)[: match.start()] if match else "too deeply nested"
        return UsageError(f"{self.path}:{line}: not valid TOML: {_plain_reason(reason)}")

    def as_table(self, value: object, path: KeyPath) -> dict[str, Any]:
        """Return a value that has to be a table. Raises UsageError."""
        if isinstance(value, dict):
            return value
        raise self.error(path, f"{shown(path)} must be a table, not {_type_name(value)}")

    def check_names(self, table: Mapping[str, object], known: Iterable[str], path: KeyPath) -> None:
        """Raise UsageError for a name that a table does not have."""
        known = list(known)
        in_table = f" in {shown(path)}" if path else ""
        for name, value in table.items():
            if name not in known:
                hint = nearest(name, known)
                if isinstance(value, Mapping) and len(path) == 2 and "did you mean" not in hint:
                    hint = f": if the name has a dot, write it in quotes: {shown((path[0], f'{path[1]}.{name}'))}"
                raise self.error((*path, name), f"unknown {'field' if path else 'table'} {name!r}{in_table}{hint}")


def decode(cls: type[T], value: object, path: KeyPath, source: Source) -> T:
    """Return a table as a struct. Raises UsageError with its line."""
    table = source.as_table(value, path)
    info = type_info(cls)
    assert isinstance(info, StructType)
    source.check_names(table, [field.name for field in info.fields], path)
    try:
        return msgspec.convert(table, cls)
    except msgspec.ValidationError as error:
        match = _WRONG.fullmatch(str(error))
        assert match is not None
        steps = [name or int(number) for name, number in _STEP.findall(match["path"] or "")]
        path = (*path, *steps)
        if unknown := _UNKNOWN_FIELD.fullmatch(match["what"]):
            source.check_names({unknown[1]: None}, _fields_inside(info), path)
        hint = ""
        if invalid := _INVALID_CHOICE.fullmatch(match["what"]):
            choices = [choice for field in info.fields if field.name == steps[0] for choice in _choices(field.type)]
            hint = nearest(invalid[1], choices)
        raise source.error(path, f"{shown(path)}: {_in_toml_terms(match['what'])}{hint}") from None


def shown(path: KeyPath) -> str:
    """Return a value's keys as the file shows them: `[upstreams.openai] key`."""
    table = path[: 2 if path[0] in TABLES_OF_TABLES else 1]
    rest = "".join([f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[len(table) :]])
    return f"[{'.'.join(map(_quoted, table))}]{' ' if rest else ''}{rest.removeprefix('.')}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: which known name was probably meant, or all of them."""
    known = list(known)
    alias = _ALIASES.get(name)
    near = [alias] if alias in known else difflib.get_close_matches(name, known, 1)
    if near or not known:
        return did_you_mean(near)
    return f": expected {', '.join(known)}"


def _quoted(step: str | int) -> str:
    text = str(step)
    return text if re.fullmatch(r"[\w-]+", text, re.ASCII) else json.dumps(text)


def _fields_inside(info: Type) -> list[str]:
    """Return the names of the fields of all tables inside a table."""
    if isinstance(info, UnionType):
        return [name for part in info.types for name in _fields_inside(part)]
    if isinstance(info, VarTupleType):
        return _fields_inside(info.item_type)
    if not isinstance(info, StructType):
        return []
    names = [field.name for field in info.fields]
    inner = [name for field in info.fields for name in _fields_inside(field.type)]
    return inner or names


def _choices(type_: Type) -> tuple[str, ...]:
    """Return the texts that a field may have, if it may not have any text."""
    return tuple(map(str, type_.values)) if isinstance(type_, LiteralType) else ()


def _in_toml_terms(message: str) -> str:
    """Return a message of msgspec in the terms of TOML."""
    if missing := re.fullmatch(r"Object missing required field `(.*)`", message):
        return f"{missing[1]} is missing"
    if "RFC3339" in message:
        return "expected a date, such as 2027-01-31"
    message = re.sub(r"`([a-z |]+)`", lambda match: _nouns(match[1]), message)
    return message[:1].lower() + message[1:]


def _nouns(types: str) -> str:
    """Return msgspec's names of types, such as `int | null`, as TOML's writers call them."""
    return " or ".join([_NOUNS.get(name, name) for name in types.split(" | ") if name != "null"])


_NOUNS = {
    "str": "a text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false",
    "array": "a list in [ ]", "object": "a table", "date": "a date, such as 2027-01-31",
    "datetime": "a date with a time", "time": "a time",
}  # fmt: skip


def _plain_reason(reason: str) -> str:
    """Return a message of tomllib, with what to do if that is known."""
    if twice := re.fullmatch(r"Cannot declare \((.*?),?\) twice", reason):
        names = re.findall(r"'([^']*)'", twice[1])
        return f"the table [{'.'.join(map(_quoted, names))}] is there twice"
    return _REASONS.get(reason, reason[:1].lower() + reason[1:])


_REASONS = {
    "Cannot overwrite a value": "a field is there twice in its table",
    "Invalid value": "invalid value: a text needs quotes",
    r"Illegal character '\n'": "a text has no quote at its end",
}
"""Messages of tomllib that leave open what to do."""


def _type_name(value: object) -> str:
    return {str: "a string", int: "an integer", float: "a float", bool: "a boolean", list: "an array"}.get(
        type(value), f"a {type(value).__name__}"
    )
