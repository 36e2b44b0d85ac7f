"""Ollama's chat API: JSON in, JSON or newline-delimited JSON out.

Source: Ollama's API documentation ("Generate a chat completion", "Streaming", "Tool calling", "Thinking"), and the
types of the `ollama` Python package.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.fields import decode_body, invalid
from acytoo.dialects.json import dumps
from acytoo.dialects.ollama.reader import TOO_LONG, CumulativeReader, StreamReader, read_document
from acytoo.dialects.ollama.request import (
    FIELD_NAMES,
    decode_generate_request,
    decode_request,
    encode_request,
    loading_reason,
)
from acytoo.dialects.ollama.writer import (
    GenerateWriter,
    StreamWriter,
    error_document,
    generate_document,
    reply_document,
)
from acytoo.dialects.readers import DocumentReader
from acytoo.dialects.server_side import request_from_body
from acytoo.dialects.think_tags import Tags, ThinkTagReader, divide_reply
from acytoo.errors import AcytooError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.types import OPTIONS, Finish, Item, JSONObject, Reply, Request, Start

_RUNNER_OPTIONS = (
    *("numa", "num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "logits_all", "vocab_only"),
    *("use_mmap", "use_mlock", "embedding_only", "num_thread", "num_keep"),
)
"""Options that control how Ollama loads a model. They do not change what the model answers."""

_SAMPLER_OPTIONS = (
    *("repeat_penalty", "repeat_last_n", "penalize_newline", "min_p", "typical_p", "tfs_z"),
    *("mirostat_tau", "mirostat_eta"),
)
"""Fine adjustments of sampling. Clients send all of them with their defaults, and Ollama itself ignores those that the
model's engine does not have.
"""

_VERSION = "0.12.0"
"""The version of Ollama whose API a server here implements. Clients compare it to see what they can use."""

_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}
"""The `details` of any model. They are empty, because the models of a server may be those of other APIs."""


_CONTEXT_LENGTH = 131_072
"""The tokens that any model reads, according to its description. The real number is not known: a backend reports what
is too long for it.

