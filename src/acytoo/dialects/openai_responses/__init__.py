"""OpenAI's Responses API: typed items in, one document or typed server-sent events out.

Source: OpenAI's API reference ("Responses"), and the types of its Python SDK.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from acytoo.dialects.base import OTHER_MODELS, Capabilities, Dialect, Memory, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.citations import Citation
from acytoo.dialects.error_bodies import openai_error
from acytoo.dialects.fields import decode_body, invalid, objects_in
from acytoo.dialects.json import dumps
from acytoo.dialects.openai.models import models_request, read_models
from acytoo.dialects.openai.reader import TOO_LONG, decode_citation
from acytoo.dialects.openai_responses.reader import StreamReader, read_document
from acytoo.dialects.openai_responses.request import FIELD_NAMES, NAME, decode_request, encode_request
from acytoo.dialects.openai_responses.tools import GRAMMAR, HOSTED_TOOLS, TRANSLATED_ITEMS, TRANSLATED_TOOLS
from acytoo.dialects.openai_responses.writer import StreamWriter, reply_document
from acytoo.dialects.quotas import Quota
from acytoo.dialects.readers import AutoReader
from acytoo.dialects.server_side import request_from_body
from acytoo.errors import AcytooError, RequestError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.types import Item, JSONObject, Reply, Request

if TYPE_CHECKING:
    from acytoo.dialects.batches import BatchAPI

_COUNTED_FIELDS = frozenset(
    {
        *("conversation", "input", "instructions", "model", "parallel_tool_calls", "previous_response_id"),
        *("reasoning", "text", "tool_choice", "tools", "truncation"),
    }
)
"""The fields of a token count. Source: OpenAI's API reference ("Get input token counts")."""


class _TokenCount(msgspec.Struct):
    input_tokens: int


_REPORTED = frozenset({f"tools:{GRAMMAR}", *(f"tools:hosted:{kind}" for kind in HOSTED_TOOLS)})


