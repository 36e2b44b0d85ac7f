"""Schemas, grammars and tools of the real model: they constrain the reply, and nobody can stop the engine with them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from acytoo import Acytoo
from acytoo.embedded.constraints import check_schema, constrain, move_schema
from acytoo.embedded.provider import EngineProvider, Model, load_engine, load_provider
from acytoo.errors import RequestError, UsageError
from tests.dialects.test_growth import assert_linear
from tests.server_process import Served

HELLO: list[Any] = [{"role": "user", "content": "Say hi."}]
HUGE = 2_147_483_647
NESTED = "^((a{0,40}){0,40}){0,40}$"


def formatted(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def linked(count: int, wrap: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return a schema that refers to the first of many parts, each of which refers to the next one."""
    links = {str(link): wrap({"$ref": f"#/$defs/{link + 1}"}) for link in range(count)}
    return {"$ref": "#/$defs/0", "$defs": {**links, str(count): {"type": "string"}}}


def with_tool(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}], **fields}


def object_of(count: int, **schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{index}": {"type": "string", **schema} for index in range(count)}}


def grammar_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema in the grammar for the engine, without llguidance's options."""
    text: str = constrain(formatted(schema))["grammar"]
    found: dict[str, Any] = json.loads(text.partition("%json ")[2])
    del found["x-guidance"]
    return found


PAIR = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    "nest",
    [
        lambda part: part,
        lambda part: {"type": "array", "items": part},
        lambda part: {"anyOf": [part, {"type": "null"}]},
        lambda part: {"$ref": "#/$defs/p", "$defs": {"p": part}},
        lambda part: {"type": "object", "properties": {"properties": part}, "additionalProperties": True},
    ],
)
def test_an_object_has_only_the_properties_that_its_schema_lists(nest: Any) -> None:
    assert grammar_of(nest(PAIR)) == nest({**PAIR, "additionalProperties": False})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**PAIR, "additionalProperties": {"type": "number"}},
        {**PAIR, "patternProperties": {"^x": {"type": "number"}}},
        {"allOf": [PAIR, {"type": "object", "properties": {"b": {"type": "string"}}}]},
    ],
)
def test_an_object_stays_open_if_its_schema_says_so_or_is_composed(schema: dict[str, Any]) -> None:
    assert grammar_of(schema) == schema


REJECTED: dict[str, dict[str, Any]] = {
    "a repetition window of 8 GB": {"repeat_last_n": HUGE},
    "probabilities of every token": {"n_probs": HUGE},
    "log-probabilities of every token": {"logprobs": True, "top_logprobs": HUGE},
    "a regular expression as trigger": {"grammar_triggers": [{"type": 2, "value": "(a*)*b"}]},
    "100,000 stop sequences": {"stop": ["x"] * 100_000},
    "a huge enum": formatted({"enum": list(range(100_000))}),
    "a huge enum of a tool": with_tool({"enum": list(range(100_000))}),
    "thousands of properties": formatted(object_of(3000)),
    "a schema that refers to itself": formatted(
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}
    ),
    "a prompt of 900 kB": {"messages": [{"role": "user", "content": "a" * 900_000}]},
}

ANSWERED: dict[str, dict[str, Any]] = {
    "nested repetition in a pattern": formatted({"type": "string", "pattern": NESTED}),
    "nested repetition in json_schema": {"json_schema": {"type": "string", "pattern": NESTED}},
    "nested repetition in a json_object": {
        "response_format": {"type": "json_object", "schema": {"type": "string", "pattern": NESTED}}
    },
    "nested repetition in a tool": with_tool(object_of(1, pattern=NESTED)),
    "nested repetition in a forced tool": with_tool(object_of(1, pattern=NESTED), tool_choice="required"),
    "neighbouring repetitions": formatted({"type": "string", "pattern": "^" + "[a-z]*" * 80 + "!$"}),
    "as many properties as allowed": formatted(object_of(250)),
    "as many enum values as allowed": formatted({"enum": [f"v{index}" for index in range(2000)]}),
    "an ambiguous grammar": {"grammar": 'root ::= ((("a" | [a-z])* | "b")* "c"?)* "z"'},
    "a grammar of 400 repetitions": {"grammar": "root ::= " + "[a-z]* " * 400},
}


@pytest.fixture(scope="module")
def model(model_file: object) -> EngineProvider:
    """The built-in model, without our server."""
    return load_provider(Acytoo.url)