Without a number clients assume 4096. GitHub Copilot in VS Code reserves all of them for the reply.
"""


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Model]


class Ollama(Dialect):
    """Ollama's chat API. The endpoint's URL is the server's root; a key is sent as a bearer token.

    `ends_without_finish`: whether the server ends complete replies without a line with `"done": true`.
    `cumulative_texts`: whether each piece of a streamed text has all of it so far.
    `think_tags`: whether a text that begins with `<think>` is reasoning up to `</think>`, or "open" if every text
    begins with reasoning and has only the second tag.
    """

    name = "ollama"
    options = OPTIONS - {"user"}
    too_long_messages = TOO_LONG
    routes = ("/api/chat",)
    length_fields = ("options",)
    inner_length_fields = ("num_predict",)
    ignorable_fields = frozenset(
        {
            "keep_alive",
            "truncate",
            "shift",
            *(f"options.{name}" for name in (*_RUNNER_OPTIONS, *_SAMPLER_OPTIONS)),
        }
    )
    no_op_values = {"options.mirostat": (0,)}
    # Source: the parameters in Ollama's documentation of the Modelfile, which clients copy.
    default_options = {"top_k": 40, "top_p": 0.9}
    capabilities = Capabilities(
        frozenset({"model", "created"}),
        frozenset({"input_tokens", "output_tokens"}),
        frozenset({"text", "reasoning", "tool_calls", "logprobs"}),
        reasoning_blocks=False,
    )
    list_routes = ("/api/tags", "/api/ps")
    describe_routes = ("/api/show",)
    fixed_documents = {("GET", "/api/version"): {"version": _VERSION}}

    thinking_is_switch = True

    def is_ignorable(self, field: str) -> bool:
        """Return whether to drop an extra field for another API. Ollama ignores any that it does not know."""
        return field in self.ignorable_fields or "." not in field

    def __init__(
        self, ends_without_finish: bool = False, cumulative_texts: bool = False, think_tags: Tags = False
    ) -> None:
        self.ends_without_finish = ends_without_finish
        self._reader_class = CumulativeReader if cumulative_texts else StreamReader
        self._think_tags = think_tags
        self.can_pass_through = not (cumulative_texts or think_tags)

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Return the HTTP request for a reply. Calls `unsupported` for whatever the API cannot express."""
        self.check_options(request, unsupported)
        return self.http_request(request, endpoint, dumps(encode_request(request, self.extra(request), unsupported)))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request with this body. Ollama itself needs no key, but a proxy in front of it may."""
        return HTTPRequest(join_url(_root_of(endpoint.url), "/api/chat"), json_headers(endpoint.key), body)

    def encode_models_request(self, endpoint: Endpoint) -> HTTPRequest:
        """Return a GET of `/api/tags`."""
        return HTTPRequest(join_url(_root_of(endpoint.url), "/api/tags"), json_headers(endpoint.key), b"", "GET")

    def read_models(self, body: bytes) -> list[str]:
        """Return each `name`."""
        return [model.name for model in msgspec.json.decode(body, type=_Models).models]

    def reader(self, head: ResponseHead) -> Reader:
        """Return a reader for JSON lines, or for one document if the content type says so.

        An HTML page is read as a document too: that reader reports the page's title.
        """
        if head.content_type in ("application/json", "text/html"):
            return DocumentReader(self)
        reader = self._reader_class(self.name, self.ends_without_finish)
        return ThinkTagReader(reader, self._think_tags) if self._think_tags else reader

    def read_reply(self, body: bytes) -> list[Item]:
        """Return the items of a complete reply."""
        items = read_document(self.name, body, self.ends_without_finish)
        return divide_reply(items, self._think_tags) if self._think_tags else items

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request. It asks for a stream unless `stream` is false.

        A request without messages asks to load the model, or to unload it.
        """
        return self._parsed(decode_request(decode_body(incoming)), incoming)

    def _parsed(self, body: JSONObject, incoming: ServerRequest) -> ParsedRequest:
        """Return the request of a decoded body."""
        if body["messages"] or not body.get("model"):
            return ParsedRequest(request_from_body(body, self.name, FIELD_NAMES))
        request = request_from_body({**body, "messages": [{"role": "user", "content": ""}]}, self.name)
        request.messages = []
        reason = loading_reason(body)
        reply: list[Item] = [Start(model=request.model), Finish(reason, raw=reason)]
        return ParsedRequest(request, reply=reply)

    def writer(self, request: Request) -> Writer:
        """Return a writer of JSON lines."""
        return StreamWriter(request.model)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return a complete reply as one document."""
        return msgspec.json.encode(reply_document(reply, request))

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return `{"error": "…"}`."""
        return error_document(error)

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether the path is under `/api/`, as all paths of this API are."""
        return request.path.startswith("/api/")

    def named_model(self, incoming: ServerRequest) -> str:
        """Return `model`, or what earlier versions of Ollama call it."""
        body = decode_body(incoming)
        name = body.get("model") or body.get("name")
        if not isinstance(name, str):
            raise invalid("model is missing: which one to describe")
        return name

    def description(self, name: str) -> JSONObject:
        """Return the description of any model, as far as clients need it."""
        info = {
            "general.architecture": "acytoo",
            "general.basename": name,
            "acytoo.context_length": _CONTEXT_LENGTH,
        }
        return {
            "details": _DETAILS,
            "model_info": info,
            "capabilities": ["completion", "tools"],
            "parameters": "",
            "template": "",
        }

    def models(self, names: list[str], created: int) -> JSONObject:
        """Return the list of models."""
        return {"models": [self.model(name, created) for name in names]}

    def model(self, name: str, created: int) -> JSONObject:
        """Return one entry of the list.

        Names with one digest are names of one model: the command `llm` asks for any of them.
        """
        import hashlib  # slow to import, and rarely needed

        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
        modified = datetime.fromtimestamp(created, UTC).isoformat()
        return {"name": name, "model": name, "modified_at": modified, "size": 0, "digest": digest, "details": _DETAILS}


class OllamaGenerate(Ollama):
    """Ollama's `/api/generate`: one prompt in, text out. Only for servers: a client uses `/api/chat`."""

    routes = ("/api/generate",)
    is_legacy = True

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request: `system` and `prompt` become messages. An empty prompt asks to load the model."""
        return self._parsed(decode_generate_request(decode_body(incoming)), incoming)

    def writer(self, request: Request) -> Writer:
        """Return a writer of JSON lines with `response` instead of a message."""
        return GenerateWriter(request.model)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return a complete reply as one document."""
        return msgspec.json.encode(generate_document(reply, request))


Ollama.legacy_endpoints = (OllamaGenerate,)


def _root_of(url: str) -> str:
    """Return the URL of the server's root: users also give it with `/api`, or `/v1` as OpenAI's clients need it."""
    base, mark, query = url.partition("?")
    return base.rstrip("/").removesuffix("/api").removesuffix("/v1") + mark + query