class OpenAIResponses(Dialect):
    """OpenAI's Responses API, used without state: `store` is false and every request has the complete history.

    To send reasoning back, a client needs its encrypted form. It is requested (`include`) if the request has a
    reasoning effort, `reasoning` in `extra_body`, or encrypted reasoning in the history. Not always, because the API
    refuses it (400) for models that do not reason. Fields in `extra_body` take precedence: `{"store": True}`.
    """

    name = NAME
    options = frozenset(
        {
            "temperature",
            "top_p",
            "max_tokens",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "response_format",
            "reasoning_effort",
            "logprobs",
            "top_logprobs",
            "user",
        }
    )
    routes = ("/v1/responses", "/responses", "/openai/v1/responses", "/openai/responses")
    count_routes = tuple(f"{route}/input_tokens" for route in routes)
    minimal_body = {"input": ""}
    length_fields = ("max_output_tokens",)
    unmetered_fields = {**OTHER_MODELS, "background": "has a reply that is written later"}
    allowed_modes = frozenset({"auto", "required"})
    file_service = "openai"
    too_long_messages = TOO_LONG
    ignorable_fields = frozenset(
        {
            "store",
            "include",
            "truncation",
            "metadata",
            "prompt_cache_key",
            "prompt_cache_retention",
            "prompt_cache_options",
            "service_tier",
            "stream_options",
            "safety_identifier",
            "max_tool_calls",
            "reasoning",
            "text",
            "client_metadata",
            *_REPORTED,
            *(f"tools:{kind}" for kind in TRANSLATED_TOOLS),
            *(f"input:{kind}" for kind in (*TRANSLATED_ITEMS, "namespace")),
            *(f"tool_choice:{kind}" for kind in ("function", "custom", "allowed_tools")),
        }
    )
    """Hints about caching, storage and service, tools that the API runs itself, and what `tools.py` has translated."""
    reported_fields = _REPORTED
    conversation_fields = frozenset({"previous_response_id", "conversation", "prompt"})
    capabilities = Capabilities(own_parts=True)

    def __init__(self, path: str = "/responses", ends_without_finish: bool = False) -> None:
        """`ends_without_finish`: whether the server ends complete replies without `response.completed`."""
        self.path = path
        self.ends_without_finish = ends_without_finish

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Return the HTTP request for a reply. Calls `unsupported` for whatever the API cannot express."""
        self.check_options(request, unsupported)
        return self.http_request(request, endpoint, dumps(encode_request(request, self.extra(request), unsupported)))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request with this body, and the key as a bearer token."""
        return HTTPRequest(join_url(endpoint.url, self.path), json_headers(endpoint.key), body)

    def batches(self) -> BatchAPI:
        """Return OpenAI's batches, which take requests for this API too."""
        from acytoo.dialects.openai.batches import OpenAIBatches

        return OpenAIBatches(self.routes[0])

    def encode_models_request(self, endpoint: Endpoint) -> HTTPRequest:
        """Return a GET of `/models` beside the path of replies."""
        return models_request(endpoint, self.path.removesuffix("/responses"))

    def read_models(self, body: bytes) -> list[str]:
        """Return each `id`."""
        return read_models(body)

    def reader(self, head: ResponseHead) -> Reader:
        """Return a reader for server-sent events or one document: some servers send one when asked for the other."""
        return AutoReader(self, lambda: StreamReader(self.name, self.ends_without_finish))

    def read_reply(self, body: bytes) -> list[Item]:
        """Return the items of a `response` document."""
        return read_document(self.name, body, self.ends_without_finish)

    def kind_of_part(self, fields: JSONObject) -> str:
        """Return "image" for a generated one, else the type of the output item."""
        kind = super().kind_of_part(fields)
        return "image" if kind == "image_generation_call" else kind

    def citations_in(self, fields: JSONObject) -> list[Citation]:
        """Return the annotations of a message's texts."""
        notes = [note for part in objects_in(fields.get("content")) for note in objects_in(part.get("annotations"))]
        return [cited for note in notes if (cited := decode_citation(note))]

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request: items become messages, `instructions` the first of them."""
        body = decode_request(decode_body(incoming))
        return ParsedRequest(request_from_body(body, self.name, FIELD_NAMES))

    def encode_count_request(self, request: Request, endpoint: Endpoint) -> HTTPRequest:
        """Return the HTTP request that counts tokens. It has the same body, without what only a reply needs."""
        encoded = encode_request(request, self.extra(request), Unsupported(self.name, drop=True))
        body = dumps({name: value for name, value in encoded.items() if name in _COUNTED_FIELDS})
        return HTTPRequest(join_url(endpoint.url, f"{self.path}/input_tokens"), json_headers(endpoint.key), body)

    def read_count(self, body: bytes) -> int:
        """Return `input_tokens`."""
        return msgspec.json.decode(body, type=_TokenCount).input_tokens

    def write_count(self, tokens: int) -> bytes:
        """Return `{"object", "input_tokens"}`."""
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})

    def memory(self) -> Memory:
        """Return a new memory of items and responses."""
        from acytoo.dialects.openai_responses.memory import ResponsesMemory  # only servers have one

        return ResponsesMemory()

    def conversation_error(self, field: str) -> RequestError | None:
        """Return the error for a reference to what the API stores, or for an item that only this API has."""
        if field == "prompt":
            return invalid("prompt refers to a template that this server does not have: send its text as instructions")
        if field in self.conversation_fields or field == "input:item_reference":
            return invalid(
                f"{field.removeprefix('input:')} refers to items that this server does not have: "
                "send the items themselves: store: false"
            )
        if field.startswith("input:"):
            return invalid(
                f"the input has an item of the type {field.removeprefix('input:')}, which only {self.name} has"
            )
        return None

    def writer(self, request: Request) -> Writer:
        """Return a writer of typed events, the last of which has the complete response."""
        return StreamWriter(request)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return a complete reply as one `response` document."""
        return msgspec.json.encode(reply_document(reply, request))

    def quota_template(self, quotas: Sequence[Quota], now: float) -> bytes:
        """Return the `x-ratelimit-*` headers."""
        from acytoo.dialects.openai.quotas import quota_template

        return quota_template(quotas)

    def read_quotas(self, head: ResponseHead, now: float) -> list[Quota]:
        """Return the quotas in the `x-ratelimit-*` headers of a response."""
        from acytoo.dialects.openai.quotas import read_quotas

        return read_quotas(head.headers)

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": openai_error(error)}
