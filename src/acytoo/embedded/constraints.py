"""What constrains a reply: JSON schemas, grammars and tools, in the form that cannot stop the engine.

The problem: llama.cpp compiles them to its own grammars, in the thread that computes everybody's replies. Nested or
neighbouring repetitions, large enums and many properties then take hours for one token, and cannot be interrupted.

The strategy: send everything as a grammar of llguidance, which xllamacpp contains. Its parser takes polynomial time and
has limits of its own. Bound sizes before that, because llguidance gives up beyond its limits: the reply would then not
be constrained. Bound what it does not limit itself: chains of references end the process with a stack overflow, and
patterns that a text must match all at once take minutes and gigabytes. These limits are estimates, so what is not
obviously harmless is tried in another process first: see `grammar_checker`. A tool that the model is free to call keeps
its parameters in the prompt, but only `{"type": "object"}` of them becomes part of a grammar.

The cost: the arguments of a tool that need not be called may deviate from its schema. llguidance does not report that
it has given up, so a reply that ought to be JSON is checked at its end.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from acytoo.dialects.json import dumps
from acytoo.embedded.gbnf import translate_grammar
from acytoo.errors import RequestError, UsageError
from acytoo.types import Closable, Finish, Item, JSONObject, Request

_MAX_DEPTH = 32
_MAX_VALUES = 10_000
"""Objects, lists and plain values in one schema."""
_MAX_TEXT = 200_000
"""Characters in one schema."""
_MAX_PROPERTIES = 250
"""Properties of one object. llguidance gives up at about 500."""
_MAX_ENUM = 2_000
_MAX_PATTERN = 500
_MAX_REPETITIONS = 1_000
"""The number in a repetition of a pattern, such as `{1,1000}`."""
_MAX_PATTERNS = 10
"""Patterns and formats that one text may have to match at the same time. With 20, a token takes up to half a minute."""
_MAX_LEVELS = 500
"""Levels of all parts that references lead to, together. llguidance overflows the stack at a few thousand."""
_MAX_LENGTH = 10_000
"""The number in `maxLength`, `minItems` and the like."""

_MAX_SIMPLE = 10_000
"""Characters of a schema that need not be tried."""
_SIMPLE = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"),
        *("title", "description", "default", "minimum", "maximum"),
    }
)

_INDEX = re.compile("0|[1-9][0-9]{0,4}")

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "additionalItems", "not", "if", "then", "else", "contains")

_COMPACT: JSONObject = {"whitespace_flexible": False, "lenient": True}
"""llguidance's options: no white space that the model could repeat forever, and ignore what it does not know."""


def has_schema(request: Request) -> bool:
    """Return whether the reply has to be JSON that follows a schema."""
    return _schema_of(request.response_format or {}) is not None or _extra(request, "json_schema") is not None


async def require_json(batches: Closable[list[Item]]) -> AsyncGenerator[list[Item], None]:
    """Yield the reply. Raise RequestError at its end if it is complete but not JSON."""
    texts: list[str] = []
    async with aclosing(batches):
        async for batch in batches:
            texts += [item for item in batch if isinstance(item, str)]
            if any(isinstance(item, Finish) and item.reason == "stop" for item in batch):
                _decode("".join(texts))
            yield batch


def _decode(text: str) -> None:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        message = "the schema is too complex for the embedded model, which ignored it: simplify it"
        raise RequestError(message, status=400) from error


def is_constrained(request: Request) -> bool:
    """Return whether the body of a request must be changed by `constrain`."""
    return bool(request.tools or _extra(request, "grammar")) or has_schema(request)


def _extra(request: Request, name: str) -> Any:
    """Return an extra field, None if it is missing or for another API."""
    return request.extra.get(name) if request.extra_for in ("", "openai") else None


