"""Unusual and invalid requests to the built-in model, in every API: it answers them or reports what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import openai
import pytest

from acytoo import Acytoo
from acytoo.embedded.forced_tools import request_call
from acytoo.embedded.provider import EngineProvider, load_provider, resolve_model
from acytoo.embedded.validate import normalize
from acytoo.errors import UsageError
from acytoo.types import Request
from tests.processes import ACYTOO, LIMIT, start
from tests.server_process import Served

HELLO: list[Any] = [{"role": "user", "content": "Say hi."}]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
NAMES = ("get_weather", "get_time", "other")
TOOLS = [{"type": "function", "function": {"name": name, "parameters": CITY}} for name in NAMES]
IMAGE = "iVBORw0KGgo="


@pytest.fixture(scope="module")
def model(model_file: object) -> EngineProvider:
    """The built-in model, without our server."""
    return load_provider(Acytoo.url)


@pytest.fixture(scope="module")
def url(model: EngineProvider) -> Iterator[str]:
    """The URL of our server in front of the model."""
    with Served(model) as server:
        yield server.url


async def post(url: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url + path, json=body) as response:
        return response.status, await response.json()


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO, "max_tokens": 60, "temperature": 0, **fields}


def named(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name}} for name in names]


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named(*names)}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": TOOLS, "tool_choice": named("nope")[0]}, "'nope' is not among the tools"),
        ({"tools": TOOLS, "tool_choice": allowed("required", "get_time", "nope")}, "'nope' is not among"),
        ({"tools": TOOLS, "tool_choice": allowed("auto", "nope")}, "'nope' is not among"),
        ({"tools": TOOLS, "tool_choice": allowed("required")}, "allowed_tools: must be like"),
        ({"tools": TOOLS, "tool_choice": allowed("perhaps", "get_time")}, "'perhaps': must be auto"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "must be auto"),
        ({"tools": TOOLS, "tool_choice": "always"}, "'always': must be auto"),
        ({"tool_choice": "required"}, "needs tools"),
        ({"tool_choice": named("get_time")[0]}, "not among the tools"),
        ({"tools": [{"type": "novel"}]}, "supports only functions"),
    ],
)
async def test_an_invalid_tool_choice_or_tool_is_an_error(
    options: dict[str, Any], message: str, url: str, model: EngineProvider
) -> None:
    for stream in (False, True):
        status, answer = await post(url, "/v1/chat/completions", chat(**options, stream=stream))
        assert status == 400
        assert message in answer["error"]["message"]
    with pytest.raises(UsageError, match="tool"):
        await model.reply(HELLO, **options)


async def test_a_required_choice_among_allowed_tools_calls_one_of_them(url: str) -> None:
    choice = allowed("required", "get_weather", "get_time")
    _, answer = await post(url, "/v1/chat/completions", chat(tools=TOOLS, tool_choice=choice))
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] in ("get_weather", "get_time")
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}


async def test_a_gemini_request_with_mode_any_and_several_functions_gets_a_call(url: str) -> None:
    calling = {"mode": "ANY", "allowedFunctionNames": ["get_weather", "get_time"]}
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Say hi."}]}],
        "generationConfig": {"maxOutputTokens": 60, "temperature": 0},
        "tools": [{"functionDeclarations": [{"name": name, "parametersJsonSchema": CITY} for name in NAMES]}],
        "toolConfig": {"functionCallingConfig": calling},
    }
    _, answer = await post(url, "/v1beta/models/m:generateContent", body)
    (part,) = answer["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["name"] in ("get_weather", "get_time")


async def test_in_auto_mode_the_model_sees_only_the_allowed_tools(model: EngineProvider) -> None:
    few = await model.reply(HELLO, tools=TOOLS, tool_choice=allowed("auto", "get_time"), max_tokens=1)
    one = await model.reply(HELLO, tools=TOOLS[1:2], max_tokens=1)
    assert few.usage is not None and one.usage is not None
    assert few.usage.input_tokens == one.usage.input_tokens


IMAGES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": chat(
        messages=[
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}],
            }
        ]
    ),
    "/v1/responses": {
        "model": "m",
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}"}],
            }
        ],
    },
    "/v1/messages": chat(
        messages=[
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}],
            }
        ]
    ),
    "/api/chat": {"model": "m", "messages": [{"role": "user", "content": "What is it?", "images": [IMAGE]}]},
    "/v1beta/models/m:generateContent": {
        "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": IMAGE}}]}]
    },
}
IMAGES["/v1/messages/count_tokens"] = IMAGES["/v1/messages"]
IMAGES["/v1beta/models/m:countTokens"] = IMAGES["/v1beta/models/m:generateContent"]


@pytest.mark.parametrize("path", IMAGES)
async def test_an_image_is_a_400_in_every_api(path: str, url: str) -> None:
    status, answer = await post(url, path, IMAGES[path])
    assert status == 400
    assert "image_url content: the embedded model reads only text" in json.dumps(answer)


def with_call(**arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "a", "type": "function", "function": {"name": "get_time", **arguments}}
    return [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "noon"},
    ]


@pytest.mark.parametrize(
    "arguments", [{"arguments": ""}, {"arguments": " "}, {"arguments": None}, {}, {"arguments": {}}]
)
async def test_missing_arguments_in_a_history_are_an_empty_object(
    arguments: dict[str, Any], url: str, model: EngineProvider
) -> None:
    options: dict[str, Any] = {"tools": TOOLS, "max_tokens": 1}
    status, answer = await post(url, "/v1/chat/completions", chat(messages=with_call(**arguments), **options))
    plain = await model.reply(with_call(arguments="{}"), **options)
    assert plain.usage is not None
    assert (status, answer["usage"]["prompt_tokens"]) == (200, plain.usage.input_tokens)


async def test_incomplete_arguments_in_a_history_are_a_400(url: str) -> None:
    status, answer = await post(url, "/v1/chat/completions", chat(messages=with_call(arguments='{"a":')))
    assert (status, "not a JSON object" in answer["error"]["message"]) == (400, True)


def schema(**fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", **fields}}}


ESCAPES: list[dict[str, Any]] = [
    {"grammar": "root ::= ( \x1b]0;PWNED\x07\x1b[31m"},
    {"grammar": "root ::= (\rPWNED"},
    {"response_format": schema(pattern="\x1b[31mPWNED")},
    {"response_format": {"type": "json_object", "schema": {"type": "string", "pattern": "\x1b[31mPWNED"}}},
    {"response_format": schema(enum=["\x9b31mPWNED"], pattern="^a{9000}$")},
    {"json_schema": {"type": "string", "pattern": "^\x1b[31mPWNED{9000}$"}},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema(pattern="\x1bPWNED")}}]},
    {"tools": [{"type": "function", "function": {"name": "\x1b[31mPWNED", "parameters": CITY}}]},
]


async def test_a_client_cannot_write_to_the_terminal_of_the_server(model_file: object) -> None:
    process = start([ACYTOO, "serve", "--port", "0"])
    assert process.stderr is not None
    try:
        server_url = process.stderr.readline().decode().split()[2]
        answers = [await post(server_url, "/v1/chat/completions", chat(**fields)) for fields in ESCAPES]
        process.terminate()
        _, errors = await asyncio.to_thread(process.communicate, timeout=LIMIT)
    finally:
        process.kill()
    assert [status for status, _ in answers] == [400] * len(ESCAPES)
    assert errors == b""


async def test_line_breaks_in_a_grammar_and_control_characters_in_a_description_are_allowed(url: str) -> None:
    lines = chat(grammar='root ::=\r\n\t"yes" |\n\t"no"\n')
    _, answer = await post(url, "/v1/chat/completions", lines)
    assert answer["choices"][0]["message"]["content"] in ("yes", "no")
    described = chat(response_format=schema(enum=["a\nb"], description="A form\x0cfeed."))
    _, answer = await post(url, "/v1/chat/completions", described)
    assert json.loads(answer["choices"][0]["message"]["content"]) == "a\nb"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_custom_tool_is_called_as_one(stream: bool, url: str) -> None:
    tool = {"type": "custom", "custom": {"name": "say", "description": "Says a text."}}
    choice = {"type": "custom", "custom": {"name": "say"}}
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="k", max_retries=0) as client:
        received: Any = await client.chat.completions.create(**chat(tools=[tool], tool_choice=choice, stream=stream))
        if stream:
            calls = [chunk.choices[0].delta.tool_calls async for chunk in received if chunk.choices]
            assert next(call for call in calls if call)[0].type == "custom"
        else:
            assert received.choices[0].message.tool_calls[0].custom.name == "say"


async def test_options_in_extra_body_reach_the_engine(model: EngineProvider) -> None:
    reply = await model.reply(HELLO, extra_body={"max_tokens": 2, "temperature": 0})
    assert reply.finish is not None
    assert reply.finish.reason == "length"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 2
    stopped = await model.reply(HELLO, temperature=0, extra_body={"stop": reply.text[:2], "max_tokens": 5})
    assert stopped.text == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": "x"}, r"extra_body\['max_tokens'\]"),
        ({"tools": [{}]}, r"tools\[0\]"),
        ({"num_ctx": 9}, "num_ctx"),
        ({"stream": True}, "stream"),
    ],
)
async def test_what_extra_body_names_is_never_left_out_silently(
    fields: dict[str, Any], message: str, model: EngineProvider
) -> None:
    with pytest.raises(UsageError, match=message):
        await model.reply(HELLO, max_tokens=1, extra_body=fields)
    if "num_ctx" in fields:
        await model.reply(HELLO, max_tokens=1, extra_body=fields, drop_unsupported=True)


async def test_a_client_learns_which_of_its_fields_the_engine_does_not_know(url: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=chat(num_ctx=9, max_tokens=1)) as response,
    ):
        assert response.status == 200
        assert response.headers["x-acytoo-dropped"] == "num_ctx"


def test_the_error_about_an_unknown_model_does_not_show_a_user() -> None:
    with pytest.raises(UsageError, match="unknown embedded model 'model'") as caught:
        resolve_model("embedded://user:password@model")
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("url", ["embedded://", "embedded:///"])
def test_a_url_without_a_model_is_refused_with_those_there_are(url: str) -> None:
    with pytest.raises(UsageError, match="unknown embedded model '': use smollm2-135m-instruct, or a GGUF file"):
        resolve_model(url)


@pytest.mark.parametrize("character", [" ", "-"])
def test_a_long_run_of_one_character_is_an_error_before_the_engine_splits_it(character: str) -> None:
    long: list[Any] = [{"role": "user", "content": f"x{character * 100_000}"}]
    with pytest.raises(UsageError, match="repeats a character"):
        normalize(Request(long))
    short: list[Any] = [{"role": "user", "content": f"x{character * 900}x" * 10}]
    normalize(Request(short))


def test_a_forced_call_keeps_the_arguments_of_the_chat_template() -> None:
    tools: Any = TOOLS[:1]
    request = Request(HELLO, tools=tools, extra={"chat_template_kwargs": {"enable_thinking": False}})
    forced = request_call(request, [tools[0]["function"]])
    assert forced.extra["chat_template_kwargs"] == {"enable_thinking": False, "functions": [tools[0]["function"]]}
