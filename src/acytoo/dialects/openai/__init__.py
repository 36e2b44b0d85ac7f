"""OpenAI's chat completions: JSON in, JSON or server-sent events out.

Source: OpenAI's API reference ("Chat Completions", its streaming chunks), and the fields that compatible
servers add: `reasoning_content` (DeepSeek, vLLM, llama.cpp), `reasoning` (OpenRouter, Groq),
`extra_content.google` (Gemini's compatible endpoint).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from acytoo.dialects.base import OTHER_MODELS, Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.citations import Citation, citation
from acytoo.dialects.error_bodies import describe_error, openai_error
from acytoo.dialects.fields import count, decode_body, invalid, object_or_empty, objects_in, text_or_empty
from acytoo.dialects.json import decoder, dumps
from acytoo.dialects.openai.foreign import is_foreign, usual_body
from acytoo.dialects.openai.models import models_request, read_models
from acytoo.dialects.openai.plain import plain_options, plain_parts
from acytoo.dialects.openai.quotas import quota_template, read_quotas
from acytoo.dialects.openai.reader import (
    TOO_LONG,
    CumulativeReader,
    StreamReader,
    decode_citation,
    read_document,
    without_usage,
)
from acytoo.dialects.openai.request import (
    NAME,
    decode_completion_request,
    decode_request,
    encode_request,
)
from acytoo.dialects.openai.request import Variations as Variations
from acytoo.dialects.openai.strict_writers import MistralWriter, OpenRouterWriter, WholeCallsWriter
from acytoo.dialects.openai.writer import CompletionWriter, StreamWriter, completion_document, reply_document
from acytoo.dialects.quotas import Quota
from acytoo.dialects.readers import AutoReader
from acytoo.dialects.server_side import request_from_body
from acytoo.dialects.think_tags import ThinkTagReader, divide_reply
from acytoo.errors import AcytooError, RequestError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.types import OPTIONS, ContentPart, Item, JSONObject, Reply, Request

if TYPE_CHECKING:
    from acytoo.dialects.batches import BatchAPI

_GOOGLE_HOST = ".googleapis.com/"

_DEPLOYMENTS = "/openai/deployments/"
"""What Azure's earlier paths begin with. `AzureOpenAI` of the official SDKs sends the model in the body too."""


# Fields of compatible servers, which their clients send to others too. Sources: the documentation of OpenRouter,
# DeepSeek, Zhipu, Qwen, MiniMax, Mistral and Groq (reasoning), of vLLM, SGLang, llama.cpp and LM Studio (sampling).

_REPORTED = frozenset(
    {
        *("reasoning", "include_reasoning", "reasoning_format", "reasoning_split"),
        *("thinking", "thinking_budget", "enable_thinking", "prompt_mode", "transforms", "models", "route"),
    }
)
_LABELS = frozenset({"usage", "trace", "session_id", "request_id", "user_id", "ttl", "cache_prompt", "tool_stream"})
_NO_OP_VALUES: dict[str, tuple[object, ...]] = {
    "min_p": (0,),
    "min_tokens": (0,),
    "repetition_penalty": (1,),
    "repeat_penalty": (1,),
    "length_penalty": (1,),
    "typical_p": (1,),
    "best_of": (1,),
    "skip_special_tokens": (True,),
    "add_generation_prompt": (True,),
    "do_sample": (True,),
    "incremental_output": (True,),
    "chat_template_kwargs": (
        {},
        *[{name: value} for name in ("enable_thinking", "thinking") for value in (True, False)],
    ),
}


