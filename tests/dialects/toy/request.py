"""Requests of the toy API: `{"model", "turns": [{"who", "text"}], "heat", "stream"}`."""

from __future__ import annotations

from typing import Any

from acytoo.dialects.base import Unsupported
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.fields import decode_body, optional_objects
from acytoo.dialects.server_side import request_from_body
from acytoo.http import ServerRequest
from acytoo.messages import content_text
from acytoo.types import Request


def encode_request(request: Request, extra: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """Return the body of a request."""
    turns = [{"who": m["role"], "text": content_text(m.get("content"), unsupported)} for m in request.messages]
    body: dict[str, Any] = {"model": request.model, "turns": turns, "stream": request.stream}
    if request.temperature is not None:
        body["heat"] = request.temperature
    merge_extra(body, extra)
    return body


def decode_request(incoming: ServerRequest, name: str) -> Request:
    """Decode a client's body. Raises RequestError (400)."""
    body = decode_body(incoming)
    turns = optional_objects(body.pop("turns", None), "turns")
    body["messages"] = [{"role": turn.get("who"), "content": turn.get("text")} for turn in turns]
    body["temperature"] = body.pop("heat", None)
    return request_from_body(body, name)