def check_constraints(request: Request) -> None:
    """Raise UsageError if a schema, grammar or tool of the request is invalid or too large."""
    for name, schema in _schemas(request):
        check_schema(name, schema)
    grammar = _extra(request, "grammar")
    if grammar:
        translate_grammar(grammar)
        if has_schema(request):
            raise UsageError("the request has a grammar and a schema: the reply can follow only one of them")
    if len(request.tools or ()) > 128:
        raise UsageError(f"the request has {len(request.tools or ()):,} tools: the embedded model takes at most 128")
    for tool in request.tools or ():
        if len(tool["function"]["name"]) > 256:
            raise UsageError("a tool's name is longer than 256 characters: shorten it")


def _schemas(request: Request) -> Iterator[tuple[str, object]]:
    response_format = request.response_format or {}
    schema = _schema_of(response_format)
    if schema is not None:
        yield "response_format", schema
    if (schema := _extra(request, "json_schema")) is not None:
        yield "json_schema", schema
    for tool in request.tools or ():
        yield f"the tool {tool['function']['name']!r}", tool["function"].get("parameters") or {}


def _schema_of(response_format: Mapping[str, Any]) -> object:
    """Return the schema of a response format, None if it has none."""
    if response_format.get("type") == "json_schema":
        named = response_format.get("json_schema")
        schema = named.get("schema") if isinstance(named, Mapping) else None
        return response_format.get("schema") if schema is None else schema
    return response_format.get("schema") if response_format.get("type") == "json_object" else None


def grammar_to_try(request: Request) -> str:
    """Return the grammar that the reply has to follow, "" if it has none or an obviously harmless one."""
    schema = _schema_of(request.response_format or {})
    schema = _extra(request, "json_schema") if schema is None else schema
    if schema is not None:
        return "" if _is_simple(schema) else _json_grammar(schema)
    grammar = _extra(request, "grammar")
    return translate_grammar(grammar) if grammar else ""


def _is_simple(schema: Any) -> bool:
    """Return whether a valid schema is small and has only keywords that are cheap to follow."""
    if len(dumps(schema)) > _MAX_SIMPLE:
        return False
    pending = [schema]
    while pending:
        part = pending.pop()
        if not isinstance(part, bool):
            if not _SIMPLE.issuperset(part):
                return False
            for keyword in ("properties", "$defs"):
                pending += part.get(keyword, {}).values()
            pending += part.get("anyOf", ())
            pending += [part[keyword] for keyword in ("items", "additionalProperties") if keyword in part]
    return True


def constrain(body: JSONObject) -> JSONObject:
    """Return the body for llama.cpp with its schema or grammar as one of llguidance, and with harmless tools."""
    schema = _schema_of(body.get("response_format") or {})
    schema = body.pop("json_schema", None) if schema is None else schema
    if schema is not None:
        body.pop("response_format", None)
        body["grammar"] = _json_grammar(schema)
    elif body.get("grammar"):
        body["grammar"] = translate_grammar(body["grammar"])
    if tools := body.get("tools"):
        # The template gets the complete tools: its arguments take precedence over the request's fields.
        body["chat_template_kwargs"] = {**body.get("chat_template_kwargs", {}), "tools": tools}
        body["tools"] = [_with_any_arguments(tool) for tool in tools]
    return body


def _json_grammar(schema: Any) -> str:
    if schema is True or not isinstance(schema, Mapping):
        schema = {}
    text = dumps({**_closed(schema), "x-guidance": _COMPACT}).decode()
    return f"%llguidance {{}}\nstart: %json {text}"


def _closed(schema: JSONObject) -> JSONObject:
    """Return the schema with its objects closed to properties that they do not list, unless they say otherwise.

    A tiny model adds properties until it reaches the token limit. llama.cpp's own conversion closes objects too. The
    parts of a schema that is composed of several stay open, because each may list other properties of one object.
    """
    text = dumps(schema)
    return schema if any(keyword in text for keyword in _COMPOSING) else _close(schema)


