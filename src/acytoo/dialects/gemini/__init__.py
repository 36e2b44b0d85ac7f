"""Google's Gemini API: `generateContent`, JSON in and out, and `streamGenerateContent`, server-sent events out.

Source: Google's Gemini API reference ("Generating content"), its error model (`google.rpc.Status`), and the
`google-genai` package. That package takes every line but a `data: ` or a blank one for JSON, so a comment breaks it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from acytoo import __version__
from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.fields import decode_body, invalid
from acytoo.dialects.gemini.parts import said_parts, text_part
from acytoo.dialects.gemini.reader import StreamReader, decode, decode_list, detailed
from acytoo.dialects.gemini.received import shared_body
from acytoo.dialects.gemini.request import sent_body
from acytoo.dialects.gemini.writer import (
    ArrayWriter,
    StreamWriter,
    error_document,
    last_parts,
    logprobs_result,
    usage_fields,
)
from acytoo.dialects.json import UNDECODABLE, dumps
from acytoo.dialects.readers import EitherReader
from acytoo.dialects.server_side import keyed_secrets, new_id, request_of
from acytoo.errors import AcytooError, StatusError, TruncatedError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.types import OPTIONS, Item, Reply, Request

_VERSIONS = ("v1beta", "v1", "v1alpha", "v1beta1")
_WHOLE, _STREAM, _COUNT = "generateContent", "streamGenerateContent", "countTokens"
_VERBS = ("ateContent", ":countTokens")
"""What only this API's paths end with."""


def _routes(*verbs: str) -> tuple[str, ...]:
    """A model's name may have slashes in it."""
    return tuple(f"/{version}/models/{{model:.+}}:{verb}" for version in _VERSIONS for verb in verbs)


class _TokenCount(msgspec.Struct, rename="camel"):
    total_tokens: int


