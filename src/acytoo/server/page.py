"""The chat page at `/`, and its files. Everybody may load them; the page asks for the password that the APIs need."""

from __future__ import annotations

from collections.abc import Iterator

from acytoo.http import HTTPResponse
from acytoo.server.request import IncomingRequest
from acytoo.server.router import Handler, PathRoute
from acytoo.web import PageFile, page_files


def page_routes() -> Iterator[PathRoute]:
    """Yield the routes of the page's files."""
    for file in page_files():
        yield PathRoute("GET", file.path, _handler(file), is_public=True)


def _handler(file: PageFile) -> Handler:
    async def send(request: IncomingRequest) -> HTTPResponse:
        if request.headers.get("if-none-match") == file.headers["etag"]:
            return HTTPResponse(304, dict(file.headers), b"")
        if "gzip" in request.headers.get("accept-encoding", ""):
            return HTTPResponse(200, {**file.headers, "content-encoding": "gzip"}, file.compressed)
        return HTTPResponse(200, dict(file.headers), file.body)

    return send