def _close(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for keyword in (*_SCHEMA_MAPS, *_SCHEMA_LISTS, *_SCHEMAS):
        part = schema.get(keyword)
        if keyword in _SCHEMA_MAPS and isinstance(part, Mapping):
            closed[keyword] = {name: _close(value) for name, value in part.items()}
        elif part is not None:
            closed[keyword] = [_close(value) for value in part] if isinstance(part, list) else _close(part)
    if "properties" in schema and _OPEN.isdisjoint(schema):
        closed["additionalProperties"] = False
    return closed


_COMPOSING = (b'"allOf"', b'"if"', b'"dependentSchemas"', b'"unevaluatedProperties"')
_OPEN = frozenset({"additionalProperties", "patternProperties", "anyOf", "oneOf", "$ref"})
"""Keywords of an object that has, or may have, properties beside those that it lists."""


def _with_any_arguments(tool: Mapping[str, Any]) -> JSONObject:
    return {**tool, "function": {"name": tool["function"]["name"], "parameters": {"type": "object"}}}


def move_schema(schema: Any, path: str) -> Any:
    """Return a schema that becomes part of another one at a path, such as `#/items`: its references begin with it."""
    if isinstance(schema, Mapping):
        return {
            name: path + value[1:]
            if name == "$ref" and isinstance(value, str) and value.startswith("#")
            else move_schema(value, path)
            for name, value in schema.items()
        }
    return [move_schema(value, path) for value in schema] if isinstance(schema, list) else schema


def check_schema(name: str, schema: object) -> None:
    """Raise UsageError if the schema is invalid, or if it is so large that the engine could not follow it."""
    if not isinstance(schema, Mapping):
        raise UsageError(f"invalid schema of {name}: expected an object")
    _SchemaCheck(name, schema).run()


class _SchemaCheck:
    """A walk through one schema."""

    def __init__(self, name: str, root: Mapping[str, Any]) -> None:
        self._name = name
        self._root = root
        self._values = self._text = self._enum = self._levels = 0
        self._targets: dict[str, object] = {}  # by reference
        self._patterns: dict[str, int] = {}  # of the targets, 0 while they are counted
        self._checked: dict[int, Mapping[str, Any]] = {}
        self._pending: list[object] = [root]

    def run(self) -> None:
        self._measure(self._root, 0)
        while self._pending:
            self._check(self._pending.pop())
        for schema in self._checked.values():
            if (count := self._patterns_of(schema)) > _MAX_PATTERNS:
                raise self._fail(f"a text would have to match {count} patterns at once, at most are {_MAX_PATTERNS}")

    def _fail(self, problem: str) -> UsageError:
        return UsageError(f"invalid schema of {self._name}: {problem}")

    def _measure(self, value: object, depth: int) -> None:
        """Count the values and characters, and what is nested, before anything else walks through the schema."""
        self._values += 1
        if depth > _MAX_DEPTH:
            raise self._fail(f"the embedded model takes at most {_MAX_DEPTH} levels, this has more")
        if isinstance(value, str):
            self._text += len(value)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self._text += len(key)
                self._measure(item, depth + 1)
        elif isinstance(value, list):
            for item in value:
                self._measure(item, depth + 1)
        if self._values > _MAX_VALUES or self._text > _MAX_TEXT:
            raise self._fail(f"it is larger than {_MAX_VALUES:,} values or {_MAX_TEXT:,} characters: simplify it")

    def _check(self, schema: object) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, Mapping):
            raise self._fail("expected an object or a boolean where a schema must be")
        if id(schema) in self._checked:
            return
        self._checked[id(schema)] = schema
        self._check_keywords(schema)
        for keyword in _SCHEMA_MAPS:
            if keyword in schema:
                if not isinstance(schema[keyword], Mapping):
                    raise self._fail(f"{keyword} is not an object")
                if keyword == "properties" and len(schema[keyword]) > _MAX_PROPERTIES:
                    raise self._fail(f"the embedded model takes at most {_MAX_PROPERTIES} properties of one object")
                for name, part in schema[keyword].items():
                    if keyword == "patternProperties":
                        self._check_pattern(name)
                    self._check(part)
        for keyword in _SCHEMA_LISTS:
            if keyword in schema:
                if not isinstance(schema[keyword], list) or not schema[keyword]:
                    raise self._fail(f"{keyword} is not a list of schemas")
                for part in schema[keyword]:
                    self._check(part)
        for keyword in _SCHEMAS:
            part = schema.get(keyword)
            for item in part if isinstance(part, list) else [] if part is None else [part]:
                self._check(item)

    def _check_keywords(self, schema: Mapping[str, Any]) -> None:
        types = schema.get("type", [])
        types = types if isinstance(types, list) else [types]
        for position, kind in enumerate(types):
            if not isinstance(kind, str) or kind not in _TYPES or kind in types[:position]:
                raise self._fail(f"unknown or repeated type {kind!r:.40}")
        if "enum" in schema:
            if not isinstance(schema["enum"], list) or not schema["enum"]:
                raise self._fail("enum is not a list of values")
            self._enum += len(schema["enum"])
            if self._enum > _MAX_ENUM:
                raise self._fail(f"the embedded model takes at most {_MAX_ENUM:,} values in enums")
        for keyword in _LENGTHS:
            value = schema.get(keyword, 0)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_LENGTH:
                raise self._fail(f"{keyword} is not a number from 0 to {_MAX_LENGTH:,}")
        self._check_pattern(schema.get("pattern", ""))
        if "$ref" in schema:
            self._check_reference(schema["$ref"])

    def _check_pattern(self, pattern: object) -> None:
        if not isinstance(pattern, str) or len(pattern) > _MAX_PATTERN:
            raise self._fail(f"the embedded model takes patterns of at most {_MAX_PATTERN} characters")
        if any(int(number) > _MAX_REPETITIONS for number in re.findall(r"[{,]\s*([0-9]+)", pattern)):
            raise self._fail(f"a pattern repeats something more than {_MAX_REPETITIONS:,} times")

    def _check_reference(self, reference: object) -> None:
        """Raise UsageError if a reference leads out of the schema, to nothing, or back to itself."""
        seen: set[str] = set()
        target: object = {"$ref": reference}
        while isinstance(target, Mapping) and "$ref" in target:
            pointer = target["$ref"]
            if not isinstance(pointer, str) or pointer in seen or not (pointer == "#" or pointer.startswith("#/")):
                raise self._fail(f"the reference {pointer!r:.80} is not to another part of this schema")
            if pointer in self._targets:
                return
            seen.add(pointer)
            target = self._resolve(pointer)
            self._levels += _levels(target)
            if self._levels > _MAX_LEVELS:
                raise self._fail(f"the levels of its references are more than {_MAX_LEVELS} together: simplify it")
            self._pending.append(target)
            self._targets[pointer] = target

    def _resolve(self, pointer: str) -> object:
        value: object = self._root
        for token in pointer.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and key in value:
                value = value[key]
            elif isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
                value = value[int(key)]
            else:
                raise self._fail(f"the reference {pointer!r:.80} leads to nothing")
        return value

    def _patterns_of(self, schema: object) -> int:
        """Return how many patterns a text may have to match at the same time. The schema must have been checked."""
        if not isinstance(schema, Mapping):
            return 0
        count = ("pattern" in schema) + ("format" in schema) + len(schema.get("patternProperties", ()))
        for part in schema.get("allOf", ()):
            count += self._patterns_of(part)
        for keyword in ("anyOf", "oneOf"):
            most = 0
            for part in schema.get(keyword, ()):
                most = max(most, self._patterns_of(part))
            count += most
        if "$ref" in schema:
            pointer = schema["$ref"]
            if pointer not in self._patterns:
                self._patterns[pointer] = 0
                self._patterns[pointer] = self._patterns_of(self._targets[pointer])
            count += self._patterns[pointer]
        return count


def _levels(value: object) -> int:
    """Return how deeply objects and lists are nested in a value, and 1 for what is in the last one."""
    parts: Iterable[object] = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + max(map(_levels, parts), default=0)