class OpenAI(Dialect):
    """OpenAI's chat completions, with the variations of compatible servers."""

    name = NAME
    options = OPTIONS
    routes: ClassVar[tuple[str, ...]] = (
        *("/v1/chat/completions", "/chat/completions"),
        "/openai/v1/chat/completions",  # Groq's SDKs and Azure's v1 API
        f"{_DEPLOYMENTS}{{model:.+}}/chat/completions",
    )
    length_fields = ("max_tokens", "max_completion_tokens", "n")
    unmetered_fields = OTHER_MODELS
    allowed_modes = frozenset({"auto", "required"})
    file_service = "openai"
    ignorable_fields = frozenset(
        {
            "stream_options",
            "store",
            "metadata",
            "prediction",
            "service_tier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "safety_identifier",
            "verbosity",
            *_REPORTED,
            *_LABELS,
        }
    )
    reported_fields = _REPORTED
    no_op_values = {
        "logit_bias": ({},),
        "functions": ([],),
        "function_call": ("auto", "none"),
        "modalities": (["text"],),
        **_NO_OP_VALUES,
    }
    last_record = b"data: [DONE]"
    capabilities = Capabilities(
        reasoning_blocks=False, own_parts=True, request_fields={"stream_options": {"include_usage": True}}
    )
    list_routes = (
        *("/v1/models", "/v1/models/{model:.+}", "/models", "/models/{model:.+}"),
        *("/openai/v1/models", "/openai/v1/models/{model:.+}", "/openai/models", "/openai/models/{model:.+}"),
    )
    too_long_messages = TOO_LONG

    def __init__(self, variations: Variations = Variations()) -> None:
        self.variations = variations
        self.options = OPTIONS - variations.refused_options
        self.ends_without_finish = variations.ends_without_finish
        self.can_pass_through = not (variations.cumulative_texts or variations.think_tags)

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Return the HTTP request for a reply. Calls `unsupported` for whatever the API cannot express."""
        self.check_options(request, unsupported)
        body = encode_request(request, self.extra(request), unsupported, self.variations, _GOOGLE_HOST in endpoint.url)
        return self.http_request(request, endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request with this body, and the key as a bearer token or in the server's own header."""
        server = self.variations
        return HTTPRequest(join_url(endpoint.url, server.path), json_headers(endpoint.key, server.key_header), body)

    def batches(self) -> BatchAPI:
        """Return this API's batches. Few programs need them, so they are imported here."""
        from acytoo.dialects.openai.batches import OpenAIBatches

        return OpenAIBatches(self.routes[0])

    def reader(self, head: ResponseHead) -> Reader:
        """Return a reader for server-sent events or one document: some servers send one when asked for the other."""
        return AutoReader(self, self._new_stream_reader)

    def _new_stream_reader(self) -> Reader:
        reader_class = CumulativeReader if self.variations.cumulative_texts else StreamReader
        reader = reader_class(self.name, self.ends_without_finish)
        return ThinkTagReader(reader, self.variations.think_tags) if self.variations.think_tags else reader

    def read_reply(self, body: bytes) -> list[Item]:
        """Return the items of a `chat.completion`."""
        items = read_document(self.name, body)
        return divide_reply(items, self.variations.think_tags) if self.variations.think_tags else items

    def kind_of_part(self, fields: JSONObject) -> str:
        """Return "image" or "audio". The other fields only accompany the text or the reasoning."""
        return "image" if fields.get("images") else "audio" if fields.get("audio") else ""

    def citations_in(self, fields: JSONObject) -> list[Citation]:
        """Return the annotations of a message, and what Perplexity and xAI have beside the choices."""
        notes = [object_or_empty(one.get("url_citation")) for one in objects_in(fields.get("annotations"))]
        results = objects_in(fields.get("search_results"))
        titles = {text_or_empty(result.get("url")): result.get("title") for result in results}
        addresses = fields.get("citations")
        urls = addresses if isinstance(addresses, list) else [*titles]
        cited = [decode_citation(note) for note in notes]
        cited += [citation(url, titles.get(text_or_empty(url))) for url in urls]
        return [one for one in cited if one is not None]

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request. `max_completion_tokens` becomes `max_tokens`."""
        received = decode_body(incoming)
        usual = usual_body(received)
        body = decode_request(received if usual is None else usual)
        if not body.get("model") and incoming.path.startswith(_DEPLOYMENTS):
            raise invalid("model is missing: this server reads it from the body, not from the path")
        return ParsedRequest(request_from_body(body, self.name), is_foreign=usual is not None and is_foreign(received))

    def replies_in(self, extra: JSONObject) -> int:
        """Return `n`."""
        return max(1, count(extra.get("n")))

    def plain_parts(self, part: ContentPart) -> list[ContentPart] | None:
        """Return the parts for a file that has a URL as its data, and for Mistral's documents."""
        return plain_parts(part)

    def plain_options(self, request: Request) -> Request:
        """Return the request with OpenAI's options in place of those by which compatible services call them."""
        return plain_options(request)

    def conversation_error(self, field: str) -> RequestError | None:
        """Return the error for the tools of a deprecated field. Without them, an agent would be left without tools."""
        if field == "functions":
            return invalid("functions are deprecated, and for this API only: send tools")
        return None

    def for_client(self, request: ServerRequest) -> Dialect:
        """Return the dialect for a client of a service that differs from this API, by its `user-agent`."""
        agent = request.headers.get("user-agent")
        return (agent and _for_agent(agent[:200])) or self

    def writer(self, request: Request) -> Writer:
        """Return a writer of chunks. It sends usage only if the request has `stream_options.include_usage`."""
        return StreamWriter(request)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return a complete reply as a `chat.completion`."""
        return msgspec.json.encode(reply_document(reply, request))

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": openai_error(error)}

    def quota_template(self, quotas: Sequence[Quota], now: float) -> bytes:
        """Return the `x-ratelimit-*` headers."""
        return quota_template(quotas)

    def read_quotas(self, head: ResponseHead, now: float) -> list[Quota]:
        """Return the quotas in the `x-ratelimit-*` headers of a response."""
        return read_quotas(head.headers)

    def with_usage(self, body: bytes) -> bytes | None:
        """Return the body with `stream_options.include_usage`, None if it has that or the server does not know it."""
        if not self.variations.stream_usage:
            return None
        if b'"stream_options"' not in body and b"\\u" not in body:  # nor is the name there in escapes
            return body.rstrip()[:-1] + b',"stream_options":{"include_usage":true}}'
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        options = decoder(Any).decode(fields["stream_options"]) if "stream_options" in fields else None
        if options is not None and (not isinstance(options, dict) or options.get("include_usage")):
            return None
        return msgspec.json.encode({**fields, "stream_options": {**(options or {}), "include_usage": True}})

    def without_usage(self, records: bytes) -> bytes:
        """Return chunks without the one that has the usage and no choice."""
        return without_usage(records)

    def models(self, names: list[str], created: int) -> JSONObject:
        """Return a list of `model` objects."""
        return {"object": "list", "data": [self.model(name, created) for name in names]}

    def model(self, name: str, created: int) -> JSONObject:
        """Return a `model` object."""
        return {"id": name, "object": "model", "created": created, "owned_by": "acytoo"}

    def encode_models_request(self, endpoint: Endpoint) -> HTTPRequest:
        """Return a GET of `/models` beside the path of chats."""
        server = self.variations
        return models_request(endpoint, server.path.removesuffix("/chat/completions"), server.key_header)

    def read_models(self, body: bytes) -> list[str]:
        """Return each `id`."""
        return read_models(body)


class OpenAIForXAI(OpenAI):
    """OpenAI's chat completions for xAI's clients, which refuse a piece of a call without the function's name."""

    own_host = "x.ai"

    def writer(self, request: Request) -> Writer:
        """Return a writer that sends each call in one chunk."""
        return WholeCallsWriter(request)


