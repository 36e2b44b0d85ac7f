"""OpenAI's Responses, what goes out: items to typed events, or to the one document they end with.

Source: OpenAI's API reference ("Responses", "Streaming events"), and what its Python SDK's stream helper accepts.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from acytoo.dialects.base import Unsupported, Writer
from acytoo.dialects.error_bodies import describe_error, openai_error
from acytoo.dialects.openai_responses.request import NAME, add_extra, instructions_of, options_of, sealed
from acytoo.dialects.server_side import new_id
from acytoo.errors import AcytooError
from acytoo.types import Event, Finish, Item, Logprobs, Reasoning, Refusal, Request, Start, ToolCall, Usage
from acytoo.wire.sse import COMMENT, sse

_TEXT = "response.output_text.delta"

_INCOMPLETE = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "max_messages": "max_messages",
    "steered": "steered",
}


def _usage_fields(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _echo(request: Request) -> dict[str, Any]:
    """What a response repeats of its request."""
    body = options_of(request, Unsupported(NAME, drop=True))
    add_extra(body, request.extra if request.extra_for == NAME else {})
    return {
        "background": False,
        "instructions": instructions_of(request.messages) or None,
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": {"type": "text"}, **(body.get("text") or {})},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_logprobs": body.get("top_logprobs", 0),
        "top_p": body.get("top_p"),
        "truncation": body.get("truncation", "disabled"),
        "user": body.get("user"),
    }


class _Part:
    """The part of an item that is being written: its kind, its place, and what it has so far."""

    __slots__ = ("kind", "logprobs", "pieces", "place")

    def __init__(self, kind: str, place: int) -> None:
        self.kind = kind
        self.place = place
        self.pieces: list[str] = []
        self.logprobs: list[dict[str, Any]] = []

    def document(self) -> dict[str, Any]:
        """The part as it is in an item."""
        text = "".join(self.pieces)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        if self.kind == "summary_text":
            return {"type": "summary_text", "text": text}
        return {"type": "output_text", "annotations": [], "logprobs": self.logprobs, "text": text}


class StreamWriter(Writer):
    """Typed events, numbered; the frame of a text delta is rendered once a part.

    A message or a reasoning item ends when the next item begins; tool calls stay open until the end, because
    fragments of parallel ones may come in any order.
    """

    ping = COMMENT

    def __init__(self, request: Request) -> None:
        self._start = Start(new_id("resp_"), request.model, int(time.time()))
        self._echo = _echo(request)
        self._number = 0
        self._begun = False
        self._output: list[dict[str, Any]] = []
        self._part: _Part | None = None
        self._block = -1
        self._open = False
        self._current = 0
        self._opaque: dict[str, str] = {}
        self._calls: dict[int, tuple[int, list[str]]] = {}
        self._usage: Usage | None = None
        self._finish = Finish()
        self._before = b""

    def write(self, items: list[Item]) -> bytes:
        """Every item as the events it takes."""
        out: list[bytes] = []
        encode = msgspec.json.encode
        for item in items:
            if type(item) is str:
                if self._part is None or self._part.kind != "output_text":
                    self._message_part("output_text", out)
                assert self._part is not None
                self._part.pieces.append(item)
                out += (self._before, encode(item), b',"logprobs":[],"sequence_number":%d}\n\n' % self._number)
                self._number += 1
            elif isinstance(item, Event):
                self._event(item, out)
        return b"".join(out)

    def end(self) -> bytes:
        """The last item's end, then the whole response."""
        out: list[bytes] = []
        self._begin(out)
        response = self.whole(out)
        self._send(f"response.{response['status']}", out, response=response)
        return b"".join(out)

    def fail(self, error: AcytooError) -> bytes:
        """An `error` event, which the makers' clients raise, then `response.failed`, which others wait for."""
        status, told = describe_error(error)[0], openai_error(error)
        out: list[bytes] = []
        code, message, param = told["code"], told["message"], told["param"]
        self._send("error", out, code=code, message=message, param=param, error=told | {"status": status})
        word = {429: "rate_limit_exceeded", 400: "invalid_prompt"}.get(status, "server_error")
        failed = self._response("failed", error={"code": word, "message": message})
        self._send("response.failed", out, response=failed)
        return b"".join(out)

    def whole(self, out: list[bytes] | None = None) -> dict[str, Any]:
        """The response, every item ended (into `out`, where that is wanted)."""
        out = [] if out is None else out
        reason = _INCOMPLETE.get(self._finish.reason)
        status = "incomplete" if reason else "completed"
        self._close(out, status)
        for index, pieces in self._calls.values():
            item = self._output[index]
            item["arguments"], item["status"] = "".join(pieces), status
            place = {"item_id": item["id"], "output_index": index}
            self._send("response.function_call_arguments.done", out, **place, arguments=item["arguments"])
            self._send("response.output_item.done", out, output_index=index, item=item)
        self._calls = {}
        return self._response(status, incomplete_details={"reason": reason} if reason else None)

    def _event(self, item: Event, out: list[bytes]) -> None:
        if isinstance(item, ToolCall):
            self._tool_call(item, out)
        elif isinstance(item, Reasoning):
            self._reasoning(item, out)
        elif isinstance(item, Refusal):
            if item.text:
                self._message_part("refusal", out)
                self._delta("response.refusal.delta", item.text, out)
        elif isinstance(item, Logprobs):
            part = self._part
            if item.tokens and part is not None and part.kind == "output_text":
                part.logprobs += item.tokens
                self._delta(_TEXT, "", out, logprobs=item.tokens)
        elif isinstance(item, Start):
            if not self._begun:
                ours = self._start
                self._start = Start(item.id or ours.id, item.model or ours.model, item.created or ours.created)
                self._begin(out)
        elif isinstance(item, Usage):
            self._usage = item
        elif isinstance(item, Finish):
            self._finish = item

    def _send(self, type_: str, out: list[bytes], **fields: Any) -> None:
        fields = {"type": type_, **fields, "sequence_number": self._number}
        self._number += 1
        out.append(sse(msgspec.json.encode(fields), type_))

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        done = status != "in_progress"
        return {
            "id": self._start.id,
            "object": "response",
            "created_at": self._start.created,
            "status": status,
            "model": self._start.model,
            "error": None,
            "incomplete_details": None,
            "output": self._output if done else [],
            "usage": _usage_fields(self._usage) if done and self._usage else None,
            **self._echo,
            **fields,
        }

    def _begin(self, out: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            response = self._response("in_progress")
            self._send("response.created", out, response=response)
            self._send("response.in_progress", out, response=response)

    def _add(self, item: dict[str, Any], out: list[bytes]) -> int:
        self._begin(out)
        self._output.append(item)
        self._send("response.output_item.added", out, output_index=len(self._output) - 1, item=item)
        return len(self._output) - 1

    def _place(self, part: _Part) -> dict[str, Any]:
        place = "summary_index" if part.kind == "summary_text" else "content_index"
        index = self._current
        return {"item_id": self._output[index]["id"], "output_index": index, place: part.place}

    def _delta(self, type_: str, text: str, out: list[bytes], **fields: Any) -> None:
        assert self._part is not None
        self._part.pieces.append(text)
        self._send(type_, out, **self._place(self._part), delta=text, **fields)

    def _message_part(self, kind: str, out: list[bytes]) -> None:
        """Make a message's part of this kind the one being written."""
        if self._part is not None and self._part.kind == kind:
            return
        if not self._open or self._output[self._current]["type"] != "message":
            self._close(out)
            message = {"type": "message", "id": new_id("msg_"), "status": "in_progress", "role": "assistant"}
            self._current = self._add({**message, "content": []}, out)
            self._open = True
        self._close_part(out)
        self._part = part = _Part(kind, len(self._output[self._current]["content"]))
        place = self._place(part)
        self._send("response.content_part.added", out, **place, part=part.document())
        if kind == "output_text":
            head = msgspec.json.encode({"type": _TEXT, **place})
            self._before = b"event: %b\ndata: %b" % (_TEXT.encode(), head[:-1] + b',"delta":')

    def _reasoning(self, item: Reasoning, out: list[bytes]) -> None:
        if not self._open or self._output[self._current]["type"] != "reasoning" or self._block != item.index:
            self._close(out)
            own = item.id if item.source == NAME else ""
            self._current = self._add({"type": "reasoning", "id": own or new_id("rs_"), "summary": []}, out)
            self._open, self._block, self._opaque = True, item.index, {}
        for field in ("signature", "data", "id", "source"):
            if value := getattr(item, field):
                self._opaque[field] = value
        if item.text:
            if self._part is None:
                self._part = part = _Part("summary_text", 0)
                self._send("response.reasoning_summary_part.added", out, **self._place(part), part=part.document())
            self._delta("response.reasoning_summary_text.delta", item.text, out)

    def _close_part(self, out: list[bytes]) -> None:
        if (part := self._part) is None:
            return
        document, place = part.document(), self._place(part)
        if part.kind == "output_text":
            whole = {"text": document["text"], "logprobs": part.logprobs}
            self._send("response.output_text.done", out, **place, **whole)
        elif part.kind == "refusal":
            self._send("response.refusal.done", out, **place, refusal=document["refusal"])
        else:
            self._send("response.reasoning_summary_text.done", out, **place, text=document["text"])
        whole_part = "reasoning_summary_part" if part.kind == "summary_text" else "content_part"
        self._send(f"response.{whole_part}.done", out, **place, part=document)
        self._output[self._current]["summary" if part.kind == "summary_text" else "content"].append(document)
        self._part = None

    def _close(self, out: list[bytes], status: str = "completed") -> None:
        """End the message or reasoning item that is open, if one is."""
        if not self._open:
            return
        self._close_part(out)
        item = self._output[self._current]
        if item["type"] == "message":
            item["status"] = status
        elif encrypted := sealed(self._opaque):
            item["encrypted_content"] = encrypted
        self._send("response.output_item.done", out, output_index=self._current, item=item)
        self._open = False

    def _tool_call(self, item: ToolCall, out: list[bytes]) -> None:
        if item.index not in self._calls:
            self._close(out)
            call: dict[str, Any] = {
                "type": "function_call",
                "id": new_id("fc_"),
                "call_id": item.id or new_id("call_"),
                "name": item.name,
                "arguments": "",
                "status": "in_progress",
            }
            self._calls[item.index] = (self._add(call, out), [])
        index, pieces = self._calls[item.index]
        if item.arguments:
            pieces.append(item.arguments)
            place = {"item_id": self._output[index]["id"], "output_index": index}
            self._send("response.function_call_arguments.delta", out, **place, delta=item.arguments)