@pytest.fixture(scope="module")
def url(model: EngineProvider) -> Iterator[str]:
    """The URL of our server in front of the model."""
    with Served(model) as server:
        yield server.url


async def post(url: str, fields: dict[str, Any]) -> tuple[int, Any]:
    body = {"model": "m", "messages": HELLO, "max_tokens": 20, "temperature": 0, **fields}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=body) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("name", REJECTED)
async def test_a_request_that_would_stop_the_engine_is_a_400(name: str, url: str) -> None:
    async with asyncio.timeout(120):
        status, answer = await post(url, REJECTED[name])
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
        assert (await post(url, {}))[0] == 200


@pytest.mark.parametrize("name", ANSWERED)
async def test_others_are_answered_while_the_engine_follows_a_difficult_request(name: str, url: str) -> None:
    memory = psutil.Process().memory_info().rss
    async with asyncio.timeout(120):
        difficult = asyncio.ensure_future(post(url, ANSWERED[name]))
        await asyncio.sleep(0.2)
        assert (await post(url, {"max_tokens": 3}))[0] == 200
        await difficult
    assert psutil.Process().memory_info().rss - memory < 300_000_000


async def test_the_engine_stops_when_the_client_of_a_difficult_request_leaves(url: str) -> None:
    difficult = asyncio.ensure_future(post(url, {**ANSWERED["an ambiguous grammar"], "max_tokens": 1000}))
    await asyncio.sleep(1)
    difficult.cancel()
    await asyncio.gather(difficult, return_exceptions=True)
    async with asyncio.timeout(120):
        while (used := await cpu_seconds()) > 0.3:
            assert used
    assert (await post(url, {"max_tokens": 3}))[0] == 200


async def cpu_seconds() -> float:
    """Return the CPU time that this process uses in one second."""
    before = time.process_time()
    await asyncio.sleep(1)
    return time.process_time() - before


async def test_a_reply_follows_its_schema(model: EngineProvider) -> None:
    schema = {
        "type": "object",
        "properties": {
            "ip": {"type": "string", "pattern": r"^(\d{1,3}\.){3}\d{1,3}$"},
            "next": {"anyOf": [{"$ref": "#/$defs/end"}, {"type": "null"}]},
            "unknown": {"type": "string", "format": "fruit", "not": {"const": "x"}, "maxLength": 3},
        },
        "required": ["ip", "next", "unknown"],
        "additionalProperties": False,
        "$defs": {"end": {"enum": ["end"]}},
    }
    reply = json.loads((await model.reply(HELLO, temperature=0, **formatted(schema))).text)
    assert len(reply["ip"].split(".")) == 4
    assert reply["next"] in ("end", None)
    assert len(reply["unknown"]) <= 3


async def test_the_arguments_of_a_forced_call_follow_references_of_the_tool(model: EngineProvider) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"city": {"enum": ["Rome"]}},
    }
    tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in "fg"]
    reply = await model.reply(HELLO, tools=tools, tool_choice="required", temperature=0)
    assert json.loads(reply.tool_calls[0]["function"]["arguments"]) == {"city": "Rome"}


async def test_the_prompt_has_the_complete_tools(model: EngineProvider) -> None:
    def tools(description: str) -> list[dict[str, Any]]:
        parameters = {"type": "object", "properties": {"a": {"type": "string", "description": description}}}
        return [{"type": "function", "function": {"name": "f", "parameters": parameters}}]

    short, long = [(await model.reply(HELLO, tools=tools("word " * count), max_tokens=1)).usage for count in (1, 101)]
    assert short is not None and long is not None
    assert long.input_tokens - short.input_tokens == 100


TOO_LARGE = formatted(
    {"allOf": [{"anyOf": [{**object_of(1), "required": [f"p{i}{j}"]} for j in range(6)]} for i in range(20)]}
)


async def test_a_schema_that_the_engine_gives_up_on_is_an_error_with_the_reason(model: EngineProvider) -> None:
    with pytest.raises(UsageError, match=r"cannot follow this schema or grammar: .*schema too large"):
        await model.reply(HELLO, temperature=0, **TOO_LARGE)


