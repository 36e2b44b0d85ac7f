"""The Acytoo protocol: JSON in, raw text out.

Source: the public clients of the Acytoo chat service (`POST /api/completions`), and servers of the
same family as observed: their errors are JSON with `msg` or `error`, sometimes with status 200.
"""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer, not_this_api
from acytoo.dialects.error_bodies import error_details_of, html_title, openai_error
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.fields import decode_body
from acytoo.dialects.json import UNDECODABLE, dumps
from acytoo.dialects.server_side import request_from_body
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.errors import AcytooError, ProtocolError, TruncatedError, UsageError, status_error
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url
from acytoo.messages import content_text, tool_result
from acytoo.secret import Secret, truncate
from acytoo.types import ChatMessage, Item, JSONObject, Messages, Refusal, Reply, Request
from acytoo.wire.text import TextDecoder

DEFAULT_MODEL = "gpt-3.5-turbo"
DEFAULT_TEMPERATURE = 0.5


def headers(content_type: str = "application/json") -> dict[str, str]:
    """The protocol's request headers."""
    return {"accept": "*/*", "content-type": content_type}


def payload(
    messages: Messages,
    temperature: float = DEFAULT_TEMPERATURE,
    *,
    model: str = DEFAULT_MODEL,
    key: str = "",
    password: str = "",
    **extra: Any,
) -> dict[str, Any]:
    """The protocol's request body; `extra` fields follow the five it has."""
    return {
        "key": key,
        "model": model or DEFAULT_MODEL,
        "messages": messages,
        "temperature": temperature,
        "password": password,
        **extra,
    }


