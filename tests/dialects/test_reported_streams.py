"""Streams that servers were reported to send, each with its report: a complete reply is read, a failure is an error."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import (
    AcytooError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TruncatedError,
)
from acytoo.http import ResponseHead
from acytoo.testing import status
from acytoo.types import Item, collect
from tests.server.live_server import call, live_server, request

OPENAI, ANTHROPIC, GEMINI = dialects.OpenAI(), dialects.Anthropic(), dialects.Gemini()
RESPONSES, OLLAMA = dialects.OpenAIResponses(), dialects.Ollama()


class Reported(NamedTuple):
    """A stream, and what it means: a reply, or the error after the text."""

    dialect: Dialect
    body: bytes
    text: str = ""
    arguments: str = ""
    reasoning: str = ""
    finish: str | None = "stop"
    tokens: tuple[int, int] | None = None
    error: type[AcytooError] | None = None
    message: str = ""


def sse(*documents: object) -> bytes:
    return b"".join([f"data: {json.dumps(document)}\n\n".encode() for document in documents])


def events(*documents: dict[str, Any]) -> bytes:
    return b"".join([f"event: {document['type']}\n".encode() + sse(document) for document in documents])


def lines(*documents: object) -> bytes:
    return b"".join([json.dumps(document).encode() + b"\n" for document in documents])


DONE = b"data: [DONE]\n\n"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def piece(arguments: str | None, index: object = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk with a piece of a call; `name` is the function's."""
    function = {"arguments": arguments} | {key: fields.pop(key) for key in ("name",) if key in fields}
    return chunk(finish, tool_calls=[{"index": index, "function": function, **fields}])


CALL = {"id": "a", "type": "function", "name": "f"}
HI = chunk(content="Hi")
STOP = chunk("stop")
CALLS = chunk("tool_calls")