class Gemini(Dialect):
    """Google's Gemini API. The endpoint's URL is the root, before `version`; the key goes into a header."""

    name = "gemini"
    options = OPTIONS - {"user"}
    routes = _routes(_STREAM, _WHOLE)
    count_routes = _routes(_COUNT)
    minimal_body = {"contents": [{"parts": [{"text": ""}]}]}
    ignorable_fields = frozenset(
        {"alt", "safetySettings", "cachedContent", "labels", "serviceTier", "store", "generationConfig.thinkingConfig"}
    )
    no_op_values = {"generationConfig.responseModalities": (["TEXT"],)}
    capabilities = Capabilities(
        frozenset({"id", "model"}),
        frozenset({"input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"}),
        frozenset({"text", "reasoning", "tool_calls", "logprobs"}),
        reasoning_blocks=False,
    )
    ends_with_record = False
    list_routes = ("/v1beta/models", "/v1beta/models/{model:.+}", "/v1/models", "/v1/models/{model:.+}")
    model_prefix = "models/"

    def __init__(self, version: str = "v1beta") -> None:
        self.version = version

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """The model and whether to stream are in the URL."""
        self.check_options(request, unsupported)
        return self.http_request(request, endpoint, dumps(sent_body(request, self.extra(request), unsupported)))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """The model in the URL, the key in its header."""
        return self._outgoing(request, endpoint, _STREAM if request.stream else _WHOLE, body)

    def _outgoing(self, request: Request, endpoint: Endpoint, verb: str, body: bytes) -> HTTPRequest:
        model = request.model.removeprefix("models/")
        if not model:
            raise UsageError("Gemini needs a model: it is part of the URL")
        folder = "" if model.startswith("tunedModels/") else "models/"
        url = join_url(endpoint.url, f"/{self.version}/{folder}{quote(model, safe='/:@')}:{verb}")
        if verb == _STREAM:
            url += "&alt=sse" if "?" in url else "?alt=sse"
        return HTTPRequest(url, json_headers(endpoint.key, "x-goog-api-key"), body)

    def for_model(self, body: bytes, model: str) -> bytes:
        """The body as it came: it names no model."""
        return body

    def count(self, request: Request, endpoint: Endpoint) -> HTTPRequest:
        """The whole request, so that its tools and instruction count too."""
        asked = sent_body(request, self.extra(request), Unsupported(self.name, drop=True))
        asked["model"] = "models/" + request.model.removeprefix("models/")
        return self._outgoing(request, endpoint, _COUNT, dumps({"generateContentRequest": asked}))

    def read_count(self, body: bytes) -> int:
        """The `totalTokens`."""
        return msgspec.json.decode(body, type=_TokenCount).total_tokens

    def write_count(self, tokens: int) -> bytes:
        """`{"totalTokens"}`."""
        return msgspec.json.encode(_TokenCount(tokens))

    def reader(self, head: ResponseHead) -> Reader:
        """Server-sent events, or one document: some servers answer either with the other."""
        return EitherReader(self, StreamReader(self.name))

    def read_reply(self, body: bytes) -> list[Item]:
        """The items of a response, or of a list of them (what `streamGenerateContent` answers without `alt=sse`)."""
        chunks = decode_list(body) if body.lstrip()[:1] == b"[" else [decode(body)]
        reader = StreamReader(self.name)
        items: list[Item] = []
        for chunk in chunks:
            items += reader.items(chunk)
        if not reader.finished:
            if not any(chunk.candidates for chunk in chunks):
                raise msgspec.ValidationError("it has no candidates")
            raise TruncatedError("the reply has no finishReason")
        return items

    def read_error(self, status: int | None, body: bytes, retry_after: float | None = None) -> StatusError:
        """The error a body tells; its details say how long to wait, and that a 400 is about the key."""
        error = super().read_error(status, body, retry_after)
        try:
            document = msgspec.json.decode(body)
        except UNDECODABLE:
            return error
        if isinstance(document, list) and document:
            document = document[0]
        return detailed(error, document.get("error") if isinstance(document, dict) else None)

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """The model and whether to stream are in the path; the key in a header, or in the query."""
        model, colon, verb = incoming.path.partition("/models/")[2].rpartition(":")
        if not colon or verb not in (_WHOLE, _STREAM, _COUNT):
            raise invalid(f"the path must end with models/<model>:{_WHOLE}, :{_STREAM} or :{_COUNT}")
        given = decode_body(incoming)
        if verb == _COUNT:
            given = given.get("generateContentRequest") or given.get("generate_content_request") or given
        body = shared_body(given)
        body["model"] = model.removeprefix("models/")
        body["stream"] = verb == _STREAM
        if body["stream"] and incoming.query.get("alt") != "sse":
            body["alt"] = "json"
        return ParsedRequest(request_of(body, self.name), keyed_secrets(incoming))

    def writer(self, request: Request) -> Writer:
        """Events; a JSON array where the client did not ask for `alt=sse`."""
        if request.extra_for == self.name and request.extra.get("alt") == "json":
            return ArrayWriter(request.model)
        return StreamWriter(request.model)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """One response."""
        parts = said_parts(reply.text or reply.refusal, reply.reasoning)
        last, reason = last_parts(reply.tool_calls, reply.finish)
        candidate: dict[str, Any] = {
            "content": {"parts": (parts + last) or [text_part("")], "role": "model"},
            "finishReason": reason,
            "index": 0,
        }
        if reply.logprobs:
            candidate["logprobsResult"] = logprobs_result(reply.logprobs)
        body: dict[str, Any] = {"candidates": [candidate]}
        if reply.usage:
            body["usageMetadata"] = usage_fields(reply.usage)
        body |= {"modelVersion": reply.model or request.model, "responseId": reply.id or new_id("")}
        return msgspec.json.encode(body)

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        """Return `{"error": {"code", "message", "status", "details"}}`."""
        return error_document(error)

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether the path, a header or the query is one that only this API's clients use."""
        return (
            request.path.startswith("/v1beta")
            or request.path.endswith(_VERBS)
            or "key" in request.query
            or "x-goog-api-key" in request.headers
            or "x-goog-api-client" in request.headers
        )

    def models(self, names: list[str], created: int) -> dict[str, Any]:
        """Return the one page of models."""
        return {"models": [self.model(name, created) for name in names]}

    def model(self, name: str, created: int) -> dict[str, Any]:
        """Return a `Model`, which has no date."""
        return {
            "name": f"models/{name}",
            "displayName": name,
            "version": __version__,
            "supportedGenerationMethods": [_WHOLE, _STREAM],
        }