class Acytoo(Dialect):
    """The Acytoo protocol, with the variations its servers have.

    Some want another `path`, `content_type="text/plain"`, or an empty `key` left out.
    """

    name = "acytoo"
    options = frozenset({"temperature"})
    routes = ("/api/completions",)
    can_pass_through = False
    capabilities = Capabilities(frozenset(), frozenset(), frozenset({"text"}), reasoning_blocks=False, finish=False)
    ends_with_record = False

    def __init__(
        self,
        path: str = "/api/completions",
        content_type: str = "application/json",
        omit_empty_key: bool = False,
    ) -> None:
        self.path = path
        self.content_type = content_type
        self.omit_empty_key = omit_empty_key

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """The five fields, secrets included, and whatever the user gave as `extra_body`."""
        self.check_options(request, unsupported)
        extra = self.extra(request)
        for name in ("key", "password"):
            if name in extra:  # nobody would take it out of an error's words
                raise UsageError(f"extra_body has {name!r}: pass {name}=… instead")
        body = payload(
            [_plain(message, unsupported) for message in request.messages],
            DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
            model=request.model,
            key=endpoint.key.reveal(),
            password=endpoint.password.reveal(),
        )
        merge_extra(body, extra)
        if self.omit_empty_key and not body["key"]:
            del body["key"]
        return self._post(endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the request with the endpoint's credentials in the body, in place of those that are there."""
        fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        fields |= {"key": endpoint.key.reveal(), "password": endpoint.password.reveal()}
        if self.omit_empty_key and not fields["key"]:
            del fields["key"]
        return self._post(endpoint, msgspec.json.encode(fields))

    def _post(self, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        return HTTPRequest(join_url(endpoint.url, self.path), headers(self.content_type), body)

    def reader(self, head: ResponseHead) -> Reader:
        """Text as it comes; what declares itself an error or a page is recognised."""
        return _TextReader(self, head)

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """The five fields; `parts` in place of `content`, and sampling options, are understood as well."""
        body = decode_body(incoming)
        presented = [body.pop("key", None), body.pop("password", None)]
        secrets = [Secret(given) for given in presented if given and isinstance(given, str)]
        if isinstance(body.get("messages"), list):
            body["messages"] = [_from_parts(message) for message in body["messages"]]
        body["stream"] = True
        return ParsedRequest(request_from_body(body, self.name), secrets)

    def writer(self, request: Request) -> Writer:
        """Text as it is."""
        return _TextWriter()

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """The text, and a refusal as text; all that this protocol can say."""
        return (reply.text + reply.refusal).encode()

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        """Return the message both as `msg` and as `error.message`."""
        return {"error": {"message": error.message, "type": openai_error(error)["type"]}, "msg": error.message}


def _plain(message: ChatMessage, unsupported: Unsupported) -> dict[str, Any]:
    """The message as this protocol's servers know them: text content, no tools."""
    content = message.get("content")
    known = message.keys() - {"reasoning"}
    if message["role"] == "tool" or message.get("tool_calls"):
        unsupported("tool calls")
        known -= {"tool_calls", "tool_call_id"}
    known -= {"is_error"}
    fields: JSONObject = {**message}
    if isinstance(content, str) and len(known) == len(message):
        return fields
    plain = {field: value for field, value in fields.items() if field in known}
    plain["content"] = content_text(tool_result(message), unsupported)
    return plain


def _from_parts(message: Any) -> Any:
    """Today's web clients send `parts` (text ones, and some for the page alone) instead of `content`."""
    if isinstance(message, dict) and "content" not in message and isinstance(message.get("parts"), list):
        texts = [p["text"] for p in message["parts"] if isinstance(p, dict) and isinstance(p.get("text"), str)]
        message = {k: v for k, v in message.items() if k != "parts"} | {"content": "".join(texts)}
    return message


class _TextReader(Reader):
    """Raw text; a body that declares itself JSON or HTML is looked at whole before it counts as a reply.

    JSON errors with status 200 come as `application/json`, or as one document of known length; text that is
    streamed is never held back.
    """

    def __init__(self, dialect: Acytoo, head: ResponseHead) -> None:
        self._dialect = dialect
        content_type = head.content_type
        self._page = content_type in ("text/html", "application/xhtml+xml")
        self._suspect = self._page or content_type == "application/json" or "content-length" in head.headers
        self._decoder = TextDecoder(head.charset)
        self._held: list[str] = []
        self._length = 0
        self._first = ""
        self._empty = True

    def feed(self, chunk: bytes) -> list[Item]:
        """The text that this chunk completes."""
        texts = self._texts(chunk)
        if not self._suspect:
            return texts
        for text in map(str, texts):
            self._held.append(text)
            self._length += len(text)
            self._first = self._first or text.lstrip()[:1]
        if self._first in ("", "{", "[", "<") and self._length <= _MOST_HELD and self.pending_error is None:
            return []
        return [text] if (text := self._released()) else []

    def flush(self) -> list[Item]:
        """The held text, where it proved a reply and no error or page."""
        text = self._released() if self._held else ""
        return [text] if text else []

    def flush_truncated(self) -> list[Item]:
        """The held text, if it is no page: half of a JSON document tells no error."""
        text = self._taken()
        return [text] if text and not (self._page and html_title(text.encode("utf-8", "replace")) is not None) else []

    def close(self) -> None:
        """Raises TruncatedError for an empty reply or a cut character."""
        if self.pending_error is not None:
            raise self.pending_error
        self._decoder.feed(b"", final=True)
        if self._empty:
            raise TruncatedError("the server ended the reply without sending anything")

    def _texts(self, chunk: bytes) -> list[Item]:
        try:
            text = self._decoder.feed(chunk)
        except ProtocolError as error:
            text = self._decoder.before_error
            if not text and not self._held:
                raise
            self.pending_error = error
        if not text:
            return []
        self._empty = False
        return [text]

    def _released(self) -> str:
        text = self._taken()
        self._suspect = False
        self._reject_errors(text.encode("utf-8", "replace"))
        return text

    def _taken(self) -> str:
        text = "".join(self._held)
        self._held.clear()
        return text

    def _reject_errors(self, body: bytes) -> None:
        if self._page and html_title(body) is not None:
            raise not_this_api(self._dialect.name, body)
        try:
            document = msgspec.json.decode(replace_lone_escapes(body))
        except UNDECODABLE:
            return
        if isinstance(document, dict) and document.keys() <= _ERROR_FIELDS and document.keys() & {"error", "msg"}:
            words = error_details_of(document)
            if words:
                raise status_error(None, **words._asdict(), body=truncate(body, 2000))


_MOST_HELD = 1_000_000
"""Characters that are held until the end; a page is known by its start."""

_ERROR_FIELDS = frozenset({"error", "msg", "message", "code", "status", "success", "type", "param", "data"})


class _TextWriter(Writer):
    content_type = "text/plain; charset=utf-8"
    framing = "text"

    def write(self, items: list[Item]) -> bytes:
        """The texts, and a refusal as text; nothing else can be said."""
        said = [item.text if type(item) is Refusal else item for item in items]
        return "".join([text for text in said if type(text) is str]).encode()

    def end(self) -> bytes:
        """Nothing: the end of the body ends the reply."""
        return b""

    def fail(self, error: AcytooError) -> bytes:
        """Nothing: only an aborted connection tells a client that the reply is cut."""
        return b""