class OpenAIForMistral(OpenAI):
    """OpenAI's chat completions for Mistral's clients, which need complete calls, and other models and errors."""

    own_host = "mistral.ai"

    def writer(self, request: Request) -> Writer:
        """Return a writer that sends each call in one chunk, and the usage with the finish reason."""
        return MistralWriter(request)

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return the error in Mistral's shape beside OpenAI's."""
        fields = openai_error(error)
        return {"object": "error", **fields, "error": fields}

    def model(self, name: str, created: int) -> JSONObject:
        """Return a `model` object with its type. What the model is capable of is not known, except for chats."""
        return {**super().model(name, created), "type": "base", "capabilities": {"completion_chat": True}}


class OpenAIForOpenRouter(OpenAI):
    """OpenAI's chat completions for OpenRouter's SDKs, whose errors have the status as their code."""

    own_host = "openrouter.ai"

    def writer(self, request: Request) -> Writer:
        """Return a writer whose error is a chunk too."""
        return OpenRouterWriter(request)

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return `{"error": {"message", "type", "param", "code"}}` with a number."""
        return {"error": {**openai_error(error), "code": describe_error(error)[0]}}


_FOR_CLIENTS: dict[str, OpenAI] = {
    "mistral-client-|ai-sdk/mistral/": OpenAIForMistral(),
    "ai-sdk/xai/": OpenAIForXAI(),
    "speakeasy-sdk/.*openrouter": OpenAIForOpenRouter(),
}
"""The dialects for such clients, by how their `user-agent` begins: SDKs, and providers of the AI SDK."""


@functools.lru_cache(256)
def _for_agent(agent: str) -> OpenAI | None:
    return next((dialect for start, dialect in _FOR_CLIENTS.items() if re.match(start, agent)), None)


class OpenAICompletions(OpenAI):
    """OpenAI's earlier completions: one prompt in, text out. Only for servers: a client uses chat completions.

    The prompt is a user's message, because that is what chat models answer.
    """

    routes = ("/v1/completions", "/completions", "/openai/v1/completions")
    is_legacy = True
    ignorable_fields = OpenAI.ignorable_fields | {"echo"}
    capabilities = Capabilities(items=frozenset({"text", "logprobs"}), reasoning_blocks=False)

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request. Raises RequestError (400) for several prompts or replies, and for a `suffix`.

        The writer adds the prompt to the reply if `echo` is true.
        """
        body = decode_completion_request(decode_body(incoming))
        return ParsedRequest(request_from_body(body, self.name))

    def for_client(self, request: ServerRequest) -> Dialect:
        """Return this dialect: it has no calls."""
        return self

    def writer(self, request: Request) -> Writer:
        """Return a writer of chunks, with usage as in chat completions."""
        return CompletionWriter(request)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return a complete reply as a `text_completion`."""
        return msgspec.json.encode(completion_document(reply, request))


OpenAI.legacy_endpoints = (OpenAICompletions,)
