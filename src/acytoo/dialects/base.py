"""The interface of a dialect: a codec for one chat API, for its clients and for its servers. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import msgspec

from acytoo.dialects.error_bodies import describe_error, html_title, in_utf8, read_error_body, with_context_code
from acytoo.dialects.fields import decode_body, invalid, text_or_empty, whole_number
from acytoo.dialects.json import UNDECODABLE, decoder, dumps
from acytoo.dialects.quotas import Quota
from acytoo.errors import (
    AcytooError,
    ProtocolError,
    RequestError,
    StatusError,
    UnsupportedError,
    status_error,
)
from acytoo.http import Endpoint, HTTPRequest, HTTPResponse, ResponseHead, ServerRequest
from acytoo.observation import Received
from acytoo.secret import Secret, show, truncate
from acytoo.types import OPTIONS, ContentPart, Item, JSONObject, Reply, Request, Start, Usage
from acytoo.wire.records import Framing

if TYPE_CHECKING:
    from acytoo.dialects.batches import BatchAPI
    from acytoo.dialects.citations import Citation, Citations

ItemKind: TypeAlias = Literal["text", "reasoning", "tool_calls", "refusal", "logprobs"]

_ROUTING_FIELDS = ("model", "stream", "stream_options")
"""Fields without which a server cannot pass a request through."""

_decode_raw_fields = decoder(dict[str, msgspec.Raw]).decode
_without_spaces = functools.partial(msgspec.json.format, indent=-1)


Fetch: TypeAlias = Callable[[HTTPRequest], Awaitable[tuple[ResponseHead, bytes]]]
"""Sends a request with the connection settings of the call, and returns the response. Raises StatusError."""


OTHER_MODELS: Mapping[str, str] = {
    "models": "names models to ask in place of the request's",
    "fallbacks": "names models to ask in place of the request's",
}
"""Unmetered fields of several APIs.

Sources: https://openrouter.ai/docs/guides/routing/model-fallbacks and https://assemblyai.com/docs/llm-gateway/fallback.
"""


class ParsedRequest(msgspec.Struct):
    """A request that a server received, without the secrets that it presented.

    If `refusal` is set, the body could not be decoded: the request has no messages and can only be passed through. If
    `reply` is set, the API answers the request with these items, without asking a model.
    """

    request: Request
    refusal: RequestError | None = None
    reply: list[Item] | None = None
    is_foreign: bool = False
    """Whether the body is in the shape of another API, so that no server of this one would understand it."""


class Capabilities(msgspec.Struct, frozen=True):
    """The parts of a reply that an API can express."""

    start: frozenset[str] = frozenset(Start.__struct_fields__)
    """Fields of `Start`."""
    usage: frozenset[str] = frozenset(Usage.__struct_fields__) - {"cache_write_1h_tokens", "other_counts"}
    """Fields of `Usage`."""
    items: frozenset[ItemKind] = frozenset({"text", "reasoning", "tool_calls", "refusal", "logprobs"})
    reasoning_blocks: bool = True
    """Whether several blocks of reasoning stay separate."""
    own_parts: bool = False
    """Whether a reply may have parts that only this API knows, such as images."""
    finish: bool = True
    """Whether a reply carries the reason why it ended."""
    request_fields: Mapping[str, object] = {}
    """Extra request fields that a client must send to get all of this."""


class Unsupported:
    """A callable that handles what an API cannot express: it raises UnsupportedError, or with `drop` records it.

    `hint` is the advice at the end of the error message. With `drop_preferences` it records what is only preferred, and
    the options in `required`, which a server's client must send whether or not its user wants them. `defaults` has the
    values that ask for the default in the client's API, by option.
    """

    def __init__(
        self,
        dialect: str,
        *,
        drop: bool = False,
        hint: str = "leave it out",
        drop_preferences: bool = False,
        required: frozenset[str] = frozenset(),
        defaults: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self._dialect = dialect
        self._drop = drop
        self._drop_preferences = drop_preferences
        self._hint = hint
        self._required = required
        self.defaults = defaults
        self._dropped: dict[str, None] = {}

    @property
    def dialect(self) -> str:
        """The name of the API that the request is for."""
        return self._dialect

    @property
    def dropped(self) -> list[str]:
        """Return what was left out, in its order."""
        return list(self._dropped)

    def __call__(self, feature: str) -> None:
        if not self._drop and feature not in self._required:
            raise UnsupportedError(feature, self._dialect, self._hint)
        self.note(feature)

    def preference(self, feature: str) -> None:
        """Handle what a server's client can do without, and its user did not choose."""
        if self._drop_preferences:
            self.note(feature)
        else:
            self(feature)

    def note(self, feature: str) -> None:
        """Record something that was left out without an error."""
        self._dropped[feature] = None


