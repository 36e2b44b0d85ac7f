"""What every dialect makes of the same requests and replies, as documents beside this file.

A test compares them with what the code makes now, so that a field that gets another name, value or place is noticed.
After a change that is meant, `python -m tests.dialects.golden` writes them again: read the difference before it is
committed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.base import Unsupported
from acytoo.errors import (
    AcytooError,
    ProtocolError,
    ReplyTooLargeError,
    TimedOutError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
    UsageError,
    status_error,
)
from acytoo.http import Endpoint, HTTPRequest, ServerRequest
from acytoo.secret import Secret
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Request,
    Start,
    ToolCall,
    Usage,
    collect,
)
from tests.dialects.strategies import to_server_request
from tests.dialects.test_real_clients import CHAT, RECORDED, dialect_of
from tests.dialects.test_recordings import REPLIES as REPLIES_RECORDED
from tests.dialects.test_recordings import Recording, comparable, read_reply

FOLDER = Path(__file__).parent / "golden"

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": SCHEMA}}
BARE_TOOL = {"type": "function", "function": {"name": "g"}}
STRICT_TOOL = {"type": "function", "function": {"name": "h", "parameters": SCHEMA, "strict": True}}
CUSTOM_TOOL = {"type": "custom", "custom": {"name": "c", "description": "Runs it.", "format": {"type": "text"}}}
HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}


def call(call_id: str, name: str = "f", arguments: str = '{"x": "1"}', **fields: Any) -> dict[str, Any]:
    """Return a call of an assistant's message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of one user's turn of these parts."""
    return [{"role": "user", "content": list(parts)}]


def asked(*calls: dict[str, Any], content: Any = None, **fields: Any) -> list[dict[str, Any]]:
    """Return a question and an answer with calls."""
    return [HELLO, {"role": "assistant", "content": content, "tool_calls": list(calls), **fields}]


def result(call_id: str, content: Any, **fields: Any) -> dict[str, Any]:
    """Return the result of a call."""
    return {"role": "tool", "tool_call_id": call_id, "content": content, **fields}


TEXT = {"type": "text", "text": "Look:"}
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}

MESSAGES: dict[str, list[dict[str, Any]]] = {
    "system": [{"role": "system", "content": "Be brief."}, HELLO],
    "developer": [{"role": "developer", "content": "Be brief."}, HELLO],
    "system of parts": [
        {"role": "system", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "!"}]},
        HELLO,
    ],
    "two systems": [{"role": "system", "content": "Be brief."}, {"role": "system", "content": "Be kind."}, HELLO],
    "a late system": [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "Be brief."}, HELLO],
    "names": [{**HELLO, "name": "Ann"}, {"role": "assistant", "content": "Hi", "name": "Bob"}, HELLO],
    "two of one role": [
        HELLO,
        HELLO,
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
        HELLO,
    ],
    "a prefill": [HELLO, {"role": "assistant", "content": "Once"}],
    "nothing": [{"role": "user", "content": ""}],
    "texts": user(TEXT, {"type": "text", "text": "there"}),
    "an image": user(TEXT, IMAGE),
    "an image with a detail": user({"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}),
    "an image by URL": user({"type": "image_url", "image_url": {"url": "https://h/a.jpg?b=1"}}),
    "an image by URL without a type": user({"type": "image_url", "image_url": {"url": "https://h/a"}}),
    "a wav": user(TEXT, {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}),
    "an mp3": user({"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}}),
    "audio without a format": user({"type": "input_audio", "input_audio": {"data": "UklG"}}),
    "a pdf": user(TEXT, {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}),
    "a pdf without a name": user({"type": "file", "file": {"file_data": PDF}}),
    "a text file": user({"type": "file", "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "a.txt"}}),
    "a file by its id": user({"type": "file", "file": {"file_id": "file-1"}}),
    "a file by its URL": user({"type": "file", "file": {"file_url": "https://h/a.pdf"}}),
    "an unknown part": user(TEXT, {"type": "hologram", "hologram": {}}),
    "a call": [*asked(call("call_1")), result("call_1", "1")],
    "a call with a text": [*asked(call("call_1"), content="Wait."), result("call_1", "1"), HELLO],
    "a call without arguments": [*asked(call("call_1", arguments="")), result("call_1", "")],
    "two calls": [*asked(call("call_1"), call("call_2", "g", "{}")), result("call_1", "1"), result("call_2", "2")],
    "results in another order": [*asked(call("a"), call("b", "g", "{}")), result("b", "2"), result("a", "1")],
    "a failed call": [*asked(call("call_1")), result("call_1", "no", is_error=True)],
    "a JSON result": [*asked(call("call_1")), result("call_1", '{"a": [1]}')],
    "a result of texts": [*asked(call("call_1")), result("call_1", [TEXT, {"type": "text", "text": "there"}])],
    "a result with an image": [*asked(call("call_1")), result("call_1", [TEXT, IMAGE])],
    "a result with a pdf": [
        *asked(call("call_1")),
        result("call_1", [{"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}]),
    ],
    "a signed call": [
        *asked(call("call_1", extra_content={"google": {"thought_signature": "c2ln"}})),
        result("call_1", "1"),
    ],
    "a refusal": [HELLO, {"role": "assistant", "content": None, "refusal": "No."}, HELLO],
    "a refusal part": [HELLO, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, HELLO],
    "reasoning": [HELLO, {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}]}, HELLO],
    **{
        f"reasoning of {source}": [
            *asked(
                call("call_1"),
                reasoning=[
                    {"text": "hm", "signature": "c2ln", "id": "rs_1", "source": source},
                    {"data": "ZGF0YQ==", "source": source},
                ],
            ),
            result("call_1", "1"),
        ]
        for source in ("anthropic", "openai-responses", "gemini", "openai", "ollama")
    },
}

FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
OPTIONS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.5},
    "a high temperature": {"temperature": 1.5},
    "top_p": {"top_p": 0.5},
    "top_k": {"top_k": 5},
    "max_tokens": {"max_tokens": 7},
    "stop": {"stop": ["x", "\n"]},
    "seed": {"seed": 7},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": -0.5},
    "tools": {"tools": [TOOL, BARE_TOOL, STRICT_TOOL]},
    "a custom tool": {"tools": [CUSTOM_TOOL]},
    "a foreign tool": {"tools": [TOOL, {"type": "hologram_20300101", "name": "x"}]},
    "a foreign tool alone": {"tools": [{"type": "hologram_20300101", "name": "x"}], "tool_choice": "auto"},
    **{f"tool_choice {choice}": {"tools": [TOOL], "tool_choice": choice} for choice in ("auto", "none", "required")},
    "a chosen tool": {"tools": [TOOL, BARE_TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    "allowed tools": {
        "tools": [TOOL, BARE_TOOL],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]},
        },
    },
    "one call at a time": {"tools": [TOOL], "parallel_tool_calls": False},
    "several calls": {"tools": [TOOL], "parallel_tool_calls": True},
    "a schema": {"response_format": FORMAT},
    "a loose schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
    "JSON": {"response_format": {"type": "json_object"}},
    "plain text": {"response_format": {"type": "text"}},
    **{
        f"effort {effort}": {"reasoning_effort": effort}
        for effort in ("none", "minimal", "low", "medium", "high", "xhigh")
    },
    "effort within max_tokens": {"reasoning_effort": "high", "max_tokens": 3000},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "user": {"user": "someone"},
    "extra": {"extra": {"x_a": 1}},
    "not streamed": {"stream": False},
}


def _encoded(dialect: Dialect, request: Request, *, drop: bool) -> dict[str, Any]:
    unsupported = Unsupported(dialect.name, drop=drop, drop_preferences=drop)
    try:
        sent = dialect.encode_request(request, Endpoint("http://h"), unsupported)
    except AcytooError as error:
        return {"error": f"{type(error).__name__}: {error.message}"}
    encoded: dict[str, Any] = {"url": sent.url.removeprefix("http://h"), "body": json.loads(sent.body)}
    return encoded | ({"dropped": unsupported.dropped} if unsupported.dropped else {})


def _cases() -> dict[str, Request]:
    return {
        **{name: Request(messages, "m") for name, messages in MESSAGES.items()},  # type: ignore[arg-type]
        **{name: Request([HELLO], "m", **options) for name, options in OPTIONS.items()},  # type: ignore[list-item]
    }


def requests() -> dict[str, Any]:
    """Return what each dialect sends for each request, and what it reports as left out or refuses."""
    found: dict[str, Any] = {}
    for name, request in _cases().items():
        found[name] = {}
        for dialect in dialects.ALL:
            lenient = _encoded(dialect, request, drop=True)
            strict = _encoded(dialect, request, drop=False)
            found[name][dialect.name] = lenient if strict == lenient else {"lenient": lenient, "strict": strict}
    return found


def _short(value: Any) -> Any:
    """Return a document whose long texts are replaced by their beginning and their length."""
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    return f"{value[:40]}… {len(value)}" if isinstance(value, str) and len(value) > 60 else value


def _decoded(dialect: Dialect, incoming: ServerRequest) -> Any:
    try:
        read = msgspec.json.encode(dialect.decode_request(incoming).request).decode()
        return _short(json.loads(_plain(read)))
    except AcytooError as error:
        return {"error": f"{type(error).__name__}: {error.message}"}


def decoded() -> dict[str, Any]:
    """Return what is decoded from what each dialect sends, unless it is the same, and from what real clients send."""
    found: dict[str, Any] = {}
    for name, request in _cases().items():
        original = _short(msgspec.to_builtins(request))
        found[name] = {}
        for dialect in dialects.ALL:
            unsupported = Unsupported(dialect.name, drop=True, drop_preferences=True)
            try:
                sent = dialect.encode_request(request, Endpoint("http://h"), unsupported)
            except AcytooError:
                continue
            read = _decoded(dialect, to_server_request(sent))
            if read != original:
                found[name][dialect.name] = read
    for name in CHAT:
        recorded = RECORDED[name]
        url = urlsplit(recorded["path"])
        client = dialect_of(url.path)
        assert client is not None
        body = msgspec.json.encode(recorded["body"])
        incoming = ServerRequest(url.path, recorded["headers"], body, dict(parse_qsl(url.query)))
        found[f"real: {name}"] = {client.name: _decoded(client, incoming)}
    return found


START = Start("id-1", "m-1", 7)
TOKEN = {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}
REPLIES: dict[str, list[Item]] = {
    "a text": [START, "Hello", " there", Finish("stop")],
    "no text": [START, Finish("stop")],
    "without an identity": ["Hello", Finish("stop")],
    "reasoning": [
        START,
        Reasoning("hm"),
        Reasoning(" so", signature="c2ln", source="anthropic"),
        "Hello",
        Finish("stop"),
    ],
    "two reasonings": [
        START,
        Reasoning("a"),
        Reasoning("b", 1),
        Reasoning(data="ZGF0YQ==", index=2, source="anthropic"),
        "c",
        Finish("stop"),
    ],
    "a call": [
        START,
        ToolCall(0, "call_1", "f"),
        ToolCall(0, arguments='{"x": '),
        ToolCall(0, arguments='"1"}'),
        Finish("tool_calls"),
    ],
    "a text and two calls": [
        START,
        "Wait.",
        ToolCall(0, "call_1", "f", "{}"),
        ToolCall(1, "call_2", "g", '{"y":2}'),
        Finish("tool_calls"),
    ],
    "a signed call": [START, ToolCall(0, "call_1", "f", "{}", signature="c2ln", source="gemini"), Finish("tool_calls")],
    "a refusal": [START, Refusal("I can"), Refusal("not."), Finish("stop")],
    "logprobs": [START, "Hi", Logprobs([TOKEN]), Finish("stop")],
    "usage": [START, "Hi", Usage(10, 20, 3, 4, 5), Finish("stop")],
    "usage at once": [START, Usage(10), "Hi", Usage(10, 20), Finish("stop")],
    "a foreign part": [START, OpaquePart("anthropic", {"type": "server_tool_use", "id": "s"}), "Hi", Finish("stop")],
    **{
        f"finish {reason}": [START, "Hi", Finish(reason)]
        for reason in ("length", "content_filter", "tool_calls", "other")
    },
    "a stop sequence": [START, "Hi", Finish("stop", "END")],
}


def _plain(text: str) -> str:
    """Return written text without what differs each time: made ids and times."""
    text = re.sub(r"(chatcmpl-|resp_|msg_|rs_|fc_|call_|toolu_|ctc_)[0-9a-f]{16,}", r"\1ID", text)
    text = re.sub(r"\b[0-9a-f]{24,}\b", "ID", text)
    text = re.sub(r'"(created|created_at|completed_at)":\s*1[0-9]{9}(\.[0-9]+)?', r'"\1":"NOW"', text)
    text = re.sub(r'"created_at":"20[^"]*"', '"created_at":"NOW"', text)
    return re.sub(r'("[a-z_]*duration":)[0-9]+', r'\1"TIME"', text)


def replies() -> dict[str, Any]:
    """Return what each dialect writes for each reply: streamed, as a document, and with an error after two items."""
    found: dict[str, Any] = {}
    for name, items in REPLIES.items():
        found[name] = {}
        for dialect in dialects.ALL:
            request = Request([HELLO], "asked", tools=[TOOL])  # type: ignore[list-item]
            writer, failing = dialect.writer(request), dialect.writer(request)
            parts = [writer.write([item]) for item in items] + [writer.end()]
            cut = [failing.write(items[:2]), failing.fail(status_error(429, "slow down", retry_after=7))]
            found[name][dialect.name] = {
                "stream": _plain(b"".join(parts).decode()).splitlines(),
                "failed": _plain(cut[1].decode()).splitlines(),
            }
            try:
                document = dialect.write_reply(collect(items), request)
            except NotImplementedError:
                continue
            found[name][dialect.name]["document"] = _plain(document.decode())
    return found


ENDPOINT = Endpoint("http://h/base?a=b", Secret("sk-1"))
ERRORS: dict[str, AcytooError] = {
    **{
        str(status): status_error(status, "no", retry_after=7 if status in (429, 503) else None)
        for status in (400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 501, 502, 503, 504, 529)
    },
    **{
        code: status_error(status, "no", code=code)
        for code, status in {
            "context_length_exceeded": 400,
            "invalid_prompt": 400,
            "invalid_api_key": 401,
            "permission_error": 403,
            "model_not_found": 404,
            "insufficient_quota": 429,
            "rate_limit_exceeded": 429,
            "overloaded_error": 503,
        }.items()
    },
    "usage": UsageError("no"),
    "unsupported": UnsupportedError("seed", "gemini"),
    "timeout": TimedOutError("idle", 3.0),
    "unreachable": UnreachableError("no"),
    "protocol": ProtocolError("no"),
    "truncated": TruncatedError("no"),
    "too large": ReplyTooLargeError(7),
}


def _sent(make: Callable[[], HTTPRequest]) -> Any:
    try:
        sent = make()
    except (AcytooError, NotImplementedError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    body = json.loads(sent.body) if sent.body else None
    headers = {name: re.sub("^acytoo/.*", "acytoo/N", value) for name, value in sent.headers.items()}
    return {"method": sent.method, "url": sent.url, "headers": headers, "query": sent.query.reveal(), "body": body}


def _written(make: Callable[[], Any]) -> Any:
    try:
        made = make()
    except (AcytooError, NotImplementedError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return made.decode() if isinstance(made, bytes) else made


def others() -> dict[str, Any]:
    """Return what each dialect sends and writes beside chats: errors, lists of models, counts of tokens, headers."""
    found: dict[str, Any] = {}
    every = {dialect.name: dialect for dialect in dialects.ALL}
    for name, error in ERRORS.items():
        found[f"error {name}"] = {}
        for api, dialect in every.items():
            response = dialect.write_error(error)
            found[f"error {name}"][api] = [response.status, dict(response.headers), response.body.decode()]
    for stream in (True, False):
        request = Request([HELLO], "m", stream=stream, tools=[TOOL])  # type: ignore[list-item]
        found[f"a call, {stream=}"] = {
            api: _sent(lambda: dialect.encode_request(request, ENDPOINT, Unsupported(api, drop=True)))  # noqa: B023
            for api, dialect in every.items()
        }
    system: Any = {"role": "system", "content": "Be brief."}
    counted = Request([system, HELLO], "m", tools=[TOOL], max_tokens=7)  # type: ignore[list-item]
    for api, dialect in every.items():
        made = {
            "a request for models": _sent(lambda: dialect.encode_models_request(ENDPOINT)),  # noqa: B023
            "a request for a count": _sent(lambda: dialect.encode_count_request(counted, ENDPOINT)),  # noqa: B023
            "a count": _written(lambda: dialect.write_count(17)),  # noqa: B023
            "models": _written(lambda: dialect.models(["a", "b/c"], 7)),  # noqa: B023
            "a model": _written(lambda: dialect.model("b/c", 7)),  # noqa: B023
            "another model": _written(lambda: dialect.for_model(b'{"model": "x", "a": 1}', "y")),  # noqa: B023
            "usage asked for": _written(lambda: dialect.with_usage(b'{"stream": true, "a": 1}')),  # noqa: B023
            "routes": [*dialect.routes, *dialect.list_routes, *dialect.count_routes, *dialect.describe_routes],
            "a description": _written(lambda: dialect.description("b/c")),  # noqa: B023
            "documents": [[*key, document] for key, document in dialect.fixed_documents.items()],
            "options": sorted(dialect.options),
        }
        for name, value in made.items():
            found.setdefault(name, {})[api] = value
    return found


def _read(recording: Recording, size: int) -> dict[str, Any]:
    """Return what is read of the first bytes of a recording, by our reader and by the one that scans."""
    read: dict[str, Any] = {}
    items, error = read_reply(recording, [recording.body[:size]])
    made = msgspec.json.encode(comparable(recording, items)).decode()
    read["items"] = json.loads(_plain(made))
    if error is not None:
        read["error"] = f"{type(error).__name__}: {error.message}"
    reader = recording.dialect.reader(recording.head)
    try:
        for start in range(0, size, 50):
            reader.scan(recording.body[start : min(start + 50, size)])
        reader.close()
    except AcytooError as failure:
        read["scanned"] = f"{type(failure).__name__}: {failure.message}"
    received = reader.current.received()
    read["received"] = {name: msgspec.to_builtins(getattr(received, name)) for name in received.__struct_fields__}
    return read


def readings() -> dict[str, Any]:
    """Return what is read of each recording of the real APIs, all of it and cut in two places."""
    found: dict[str, Any] = {}
    for recording in REPLIES_RECORDED:
        size = len(recording.body)
        sizes = {"all": size, "2/3": size * 2 // 3, "1/3": size // 3}
        name = f"{recording.api}/{recording.name}"
        found[name] = {part: _short(_read(recording, number)) for part, number in sizes.items()}
    return found


DOCUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "requests": requests,
    "decoded": decoded,
    "replies": replies,
    "others": others,
    "readings": readings,
}


def path_of(name: str) -> Path:
    """Return where a document is."""
    return FOLDER / f"{name}.json"


def render(document: dict[str, Any]) -> str:
    """Return a document as JSON, with a line for each case and dialect."""
    cases = [
        f"{json.dumps(case)}: {{\n"
        + ",\n".join(
            f" {json.dumps(name)}: {json.dumps(made, ensure_ascii=False, sort_keys=True)}"
            for name, made in each.items()
        )
        + "\n}"
        for case, each in document.items()
    ]
    return "{\n" + ",\n".join(cases) + "\n}\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, make in DOCUMENTS.items():
        path_of(name).write_text(render(make()))