async def test_a_schema_that_was_not_tried_and_that_the_engine_gives_up_on_is_an_error(model_file: Path) -> None:
    engine, provider = load_engine(Model("m", model_file))
    provider.checker = None
    with pytest.raises(RequestError, match="too complex"):
        await provider.reply(HELLO, temperature=0, **TOO_LARGE)
    engine.close()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([], "expected an object"),
        ({"type": 5}, "unknown or repeated type 5"),
        ({"type": "text"}, "type 'text'"),
        ({"type": ["object", "object"]}, "repeated type 'object'"),
        ({"properties": []}, "properties is not an object"),
        ({"properties": {"a": 1}}, "where a schema must be"),
        ({"anyOf": []}, "anyOf is not a list"),
        ({"enum": []}, "enum is not a list"),
        ({"enum": "abc"}, "enum is not a list"),
        ({"pattern": 1}, "patterns of at most"),
        ({"pattern": "a" * 501}, "patterns of at most"),
        ({"pattern": "^a{1001}$"}, "repeats"),
        ({"patternProperties": {"^a{5,2000}$": {}}}, "repeats"),
        ({"maxLength": 1_000_000}, "maxLength"),
        ({"minItems": -1}, "minItems"),
        ({"minItems": "1"}, "minItems"),
        ({"$ref": "https://example.com/schema"}, "not to another part"),
        ({"$ref": 5}, "not to another part"),
        ({"$ref": "#"}, "not to another part"),
        ({"$ref": "#/$defs/none"}, "leads to nothing"),
        ({"anyOf": [{"$ref": "#/anyOf/" + "1" * 5000}]}, "leads to nothing"),
        ({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"$ref": "#/$defs/a"}}}, "not to another part"),
        ({"$ref": "#/x", "x": {"pattern": "^a{1001}$"}}, "repeats"),
        ({"$ref": "#/x", "x": 5}, "where a schema must be"),
        ({"patternProperties": 5}, "patternProperties is not an object"),
        ({"$ref": "#/anyOf/00", "anyOf": [{}]}, "leads to nothing"),
        (linked(300, lambda link: link), "levels of its references"),
        (linked(130, lambda link: {"type": "object", "properties": {"a": link}}), "levels of its references"),
        (linked(130, lambda link: {"anyOf": [link, {"type": "null"}]}), "levels of its references"),
        ({"allOf": [{"pattern": f"a{number}"} for number in range(11)]}, "11 patterns"),
        ({"pattern": "a", "anyOf": [{}, {"allOf": [{"format": "date"}] * 10}]}, "11 patterns"),
        (linked(11, lambda link: {"pattern": "a", **link}), "11 patterns"),
        ({"patternProperties": {f"a{number}": {} for number in range(11)}}, "11 patterns"),
        (object_of(251), "at most 250 properties"),
        ({"enum": list(range(2001))}, "at most 2,000 values"),
        ({"const": ["x"] * 10_000}, "larger than"),
        ({"description": "x" * 200_001}, "larger than"),
    ],
)
def test_an_invalid_or_too_large_schema_is_an_error(schema: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_schema("response_format", schema)


def test_a_schema_that_is_nested_too_deeply_is_an_error() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(UsageError, match="at most 32 levels"):
        check_schema("response_format", schema)


def test_references_to_the_schema_itself_are_allowed_below_it() -> None:
    check_schema("x", {"properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}})
    check_schema("x", {"items": {"$ref": "#/$defs/a~1b"}, "$defs": {"a/b": True}, "prefixItems": [{}]})


def test_a_chain_of_references_is_followed_once() -> None:
    def check_chain(length: int) -> Callable[[], object]:
        return partial(check_schema, "x", linked(length, lambda link: link))

    assert_linear(check_chain)


def test_a_schema_may_have_many_patterns_for_different_texts() -> None:
    texts = {f"p{number}": {"pattern": f"a{number}"} for number in range(100)}
    check_schema("x", {"properties": texts})
    check_schema("x", {"anyOf": [*texts.values()]})
    check_schema("x", {"$ref": "#/$defs/a", "$defs": {"a": {"pattern": "a", "items": {"$ref": "#/$defs/a"}}}})


def test_a_moved_schema_keeps_its_references_and_texts() -> None:
    schema = {"$ref": "#/a", "items": [{"$ref": "#"}], "const": "#/a", "properties": {"x": {"$ref": "https://a"}}}
    moved = {"$ref": "#/z/a", "items": [{"$ref": "#/z"}], "const": "#/a", "properties": {"x": {"$ref": "https://a"}}}
    assert move_schema(schema, "#/z") == moved
