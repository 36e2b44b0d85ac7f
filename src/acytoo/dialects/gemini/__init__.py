"""Google's Gemini API: `generateContent`, JSON in and out, and `streamGenerateContent`, server-sent events out.

Source: Google's Gemini API reference ("Generating content", "Counting tokens", "Models"), and the `google-genai`
package.
"""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from acytoo._version import __version__
from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.citations import Citation, citation
from acytoo.dialects.fields import count, decode_body, invalid, object_or_empty, objects_in, text_or_empty
from acytoo.dialects.gemini.parts import READ_FIELDS, SOURCE_FIELDS, camel_case_fields
from acytoo.dialects.gemini.reader import TOO_LONG, CumulativeReader, StreamReader, add_details, read_document
from acytoo.dialects.gemini.request import FIELD_NAMES, MEDIA_FIELDS, decode_request, encode_request, plain_parts
from acytoo.dialects.gemini.writer import ArrayWriter, StreamWriter, error_document, reply_document
from acytoo.dialects.json import UNDECODABLE, decoder, dumps
from acytoo.dialects.readers import AutoReader
from acytoo.dialects.server_side import request_from_body
from acytoo.errors import AcytooError, StatusError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers, with_query
from acytoo.secret import truncate
from acytoo.types import OPTIONS, ContentPart, Item, JSONObject, Reply, Request

_VERSIONS = ("v1beta", "v1", "v1alpha", "v1beta1")
_GENERATE, _STREAM, _COUNT = "generateContent", "streamGenerateContent", "countTokens"
_PATH_ENDS = ("enerateContent", ":countTokens")
"""Ends of paths that only this API has. The first is common to `generateContent`, `streamGenerateContent` and
`batchGenerateContent`.
"""


_PROJECT = "projects/{project}/locations/{location}/"


def _routes(*verbs: str) -> tuple[str, ...]:
    """Return the paths of these verbs, also those of Vertex AI. A model's name may contain slashes."""
    folders = [*[f"/{version}/" for version in _VERSIONS], "/"]
    folders += [
        f"/{version}/{project}publishers/google/" for version in ("v1beta1", "v1") for project in ("", _PROJECT)
    ]
    return tuple(f"{folder}models/{{model:.+}}:{verb}" for folder in folders for verb in verbs)


def _accepts_call_ids(endpoint: Endpoint) -> bool:
    """Return False for Vertex AI, which refuses `id` in a call or a result (vercel/ai issue 15664)."""
    return "aiplatform.googleapis.com" not in endpoint.url


@functools.lru_cache(64)
def _versioned(url: str, version: str) -> str:
    """Return the URL with a version. Users also give it with one, as other clients need it.

    That of Vertex AI has one before the publisher: `https://aiplatform.googleapis.com/v1/publishers/google`. That of a
    gateway may have one of its own before other folders: `https://gateway.ai.cloudflare.com/v1/…/google-ai-studio`.
    """
    return url if _END_WITH_VERSION.search(url.partition("?")[0]) else join_url(url, f"/{version}")


_END_WITH_VERSION = re.compile(rf"/(?:{'|'.join(_VERSIONS)})(?:/(?:publishers|projects)/.*)?/?$")


def _in_path(model: str) -> str:
    """Return a model's name as it stands in a path. It may have slashes.

    Raises UsageError for a name that leads to another path, also if the server decodes a path twice or takes a
    backslash for a slash: a gateway's clients choose the model, and the request carries the gateway's key.
    """
    segments = unquote(unquote(model)).replace("\\", "/").split("/")
    if any(segment.strip() in ("", ".", "..") for segment in segments):
        raise UsageError(f"invalid model {truncate(model, 100)!r}: it is part of the URL, which has no such path")
    return quote(model, safe="/:@", errors="replace")


class _TokenCount(msgspec.Struct, rename="camel"):
    total_tokens: int


class _Model(msgspec.Struct, rename="camel"):
    name: str
    supported_generation_methods: list[str] = []


class _Models(msgspec.Struct):
    models: list[JSONObject]


