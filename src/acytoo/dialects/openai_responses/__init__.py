"""OpenAI's Responses: typed items in, one document or typed server-sent events out.

Source: OpenAI's API reference ("Responses"), and the types of its Python SDK.
"""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.base import Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.error_bodies import openai_error
from acytoo.dialects.fields import decode_body
from acytoo.dialects.json import dumps
from acytoo.dialects.openai_responses.reader import Document, StreamReader, error_from_response
from acytoo.dialects.openai_responses.request import NAME, add_extra, fields_of, shared_of
from acytoo.dialects.openai_responses.writer import StreamWriter
from acytoo.dialects.readers import AutoReader
from acytoo.dialects.server_side import header_secrets, request_from_body
from acytoo.errors import AcytooError, TruncatedError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.types import Item, Reply, Request


class OpenAIResponses(Dialect):
    """OpenAI's Responses API, used without state: `store` is false and the whole history is sent each time.

    So that reasoning can be sent back, its encrypted form is asked for (`include`) wherever the request is about
    reasoning: an effort, `reasoning` in `extra_body`, or encrypted reasoning in the history. Not always, because
    models that do not reason answer that with 400. Fields given as `extra_body` win: `{"store": True}`.
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
    routes = ("/v1/responses", "/responses")
    minimal_body = {"input": ""}
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
        }
    )

    def __init__(self, path: str = "/responses") -> None:
        self.path = path

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Messages as items, the first system one as `instructions`; tools and formats in this API's flat shape."""
        self.check_options(request, unsupported)
        body: dict[str, Any] = {"model": request.model, **fields_of(request, unsupported)}
        if request.stream:
            body["stream"] = True
        add_extra(body, self.extra(request))
        body.setdefault("store", False)
        return self.http_request(request, endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """The key as a bearer token."""
        return HTTPRequest(join_url(endpoint.url, self.path), json_headers(endpoint.key), body)

    def reader(self, head: ResponseHead) -> Reader:
        """Server-sent events, or one document: some servers answer either with the other."""
        return AutoReader(self, StreamReader())

    def read_reply(self, body: bytes) -> list[Item]:
        """The items of a `response` document."""
        document = msgspec.json.decode(body, type=Document)
        if document.error is not None:
            raise error_from_response(document.error)
        if document.output is None:
            raise msgspec.ValidationError("it has no output")
        status = document.status or "completed"
        if status not in ("completed", "incomplete"):
            raise TruncatedError(f"the reply is not complete, its status is {status!r}")
        items: list[Item] = []
        StreamReader().end(msgspec.to_builtins(document), items)
        return items

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Items as messages, `instructions` as the first system one."""
        return ParsedRequest(request_from_body(shared_of(decode_body(incoming)), self.name), header_secrets(incoming))

    def writer(self, request: Request) -> Writer:
        """Typed events, ending with the whole response."""
        return StreamWriter(request)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """The document that a stream of this reply ends with."""
        writer = StreamWriter(request)
        writer.write(reply.items())
        return msgspec.json.encode(writer.whole())

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        """Return `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": openai_error(error)}
