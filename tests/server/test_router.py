"""Which methods a path allows."""

from __future__ import annotations

import pytest

from acytoo.http import HTTPResponse
from acytoo.server.request import IncomingRequest
from acytoo.server.router import PathRoute, Router


async def answer(request: IncomingRequest) -> HTTPResponse:
    return HTTPResponse(200, {}, b"")


ROUTER = Router(
    [
        PathRoute("GET", "/list", answer),
        PathRoute("POST", "/chat", answer),
        PathRoute("GET", "/models/{model:.+}", answer),
        PathRoute("POST", "/models/{model:.+}:generate", answer),
    ]
)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/list", ["GET", "HEAD"]),
        ("/chat", ["POST"]),
        ("/models/a", ["GET", "HEAD"]),
        ("/models/a:generate", ["POST"]),
        ("/models/a:embed", []),  # a verb that there is not, rather than the name of a model
        ("/nowhere", []),
    ],
)
def test_a_path_allows_the_methods_of_its_routes(path: str, methods: list[str]) -> None:
    assert ROUTER.methods(path) == methods


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/v1/chat", "/chat"),
        ("/v1/models/a/b", "/models/a/b"),
        ("/a/b/c/d/e/f/g/h/chat", "/chat"),
        ("/a/b/c/d/e/f/g/h/i/chat", ""),
        ("/v1/chat/more", ""),
        ("/v1/", ""),
        ("/nowhere", ""),
        ("/", ""),
    ],
)
def test_the_end_of_an_unknown_path_may_be_known(path: str, end: str) -> None:
    assert ROUTER.known_end(path) == end
