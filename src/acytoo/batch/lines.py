"""Results as lines of the output: in our own format, or in OpenAI's Batch format."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.batch.requests import Requests
from acytoo.batch.rows import Row
from acytoo.dialects.error_bodies import describe_error
from acytoo.dialects.json import dumps
from acytoo.dialects.server_side import new_id
from acytoo.errors import AcytooError, StatusError
from acytoo.types import JSONObject, Reply, Usage


class ReplyLine(msgspec.Struct, omit_defaults=True):
    """A line of the output."""

    id: int | str
    text: str = ""
    data: Any = None
    """The text as JSON, if a schema was given."""
    refusal: str = ""
    tool_calls: list[Any] = []
    reasoning: str = ""
    finish_reason: str | None = None
    model: str = ""
    usage: dict[str, int] = {}
    target: str = ""


class ErrorLine(msgspec.Struct):
    """A line of the errors. `id` is None if the row could not be read."""

    id: int | str | None
    row: int
    error: str
    status: int | None
    message: str
    attempts: int
    retryable: bool


def token_counts(usage: Usage) -> dict[str, int]:
    """Return the counts of a usage that are not 0."""
    return {name: count for name in Usage.__struct_fields__ if (count := getattr(usage, name))}


_encoder = msgspec.json.Encoder()


def _encode(line: object) -> bytes:
    """Return a line as JSON. A lone surrogate, which only a legacy provider can have sent, is replaced."""
    try:
        return _encoder.encode(line)
    except UnicodeEncodeError:
        return dumps(msgspec.to_builtins(line), surrogates="replace")


def reply_line(row: Row, reply: Reply, requests: Requests | None = None, data: Any = None) -> bytes:
    """Return the line of a reply, in the format of its row."""
    if requests is not None and row.is_openai:
        dialect, request = requests.openai_request(row)
        body = msgspec.Raw(dialect.write_reply(reply, msgspec.structs.replace(request, stream=False)))
        return _openai_line(row, 200, body)
    reasoning = "".join([block.get("text", "") for block in reply.reasoning]) if reply.reasoning else ""
    target = reply.attempts[-1].target if reply.attempts else ""
    usage = token_counts(reply.usage) if reply.usage is not None else {}
    line = ReplyLine(row.id, reply.text, data, reply.refusal, reply.tool_calls, reasoning, reply.finish_reason,
                     reply.model, usage, target)  # fmt: skip
    return _encode(line) + b"\n"


def error_line(row: Row, error: AcytooError, attempts: int) -> bytes:
    """Return the line of an error, in the format of its row."""
    if row.is_openai:
        if isinstance(error, StatusError) and error.status:
            return _openai_line(row, error.status, {"error": {"message": error.message, "type": error.type or None,
                                                              "param": error.param or None,
                                                              "code": error.code or None}})  # fmt: skip
        code = describe_error(error)[2]
        document = {"id": new_id("batch_req_"), "custom_id": row.id, "response": None,
                    "error": {"code": code, "message": str(error)}}  # fmt: skip
        return _encode(document) + b"\n"
    status = error.status if isinstance(error, StatusError) else None
    id = row.id if row.error is None else None
    message = error.message if isinstance(error, StatusError) else str(error)
    line = ErrorLine(id, row.number, type(error).__name__, status, message, attempts, error.retryable)
    return _encode(line) + b"\n"


def _openai_line(row: Row, status: int, body: msgspec.Raw | JSONObject) -> bytes:
    document = {
        "id": new_id("batch_req_"),
        "custom_id": row.id,
        "response": {"status_code": status, "request_id": new_id("req_"), "body": body},
        "error": None,
    }
    return _encode(document) + b"\n"
