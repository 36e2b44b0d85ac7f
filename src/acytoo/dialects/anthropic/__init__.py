"""Anthropic's messages: JSON in, JSON or server-sent events of content blocks out.

Source: Anthropic's API reference ("Create a Message", "Streaming Messages", "Errors") and its Python SDK (2.12),
which adds a `message_delta`'s usage over that of `message_start`, and skips `ping` events wherever they come.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from acytoo.dialects.anthropic.reader import STATUS, Message, StreamReader
from acytoo.dialects.anthropic.request import (
    KEPT,
    SOURCE,
    TOOL_FIELDS,
    shared_messages,
    shared_system,
    shared_tool_choice,
    shared_tools,
    system_of,
    thought_blocks,
    tool_choice_of,
    tools_of,
    turns_of,
)
from acytoo.dialects.anthropic.writer import (
    StreamWriter,
    call_block,
    empty_message,
    error_document,
    stop_reason_of,
    usage_fields,
)
from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.fields import decode_body, invalid
from acytoo.dialects.json import dumps
from acytoo.dialects.readers import AutoReader
from acytoo.dialects.server_side import header_secrets, new_id, request_from_body
from acytoo.errors import AcytooError, TruncatedError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.types import (
    Item,
    Reply,
    Request,
    Usage,
)


class TokenCount(msgspec.Struct):
    """The answer of `count_tokens`."""

    input_tokens: int


_COUNTED = frozenset({"messages", "model", "system", "thinking", "tool_choice", "tools", "output_config"})


class Anthropic(Dialect):
    """Anthropic's messages, with the variations compatible servers have.

    `default_max_tokens` is sent where the user gives none: this API must have it. `key_header` "authorization" sends
    the key as a bearer token. `effort_as` says how `reasoning_effort` is asked for: "effort" is adaptive thinking with
    `output_config.effort` (today's models), "budget" is `thinking.budget_tokens` (older ones, compatible servers).
    """

    name = SOURCE
    options = frozenset(
        {
            "temperature",
            "top_p",
            "top_k",
            "max_tokens",
            "stop",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "response_format",
            "reasoning_effort",
            "user",
        }
    )
    routes = ("/v1/messages",)
    count_routes = ("/v1/messages/count_tokens",)
    ignorable_fields = frozenset(
        {
            "betas",
            "cache_control",
            "citations",
            "context_management",
            "defer_loading",
            "diagnostics",
            "eager_input_streaming",
            "inference_geo",
            "input_examples",
            "metadata",
            "output_config",
            "service_tier",
            "speed",
            "thinking",
        }
    )
    """Hints about caching, cost and service; `thinking` and `output_config` are in the shared shape as well."""
    vendor_fields = frozenset(KEPT + TOOL_FIELDS)
    no_op_values = {"allowed_callers": (["direct"],), "mcp_servers": ([],)}
    capabilities = Capabilities(frozenset({"id", "model"}), items=frozenset({"text", "reasoning", "tool_calls"}))
    list_routes = ("/v1/models", "/v1/models/{model:.+}")

    def __init__(
        self,
        path: str = "/v1/messages",
        version: str = "2023-06-01",
        default_max_tokens: int = 4096,
        key_header: str = "x-api-key",
        effort_as: str = "effort",
    ) -> None:
        self.path = path
        self.version = version
        self.default_max_tokens = default_max_tokens
        self.key_header = key_header
        self.effort_as = effort_as

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """System messages go into `system`, the rest into turns; `betas` of `extra_body` becomes its header."""
        self.check_options(request, unsupported)
        extra = dict(self.extra(request))
        system, rest = system_of(request.messages, request.extra_for == self.name, unsupported)
        body: dict[str, Any] = {"model": request.model, "messages": turns_of(rest, unsupported)}
        if system:
            body["system"] = system
        said = "thinking" in extra or "output_config" in extra
        thinking = self._thinking(None if said else request.reasoning_effort, request.max_tokens, unsupported)
        thinking["output_config"] |= _format_of(request.response_format, unsupported)
        body["max_tokens"] = request.max_tokens
        if request.max_tokens is None:
            body["max_tokens"] = self.default_max_tokens + thinking["thinking"].get("budget_tokens", 0)
        body |= {field: value for field, value in thinking.items() if value}
        for option, field in _SAME.items():
            value = getattr(request, option)
            if value is not None:
                body[field] = value
        if request.tools and (tools := tools_of(request.tools, unsupported)):
            body["tools"] = tools
        choice = tool_choice_of(
            request.tool_choice, request.parallel_tool_calls if request.tools else None, unsupported
        )
        if choice is not None:
            body["tool_choice"] = choice
        if request.user is not None:
            body["metadata"] = {"user_id": request.user}
        if request.stream:
            body["stream"] = True
        extra.pop("betas", None)
        merge_extra(body, extra)
        return self.http_request(request, endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """The key in its header, and the `betas` that were asked for."""
        headers = {**json_headers(endpoint.key, self.key_header), "anthropic-version": self.version}
        if betas := self.extra(request).get("betas"):
            headers["anthropic-beta"] = betas if isinstance(betas, str) else ",".join(betas)
        return HTTPRequest(join_url(_root(endpoint.url), self.path), headers, body)

    def reader(self, head: ResponseHead) -> Reader:
        """Server-sent events, or one document: some servers answer either with the other."""
        return AutoReader(self, StreamReader(self.name))

    def read_reply(self, body: bytes) -> list[Item]:
        """The items of a `message`."""
        message = msgspec.json.decode(body, type=Message)
        if message.error is not None:
            raise error_from_event(message.error, STATUS)
        if message.content is None:
            raise msgspec.ValidationError("it has no content")
        if message.stop_reason is None:
            raise TruncatedError("the reply has no stop_reason")
        return StreamReader(self.name).whole(message)

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Everything the shared shape has a name for; `max_tokens` may be missing, as in `count_tokens`."""
        body = decode_body(incoming)
        shared: dict[str, Any] = {"stream": body.pop("stream", None) or False}
        shared["messages"] = shared_system(body.pop("system", None)) + shared_messages(body.pop("messages", None))
        if (tools := body.pop("tools", None)) is not None:
            shared["tools"] = shared_tools(tools)
        if (choice := body.pop("tool_choice", None)) is not None:
            shared["tool_choice"], shared["parallel_tool_calls"] = shared_tool_choice(choice)
        if isinstance(body.get("metadata"), dict):
            metadata = dict(body.pop("metadata"))
            shared["user"] = metadata.pop("user_id", None)
            if metadata:
                body["metadata"] = metadata
        shared["stop"] = body.pop("stop_sequences", None)
        self._parse_thinking(body, shared)
        betas = incoming.headers.get("anthropic-beta", "")
        if betas:
            body["betas"] = [beta.strip() for beta in betas.split(",") if beta.strip()]
        return ParsedRequest(request_from_body(body | shared, self.name), header_secrets(incoming))

    def writer(self, request: Request) -> Writer:
        """Content blocks from `message_start` to `message_stop`."""
        return StreamWriter(request.model)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """A `message`. Raises ProtocolError where the model's arguments for a tool are no JSON object."""
        content = [block for thought in reply.reasoning for block in thought_blocks(thought, unsigned=True)]
        content += [{"type": "text", "text": text} for text in (reply.text, reply.refusal) if text]
        content += [call_block(call, reply.finish) for call in reply.tool_calls]
        reason, sequence = stop_reason_of(reply.finish, bool(reply.refusal), bool(reply.tool_calls))
        body = empty_message(reply.id or new_id("msg_"), reply.model or request.model)
        body |= {
            "content": content,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": usage_fields(reply.usage or Usage()),
        }
        return msgspec.json.encode(body)

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        """Return `{"type": "error", "error": {"type", "message"}}`."""
        return error_document(error)

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether the path is this API's own, or the header is there that its clients must send."""
        return request.path.startswith("/v1/messages") or "anthropic-version" in request.headers

    def models(self, names: list[str], created: int) -> dict[str, Any]:
        """Return the one page of models."""
        return {
            "data": [self.model(name, created) for name in names],
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }

    def model(self, name: str, created: int) -> dict[str, Any]:
        """Return a `model` object."""
        created_at = datetime.fromtimestamp(created, UTC).isoformat()
        return {"type": "model", "id": name, "display_name": name, "created_at": created_at, "lifecycle": "active"}

    def encode_count_request(self, request: Request, endpoint: Endpoint) -> HTTPRequest:
        """The same messages, without what only a reply needs."""
        asked = self.encode_request(request, endpoint, Unsupported(self.name, drop=True))
        body = {k: v for k, v in msgspec.json.decode(asked.body).items() if k in _COUNTED}
        return HTTPRequest(f"{asked.url}/count_tokens", asked.headers, dumps(body))

    def read_count(self, body: bytes) -> int:
        """The `input_tokens`."""
        return msgspec.json.decode(body, type=TokenCount).input_tokens

    def write_count(self, tokens: int) -> bytes:
        """`{"input_tokens"}`."""
        return msgspec.json.encode(TokenCount(tokens))

    def _thinking(
        self, effort: str | None, max_tokens: int | None, unsupported: Unsupported
    ) -> dict[str, dict[str, Any]]:
        """`thinking` and `output_config` for an effort; empty ones are not sent."""
        if effort is None:
            return {"thinking": {}, "output_config": {}}
        if effort == "none":
            return {"thinking": {"type": "disabled"}, "output_config": {}}
        if effort not in _BUDGET:
            unsupported(f"reasoning_effort {effort!r}")
        elif self.effort_as == "budget":
            budget = min(_BUDGET[effort], _BUDGET["max"] if max_tokens is None else max_tokens - 1)
            if budget >= _LEAST_BUDGET:
                return {"thinking": {"type": "enabled", "budget_tokens": budget}, "output_config": {}}
            unsupported(f"reasoning_effort with max_tokens of {_LEAST_BUDGET} or less")
        else:
            word = "low" if effort == "minimal" else effort
            return {"thinking": {"type": "adaptive"}, "output_config": {"effort": word}}
        return {"thinking": {}, "output_config": {}}

    def _parse_thinking(self, body: dict[str, Any], shared: dict[str, Any]) -> None:
        """The effort and format in `thinking` and `output_config`; both stay too where these do not say it all.

        Thinking that is disabled is no effort asked for, as where it is left out.
        """
        shared["reasoning_effort"] = None
        if not body.keys() & {"thinking", "output_config", "output_format"}:
            return
        for field in ("thinking", "output_config"):
            if not isinstance(body.get(field, {}), dict):
                raise invalid(f"{field} is not an object")
        given = {field: body.pop(field, {}) for field in ("thinking", "output_config")}
        thinking, config = given["thinking"], given["output_config"]
        older = body.pop("output_format", None)
        form = config.get("format") or older
        if form is not None:
            shared["response_format"] = _shared_format(form)
        effort, budget = config.get("effort"), thinking.get("budget_tokens")
        if effort is None and isinstance(budget, int) and thinking.get("type") == "enabled":
            effort = next((e for e in ("low", "medium") if budget <= _BUDGET[e]), "high")
        shared["reasoning_effort"] = effort
        max_tokens = body.get("max_tokens")
        drop = Unsupported(self.name, drop=True)
        again = self._thinking(
            effort if isinstance(effort, str) else None, max_tokens if isinstance(max_tokens, int) else None, drop
        )
        again["output_config"] |= _format_of(shared.get("response_format"), drop) if config.get("format") else {}
        if again != given:
            body |= {field: value for field, value in given.items() if value}


_SAME = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop": "stop_sequences"}

_LEAST_BUDGET = 1024

_BUDGET = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 65536}
"""Thinking tokens for each effort, ours to choose: the API names none."""


def _root(url: str) -> str:
    """The service's root, where its URL was given with `/v1`."""
    base, mark, query = url.partition("?")
    return base.rstrip("/").removesuffix("/v1") + mark + query


def _format_of(response_format: dict[str, Any] | None, unsupported: Unsupported) -> dict[str, Any]:
    """`output_config.format`; a schema's name and `strict` have no word here, a schema is always strict."""
    kind = (response_format or {}).get("type", "text")
    if response_format is None or kind == "text":
        return {}
    holder = response_format.get("json_schema")
    if kind == "json_schema" and isinstance(holder, dict) and isinstance(holder.get("schema"), dict):
        return {"format": {"type": "json_schema", "schema": holder["schema"]}}
    unsupported(f"response_format of type {kind!r}")
    return {}


def _shared_format(form: Any) -> dict[str, Any]:
    if not isinstance(form, dict) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise invalid("output_config.format must be like {'type': 'json_schema', 'schema': {…}}")
    return {"type": "json_schema", "json_schema": {"name": "response", "schema": form["schema"]}}
