"""Plain HTTP types: requests, responses and endpoints as data. No I/O, no HTTP library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from acytoo.secret import Secret, mask_url


class Endpoint(msgspec.Struct, frozen=True):
    """The address of an API and the credentials for it; `url` is the base URL.

    `headers` are sent with every request, such as the cookie of a login. `user` is `user:password` of the URL, `query`
    its query; a provider's settings keep them out of `url`.
    """

    url: str
    key: Secret = Secret()
    password: Secret = Secret()
    headers: Mapping[str, str | Secret] = {}
    user: Secret = Secret()
    query: Secret = Secret()

    def __post_init__(self) -> None:
        if self.headers:
            hidden = {name: Secret(value) for name, value in self.headers.items()}
            msgspec.structs.force_setattr(self, "headers", hidden)


class HTTPRequest(msgspec.Struct):
    """An HTTP request to be sent. Header names are in lower case. `query` is added to that of the URL.

    `own_fields` are the encoded fields of this request alone, such as its id. The others are encoded once for many
    requests.
    """

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    query: Secret = Secret()
    is_repeatable: bool = True
    """Whether it may be sent again if a pooled connection ends without a response. One that is not gets a new one."""
    is_sent: bool = False
    """Whether the server may have received it: set before its first byte is written to a connection."""
    own_fields: bytes = b""
    content_within: float = math.inf
    """Seconds in which a reply has to begin that could be requested elsewhere, retries and redirects included."""

    def __repr__(self) -> str:
        return f"HTTPRequest({self.method} {mask_url(self.url)})"  # headers and body contain secrets

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("url", mask_url(self.url))]


class ResponseHead(msgspec.Struct, frozen=True):
    """The status and headers of an HTTP response. Headers are looked up in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case; "" if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset that the response declares, else UTF-8."""
        for part in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = part.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip("\"'") or "utf-8"
        return "utf-8"


class ServerRequest(msgspec.Struct, frozen=True):
    """An HTTP request that a server received. Headers are looked up in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = {}


class HTTPResponse(msgspec.Struct, frozen=True):
    """A complete response of a server, such as an error document."""

    status: int
    headers: dict[str, str]
    body: bytes


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def join_url(base: str, path: str) -> str:
    """Return the base URL with a path added before its query."""
    url, mark, query = base.partition("?")
    return url.rstrip("/") + path + mark + query


def with_query(url: str, query: str) -> str:
    """Return the URL with more of a query, which is escaped already."""
    return f"{url}{'&' if '?' in url else '?'}{query}"


def json_headers(key: Secret, key_header: str = "authorization") -> dict[str, str]:
    """Return the headers of a JSON request. The key is a bearer token if `key_header` is `authorization`."""
    headers = {"accept": "*/*", "content-type": "application/json"}
    if key:
        headers[key_header] = ("Bearer " if key_header == "authorization" else "") + key.reveal()
    return headers
