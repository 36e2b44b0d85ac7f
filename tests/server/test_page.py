"""The paths of the chat page: which form of a file a request gets."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from acytoo.http import HTTPResponse
from acytoo.server.page import page_routes
from acytoo.server.request import IncomingRequest
from acytoo.web import PATHS, page_file

ROUTES = {route.path: route for route in page_routes()}
FILE = page_file("/")
TAG = FILE.headers["etag"]
COMPRESSED_TAG = f'{TAG[:-1]}-gzip"'


async def response(path: str = "/", **headers: str) -> HTTPResponse:
    """Return the response to a request; underscores in the headers' names are hyphens."""
    connection: Any = None
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await ROUTES[path].handler(IncomingRequest(connection, "GET", path, "1.1", fields, True))
    assert answer is not None
    return answer


async def test_everybody_may_get_every_file_with_all_its_headers() -> None:
    assert list(ROUTES) == list(PATHS)
    for path, route in ROUTES.items():
        file = page_file(path)
        assert (route.method, route.is_public, route.dialect) == ("GET", True, None)
        assert await response(path) == HTTPResponse(200, file.headers, file.body)
        changed = {"content-encoding": "gzip", "etag": f'{file.headers["etag"][:-1]}-gzip"'}
        assert await response(path, accept_encoding="gzip") == HTTPResponse(
            200, {**file.headers, **changed}, file.compressed
        )
        assert gzip.decompress(file.compressed) == file.body


@pytest.mark.parametrize(
    ("header", "is_compressed"),
    [
        ("gzip", True), ("GZip", True), ("br,gzip", True), ("br, gzip, deflate", True), ("gzip;q=1", True),
        ("gzip;q=0.5", True), ("gzip ; q=0.001", True), ("gzip; q=1.000", True), ("br;q=0, gzip;q=0.10", True),
        ("", False), ("br", False), ("identity", False), ("gzip;q=0", False), ("gzip;q=0.0", False),
        ("gzip; q=0.000", False), ("x-gzip", False), ("gzip2", False), ("gzip;q=0, br", False), ("*", False),
    ],
)  # fmt: skip
async def test_a_client_gets_a_compressed_file_if_it_accepts_gzip(header: str, is_compressed: bool) -> None:
    answer = await response(accept_encoding=header)
    assert answer.headers.get("content-encoding") == ("gzip" if is_compressed else None)
    assert answer.headers["etag"] == (COMPRESSED_TAG if is_compressed else TAG)


@pytest.mark.parametrize(
    ("known", "status"),
    [
        (TAG, 304), (f"W/{TAG}", 304), ("*", 304), (f'"other", {TAG}', 304), (f'{TAG},"other"', 304),
        (f'W/"other" , W/{TAG}', 304), ("", 200), ('"other"', 200), (COMPRESSED_TAG, 200), (TAG[1:-1], 200),
        ('W/"other"', 200), ('"XXXX"', 200), ("XXXX", 200),
    ],
)  # fmt: skip
async def test_a_file_that_the_client_has_is_not_sent_again(known: str, status: int) -> None:
    answer = await response(if_none_match=known)
    assert (answer.status, answer.body, answer.headers) == (status, FILE.body if status == 200 else b"", FILE.headers)


@pytest.mark.parametrize(("known", "status"), [(COMPRESSED_TAG, 304), (f"W/{COMPRESSED_TAG}", 304), (TAG, 200)])
async def test_a_compressed_file_is_known_by_its_own_tag(known: str, status: int) -> None:
    assert (await response(accept_encoding="gzip", if_none_match=known)).status == status