class Reader:
    """A decoder of one response body: chunks in, items out. Each response needs a new one.

    `flush` and `close` are two calls, so that the last items reach the caller before the error that follows them.
    """

    pending_error: AcytooError | None = None
    """The error that follows the items which `feed` returned last. Nothing comes after it."""
    received_content: bool = True
    """Whether the last chunk shows that the reply is being made. Keep-alives do not: they end no timeout."""
    is_piece: bool = False
    """Whether the last chunk that was scanned is a record with a piece of a text or of a call, and nothing else."""

    def feed(self, chunk: bytes) -> list[Item]:
        """Return the items that this chunk completes.

        An error is raised if no item precedes it in the chunk, else it is kept as `pending_error`.

        Raises:
            StatusError: the stream reports an error.
            ProtocolError: the chunk is not in this API's format.
        """
        raise NotImplementedError

    def scan(self, chunk: bytes) -> None:
        """Read a chunk that is passed through, only for errors and the end of the reply. Raises as `feed`."""
        self.feed(chunk)

    @property
    def current(self) -> Reader:
        """What reads the rest of the body in the same way: this reader, or one that it has chosen."""
        return self

    def trim(self, max_size: int) -> None:
        """Keep at most so many bytes of the reply. Raises ReplyTooLargeError if more of it is needed."""

    def flush(self) -> list[Item]:
        """Return the last items after the body has ended."""
        return []

    def flush_truncated(self) -> list[Item]:
        """Return the items that were held back for inspection, after the body was cut."""
        return []

    def close(self) -> None:
        """Raise TruncatedError if the reply is not complete. Call `flush` first."""

    def received(self) -> Received:
        """Return what has been received, as far as it was decoded: a stream that is scanned has little of its text."""
        return Received()


class Writer:
    """An encoder of one streamed response body: items in, chunks out. Each response needs a new one."""

    content_type: ClassVar[str] = "text/event-stream"
    framing: ClassVar[Framing] = "sse"
    ping: bytes = b""
    """The bytes that keep a silent stream alive. Empty if the API has none."""
    fails_alone: ClassVar[bool] = False
    """Whether a client recognises what `fail` returns only if it reads nothing else at the same time."""
    keeps_reply: bool = False
    """Whether the end of a stream repeats items, so that they have to be kept."""
    error_ends_reply: ClassVar[bool] = False
    """Whether what `fail` returns is an end of its own, so that clients wait for the end of the body after it.

    If it is not, clients that read it raise at once, and a server cuts the body for those that do not read it.
    """

    @functools.cached_property
    def citations(self) -> Citations:
        """The citations of a reply from another API that were written."""
        from acytoo.dialects.citations import Citations  # rarely needed

        return Citations()

    def write(self, items: list[Item]) -> bytes:
        """Encode items. What the API has no field for is left out."""
        raise NotImplementedError

    def end(self) -> bytes:
        """Return the bytes that end a complete reply."""
        raise NotImplementedError

    def fail(self, error: AcytooError) -> bytes:
        """Return the bytes that report an error in mid-stream. Empty if only an aborted connection can.

        No client may take them for the end of a complete reply.
        """
        raise NotImplementedError


