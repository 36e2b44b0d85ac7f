"""An invented chat API, implemented as a dialect in the way that another project would do it."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.json import dumps
from acytoo.dialects.lenient import decode_document
from acytoo.dialects.readers import DocumentReader
from acytoo.errors import AcytooError, TruncatedError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.types import Item, Reply, Request
from tests.dialects.toy.reader import Line, LineReader, items_of
from tests.dialects.toy.request import decode_request, encode_request
from tests.dialects.toy.writer import LineWriter


class Toy(Dialect):
    """Lines of JSON: `{"piece": "Hi"}` for each text, then `{"finish": "stop"}`; a complete reply has both."""

    name = "toy"
    options = frozenset({"temperature"})
    routes = ("/toy/chat",)
    minimal_body = {"turns": [{"who": "user", "text": ""}]}
    capabilities = Capabilities(frozenset(), frozenset(), frozenset({"text"}), reasoning_blocks=False)
    list_routes = ("/toy/models", "/v1/models")
    fixed_documents = {("GET", "/toy/version"): {"toy": 1}}

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        self.check_options(request, unsupported)
        return self.http_request(request, endpoint, dumps(encode_request(request, self.extra(request), unsupported)))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        return HTTPRequest(join_url(endpoint.url, "/toy/chat"), json_headers(endpoint.key), body)

    def reader(self, head: ResponseHead) -> Reader:
        return DocumentReader(self) if head.content_type in ("application/json", "text/html") else LineReader(self.name)

    def read_reply(self, body: bytes) -> list[Item]:
        line = decode_document(body, Line)
        items = items_of(line)
        if line.piece is None:
            raise msgspec.ValidationError("it has no piece")
        if line.finish is None:
            raise TruncatedError("the reply has no finish")
        return items

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        return ParsedRequest(decode_request(incoming, self.name))

    def writer(self, request: Request) -> Writer:
        return LineWriter()

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        return msgspec.json.encode({"piece": reply.text + reply.refusal, "finish": reply.finish_reason or "stop"})

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        return {"error": error.message}

    def is_client(self, request: ServerRequest) -> bool:
        return request.path.startswith("/toy/") or "x-toy" in request.headers

    def models(self, names: list[str], created: int) -> dict[str, Any]:
        return {"toys": names}
