"""HTTP's plain types: requests, responses and endpoints as data. No I/O, no HTTP library."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from acytoo.secret import Secret, mask_url


class Endpoint(msgspec.Struct, frozen=True):
    """Where a provider talks to, and with what: `url` is the base URL, as its users know it."""

    url: str
    key: Secret = Secret()
    password: Secret = Secret()


class HTTPRequest(msgspec.Struct):
    """An HTTP request to be sent; header names are in lower case."""

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    def __repr__(self) -> str:
        return f"HTTPRequest({self.method} {mask_url(self.url)})"  # headers and body have secrets


class ResponseHead(msgspec.Struct, frozen=True):
    """The start of an HTTP response; headers are looked up by their names in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case; "" where none is given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset the response names, else UTF-8."""
        for part in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = part.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip("\"'") or "utf-8"
        return "utf-8"


class ServerRequest(msgspec.Struct, frozen=True):
    """An HTTP request a server received; headers are looked up by their names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = {}


class HTTPResponse(msgspec.Struct, frozen=True):
    """An error as a server's answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def join_url(base: str, path: str) -> str:
    """The base URL with a path added before its query."""
    url, mark, query = base.partition("?")
    return url.rstrip("/") + path + mark + query


def json_headers(key: Secret, key_header: str = "authorization") -> dict[str, str]:
    """The headers of a request in JSON; a key is a bearer token in `authorization`, and as it is in any other."""
    headers = {"accept": "*/*", "content-type": "application/json"}
    if key:
        headers[key_header] = ("Bearer " if key_header == "authorization" else "") + key.reveal()
    return headers
