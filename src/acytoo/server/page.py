"""The chat page at `/`, and its files. Everybody may load them; the page asks for the password that the APIs need."""

from __future__ import annotations

from collections.abc import Iterator

from acytoo.http import HTTPResponse
from acytoo.server.request import IncomingRequest
from acytoo.server.router import PathRoute
from acytoo.web import PATHS, page_file


def page_routes() -> Iterator[PathRoute]:
    """Yield the routes of the page's files."""
    for path in PATHS:
        yield PathRoute("GET", path, _send, is_public=True)


async def _send(request: IncomingRequest) -> HTTPResponse:
    file = page_file(request.path)
    headers = dict(file.headers)
    is_compressed = _accepts_gzip(request.headers.get("accept-encoding", ""))
    if is_compressed:
        # What is compressed is another representation: a strong ETag names its bytes.
        headers |= {"content-encoding": "gzip", "etag": headers["etag"][:-1] + '-gzip"'}
    if _matches(request.headers.get("if-none-match", ""), headers["etag"]):
        return HTTPResponse(304, headers, b"")
    return HTTPResponse(200, headers, file.compressed if is_compressed else file.body)


def _accepts_gzip(header: str) -> bool:
    """Return whether an Accept-Encoding header has gzip with a weight above 0."""
    for coding in header.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


def _matches(header: str, tag: str) -> bool:
    """Return whether an If-None-Match header has the tag. Proxies make tags weak."""
    return any(known.strip().removeprefix("W/") in (tag, "*") for known in header.split(","))