STARTED = {"type": "message_start", "message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 10}}}
ENDED = {"type": "message_stop"}
TOOL_USE = {"type": "tool_use", "id": "a", "name": "f", "input": {}}


def block(content: dict[str, Any], *deltas: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *[{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": index},
    ]


def text_delta(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


def json_delta(text: str | None) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": text}


def stopped(reason: str = "end_turn", **fields: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, **fields}


DOCUMENT = {"id": "m", "role": "assistant", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
TEXT_BLOCK = block({"type": "text", "text": ""}, text_delta("Hi"))


def frame(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": parts, "role": "model"}, **fields}]}


STOPPED = {"finishReason": "STOP"}
CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}
MESSAGE = {"type": "message", "id": "m", "role": "assistant", "content": []}
WHOLE = {**MESSAGE, "status": "completed", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}
WORD = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hi"}
FUNCTION = {"type": "function_call", "id": "fc", "call_id": "a", "name": "f", "arguments": ""}


def item(stage: str, value: object, index: int = 0) -> dict[str, Any]:
    return {"type": f"response.output_item.{stage}", "output_index": index, "item": value}


def arguments(text: str, index: int = 0) -> dict[str, Any]:
    kind = "response.function_call_arguments.delta"
    return {"type": kind, "item_id": "fc", "output_index": index, "delta": text}


def completed(kind: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"id": "r", "status": "completed", **fields}}


MESSAGE_EVENTS = (item("added", MESSAGE), WORD, item("done", WHOLE))

STREAMS = {
    "vllm-project/vllm#42696: only the first piece of a call has its id and type": Reported(
        OPENAI,
        sse(piece("", **CALL), piece('{"a":'), piece("1}"), CALLS) + DONE,
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "jjang-ai/vmlx#219: empty deltas while a call is made": Reported(
        OPENAI,
        sse(*[{**chunk(), "tool_call_generating": True}] * 5, piece("{}", finish="tool_calls", **CALL)) + DONE,
        arguments="{}",
        finish="tool_calls",
    ),
    "kyutai-labs/unmute#80: the first content is null": Reported(
        OPENAI, sse(chunk(role="assistant", content=None), HI, STOP) + DONE, "Hi"
    ),
    "[done] in lower case": Reported(OPENAI, sse(HI, STOP) + b"data: [done]\n\n", "Hi"),
    "darshi1337/apogee#139: no blank line after [DONE]": Reported(OPENAI, sse(HI, STOP) + b"data: [DONE]", "Hi"),
    "open-webui/open-webui#16377: stop beside the reasoning, before the content": Reported(
        OPENAI, sse(chunk("stop", reasoning_content="hm"), HI, STOP) + DONE, "Hi", reasoning="hm"
    ),
    "diegosouzapw/OmniRoute#8210: an error beside no choices": Reported(
        OPENAI,
        sse({"choices": [], "error": {"code": 502, "message": "limit reached"}}) + DONE,
        error=ServerError,
        message="limit reached",
    ),
    "damianvtran/local-operator#223: an error beside finish_reason error": Reported(
        OPENAI,
        sse(HI, {**chunk("error", content=""), "error": {"code": 502, "message": "Provider disconnected"}}),
        "Hi",
        error=ServerError,
        message="Provider disconnected",
    ),
    "Mintplex-Labs/anything-llm#5112: the last chunk has the usage and no choices": Reported(
        OPENAI,
        sse(HI, STOP, {"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}) + DONE,
        "Hi",
        tokens=(1, 2),
    ),
    "ollama/ollama#4357: finish_reason is empty text": Reported(
        OPENAI, sse(chunk("", content="H"), chunk("", content="i"), chunk("stop", content="")) + DONE, "Hi"
    ),
    "openai/codex#7517: a server repeats the name and sends no index": Reported(
        OPENAI,
        sse(piece('{"a"', None, **CALL), piece(":1}", None, **CALL), CALLS) + DONE,
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "the follow-up of a call has an empty id and name": Reported(
        OPENAI,
        sse(piece("", **CALL), piece('{"a":1}', id="", type="function", name=""), CALLS) + DONE,
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "an index is text": Reported(
        OPENAI,
        sse(piece('{"a":', "0", **CALL), piece("1}", "0"), CALLS) + DONE,
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "Zhipu: finish_reason network_error": Reported(
        OPENAI, sse(HI, chunk("network_error")) + DONE, "Hi", error=ServerError, message="network_error"
    ),
    "Moonshot: finish_reason engine_overloaded": Reported(
        OPENAI, sse(HI, chunk("engine_overloaded")) + DONE, "Hi", error=ServerError, message="engine_overloaded"
    ),
    "DeepSeek: finish_reason insufficient_system_resource": Reported(
        OPENAI, sse(HI, chunk("insufficient_system_resource")) + DONE, "Hi", error=ServerError, message="insufficient"
    ),
    "vLLM: an error object in the stream": Reported(
        OPENAI,
        sse(HI, {"object": "error", "message": "boom", "code": 400}) + DONE,
        "Hi",
        error=RequestError,
        message="boom",
    ),
    "an HTML page after the first chunks": Reported(
        OPENAI, sse(HI) + b"<html><body>502 Bad Gateway</body></html>", "Hi", error=TruncatedError
    ),
    "earendil-works/pi#2106: another name for stop": Reported(OPENAI, sse(HI, chunk("end")) + DONE, "Hi"),
    "gateways: Anthropic's name for length": Reported(
        OPENAI, sse(HI, chunk("max_tokens")) + DONE, "Hi", finish="length"
    ),
    "jakobdylanc/llmcord#84: only finishReason has the reason": Reported(
        OPENAI, sse(HI, {"choices": [{"delta": {}, "finish_reason": None, "finishReason": "stop"}]}), "Hi"
    ),
    "only finishReason has a failure": Reported(
        OPENAI,
        sse(HI, {"choices": [{"delta": {}, "finishReason": "error"}]}) + DONE,
        "Hi",
        error=ServerError,
        message="'error'",
    ),
    "yuezhiai/jonex#33: [DONE] without data": Reported(OPENAI, sse(HI, STOP) + b"[DONE]\n\n", "Hi"),
    "PawanOsman/OpenCursor#88: stop before the text": Reported(
        OPENAI, sse(chunk("stop", content=""), HI, chunk("stop", content="")) + DONE, "Hi"
    ),
    "openai/openai-python#3201: two pieces of a call in one chunk": Reported(
        OPENAI,
        sse(
            chunk(
                tool_calls=[
                    {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
                    {"index": 0, "function": {"arguments": ":1}"}},
                ]
            ),
            chunk("tool_calls"),
        )
        + DONE,
        arguments='{"x":1}',
        finish="tool_calls",
    ),
    "langchain-ai/langchain#38682: an empty object before the arguments": Reported(
        OPENAI,
        sse(piece("{}", id="a", name="f"), piece('{"q":1}'), chunk("tool_calls")) + DONE,
        arguments='{"q":1}',
        finish="tool_calls",
    ),
    "pydantic/pydantic-ai#5165: choices is null between two texts": Reported(
        OPENAI, sse(chunk(content="H"), {"choices": None}, chunk(content="i"), STOP) + DONE, "Hi"
    ),
    "vllm-project/vllm#27755: one thought under two names": Reported(
        OPENAI, sse(chunk(reasoning="a", reasoning_content="a"), HI, STOP) + DONE, "Hi", reasoning="a"
    ),
    "lemonade-sdk/lemonade#2826: an error without data": Reported(
        OPENAI,
        sse(HI) + b'{"error":{"code":400,"message":"too many tokens","type":"exceed_context_size_error"}}\n\n',
        "Hi",
        error=RequestError,
        message="too many tokens",
    ),
    "EricLBuehler/mistral.rs#1874: an error that is plain words": Reported(
        OPENAI,
        b"data: Number of choices must be greater than 0.\n\n",
        error=ProtocolError,
        message="Number of choices",
    ),
    "vercel/ai#10533: a code and an error beside each other": Reported(
        OPENAI,
        sse({"code": "The service is currently unavailable", "error": "Timed out"}),
        error=ServerError,
        message="Timed out",
    ),
    "BerriAI/litellm#2195: stop in each chunk before the reason": Reported(
        OPENAI, sse(chunk("stop", content="H"), chunk("length", content="i")) + DONE, "Hi", finish="length"
    ),
    "vllm-project/vllm#53269: the limit has cut a call, and is not reported": Reported(
        OPENAI,
        sse(piece('{"a":', **CALL), CALLS) + DONE,
        arguments='{"a":',
        error=TruncatedError,
        message="inside the arguments for 'f'",
    ),
    "the limit has cut a call, and is reported": Reported(
        OPENAI, sse(piece('{"a":', **CALL), chunk("length")) + DONE, arguments='{"a":', finish="length"
    ),
    "animachat#129: the reasoning is an object or a list of them": Reported(
        OPENAI,
        sse(chunk(reasoning={"text": "h"}), chunk(reasoning_content=[{"type": "text", "text": "m"}]), HI, STOP) + DONE,
        "Hi",
        reasoning="hm",
    ),
    "Groq: x_groq has an error": Reported(
        OPENAI,
        sse(HI, {**chunk(), "x_groq": {"id": "r", "error": "over capacity"}}) + DONE,
        "Hi",
        error=ServerError,
        message="over capacity",
    ),
    "MiniMax: base_resp reports a failure beside the last choice": Reported(
        OPENAI,
        sse(HI, {**STOP, "base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}}) + DONE,
        "Hi",
        error=ServerError,
        message="new_sensitive",
    ),
    "MiniMax: base_resp reports a failure in a document": Reported(
        OPENAI,
        json.dumps(
            {
                "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
                "base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"},
            }
        ).encode(),
        error=ServerError,
        message="new_sensitive",
    ),
    "Databricks: the code of an error is error_code": Reported(
        OPENAI,
        sse(HI, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}) + DONE,
        "Hi",
        error=RateLimitError,
        message="slow down",
    ),
    "Amazon: the code of an error is __type": Reported(
        OPENAI,
        sse(HI, {"message": "Too many tokens", "__type": "com.amazon.coral.service#ThrottlingException"}) + DONE,
        "Hi",
        error=RateLimitError,
        message="Too many tokens",
    ),
    "an error inside a chunk that is cut": Reported(
        OPENAI,
        sse(HI) + b'data: {"id":"c","choi\n' + sse({"error": {"message": "upstream died", "code": 502}}),
        "Hi",
        error=ServerError,
        message="upstream died",
    ),
    "earendil-works/pi#6567: message_delta has no usage": Reported(
        ANTHROPIC, events(STARTED, *TEXT_BLOCK, stopped(), ENDED), "Hi", tokens=(10, 0)
    ),
    "karthink/gptel#1331: message_delta has output_tokens only, others are null": Reported(
        ANTHROPIC,
        events(STARTED, *TEXT_BLOCK, stopped(usage={"output_tokens": 76, "input_tokens": None}), ENDED),
        "Hi",
        tokens=(10, 76),
    ),
    "BerriAI/litellm#33315: an empty thinking_delta": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *block(
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": ""},
                {"type": "thinking_delta", "thinking": "hm"},
                {"type": "signature_delta", "signature": "s"},
            ),
            *block({"type": "text", "text": ""}, text_delta("Hi"), index=1),
            stopped(),
            ENDED,
        ),
        "Hi",
        reasoning="hm",
    ),
    "anthropics/claude-code#63487: a thought in a block of text": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *block({"type": "text", "text": ""}, {"type": "thinking_delta", "thinking": "hm"}, text_delta("Hi")),
            stopped(),
            ENDED,
        ),
        "Hi",
        reasoning="hm",
    ),
    "BerriAI/litellm#29600: a thought whose block has not begun": Reported(
        ANTHROPIC,
        events(STARTED, *block({}, {"type": "thinking_delta", "thinking": "hm"})[1:], *TEXT_BLOCK, stopped(), ENDED),
        "Hi",
        reasoning="hm",
    ),
    "MoonshotAI/kimi-code#3207: a block and a delta without a text": Reported(
        ANTHROPIC,
        events(STARTED, *block({"type": "text"}, {"type": "text_delta"}, text_delta("Hi")), stopped(), ENDED),
        "Hi",
    ),
    "sgl-project/sglang#24293: a text in the block of a call": Reported(
        ANTHROPIC,
        events(STARTED, *block(TOOL_USE, json_delta('{"a":1}'), text_delta("Hi")), stopped("tool_use"), ENDED),
        "Hi",
        '{"a":1}',
        finish="tool_calls",
    ),
    "archestra-ai/archestra#5409: two sets of arguments in one block": Reported(
        ANTHROPIC,
        events(STARTED, *block(TOOL_USE, json_delta('{"a":1}'), json_delta('{"b":2}')), stopped("tool_use"), ENDED),
        error=ProtocolError,
        message="two different sets of arguments",
    ),
    "the arguments are in content_block_start": Reported(
        ANTHROPIC,
        events(STARTED, *block({**TOOL_USE, "input": {"a": 1}}), stopped("tool_use"), ENDED),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "a null partial_json": Reported(
        ANTHROPIC,
        events(STARTED, *block(TOOL_USE, json_delta(None), json_delta('{"a":1}')), stopped("tool_use"), ENDED),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "all blocks have the index 0": Reported(
        ANTHROPIC,
        events(STARTED, *TEXT_BLOCK, *block(TOOL_USE, json_delta("{}")), stopped("tool_use"), ENDED),
        "Hi",
        "{}",
        finish="tool_calls",
    ),
    "end_turn before a call": Reported(
        ANTHROPIC,
        events(
            STARTED, *TEXT_BLOCK, stopped(), *block(TOOL_USE, json_delta("{}"), index=1), stopped("tool_use"), ENDED
        ),
        "Hi",
        "{}",
        finish="tool_calls",
    ),
    "Amazon Bedrock: guardrail_intervened": Reported(
        ANTHROPIC, events(STARTED, *TEXT_BLOCK, stopped("guardrail_intervened"), ENDED), "Hi", finish="content_filter"
    ),
    "the limit has cut a block of tool_use, and is not reported": Reported(
        ANTHROPIC,
        events(STARTED, *block(TOOL_USE, json_delta('{"a":')), stopped("tool_use"), ENDED),
        arguments='{"a":',
        error=TruncatedError,
        message="inside the arguments for 'f'",
    ),
    "no message_start, and [DONE] after the end": Reported(
        ANTHROPIC, events(*TEXT_BLOCK, stopped(), ENDED) + DONE, "Hi"
    ),
    "BerriAI/litellm#34433: the first delta repeats what the block started with": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *block(
                {"type": "thinking", "thinking": "Let me"},
                {"type": "thinking_delta", "thinking": "Let me"},
                {"type": "thinking_delta", "thinking": " think"},
            ),
            *block({"type": "text", "text": "Hello"}, text_delta("Hello"), text_delta(" you"), index=1),
            stopped(),
            ENDED,
        ),
        "Hello you",
        reasoning="Let me think",
    ),
    "a block starts with its first piece": Reported(
        ANTHROPIC,
        events(STARTED, *block({"type": "text", "text": "Ha"}, text_delta("ha"), text_delta("Ha")), stopped(), ENDED),
        "HahaHa",
    ),
    "a model writes twice what a block started with": Reported(
        ANTHROPIC, events(STARTED, *block({"type": "text", "text": "1"}, text_delta("1")), stopped(), ENDED), "11"
    ),
    "ollama/ollama#17101: a thought begins in the block of a text": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *block({"type": "text", "text": ""}, text_delta("---"))[:2],
            *block({"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "hm"}),
            *block({"type": "text", "text": ""}, text_delta("Hi"), index=1),
            stopped(),
            ENDED,
        ),
        "---Hi",
        reasoning="hm",
    ),
    "deltas have no type": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *block({"type": "thinking", "thinking": ""}, {"thinking": "hm"}),
            *block({"type": "text", "text": ""}, {"text": "Hi"}, index=1),
            *block(TOOL_USE, {"partial_json": '{"a":'}, {"partial_json": "1}"}, index=2),
            stopped("tool_use"),
            ENDED,
        ),
        "Hi",
        '{"a":1}',
        reasoning="hm",
        finish="tool_calls",
    ),
    "the delta of a call has another type": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *block(TOOL_USE, {"type": "tool_use_delta", "partial_json": '{"a":1}'}),
            stopped("tool_use"),
            ENDED,
        ),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "anomalyco/opencode#46171: the usage follows the stop reason": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *TEXT_BLOCK,
            stopped(),
            {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 9, "output_tokens": 8}},
            ENDED,
        ),
        "Hi",
        tokens=(9, 8),
    ),
    "fumito-ito/AnthropicSwiftSDK#7: the usage is inside delta": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *TEXT_BLOCK,
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": {"output_tokens": 15}}},
            ENDED,
        ),
        "Hi",
        tokens=(10, 15),
    ),
    "Zhipu: a limit of the rate has a number as its code": Reported(
        ANTHROPIC,
        events(STARTED, *TEXT_BLOCK, {"type": "error", "error": {"code": "1302", "message": "High concurrency"}}),
        "Hi",
        error=RateLimitError,
        message="High concurrency",
    ),
    "MiniMax: the status of an error is http_code": Reported(
        ANTHROPIC,
        events(STARTED, *TEXT_BLOCK, {"type": "error", "error": {"http_code": "429", "message": "slow down"}}),
        "Hi",
        error=RateLimitError,
        message="slow down",
    ),
    "the stop reason is beside delta": Reported(
        ANTHROPIC,
        events(STARTED, *TEXT_BLOCK, {"type": "message_delta", "delta": {}, "stop_reason": "max_tokens"}, ENDED),
        "Hi",
        finish="length",
    ),
    "message_stop has the stop reason": Reported(
        ANTHROPIC, events(STARTED, *TEXT_BLOCK, {**ENDED, "stop_reason": "max_tokens"}), "Hi", finish="length"
    ),
    "message_stop has the end of the message": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *TEXT_BLOCK,
            {**ENDED, "message": {"stop_reason": "max_tokens", "usage": {"input_tokens": 4, "output_tokens": 5}}},
        ),
        "Hi",
        finish="length",
        tokens=(4, 5),
    ),
    "message_stop has a stop reason that is a failure": Reported(
        ANTHROPIC,
        events(STARTED, *TEXT_BLOCK, {**ENDED, "stop_reason": "error"}),
        "Hi",
        error=ServerError,
        message="'error'",
    ),
    "the stop reason of another API": Reported(
        ANTHROPIC, events(STARTED, *TEXT_BLOCK, stopped("max_output_tokens"), ENDED), "Hi", finish="length"
    ),
    "the only event is the message": Reported(
        ANTHROPIC,
        events({"type": "message", **DOCUMENT, "usage": {"input_tokens": 3, "output_tokens": 4}}),
        "Hi",
        tokens=(3, 4),
    ),
    "the last event is the message": Reported(
        ANTHROPIC, events(STARTED, *TEXT_BLOCK, {"type": "message", **DOCUMENT}), "Hi", tokens=(10, 0)
    ),
    "only the last event, which is the message, has the call": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *TEXT_BLOCK,
            {
                "type": "message",
                "content": [{"type": "text", "text": "Hi"}, {**TOOL_USE, "input": {"a": 1}}],
                "stop_reason": "tool_use",
            },
        ),
        "Hi",
        '{"a":1}',
        finish="tool_calls",
    ),
    "the last event is another message": Reported(
        ANTHROPIC,
        events(STARTED, *TEXT_BLOCK, {"type": "message", **DOCUMENT, "content": [{"type": "text", "text": "Bye"}]}),
        "Hi",
        error=ProtocolError,
    ),
    "a message with a null in place of its blocks": Reported(
        ANTHROPIC, json.dumps({"type": "message", **DOCUMENT, "content": None}).encode()
    ),
    "agentjido/req_llm#638: the last frame has no content": Reported(
        GEMINI,
        sse(
            frame({"text": "Hi"}),
            {
                "candidates": [{"finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
            },
        ),
        "Hi",
        tokens=(1, 2),
    ),
    "inngest/agent-kit#178: empty content and MALFORMED_FUNCTION_CALL": Reported(
        GEMINI,
        sse({"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "Malformed"}]}),
        error=ServerError,
        message="Malformed",
    ),
    "BerriAI/litellm#40864: NO_IMAGE without content": Reported(
        GEMINI, sse({"candidates": [{"finishReason": "NO_IMAGE", "index": 0}]}), error=ServerError, message="NO_IMAGE"
    ),
    "neuron-core/neuron-ai#447: no parts in a frame": Reported(
        GEMINI,
        sse(
            {"candidates": [{"content": {"parts": None}}]},
            {"candidates": []},
            frame({"text": "Hi"}, finishReason="STOP"),
        ),
        "Hi",
    ),
    "google-gemini-php/client#44: a call without arguments": Reported(
        GEMINI,
        sse(frame({"functionCall": {"name": "f", "args": None}}, finishReason="STOP")),
        arguments="{}",
        finish="tool_calls",
    ),
    "a finish reason in every frame": Reported(
        GEMINI,
        sse(
            frame({"text": "H"}, finishReason="STOP"),
            frame({"text": "i"}, finishReason="FINISH_REASON_UNSPECIFIED"),
            frame({"text": None}, finishReason="STOP"),
        ),
        "Hi",
    ),
    "Chevey339/kelivo#1003: STOP before the text": Reported(
        GEMINI, sse(frame(finishReason="STOP"), frame({"text": "Hi"}), frame(finishReason="STOP")), "Hi"
    ),
    "0xPlaygrounds/rig#2328: STOP before the reason": Reported(
        GEMINI,
        sse(frame({"text": "H"}, finishReason="STOP"), frame({"text": "i"}, finishReason="MAX_TOKENS")),
        "Hi",
        finish="length",
    ),
    "STOP before a call": Reported(
        GEMINI,
        sse(frame(finishReason="STOP"), frame({"functionCall": {"name": "f", "args": {}}}, finishReason="STOP")),
        arguments="{}",
        finish="tool_calls",
    ),
    "Code Assist: each response is inside another object": Reported(
        GEMINI,
        sse(*[{"response": part, "traceId": "t"} for part in (frame({"text": "H"}), frame({"text": "i"}, **STOPPED))]),
        "Hi",
    ),
    "Code Assist: a document inside another object": Reported(
        GEMINI, json.dumps({"response": frame({"text": "Hi"}, finishReason="STOP"), "traceId": "t"}).encode(), "Hi"
    ),
    "Code Assist: an error inside another object": Reported(
        GEMINI,
        sse({"response": frame({"text": "Hi"})}, {"response": {"error": {"code": 429, "message": "slow down"}}}),
        "Hi",
        error=RateLimitError,
        message="slow down",
    ),
    "maximhq/bifrost#2251: the last text repeats all others": Reported(
        GEMINI,
        sse(frame({"text": "Hello "}), frame({"text": "you"}), frame({"text": "Hello you"}), frame(**STOPPED)),
        "Hello you",
    ),
    "a text that repeats all others is followed by another": Reported(
        GEMINI,
        sse(*[frame({"text": text}) for text in ("Row, ", "row, ", "Row, row, ", "row")], frame(**STOPPED)),
        "Row, row, Row, row, row",
    ),
    "a block reason that stands for none": Reported(
        GEMINI,
        sse(
            {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}, **frame({"text": "H"})},
            frame({"text": "i"}, **STOPPED),
        ),
        "Hi",
    ),
    "a document without candidates": Reported(
        GEMINI,
        json.dumps({"candidates": [], "usageMetadata": {"promptTokenCount": 3}}).encode(),
        error=TruncatedError,
        message="the reply has no candidates",
    ),
    "livekit/agents#4036: a document with the usage alone": Reported(
        GEMINI,
        json.dumps({"usageMetadata": {"promptTokenCount": 3}, "modelVersion": "g"}).encode(),
        error=TruncatedError,
        message="the reply has no candidates",
    ),
    "candidates are numbered one by one": Reported(
        GEMINI,
        sse(frame({"text": "H"}), {"candidates": [{**frame({"text": "i"})["candidates"][0], "index": 1, **STOPPED}]}),
        "Hi",
    ),
    "two candidates in turn": Reported(
        GEMINI,
        sse(*[{"candidates": [{**frame({"text": "Hi"})["candidates"][0], "index": i, **STOPPED}]} for i in (0, 1)]),
        "HiHi",
        error=ProtocolError,
        message="several candidates",
    ),
    "NousResearch/hermes-agent#102809: a call is repeated with its signature": Reported(
        GEMINI,
        sse(
            frame({"functionCall": {"name": "f", "args": {"a": 1}}}),
            frame({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"}, **STOPPED),
        ),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "a finish reason that is another API's": Reported(
        GEMINI, sse(frame({"text": "Hi"}, finishReason="max_output_tokens")), "Hi", finish="length"
    ),
    "a finish reason for a call that was lost": Reported(
        GEMINI, sse(frame({"text": "Hi"}, finishReason="tool_calls")), "Hi", error=ProtocolError, message="no tool call"
    ),
    "TOO_MANY_TOOL_CALLS after a text": Reported(
        GEMINI,
        sse(frame({"text": "Hi"}), {"candidates": [{"finishReason": "TOO_MANY_TOOL_CALLS"}]}),
        "Hi",
        error=ServerError,
        message="TOO_MANY_TOOL_CALLS",
    ),
    "vercel/ai#14932: the code of an error is null": Reported(
        RESPONSES,
        sse({"type": "error", "code": None, "message": "Invalid arguments", "param": None}),
        error=ServerError,
        message="Invalid arguments",
    ),
    "router-for-me/CLIProxyAPI#2626: only its end has the call": Reported(
        RESPONSES,
        events(
            CREATED,
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x":1}'},
            },
            {"type": "response.completed", "response": {"status": "completed", "output": []}},
        ),
        arguments='{"x":1}',
        finish="tool_calls",
    ),
    "decolua/9router#705: response.completed has no output": Reported(
        RESPONSES, events(CREATED, *MESSAGE_EVENTS, completed()), "Hi"
    ),
    "QuantumNous/new-api#4362: response.completed has an empty output": Reported(
        RESPONSES, events(CREATED, *MESSAGE_EVENTS, completed(output=[])), "Hi"
    ),
    "NousResearch/hermes-agent#32914: response.completed has a null output": Reported(
        RESPONSES, events(CREATED, *MESSAGE_EVENTS, completed(output=None)), "Hi"
    ),
    "moeru-ai/airi#2593: no response.completed": Reported(
        RESPONSES, events(CREATED, *MESSAGE_EVENTS) + DONE, "Hi", error=TruncatedError, message="ends_without_finish"
    ),
    "can1357/oh-my-pi#4692: response.done ends a complete reply": Reported(
        RESPONSES, events(CREATED, *MESSAGE_EVENTS, completed("done", output=[WHOLE])), "Hi"
    ),
    "jlcodes99/cockpit-tools#2332: response.done ends an incomplete reply": Reported(
        RESPONSES,
        events(
            CREATED,
            *MESSAGE_EVENTS,
            completed("done", status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        ),
        "Hi",
        finish="length",
    ),
    "jlcodes99/cockpit-tools#2332: response.done ends a reply that failed": Reported(
        RESPONSES,
        events(CREATED, *MESSAGE_EVENTS, completed("done", status="failed", error={"message": "boom"})),
        "Hi",
        error=ServerError,
        message="boom",
    ),
    "jlcodes99/cockpit-tools#2332: response.done without a status ends nothing": Reported(
        RESPONSES,
        events(CREATED, *MESSAGE_EVENTS, {"type": "response.done", "response": {"id": "r"}}),
        "Hi",
        error=TruncatedError,
    ),
    "maximhq/bifrost#5169: deltas without their items": Reported(
        RESPONSES,
        events(
            CREATED,
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"},
            WORD,
            completed(output=[]),
        ),
        "Hi",
        reasoning="hm",
    ),
    "brainlid/langchain#600: response.reasoning.delta": Reported(
        RESPONSES,
        events(
            CREATED,
            {"type": "response.reasoning.delta", "item_id": "rs", "output_index": 0, "delta": "h"},
            {"type": "response.reasoning.delta", "item_id": "rs", "output_index": 0, "delta": {"text": "m"}},
            {"type": "response.reasoning.done", "item_id": "rs", "output_index": 0, "text": "hm"},
            item("added", MESSAGE, 1),
            {**WORD, "output_index": 1},
            completed(output=[]),
        ),
        "Hi",
        reasoning="hm",
    ),
    "the limit has cut an item, and is not reported": Reported(
        RESPONSES,
        events(
            CREATED,
            item("added", FUNCTION),
            arguments('{"a":'),
            item("done", {**FUNCTION, "arguments": '{"a":'}),
            completed(output=[]),
        ),
        arguments='{"a":',
        error=TruncatedError,
        message="inside the arguments for 'f'",
    ),
    "Wei-Shaw/sub2api#1471: an error inside a record that is cut": Reported(
        RESPONSES,
        events(CREATED, *MESSAGE_EVENTS)
        + b'event: response.completed\ndata: {"type":"response.compl\n'
        + sse({"type": "error", "error": {"type": "upstream_error", "message": "stream_read_error"}}),
        "Hi",
        error=ServerError,
        message="stream_read_error",
    ),
    "Shelpuk-AI-Technology-Consulting/kitty-bridge#122: two items have one output_index": Reported(
        RESPONSES,
        events(
            CREATED,
            *MESSAGE_EVENTS,
            item("added", FUNCTION),
            arguments('{"a":1}'),
            item("done", {**FUNCTION, "arguments": '{"a":1}'}),
            completed(output=[]),
        ),
        "Hi",
        '{"a":1}',
        finish="tool_calls",
    ),
    "vllm-project/vllm#42683: the first piece of the arguments is lost": Reported(
        RESPONSES,
        events(
            CREATED,
            item("added", FUNCTION),
            arguments('"a":1}'),
            item("done", {**FUNCTION, "arguments": '{"a":1}'}),
            completed(output=[]),
        ),
        error=ProtocolError,
        message="two different sets of arguments",
    ),
    "vllm-project/vllm#52418: a piece of a call after the next item has begun": Reported(
        RESPONSES,
        events(
            CREATED,
            item("added", FUNCTION),
            arguments('{"a":'),
            item("added", MESSAGE, 1),
            {**WORD, "output_index": 1},
            arguments("1}"),
            completed(output=[]),
        ),
        "Hi",
        '{"a":1}',
        finish="tool_calls",
    ),
    "openai/openai-python#3126: an item that is null": Reported(
        RESPONSES, events(CREATED, item("added", None), WORD, completed(output=[])), "Hi"
    ),
    "BerriAI/litellm#13375: a thought in the shape of /api/generate": Reported(
        OLLAMA,
        lines({"response": "", "thinking": "hm"}, {"response": "Hi"}, {"response": "", "done": True}),
        "Hi",
        reasoning="hm",
    ),
    "a document in the shape of /api/generate": Reported(
        OLLAMA, json.dumps({"response": "Hi", "thinking": "hm", "done": True}).encode(), "Hi", reasoning="hm"
    ),
    "a done_reason that is another API's": Reported(
        OLLAMA,
        lines({"message": {"content": "Hi"}}, {"done": True, "done_reason": "max_tokens"}),
        "Hi",
        finish="length",
    ),
    "a done_reason that is a failure": Reported(
        OLLAMA,
        lines({"message": {"content": "Hi"}}, {"done": True, "done_reason": "connection_closed"}),
        "Hi",
        error=ServerError,
        message="connection_closed",
    ),
    "the last line has no done_reason": Reported(OLLAMA, lines({"message": {"content": "Hi"}}, {"done": True}), "Hi"),
    "the arguments of a call are text": Reported(
        OLLAMA,
        lines({"message": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]}}, {"done": True}),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "the last line repeats the call": Reported(
        OLLAMA,
        lines(
            {"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}},
            {"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "done": True},
        ),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "the model's process has ended": Reported(
        OLLAMA,
        lines({"message": {"content": "Hi"}}, {"error": "model runner has unexpectedly stopped"}),
        "Hi",
        error=ServerError,
        message="unexpectedly stopped",
    ),
    "lines end with CR LF, and null stands for no text": Reported(
        OLLAMA,
        lines(
            {"message": {"content": None, "thinking": "hm"}},
            {"message": {"content": "Hi", "thinking": None}, "done": True},
        ).replace(b"\n", b"\r\n"),
        "Hi",
        reasoning="hm",
    ),
}
"""By the report, or by what is unusual where several servers do it."""

HALVES = {
    "openai": (OPENAI, sse(HI), sse(STOP) + DONE),
    "anthropic": (ANTHROPIC, events(STARTED, *TEXT_BLOCK), events(stopped(), ENDED)),
    "gemini": (GEMINI, sse(frame({"text": "Hi"})), sse(frame(finishReason="STOP"))),
    "responses": (RESPONSES, events(CREATED, *MESSAGE_EVENTS), events(completed())),
}
"""A reply up to the end of its text, and what follows."""

OVERLOADED = {"code": 503, "message": "high demand"}

for name, (dialect, first, rest) in HALVES.items():
    STREAMS |= {
        f"anomalyco/opencode#50871, {name}: a comment that is sent as data": Reported(
            dialect, first + b"data: : keepalive\n\n" + rest, "Hi"
        ),
        f"{name}: null in place of a record": Reported(dialect, first + b"data: null\n\n" + rest, "Hi"),
        f"paiml/aprender#2015, {name}: `data:` twice": Reported(
            dialect, (first + rest).replace(b"data: ", b"data: data: "), "Hi"
        ),
        f"paiml/aprender#2015, {name}: `data:` twice before an error": Reported(
            dialect, first + b"data: " + sse({"error": OVERLOADED}), "Hi", error=ServerError, message="high demand"
        ),
        **{
            f"theopenco/llmgateway#3616, {name}: an error that is not sent as data, {how}": Reported(
                dialect, first + start + error + end, "Hi", error=ServerError, message="high demand"
            )
            for how, start, error, end in (
                ("in one line", b"", json.dumps({"error": OVERLOADED}).encode(), b"\n"),
                ("after a blank line", b"\n", json.dumps({"error": OVERLOADED}).encode(), b"\n\n"),
                ("in several lines", b"", json.dumps({"error": OVERLOADED}, indent=2).encode(), b""),
            )
        },
        f"{name}: an error without `data:` after a record without its blank line": Reported(
            dialect,
            first + rest[: rest.index(b"}")] + b"\n" + json.dumps({"error": OVERLOADED}).encode(),
            "Hi",
            error=ServerError,
            message="high demand",
        ),
    }

_REASONING = {"type": "reasoning", "id": "rs", "summary": []}


def thought(text: str, field: str = "summary") -> dict[str, Any]:
    kind = "reasoning_summary_text" if field == "summary" else "reasoning_text"
    place = {"item_id": "rs", "output_index": 0, f"{field}_index": 0}
    return {"type": f"response.{kind}.delta", **place, "delta": text}


STREAMS |= {
    "sgl-project/sglang#8417: the finish reason is beside the text, then again alone": Reported(
        OPENAI, sse(chunk("stop", content="Hi"), STOP) + DONE, "Hi"
    ),
    "vllm-project/vllm#44098: the last piece repeats id and name, beside the finish reason": Reported(
        OPENAI,
        sse(piece("", **CALL), piece('{"a":'), piece("1}", finish="tool_calls", **CALL)) + DONE,
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "QuantumNous/new-api#7252: a call in the last line": Reported(
        OLLAMA,
        lines(
            {
                "model": "m",
                "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
                "done": True,
                "done_reason": "stop",
            }
        ),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "BerriAI/litellm pull request 26098: a thought and a text in one line, and a text in the last": Reported(
        OLLAMA,
        lines(
            {"model": "m", "message": {"content": "H", "thinking": "hm"}, "done": False},
            {"model": "m", "message": {"content": "i"}, "done": True, "done_reason": "stop"},
        ),
        "Hi",
        reasoning="hm",
    ),
    "router-for-me/CLIProxyAPI#5640: STOP in an event without parts, before the text": Reported(
        GEMINI, sse(frame(**STOPPED), frame({"text": "Hi"}), frame({"text": ""}, **STOPPED)), "Hi"
    ),
    "maximhq/bifrost#5259: the response that is completed has null as its output": Reported(
        RESPONSES,
        events(CREATED, item("added", _REASONING), thought("hm"), item("added", MESSAGE, 1), WORD | {"output_index": 1})
        + events(completed(output=None)),
        "Hi",
        reasoning="hm",
    ),
    "peonist-ai/halogen-flash-server#67: each piece of the reasoning as its text and as its summary": Reported(
        RESPONSES,
        events(
            CREATED,
            item("added", _REASONING),
            *[thought(word, field) for word in ("one ", "two") for field in ("content", "summary")],
            item("added", MESSAGE, 1),
            WORD | {"output_index": 1},
            completed(output=[]),
        ),
        "Hi",
        reasoning="one two",
    ),
}


_FUNCTION_CALL = {"name": "f", "arguments": '{"a":1}'}
_TOOL_CALL = {"index": 0, "id": "a", "type": "function", "function": _FUNCTION_CALL}


def document(finish: str, native: str = "", **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": None} | message, "finish_reason": finish}
    return json.dumps({"id": "c", "model": "m", "choices": [choice | {"native_finish_reason": native}]}).encode()


STREAMS |= {
    "OpenAI's API reference, deprecated: a document with function_call": Reported(
        OPENAI, document("function_call", function_call=_FUNCTION_CALL), arguments='{"a":1}', finish="tool_calls"
    ),
    "langchain-ai/langchain pull request 31198: a document with function_call beside tool_calls": Reported(
        OPENAI,
        document("tool_calls", function_call=_FUNCTION_CALL, tool_calls=[_TOOL_CALL]),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "langchain-ai/langchain pull request 31198: a stream with function_call beside tool_calls": Reported(
        OPENAI,
        sse(chunk(tool_calls=[_TOOL_CALL], function_call=_FUNCTION_CALL), CALLS) + DONE,
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "CangShui/workbuddy-gateway pull request 3: a function_call without a name beside the end of a call": Reported(
        OPENAI,
        sse(
            piece('{"a":1}', finish="", **CALL),
            chunk("tool_calls", content="", function_call={"name": "", "arguments": ""}),
        )
        + DONE,
        arguments='{"a":1}',
        finish="tool_calls",
    ),
    "reVrost/go-openrouter pull request 43: stop, and the limit as the native reason": Reported(
        OPENAI,
        sse(
            {**HI, "choices": [{**HI["choices"][0], "native_finish_reason": None}]},
            {**STOP, "choices": [{**STOP["choices"][0], "native_finish_reason": "MAX_TOKENS"}]},
        )
        + DONE,
        "Hi",
        finish="length",
    ),
    "reVrost/go-openrouter pull request 43: stop, and the limit as the native reason, in a document": Reported(
        OPENAI, document("stop", "max_output_tokens", content="Hi"), "Hi", finish="length"
    ),
    "reVrost/go-openrouter pull request 43: stop, and a failure as the native reason": Reported(
        OPENAI,
        document("stop", "MALFORMED_FUNCTION_CALL", content="Hi"),
        "Hi",
        error=ServerError,
        message="MALFORMED_FUNCTION_CALL",
    ),
    "reVrost/go-openrouter pull request 43: stop, and another name for it as the native reason": Reported(
        OPENAI, document("stop", "end_turn", content="Hi"), "Hi"
    ),
    "langgenius/dify#8550: the name of an enumeration before the reason": Reported(
        OPENAI, sse(HI, chunk("FinishReason.MAX_TOKENS")) + DONE, "Hi", finish="length"
    ),
    "langgenius/dify#8550: the name of an enumeration before the reason, in Gemini's API": Reported(
        GEMINI, sse(frame({"text": "Hi"}, finishReason="FinishReason.MAX_TOKENS")), "Hi", finish="length"
    ),
    "langgenius/dify#8550: the name of an enumeration in the reason": Reported(
        OPENAI, sse(HI, chunk("FINISH_REASON_STOP")) + DONE, "Hi"
    ),
    "the numbers in Gemini's enumeration: the limit": Reported(
        GEMINI, sse(frame({"text": "Hi"}, finishReason=0), frame(finishReason=2)), "Hi", finish="length"
    ),
    "the numbers in Gemini's enumeration: the end": Reported(
        GEMINI, json.dumps(frame({"text": "Hi"}, finishReason=1)).encode(), "Hi"
    ),
    "Anthropic's API: an object as all of the arguments in place of a piece": Reported(
        ANTHROPIC,
        events(
            STARTED,
            *block(TOOL_USE, {"type": "input_json_delta", "partial_json": {"a": 1}}),
            stopped("tool_use"),
            ENDED,
        ),
        arguments='{"a":1}',
        finish="tool_calls",
    ),
}

for _error in (
    {"fault": {"faultstring": "the quota is used up", "detail": {"errorcode": "policies.ratelimit.QuotaViolation"}}},
    {"type": "about:blank", "title": "the quota is used up", "status": 503},
    {"exception": "the quota is used up"},
    {"err": {"message": "the quota is used up"}},
    {"status": "failed", "reason": "the quota is used up"},
    {"success": False, "reason": "the quota is used up"},
):
    STREAMS[f"Apigee and RFC 9457: an error in place of a chunk, {next(iter(_error))}"] = Reported(
        OPENAI, sse(HI, _error) + DONE, "Hi", error=ServerError, message="the quota is used up"
    )

_BEGINNINGS = {
    OPENAI: sse(HI),
    ANTHROPIC: events(STARTED, *TEXT_BLOCK),
    GEMINI: sse(frame({"text": "Hi"})),
    RESPONSES: events(CREATED, *MESSAGE_EVENTS),
}
for _dialect, _beginning in _BEGINNINGS.items():
    _last = completed() if _dialect is RESPONSES else frame({"text": ""}, **STOPPED) if _dialect is GEMINI else STOP
    _rest = events(stopped(), ENDED) if _dialect is ANTHROPIC else sse(_last)
    for _what, _data in {"text": b"node-7 is busy", "a quoted text": b'"node-7"', "an object": b'{"node":7}'}.items():
        _aside = b"event: gateway_meta\ndata: " + _data + b"\n\n"
        STREAMS[f"anomalyco/opencode#43765: an event of another name with {_what}, {_dialect.name}"] = Reported(
            _dialect, _aside + _beginning + _aside + _rest, "Hi"
        )
    STREAMS[f"{_dialect.name}: text in an event that may be a part of the reply"] = Reported(
        _dialect,
        _beginning + b"event: text\ndata: and more\n\n" + _rest,
        "Hi",
        error=ProtocolError,
        message="and more",
    )
for _dialect in (ANTHROPIC, RESPONSES):
    _rest = events(stopped(), ENDED) if _dialect is ANTHROPIC else events(completed())
    STREAMS[f"{_dialect.name}: events whose types are only in their names"] = Reported(
        _dialect, re.sub(rb'data: \{"type": "[a-z_.]+"(?:, )?', b"data: {", _BEGINNINGS[_dialect] + _rest), "Hi"
    )
_CRASHED = "the model has crashed"
_TWICE = json.dumps(json.dumps({"error": _CRASHED}))
for _dialect, _beginning in _BEGINNINGS.items():
    for _what, _end in {
        "an event with the name error that is text": f"event: error\ndata: {_CRASHED}\n\n",
        "an event with the name error that is a quoted text": f'event: error\ndata: "{_CRASHED}"\n\n',
        "an event with the name error that is JSON in quotes": f"event: error\ndata: {_TWICE}\n\n",
        "a quoted text after the reply has begun": f'data: "{_CRASHED}"\n\n',
        "JSON in quotes after the reply has begun": f"data: {_TWICE}\n\n",
    }.items():
        for _first in (_beginning,) if "begun" in _what else (_beginning, b""):
            STREAMS[f"{_dialect.name}: {_what}, {'after a text' if _first else 'first'}"] = Reported(
                _dialect, _first + _end.encode(), "Hi" if _first else "", error=ServerError, message=_CRASHED
            )
    _last = completed() if _dialect is RESPONSES else frame({"text": ""}, **STOPPED) if _dialect is GEMINI else STOP
    _rest = events(stopped(), ENDED) if _dialect is ANTHROPIC else sse(_last)
    STREAMS[f"{_dialect.name}: [DONE] in quotes"] = Reported(_dialect, _beginning + _rest + b'data: "[DONE]"\n\n', "Hi")
STREAMS["ollama: a quoted text after the reply has begun"] = Reported(
    OLLAMA,
    lines({"message": {"role": "assistant", "content": "Hi"}}, _CRASHED),
    "Hi",
    error=ServerError,
    message=_CRASHED,
)


def read(reported: Reported, size: int) -> tuple[list[Item], AcytooError | None]:
    reader = reported.dialect.reader(ResponseHead(200, {"content-type": content_type(reported.dialect)}))
    items: list[Item] = []
    try:
        for at in range(0, len(reported.body), size):
            items += reader.feed(reported.body[at : at + size])
            if reader.pending_error is not None:
                return items, reader.pending_error
        items += reader.flush()
        reader.close()
    except AcytooError as error:
        return items, error
    return items, None


def content_type(dialect: Dialect) -> str:
    return "application/x-ndjson" if dialect.framing == "ndjson" else "text/event-stream"


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("name", STREAMS)
def test_a_complete_reply_is_read_and_a_failure_is_an_error(name: str, size: int) -> None:
    reported = STREAMS[name]
    items, error = read(reported, size)
    reply = collect(items)
    assert reply.text == reported.text
    if reported.error is not None:
        assert type(error) is reported.error
        assert reported.message in str(error)
        return
    assert error is None
    assert "".join([call["function"]["arguments"] for call in reply.tool_calls]) == reported.arguments
    assert "".join([block["text"] for block in reply.reasoning]) == reported.reasoning
    assert reply.finish is not None
    assert reply.finish.reason == reported.finish
    if reported.tokens is not None:
        assert reply.usage is not None
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == reported.tokens


@pytest.mark.parametrize("client", [OPENAI, ANTHROPIC, GEMINI, RESPONSES, OLLAMA], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", STREAMS)
async def test_a_server_passes_on_or_translates_it(name: str, client: Dialect) -> None:
    reported = STREAMS[name]
    script = status(200, body=reported.body, content_type=content_type(reported.dialect))
    async with live_server(script, dialect=reported.dialect, drop_unsupported=True) as server:
        answer = await call(server.port, request(client))
    if answer.status != 200:
        # An error about the format of the backend is for the log.
        message = "" if reported.error is ProtocolError else reported.message
        assert reported.error is not None
        assert message in client.read_error(answer.status, answer.body).message
        return
    items, error = read(Reported(client, answer.body), 100_000)
    reply = collect(items)
    assert reply.text == reported.text
    if reported.error is not None:
        assert error is not None or not answer.is_complete
        if issubclass(reported.error, StatusError):
            assert reported.message in str(error)
        return
    assert error is None
    assert answer.is_complete
    if reported.finish != "stop" or client is not reported.dialect:
        assert reply.finish is not None
        assert reply.finish.reason == reported.finish
    if reported.finish == "length" and reported.arguments:
        return  # some APIs have no incomplete arguments
    found = [json.loads(call["function"]["arguments"]) for call in reply.tool_calls]
    assert found == ([json.loads(reported.arguments)] if reported.arguments else [])
