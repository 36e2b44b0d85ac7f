"""What a dialect is: a pure codec for one chat API, both its client's half and its server's."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from acytoo.dialects.error_bodies import error_fields, error_words, html_title, in_utf8
from acytoo.dialects.fields import decode_body
from acytoo.dialects.json import dumps
from acytoo.errors import (
    AcytooError,
    ProtocolError,
    RequestError,
    StatusError,
    UnsupportedError,
    status_error,
)
from acytoo.http import Endpoint, HTTPRequest, HTTPResponse, ResponseHead, ServerRequest
from acytoo.secret import Secret, truncate
from acytoo.types import OPTIONS, Item, Reply, Request, Start, Usage

Framing: TypeAlias = Literal["text", "sse", "ndjson"]
"""How a stream is divided into records: not at all, as server-sent events, or one JSON document per line."""

ItemKind: TypeAlias = Literal["text", "reasoning", "tool_calls", "refusal", "logprobs"]


class ParsedRequest(msgspec.Struct):
    """What an incoming request asks for, and every secret it presented.

    Where a `refusal` says why it cannot be read, the request has no messages: it is only fit to be passed on.
    """

    request: Request
    secrets: list[Secret] = []
    refusal: RequestError | None = None


class Capabilities(msgspec.Struct, frozen=True):
    """The parts of a reply that an API can express."""

    start: frozenset[str] = frozenset(Start.__struct_fields__)
    """Fields of `Start`."""
    usage: frozenset[str] = frozenset(Usage.__struct_fields__)
    """Fields of `Usage`."""
    items: frozenset[ItemKind] = frozenset({"text", "reasoning", "tool_calls", "refusal", "logprobs"})
    reasoning_blocks: bool = True
    """Whether several blocks of reasoning stay separate."""
    finish: bool = True
    """Whether a reply carries the reason why it ended."""
    request_fields: Mapping[str, Any] = {}
    """Extra request fields that a client must send to get all of this."""


class Unsupported:
    """Called with what an API cannot express: raises UnsupportedError, or notes it where dropping is allowed.

    `hint` is what the one who asked can do about it; a client of a server can but leave it out.
    """

    def __init__(self, dialect: str, *, drop: bool = False, hint: str = "leave it out") -> None:
        self._dialect = dialect
        self._drop = drop
        self._hint = hint
        self.dropped: list[str] = []

    def __call__(self, feature: str) -> None:
        if not self._drop:
            raise UnsupportedError(feature, self._dialect, self._hint)
        if feature not in self.dropped:
            self.dropped.append(feature)


class Reader:
    """Chunks of one response body to items; a fresh one for each response."""

    pending_error: AcytooError | None = None
    """What came after the items that `feed` returned last; nothing can follow it."""

    def feed(self, chunk: bytes) -> list[Item]:
        """The items this chunk completes.

        Raises StatusError for a fault told in the stream, ProtocolError for what is not this API's, where no item
        came before it; else it is kept as `fault`.
        """
        raise NotImplementedError

    def scan(self, chunk: bytes) -> None:
        """Read a chunk that is passed on as it is: only faults and the end matter. Raises as `feed`."""
        self.feed(chunk)

    def flush(self) -> list[Item]:
        """The last items, once the body has ended."""
        return []

    def flush_truncated(self) -> list[Item]:
        """The last items, once the body was cut: what was held to be looked at."""
        return []

    def close(self) -> None:
        """Raises TruncatedError where the reply is not complete; `flush` comes first."""


class Writer:
    """Items of one reply to chunks of a streamed response body; a fresh one for each response."""

    content_type: ClassVar[str] = "text/event-stream"
    framing: ClassVar[Framing] = "sse"
    ping: bytes = b""
    """Keeps a silent stream alive; empty where the API has no such thing."""

    def write(self, items: list[Item]) -> bytes:
        """The items, in the API's own words; what it has no words for is left out."""
        raise NotImplementedError

    def end(self) -> bytes:
        """What ends a complete reply."""
        raise NotImplementedError

    def fail(self, error: AcytooError) -> bytes:
        """What tells a fault in mid-stream; empty where only an aborted connection can."""
        raise NotImplementedError


