"""Anthropic's Messages API: JSON in, JSON or server-sent events of content blocks out.

Source: Anthropic's API reference ("Create a Message", "Streaming Messages", "Errors") and its Python SDK (2.12), which
updates the usage of `message_start` with that of `message_delta`, and skips `ping` events at any position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from acytoo.dialects.anthropic.reader import TOO_LONG, StreamReader, read_document
from acytoo.dialects.anthropic.request import (
    FIELD_NAMES,
    PART_FIELDS,
    SOURCE,
    TOOL_FIELDS,
    EffortStyle,
    UnsignedThinking,
    decode_request,
    encode_request,
    plain_parts,
)
from acytoo.dialects.anthropic.writer import THREAD_UNSUPPORTED, StreamWriter, error_document, reply_document
from acytoo.dialects.base import OTHER_MODELS, Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.citations import Citation, citation
from acytoo.dialects.fields import decode_body, objects_in
from acytoo.dialects.json import dumps
from acytoo.dialects.quotas import UNITS, Quota, number
from acytoo.dialects.readers import AutoReader
from acytoo.dialects.server_side import request_from_body
from acytoo.errors import AcytooError, RequestError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers, with_query
from acytoo.types import ContentPart, Item, JSONObject, Reply, Request, Usage

if TYPE_CHECKING:
    from acytoo.dialects.batches import BatchAPI


class _TokenCount(msgspec.Struct):
    input_tokens: int


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_ANTHROPIC_HOST = "//api.anthropic.com"

_DEEPSEEK_HOST = "//api.deepseek.com"

_COUNTED_FIELDS = frozenset({"messages", "model", "system", "thinking", "tool_choice", "tools", "output_config"})
"""The fields of a body that a token count needs. The others are only for the reply."""


class Anthropic(Dialect):
    """Anthropic's Messages API, with the variations that compatible servers have.

    `default_max_tokens` is sent for a request without `max_tokens`, which this API requires. With `key_header`
    "authorization", the key is sent as a bearer token. `effort_as` selects how `reasoning_effort` is sent: "effort" is
    adaptive thinking with `output_config.effort` (current models), "budget" is `thinking.budget_tokens` (earlier
    models, compatible servers). `ends_without_finish`: whether the server ends complete replies without `stop_reason`
    and `message_stop`.
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
    routes = ("/v1/messages", "/messages")
    count_routes = tuple(f"{route}/count_tokens" for route in routes)
    unmetered_fields = OTHER_MODELS
    required_options = frozenset({"max_tokens"})
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
    """Hints about caching, cost and service. `thinking` and `output_config` are also expressed in the shared shape."""
    conversation_fields = frozenset({"thread"})
    file_service = "anthropic"
    vendor_fields = frozenset(PART_FIELDS + TOOL_FIELDS)
    no_op_values = {"allowed_callers": (["direct"],), "mcp_servers": ([],)}
    capabilities = Capabilities(
        frozenset({"id", "model"}),
        frozenset(Usage.__struct_fields__) - {"other_counts"},
        items=frozenset({"text", "reasoning", "tool_calls"}),
        own_parts=True,
    )
    list_routes = ("/v1/models", "/v1/models/{model:.+}")
    too_long_messages = TOO_LONG

    def __init__(
        self,
        path: str = "/v1/messages",
        version: str = "2023-06-01",
        default_max_tokens: int = 4096,
        key_header: str = "x-api-key",
        effort_as: EffortStyle = "effort",
        ends_without_finish: bool = False,
    ) -> None:
        self.path = path
        self.version = version
        self.default_max_tokens = default_max_tokens
        self.key_header = key_header
        self.effort_as = effort_as
        self.ends_without_finish = ends_without_finish

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Return the HTTP request for a reply. Calls `unsupported` for whatever the API cannot express."""
        self.check_options(request, unsupported)
        unsigned = _unsigned_thinking(endpoint.url)
        body = encode_request(
            request, self.extra(request), unsupported, self.default_max_tokens, self.effort_as, unsigned
        )
        return self.http_request(request, endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request with this body. The `betas` of the extra fields become a header."""
        headers = {**json_headers(endpoint.key, self.key_header), "anthropic-version": self.version}
        if betas := self.extra(request).get("betas"):
            names = [betas] if isinstance(betas, str) else betas
            if not isinstance(names, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in names):
                raise UsageError("betas must be text or a list of texts, like ['context-1m-2025-08-07']")
            headers["anthropic-beta"] = ",".join(names)
        return HTTPRequest(join_url(_without_version(endpoint.url), self.path), headers, body)

    def batches(self) -> BatchAPI:
        """Return this API's batches. Few programs need them, so they are imported here."""
        from acytoo.dialects.anthropic.batches import AnthropicBatches

        return AnthropicBatches()

    def reader(self, head: ResponseHead) -> Reader:
        """Return a reader for an event stream or a document, whichever the body begins like.

        Some servers answer a streaming request with a document, and the other way around.
        """
        return AutoReader(self, lambda: StreamReader(self.name, self.ends_without_finish))

    def read_reply(self, body: bytes) -> list[Item]:
        """Return the items of a complete reply."""
        return read_document(self.name, body, self.ends_without_finish)

    def citations_in(self, fields: JSONObject) -> list[Citation]:
        """Return the citations of a text that have an address: those of web searches."""
        found = [citation(one.get("url"), one.get("title")) for one in objects_in(fields.get("citations"))]
        return [one for one in found if one is not None]

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request. The `anthropic-beta` header becomes the extra field `betas`."""
        shared = decode_request(decode_body(incoming), self.effort_as)
        betas = incoming.headers.get("anthropic-beta", "")
        if betas:
            shared["betas"] = [beta.strip() for beta in betas.split(",") if beta.strip()]
        return ParsedRequest(request_from_body(shared, self.name, FIELD_NAMES))

    def plain_parts(self, part: ContentPart) -> list[ContentPart] | None:
        """Return the text of a search result, a document of blocks, a compaction or a document's context as parts."""
        return plain_parts(part)

    def conversation_error(self, field: str) -> RequestError | None:
        """Return the error after which the official SDKs and Claude Code send the complete conversation, unthreaded."""
        if (error := super().conversation_error(field)) is not None:
            error.code = THREAD_UNSUPPORTED
        return error

    def writer(self, request: Request) -> Writer:
        """Return a writer of events."""
        return StreamWriter(request.model)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return a complete reply as one message.

        Raises ProtocolError if the model's arguments for a tool are not a JSON object.
        """
        return msgspec.json.encode(reply_document(reply, request))

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return `{"type": "error", "error": {"type", "message"}}`."""
        return error_document(error)

    def quota_template(self, quotas: Sequence[Quota], now: float) -> bytes:
        """Return the headers of "Rate limits, Response headers": counts, and the time of the reset in RFC 3339."""
        fields = ""
        for quota in quotas:
            name, reset = f"anthropic-ratelimit-{quota.unit}", math.ceil(now + quota.resets_in)
            fields += f"{name}-limit: {quota.limit}\r\n{name}-remaining: %d\r\n"
            fields += f"{name}-reset: {datetime.fromtimestamp(reset, UTC):%Y-%m-%dT%H:%M:%SZ}\r\n"
        return fields.encode()

    def read_quotas(self, head: ResponseHead, now: float) -> list[Quota]:
        """Return the quotas of a response; `tokens` is the limit of which the least is left."""
        quotas: list[Quota] = []
        for unit in UNITS:
            name = f"anthropic-ratelimit-{unit}"
            limit, remaining = number(head.headers, f"{name}-limit"), number(head.headers, f"{name}-remaining")
            if limit is not None and remaining is not None:
                try:
                    reset = datetime.fromisoformat(head.headers.get(f"{name}-reset", "")).timestamp() - now
                except (ValueError, OverflowError):
                    reset = 0.0
                quotas.append(Quota(unit, limit, remaining, max(0.0, reset)))
        return quotas

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether the path is this API's, or the request has the header that its clients must send."""
        return request.path.startswith(self.routes) or "anthropic-version" in request.headers

    def models(self, names: list[str], created: int) -> JSONObject:
        """Return the list of models, in one page."""
        return {
            "data": [self.model(name, created) for name in names],
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }

    def model(self, name: str, created: int) -> JSONObject:
        """Return a `model` object."""
        created_at = datetime.fromtimestamp(created, UTC).isoformat()
        return {"type": "model", "id": name, "display_name": name, "created_at": created_at, "lifecycle": "active"}

    def encode_models_request(self, endpoint: Endpoint) -> HTTPRequest:
        """Return a GET of `/v1/models`, in one page of the greatest size."""
        url = with_query(join_url(_without_version(endpoint.url), "/v1/models"), "limit=1000")
        headers = {**json_headers(endpoint.key, self.key_header), "anthropic-version": self.version}
        return HTTPRequest(url, headers, b"", "GET")

    def read_models(self, body: bytes) -> list[str]:
        """Return each `id`."""
        return [model.id for model in msgspec.json.decode(body, type=_Models).data]

    def encode_count_request(self, request: Request, endpoint: Endpoint) -> HTTPRequest:
        """Return the HTTP request that counts tokens. It has the same body, without what only a reply needs."""
        reply_request = self.encode_request(request, endpoint, Unsupported(self.name, drop=True))
        body: JSONObject = msgspec.json.decode(reply_request.body)
        counted = {name: value for name, value in body.items() if name in _COUNTED_FIELDS}
        return HTTPRequest(join_url(reply_request.url, "/count_tokens"), reply_request.headers, dumps(counted))

    def read_count(self, body: bytes) -> int:
        """Return `input_tokens`."""
        return msgspec.json.decode(body, type=_TokenCount).input_tokens

    def write_count(self, tokens: int) -> bytes:
        """Return `{"input_tokens"}`."""
        return msgspec.json.encode(_TokenCount(tokens))


def _unsigned_thinking(url: str) -> UnsignedThinking:
    """Return what a service makes of thinking without a signature.

    Anthropic signs all thinking and refuses any other. Some compatible services sign none and want it back, and
    DeepSeek refuses a turn with calls and without thinking (NousResearch/hermes-agent#16748).
    """
    return "refused" if _ANTHROPIC_HOST in url else "needed" if _DEEPSEEK_HOST in url else "accepted"


def _without_version(url: str) -> str:
    """Return the URL of the server's root: users also give it with `/v1`, as OpenAI's clients need it."""
    base, mark, query = url.partition("?")
    return base.rstrip("/").removesuffix("/v1") + mark + query