class Turn:
    """One request to a server and its reply, for an API whose requests refer to earlier replies."""

    def __init__(self, request: ServerRequest) -> None:
        self.request = request
        """The request, with what it refers to in place of the references, as far as that is known."""
        self.stored_by = 0
        """The identity (`id`) of the backend that stores the reply, 0 if none does."""

    def use_body(self, body: bytes) -> None:
        """Note the body that is passed through."""
        if body is not self.request.body:
            self.request = msgspec.structs.replace(self.request, body=body)

    def has_history(self, backend: int) -> bool:
        """Return whether a backend of this API, by its identity, may have the turns that the request refers to."""
        return True

    def with_history(self, request: Request) -> Request:
        """Return the decoded request with the turns before it, if it refers to them, for a backend without them."""
        return request

    def without_id(self, items: list[Item]) -> list[Item]:
        """Return the items of a translated reply without its id, if the server has to give it one of its own."""
        return items

    def watch(self, data: bytes) -> bytes:
        """Return complete records or the document of the reply unchanged, after remembering them for later requests."""
        return data


class Memory:
    """What one server remembers of the replies it has given out. This one is for APIs without such references."""

    def turn(self, request: ServerRequest) -> Turn:
        """Return the turn that a request begins."""
        return Turn(request)


class Dialect:
    """A chat API. An instance holds the variations of its servers; a subclass is another API."""

    name: ClassVar[str]
    options: frozenset[str]
    """Request options (of `types.OPTIONS`) that this API can express."""
    routes: ClassVar[tuple[str, ...]]
    """Paths that a server answers on; `{name}` matches part of one segment."""
    legacy_endpoints: ClassVar[tuple[type[Dialect], ...]] = ()
    """Earlier endpoints of this API that clients still use. A server serves them beside `routes`."""
    is_legacy: ClassVar[bool] = False
    """Whether this is such an endpoint: a server translates its requests even for a backend of the same API."""
    allowed_modes: ClassVar[frozenset[object]] = frozenset()
    """The modes of a `tool_choice` of the type `allowed_tools` that the API can express."""
    own_host: ClassVar[str] = ""
    """The host of the service whose clients alone this dialect is for, "" for the clients of any.

    Their requests pass through unchanged to that service only: another one of the same API may refuse them.
    """
    can_pass_through: bool = True
    """Whether a body may go to another endpoint of this API unchanged. False if bodies carry secrets or replies have
    another shape.
    """
    minimal_body: ClassVar[JSONObject] = {"messages": [{"role": "user", "content": ""}]}
    """The fields that a body must have besides its model."""
    length_fields: ClassVar[tuple[str, ...]] = ("max_tokens",)
    """Fields that bound how long the reply may be, or say how many replies there are."""
    inner_length_fields: ClassVar[tuple[str, ...]] = ()
    """The same inside a field of `length_fields` that is an object."""
    unmetered_fields: ClassVar[Mapping[str, str]] = {}
    """Fields with which some servers ask another model than the request's, or go on after the reply, and how.

    A gateway, which decides on models and counts what they cost, refuses them.
    """
    default_options: ClassVar[Mapping[str, object]] = {}
    """The options that this API's clients send with its default, so that another API may do without them."""
    required_options: ClassVar[frozenset[str]] = frozenset()
    """Options that every request of this API must have, so that they show nothing of what its user wants."""
    ignorable_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of this API outside the shared shape that may be dropped when translating to another."""
    reported_fields: ClassVar[frozenset[str]] = frozenset()
    """Ignorable fields without which the reply may be another, so that a server reports that it dropped them."""
    file_service: ClassVar[str] = ""
    """The service that keeps the files of which requests have only the ids, "" if there is none."""
    thinking_is_switch: ClassVar[bool] = False
    """Whether "no thinking" is a switch of this API, which any model has, and not an effort, which some refuse."""
    conversation_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of this API outside the shared shape that carry a part of the conversation, such as its earlier turns."""
    vendor_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of this API alone that decoding keeps on messages, parts, calls and tools of the shared shape."""
    no_op_values: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    """Values of this API's own fields that ask for the default; they may be dropped for another API."""
    capabilities: ClassVar[Capabilities] = Capabilities()
    too_long_messages: ClassVar[str | None] = None
    """How the message begins with which servers refuse a conversation that is too long, if they send no code for it.

    A pattern that is compiled when an error arrives: that takes as long as importing a module.
    """
    ends_without_finish: bool = False
    """Whether the server ends complete replies without a finish reason, so that one with content is complete at the end
    of its body. Nothing shows whether such a reply was cut there.
    """
    last_record: ClassVar[bytes | None] = None
    """The record after which clients read nothing more, None if they read until the end of the body."""
    ends_with_record: ClassVar[bool] = True
    """Whether a stream ends with a record of its own, so that whatever follows it can be ignored."""

    @functools.cached_property
    def framing(self) -> Framing:
        """Return how a streamed reply is divided into records, which its writer determines."""
        return self.writer(Request([])).framing

    # Client side.

    def batches(self) -> BatchAPI | None:
        """Return how this API takes batches, None if it does not."""
        return None

    async def prepare(self, endpoint: Endpoint, fetch: Fetch) -> Endpoint:
        """Return the endpoint to call, for an API whose login takes a request of its own; see the provider's `prepare`.

        The dialect itself does no I/O: `fetch` sends a request and returns the response.
        """
        return endpoint

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Encode a request. Calls `unsupported` for whatever the API cannot express."""
        raise NotImplementedError

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request that sends an encoded body to the endpoint, with its credentials."""
        raise NotImplementedError

    def reader(self, head: ResponseHead) -> Reader:
        """Return a reader for a successful response, streamed or not, according to its content type."""
        raise NotImplementedError

    def read_reply(self, body: bytes) -> list[Item]:
        """Return the items of a reply that is one document. Raises msgspec.DecodeError for anything else."""
        raise NotImplementedError

    def kind_of_part(self, fields: JSONObject) -> str:
        """Return what an opaque part of a reply is, such as "image", "" if it is not a part of the answer.

        The default is what APIs with typed blocks or items call it.
        """
        return text_or_empty(fields.get("type"))

    def citations_in(self, fields: JSONObject) -> list[Citation]:
        """Return the addresses that an opaque part of a reply names as its sources; by default none."""
        return []

    def read_quotas(self, head: ResponseHead, now: float) -> list[Quota]:
        """Return what a response reports of the caller's limits at the time `now`; by default nothing."""
        return []

    def read_error(self, status: int | None, body: bytes, retry_after: float | None = None) -> StatusError:
        """Return the error that a response body reports, with the server's own message."""
        details = read_error_body(body)
        error = status_error(status, **details._asdict(), retry_after=retry_after, body=truncate(body, 2000))
        return with_context_code(error, self.too_long_messages)

    # Server side.

    def body_secrets(self, body: bytes) -> list[Secret]:
        """Return the secrets in a body, without decoding the rest of it. Most APIs have them in headers only."""
        return []

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a client's request. Raises RequestError (400) that names the wrong field."""
        raise NotImplementedError

    def plain_parts(self, part: ContentPart) -> list[ContentPart] | None:
        """Return parts that every API has for one that only this API has; None for any other."""
        return None

    def plain_options(self, request: Request) -> Request:
        """Return the request with options that every API has in place of fields that only some servers have."""
        return request

    def decode_request_lenient(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request as far as a server needs that passes its body through unchanged.

        If `decode_request` refuses the body, only the model, the stream flag and what bounds the reply are decoded, and
        the refusal is kept. Raises RequestError if not even the first two can be.
        """
        try:
            return self.decode_request(incoming)
        except RequestError as error:
            if not self.can_pass_through or self.is_legacy:
                raise
            body = decode_body(incoming)
            routing = (*_ROUTING_FIELDS, *self.unmetered_fields)
            try:
                bounds = {name: self._bounds_in(body[name]) for name in self.length_fields if name in body}
                call = self._decode_fields(incoming, body | bounds, (*routing, *self.length_fields))
            except RequestError:
                call = self._decode_fields(incoming, body, routing)
            call.request.messages = []
            call.refusal = error
            return call

    def _bounds_in(self, value: object) -> object:
        """Return a length field with its numbers as the upstream will read them, of an object only what is a bound."""
        if isinstance(value, dict):
            return {name: whole_number(value[name]) for name in self.inner_length_fields if name in value}
        return whole_number(value)

    def unambiguous(self, body: bytes) -> bytes:
        """Return a decoded body in which no field is there twice. Raises RequestError for `Model` in place of `model`.

        What passes through must be the same request to every server. Of two equal names most take the last one, as
        msgspec does, but some take the first. Servers written in Go, such as Ollama, do not distinguish upper and
        lower case (https://pkg.go.dev/encoding/json#Unmarshal).
        """
        try:
            fields = _decode_raw_fields(body)
        except UNDECODABLE as error:
            raise invalid(f"invalid request body: {error}") from error
        exact = self._exact_names
        for name in sorted(fields.keys() - self._usual_names):
            if (known := exact.get(name.casefold())) is not None:
                raise invalid(f"unknown field {show(name)}: did you mean {known!r}?")
        once = msgspec.json.encode(fields)
        is_plain = len(once) == len(body) or len(_without_spaces(once)) == len(_without_spaces(body))
        return body if is_plain else once

    @functools.cached_property
    def _exact_names(self) -> dict[str, str]:
        """The fields that select a model or bound a reply, by their names without upper case."""
        names = (*_ROUTING_FIELDS, *self.unmetered_fields, *self.length_fields)
        return {name.casefold(): name for name in names}

    @functools.cached_property
    def _usual_names(self) -> frozenset[str]:
        """Names of fields that nobody confuses with another one: those, and options in lower case."""
        return OPTIONS.union(("messages", "stream"), self._exact_names.values())

    def _decode_fields(self, incoming: ServerRequest, body: JSONObject, names: Sequence[str]) -> ParsedRequest:
        """Decode a request as if its body had only these fields, and those that it must have."""
        known = {**self.minimal_body, **{name: body[name] for name in names if name in body}}
        return self.decode_request(msgspec.structs.replace(incoming, body=msgspec.json.encode(known)))

    def replies_in(self, extra: JSONObject) -> int:
        """Return how many replies a request asks for in fields of this API outside the shared shape."""
        return 1

    def is_ignorable(self, field: str) -> bool:
        """Return whether to drop an extra field of this API when translating to another."""
        return field in self.ignorable_fields

    def memory(self) -> Memory:
        """Return a new memory of the replies of one server."""
        return Memory()

    def conversation_error(self, field: str) -> RequestError | None:
        """Return the error for an extra field that carries a part of the conversation, None for any other field.

        Without that part a model would answer a conversation that it has not seen, so another API never drops it.
        """
        if field not in self.conversation_fields:
            return None
        return invalid(
            f"{field} refers to a part of the conversation that this server does not have: send the conversation itself"
        )

    def writer(self, request: Request) -> Writer:
        """Return a writer for a streamed reply to this request."""
        raise NotImplementedError

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Encode a complete reply as one document."""
        raise NotImplementedError

    def write_error(self, error: AcytooError) -> HTTPResponse:
        """Return the error as this API's clients read it. Its status shows whose fault it was."""
        status, _, _, headers = describe_error(error)
        body = dumps(self.error_document(error), surrogates="replace")
        return HTTPResponse(status, {"content-type": "application/json", **headers}, body)

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return the JSON document that reports an error in this API."""
        raise NotImplementedError

    def quota_template(self, quotas: Sequence[Quota], now: float) -> bytes:
        """Return the header fields that report limits at the time `now`, with `%d` for what is left; by default none.

        Each unit may occur once. The fields are encoded, as lines of a head, and the same for many responses: only what
        is left differs from one to the next.
        """
        return b""

    def quota_fields(self, quotas: Sequence[Quota], now: float) -> bytes:
        """Return the header fields that report what is left of limits at the time `now`."""
        template = self.quota_template(quotas, now)
        return template and template % tuple([quota.remaining for quota in quotas])

    def for_model(self, body: bytes, model: str) -> bytes:
        """Return a body of this dialect with another model. Every other field keeps its bytes."""
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return msgspec.json.encode({**fields, "model": model})

    def with_usage(self, body: bytes) -> bytes | None:
        """Return the body of a streamed request that asks for the usage, None if that changes nothing."""
        return None

    def without_usage(self, records: bytes) -> bytes:
        """Return complete records without those that have only the usage."""
        return records

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether a request comes from a client of this API, by its path, headers and query.

        A server asks its dialects in turn when a path belongs to several APIs or to none.
        """
        return request.path in self.routes or request.path in self.count_routes

    def for_client(self, request: ServerRequest) -> Dialect:
        """Return the dialect as the client that sent a request knows it, by default this one.

        Clients of some services refuse what others of the same API accept.
        """
        return self

    # The models of a server.

    list_routes: ClassVar[tuple[str, ...]] = ()
    """Paths (GET) on which a server lists its models or, if the path has `{model}`, describes one of them.

    Several APIs may share a path. The API whose client sent the request answers, else the first one.
    """
    model_prefix: ClassVar[str] = ""
    """What a model's name may begin with in those paths."""
    fixed_documents: ClassVar[Mapping[tuple[str, str], Mapping[str, object]]] = {}
    """Documents that clients ask for by method and path, the same for every model."""

    describe_routes: ClassVar[tuple[str, ...]] = ()
    """Paths (POST) on which a server describes the model that the body names."""

    def named_model(self, incoming: ServerRequest) -> str:
        """Return the name in a request on `describe_routes`. Raises RequestError (400)."""
        raise NotImplementedError

    def description(self, name: str) -> JSONObject:
        """Return the answer to such a request."""
        raise NotImplementedError

    def models(self, names: list[str], created: int) -> JSONObject:
        """Return the list of models; `created` is in seconds since 1970."""
        raise NotImplementedError

    def model(self, name: str, created: int) -> JSONObject:
        """Return the description of one model."""
        raise NotImplementedError

    def encode_models_request(self, endpoint: Endpoint) -> HTTPRequest:
        """Return the HTTP request for the list of an endpoint's models. Raises UnsupportedError."""
        raise UnsupportedError("a list of models", self.name, "its API has no way to ask for it")

    def read_models(self, body: bytes) -> list[str]:
        """Return the names in a list of models, in its order. Raises msgspec.DecodeError for anything else."""
        raise NotImplementedError

    # Token counting, for APIs that have it.

    count_routes: ClassVar[tuple[str, ...]] = ()
    """Paths on which a server counts a request's tokens; `decode_request` decodes such a request."""

    def encode_count_request(self, request: Request, endpoint: Endpoint) -> HTTPRequest:
        """Return the HTTP request that asks for the number of a request's tokens. Raises UnsupportedError."""
        raise UnsupportedError("token counting", self.name, "its API has no way to ask for it")

    def read_count(self, body: bytes) -> int:
        """Return the number of tokens in the response. Raises msgspec.DecodeError for anything else."""
        raise NotImplementedError

    def write_count(self, tokens: int) -> bytes:
        """Encode the response of a server on `count_routes`."""
        raise NotImplementedError

    # Both sides.

    @functools.cached_property
    def _inexpressible(self) -> tuple[str, ...]:
        # In a fixed order: the first one that a request has is named in the error.
        return tuple(name for name in Request.__struct_fields__ if name in OPTIONS and name not in self.options)

    def check_options(self, request: Request, unsupported: Unsupported) -> None:
        """Call `unsupported` for every option of the request that the API does not have."""
        for option in self._inexpressible:
            value = getattr(request, option)
            if value not in _NO_OP_VALUES.get(option, (None,)) and value != unsupported.defaults.get(option):
                unsupported(option)
        if request.extra and request.extra_for not in ("", self.name):
            for field in request.extra:
                unsupported(field)

    def extra(self, request: Request) -> JSONObject:
        """Return the request's extra body fields, if they are for this API."""
        return request.extra if request.extra_for in ("", self.name) else {}


_NO_OP_VALUES: dict[str, tuple[object, ...]] = {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "parallel_tool_calls": (None, True),
    "tool_choice": (None, "auto"),
    "top_p": (None, 1),
    "top_k": (None, 0, -1),
    "stop": (None, []),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
}
"""Option values that ask for the default."""


def not_this_api(name: str, body: bytes, why: str = "") -> ProtocolError:
    """Return the error for a response that is not in the API's format, with the start of the response."""
    start = truncate(in_utf8(body), 200)
    title = html_title(body)
    content = f"an HTML page ({title!r})" if title is not None else f"{start!r}"
    return ProtocolError(
        f"the response is not in the format of the {name} API: {content}{f' ({why})' if why else ''}; "
        "check the URL and the dialect"
    )