class Dialect:
    """One chat API. An instance holds the variations its servers have; a subclass is another API."""

    name: ClassVar[str]
    options: ClassVar[frozenset[str]]
    """Request options (of `types.OPTIONS`) that this API can express."""
    routes: ClassVar[tuple[str, ...]]
    """Paths a server answers on; `{name}` stands for one segment's part, kept in `ServerRequest.path`."""
    can_pass_through: ClassVar[bool] = True
    """Whether a body may go on from one endpoint of this API to another as it is; not where secrets are in it."""
    minimal_body: ClassVar[dict[str, Any]] = {"messages": [{"role": "user", "content": ""}]}
    """The least that a body must have beside its model."""
    ignorable_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of this API outside the shared shape that may be left behind when translate to another."""
    vendor_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of this API alone that stay on messages, parts, calls and tools of the shared shape."""
    no_op_values: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Values of this API's own fields that ask for what happens anyway; they may be left out for another API."""
    capabilities: ClassVar[Capabilities] = Capabilities()
    ends_with_record: ClassVar[bool] = True
    """Whether a stream ends with a record of its own, so that whatever follows it can be ignored."""

    @functools.cached_property
    def framing(self) -> Framing:
        """How a streamed reply is divided into records: as its writer does it."""
        return self.writer(Request([])).framing

    # The client's half.

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """The HTTP request that asks for a reply. Calls `lose` with whatever the API cannot express."""
        raise NotImplementedError

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """The HTTP request that brings such a body to where this API takes it, with the credentials."""
        raise NotImplementedError

    def reader(self, head: ResponseHead) -> Reader:
        """A reader for a successful response: streamed or whole, as its content type says."""
        raise NotImplementedError

    def read_reply(self, body: bytes) -> list[Item]:
        """The items of a reply that is one whole document. Raises msgspec.DecodeError for anything else."""
        raise NotImplementedError

    def read_error(self, status: int | None, body: bytes, retry_after: float | None = None) -> StatusError:
        """The error that a body tells, in the server's own words."""
        words = error_words(body)._asdict()
        return status_error(status, **words, retry_after=retry_after, body=truncate(body, 2000))

    # The server's half.

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """What a client asks for. Raises RequestError (400) saying what is wrong."""
        raise NotImplementedError

    def decode_request_lenient(self, incoming: ServerRequest) -> ParsedRequest:
        """As `parse`; what cannot be read is still read as far as a server needs that passes it on as it came.

        Raises RequestError where not even that can be.
        """
        try:
            return self.decode_request(incoming)
        except RequestError as error:
            if not self.can_pass_through:
                raise
            body = decode_body(incoming)
            asked = {name: body[name] for name in ("model", "stream", "stream_options") if name in body}
            known = msgspec.json.encode({**self.minimal_body, **asked})
            call = self.decode_request(msgspec.structs.replace(incoming, body=known))
            call.request.messages = []
            call.refusal = error
            return call

    def writer(self, request: Request) -> Writer:
        """A writer for a streamed reply to this request."""
        raise NotImplementedError

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """The whole reply as one document."""
        raise NotImplementedError

    def write_error(self, error: AcytooError) -> HTTPResponse:
        """Return the error as this API's clients read it. Its status shows whose fault it was."""
        status, _, _, headers = error_fields(error)
        body = dumps(self.error_document(error), surrogates="replace")
        return HTTPResponse(status, {"content-type": "application/json", **headers}, body)

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        """Return the JSON document that reports an error in this API."""
        raise NotImplementedError

    def for_model(self, body: bytes, model: str) -> bytes:
        """A request's body that came in this dialect, for another model: every other field stays as it came."""
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return msgspec.json.encode({**fields, "model": model})

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether a request comes from a client of this API, judged by its path, headers and query.

        A server asks its dialects in turn when a path belongs to several APIs or to none.
        """
        return request.path in self.routes or request.path in self.count_routes

    # The models of a server.

    list_routes: ClassVar[tuple[str, ...]] = ()
    """Paths (GET) on which a server lists its models or, if the path has `{model}`, describes one of them.

    Several APIs may share a path: the one whose client asks answers, else the first.
    """
    model_prefix: ClassVar[str] = ""
    """What a model's name may begin with in those paths."""
    fixed_documents: ClassVar[Mapping[tuple[str, str], Mapping[str, Any]]] = {}
    """Documents that clients ask for by method and path, the same for every model."""

    def models(self, names: list[str], created: int) -> dict[str, Any]:
        """Return the list of models; `created` is in seconds since 1970."""
        raise NotImplementedError

    def model(self, name: str, created: int) -> dict[str, Any]:
        """Return the description of one model."""
        raise NotImplementedError

    # Token counting, where the API has it.

    count_routes: ClassVar[tuple[str, ...]] = ()
    """Paths on which a server counts a request's tokens; `parse` reads such a request."""

    def count(self, request: Request, endpoint: Endpoint) -> HTTPRequest:
        """The HTTP request that asks how many tokens the request has. Raises UnsupportedError."""
        raise UnsupportedError("token counting", self.name, "its API has no way to ask for it")

    def read_count(self, body: bytes) -> int:
        """The number of tokens in the answer to `count`. Raises msgspec.DecodeError for anything else."""
        raise NotImplementedError

    def write_count(self, tokens: int) -> bytes:
        """The answer a server gives on `count_routes`."""
        raise NotImplementedError

    # Shared by both.

    @functools.cached_property
    def _inexpressible(self) -> frozenset[str]:
        return OPTIONS - self.options

    def check_options(self, request: Request, unsupported: Unsupported) -> None:
        """Call `lose` for every given option that the API has no word for."""
        for option in self._inexpressible:
            if getattr(request, option) not in _NO_OP_VALUES.get(option, (None,)):
                unsupported(option)
        if request.extra and request.extra_for not in ("", self.name):
            for field in request.extra:
                unsupported(field)

    def extra(self, request: Request) -> dict[str, Any]:
        """The body fields that pass through as they are."""
        return request.extra if request.extra_for in ("", self.name) else {}


_NO_OP_VALUES: dict[str, tuple[Any, ...]] = {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "parallel_tool_calls": (None, True),
    "tool_choice": (None, "auto"),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
}
"""Option values that ask for what happens anyway."""


def not_this_api(name: str, body: bytes, why: str = "") -> ProtocolError:
    """The error for an answer that is not in the API's format, with the start of it."""
    start = truncate(in_utf8(body), 200)
    title = html_title(body)
    what = f"an HTML page ({title!r})" if title is not None else f"{start!r}"
    return ProtocolError(
        f"the answer is not the {name} API's: {what}{f' ({why})' if why else ''}; check the URL and the dialect"
    )