class Gemini(Dialect):
    """Google's Gemini API. The endpoint's URL is the root, before `version`, or has a version itself.

    `ends_without_finish`: whether the server ends complete replies without `finishReason`.
    `cumulative_texts`: whether each piece of a streamed text has all of it so far.
    """

    name = "gemini"
    options = OPTIONS - {"user"}
    routes = _routes(_STREAM, _GENERATE)
    count_routes = _routes(_COUNT)
    minimal_body = {"contents": [{"parts": [{"text": ""}]}]}
    length_fields = ("generationConfig", "generation_config")
    inner_length_fields = ("maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count")
    allowed_modes = frozenset({"required"})
    file_service = "gemini"
    vendor_fields = frozenset(MEDIA_FIELDS)
    ignorable_fields = frozenset(
        {
            *MEDIA_FIELDS,
            "alt",
            "safetySettings",
            "labels",
            "serviceTier",
            "store",
            "generationConfig.mediaResolution",
            "generationConfig.thinkingConfig",
        }
    )
    conversation_fields = frozenset({"cachedContent"})
    thinking_is_switch = True
    no_op_values = {
        "generationConfig.responseModalities": (["TEXT"],),
        "generationConfig.enableEnhancedCivicAnswers": (False,),
    }
    # Source: the parameters in the descriptions of the Gemini 2.5 models, which Gemini CLI always sends.
    default_options = {"top_k": 64, "top_p": 0.95}
    capabilities = Capabilities(
        frozenset({"id", "model"}),
        frozenset({"input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"}),
        frozenset({"text", "reasoning", "tool_calls", "logprobs"}),
        reasoning_blocks=False,
        own_parts=True,
    )
    ends_with_record = False  # after the finish reason, more text or the usage may follow
    list_routes = tuple(f"{folder}/models{name}" for folder in ("/v1beta", "/v1", "") for name in ("", "/{model:.+}"))
    model_prefix = "models/"
    too_long_messages = TOO_LONG

    def __init__(
        self, version: str = "v1beta", ends_without_finish: bool = False, cumulative_texts: bool = False
    ) -> None:
        self.version = version
        self.ends_without_finish = ends_without_finish
        self._reader_class = CumulativeReader if cumulative_texts else StreamReader
        self.can_pass_through = not cumulative_texts

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Return the HTTP request for a reply. Calls `unsupported` for whatever the API cannot express."""
        self.check_options(request, unsupported)
        body = encode_request(request, self.extra(request), unsupported, call_ids=_accepts_call_ids(endpoint))
        return self.http_request(request, endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request with this body. The URL has the model and shows whether to stream."""
        return self._request_to(_STREAM if request.stream else _GENERATE, request, endpoint, body)

    def _request_to(self, verb: str, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request that applies a verb to the request's model. The key is sent in a header."""
        model = request.model.removeprefix("models/")
        if not model:
            raise UsageError("Gemini needs a model: it is part of the URL")
        folder = "" if model.startswith("tunedModels/") else "models/"
        url = join_url(_versioned(endpoint.url, self.version), f"/{folder}{_in_path(model)}:{verb}")
        if verb == _STREAM:
            url = with_query(url, "alt=sse")
        return HTTPRequest(url, json_headers(endpoint.key, "x-goog-api-key"), body)

    def encode_models_request(self, endpoint: Endpoint) -> HTTPRequest:
        """Return a GET of `/models`, in one page of the greatest size."""
        url = with_query(join_url(_versioned(endpoint.url, self.version), "/models"), "pageSize=1000")
        return HTTPRequest(url, json_headers(endpoint.key, "x-goog-api-key"), b"", "GET")

    def read_models(self, body: bytes) -> list[str]:
        """Return each `name` without `models/`, of the models that generate content."""
        documents = decoder(_Models).decode(body).models
        models = [msgspec.convert(camel_case_fields(document), _Model) for document in documents]
        return [
            model.name.removeprefix("models/")
            for model in models
            if not model.supported_generation_methods or _GENERATE in model.supported_generation_methods
        ]

    def for_model(self, body: bytes, model: str) -> bytes:
        """Return the body unchanged: the model is in the URL."""
        return body

    def encode_count_request(self, request: Request, endpoint: Endpoint) -> HTTPRequest:
        """Return the HTTP request that counts tokens. It has the complete request, so that tools count too."""
        drop = Unsupported(self.name, drop=True)
        body = encode_request(request, self.extra(request), drop, call_ids=_accepts_call_ids(endpoint))
        body["model"] = "models/" + request.model.removeprefix("models/")
        return self._request_to(_COUNT, request, endpoint, dumps({"generateContentRequest": body}))

    def read_count(self, body: bytes) -> int:
        """Return `totalTokens`."""
        document = decoder(JSONObject).decode(body)
        return msgspec.convert(camel_case_fields(document), _TokenCount).total_tokens

    def write_count(self, tokens: int) -> bytes:
        """Return `{"totalTokens"}`."""
        return msgspec.json.encode(_TokenCount(tokens))

    def reader(self, head: ResponseHead) -> Reader:
        """Return a reader for an event stream or a document, whichever the body begins like.

        Some servers answer a streaming request with a document, and the other way around.
        """
        return AutoReader(self, lambda: self._reader_class(self.name, self.ends_without_finish))

    def read_reply(self, body: bytes) -> list[Item]:
        """Return the items of a complete reply."""
        return read_document(self.name, body, self.ends_without_finish)

    def read_error(self, status: int | None, body: bytes, retry_after: float | None = None) -> StatusError:
        """Return the error that a body reports, with what its details add."""
        error = super().read_error(status, body, retry_after)
        try:
            document = decoder(Any).decode(body)
        except UNDECODABLE:
            return error
        if isinstance(document, list) and document:  # a stream without `alt=sse` is an array
            document = document[0]
        return add_details(error, document.get("error") if isinstance(document, dict) else None)

    def kind_of_part(self, fields: JSONObject) -> str:
        """Return "image", "audio" or another part of a media type, or the name of the field that makes a part."""
        for name in ("inlineData", "fileData"):
            if media_type := text_or_empty(object_or_empty(fields.get(name)).get("mimeType")):
                return media_type.partition("/")[0]
        return next((name for name in fields if name not in READ_FIELDS | SOURCE_FIELDS), "")

    def citations_in(self, fields: JSONObject) -> list[Citation]:
        """Return the pages of the grounding and of the citations."""
        grounding = object_or_empty(fields.get("groundingMetadata"))
        cited = object_or_empty(fields.get("citationMetadata"))
        chunks = objects_in(grounding.get("groundingChunks"))
        pages = [object_or_empty(chunk.get(kind)) for chunk in chunks for kind in ("web", "retrievedContext", "maps")]
        for name in ("citationSources", "citations"):  # of the Gemini API and of Vertex AI
            pages += objects_in(cited.get(name))
        found = [citation(page.get("uri"), page.get("title")) for page in pages]
        return [one for one in found if one is not None]

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request. The path has the model and shows whether to stream."""
        model, colon, verb = incoming.path.partition("/models/")[2].rpartition(":")
        if not colon or verb not in (_GENERATE, _STREAM, _COUNT):
            raise invalid(f"the path must end with models/<model>:{_GENERATE}, :{_STREAM} or :{_COUNT}")
        body = decode_body(incoming)
        if verb == _COUNT:
            body = body.get("generateContentRequest") or body.get("generate_content_request") or body
        shared = decode_request(body)
        shared["model"] = model.removeprefix("models/")
        shared["stream"] = verb == _STREAM
        if verb == _STREAM and incoming.query.get("alt") != "sse":
            shared["alt"] = "json"  # for `writer`
        return ParsedRequest(request_from_body(shared, self.name, FIELD_NAMES))

    def replies_in(self, extra: JSONObject) -> int:
        """Return the `candidateCount`."""
        return max(1, count(extra.get("generationConfig.candidateCount")))

    def plain_parts(self, part: ContentPart) -> list[ContentPart] | None:
        """Return the parts for a PDF by its URL."""
        return plain_parts(part)

    def writer(self, request: Request) -> Writer:
        """Return a writer of events, or of a JSON array if the client did not send `alt=sse`."""
        if request.extra_for == self.name and request.extra.get("alt") == "json":
            return ArrayWriter(request.model)
        return StreamWriter(request.model)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return a complete reply as one response."""
        return msgspec.json.encode(reply_document(reply, request))

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return `{"error": {"code", "message", "status", "details"}}`."""
        return error_document(error)

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether the path, a header or the query is one that only this API's clients use."""
        return (
            request.path.startswith("/v1beta")
            or request.path.endswith(_PATH_ENDS)
            or "key" in request.query
            or "x-goog-api-key" in request.headers
            or "x-goog-api-client" in request.headers
        )

    def models(self, names: list[str], created: int) -> JSONObject:
        """Return the list of models, in one page."""
        return {"models": [self.model(name, created) for name in names]}

    def model(self, name: str, created: int) -> JSONObject:
        """Return a `Model`. It has no field for the date."""
        return {
            "name": f"models/{name}",
            "displayName": name,
            "version": __version__,
            "supportedGenerationMethods": [_GENERATE, _STREAM],
        }
