"""The Acytoo protocol: JSON in, raw text out.

Source: the public clients of the Acytoo chat service (`POST /api/completions`), and servers of the same family as
observed: their errors are JSON with `msg` or `error`, sometimes with status 200.
"""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.acytoo.reader import StreamReader
from acytoo.dialects.acytoo.request import decode_request, encode_request, headers
from acytoo.dialects.acytoo.writer import StreamWriter, error_document
from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.fields import decode_body
from acytoo.dialects.json import UNDECODABLE, dumps
from acytoo.dialects.server_side import request_from_body
from acytoo.errors import AcytooError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url
from acytoo.secret import Secret
from acytoo.types import JSONObject, Reply, Request


class _Secrets(msgspec.Struct):
    """The secrets in a body, which may be of any type; msgspec skips the other fields."""

    key: msgspec.Raw = msgspec.Raw()
    password: msgspec.Raw = msgspec.Raw()


class Acytoo(Dialect):
    """The Acytoo protocol, with the variations of its servers.

    Some want another `path`, `content_type="text/plain"`, or no `key` if it is empty.
    """

    name = "acytoo"
    options = frozenset({"temperature"})
    routes = ("/api/completions",)
    can_pass_through = False
    ignorable_fields = frozenset({"id", "trigger", "messageId"})
    """What the AI SDK's `TextStreamChatTransport` sends about its chat. All that the model needs is in `messages`."""
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
        """Return the HTTP request for a reply: the five fields, credentials included, and the user's `extra_body`."""
        self.check_options(request, unsupported)
        extra = self.extra(request)
        for name in ("key", "password"):
            if name in extra:  # a secret there would not be redacted
                raise UsageError(f"extra_body has {name!r}: pass {name}=… instead")
        body = encode_request(request, endpoint, unsupported)
        merge_extra(body, extra)
        self._omit_empty_key(body)
        return self._post(endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """Return the HTTP request with the endpoint's credentials in the body, replacing those that it has."""
        fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        fields |= {"key": endpoint.key.reveal(), "password": endpoint.password.reveal()}
        self._omit_empty_key(fields)
        return self._post(endpoint, msgspec.json.encode(fields))

    def _omit_empty_key(self, body: JSONObject) -> None:
        if self.omit_empty_key and not body["key"]:
            del body["key"]

    def _post(self, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        return HTTPRequest(join_url(endpoint.url, self.path), headers(self.content_type), body)

    def encode_models_request(self, endpoint: Endpoint) -> HTTPRequest:
        """Return a GET of `/v1/models`. The protocol has no list of its own; servers like ours answer OpenAI's."""
        from acytoo.dialects.openai.models import models_request  # the package is slow to import, and rarely needed

        return models_request(msgspec.structs.replace(endpoint, key=endpoint.password or endpoint.key), "/v1")

    def read_models(self, body: bytes) -> list[str]:
        """Return each `id`."""
        from acytoo.dialects.openai.models import read_models

        return read_models(body)

    def reader(self, head: ResponseHead) -> Reader:
        """Return a reader of raw text that recognises errors and pages."""
        return StreamReader(self.name, head)

    def body_secrets(self, body: bytes) -> list[Secret]:
        """Return `key` and `password`."""
        try:
            values = [bytes(value) for value in msgspec.structs.astuple(msgspec.json.decode(body, type=_Secrets))]
            return [Secret(msgspec.json.decode(value, type=str)) for value in values if value.startswith(b'"')]
        except UNDECODABLE:
            return []

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """Decode a request without its secrets."""
        body = decode_body(incoming)
        for name in ("key", "password"):
            body.pop(name, None)
        return ParsedRequest(request_from_body(decode_request(body), self.name))

    def writer(self, request: Request) -> Writer:
        """Return a writer of raw text."""
        return StreamWriter()

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """Return the text, and a refusal as text."""
        return (reply.text + reply.refusal).encode()

    def error_document(self, error: AcytooError) -> JSONObject:
        """Return the message both as `msg` and as `error.message`."""
        return error_document(error)
