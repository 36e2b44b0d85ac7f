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
        ("/v1/models/a/b", "/models/a/b"),
        ("/v1/v1/talk", "/v1/talk"),
        ("/a/b/c/d/e/f/g/h/v1/talk", "/v1/talk"),
        ("/a/b/c/d/e/f/g/h/i/v1/talk", ""),
        ("/v1/chat", ""),  # the end of something else, perhaps
        ("/v1/talk/more", ""),
        ("/v1/", ""),
        ("/nowhere", ""),
        ("/", ""),
    ],
)
def test_the_end_of_an_unknown_path_may_be_known(path: str, end: str) -> None:
    router = Router([*ROUTER.routes, PathRoute("POST", "/v1/talk", answer)])
    assert router.known_end(path) == end


async def second(request: IncomingRequest) -> HTTPResponse:
    return HTTPResponse(204, {}, b"")


SEVERAL = Router(
    [
        *ROUTER.routes,
        PathRoute("GET", "/list", second),
        PathRoute("POST", "/list", second),
        PathRoute("POST", "/models/{model:.+}", second),
        PathRoute("GET", "/a.b/{model:.+}", second),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "found", "model"),
    [
        ("GET", "/list", "/list", ""),
        ("HEAD", "/list", "/list", ""),
        ("POST", "/chat", "/chat", ""),
        ("GET", "/chat", None, ""),
        ("PUT", "/list", None, ""),
        ("GET", "/models/a/b", "/models/{model:.+}", "a/b"),
        ("HEAD", "/models/a", "/models/{model:.+}", "a"),
        ("GET", "/models/a\nb", "/models/{model:.+}", "a\nb"),
        ("GET", "/models/", None, ""),
        ("POST", "/models/a:generate", "/models/{model:.+}:generate", "a"),
        ("POST", "/models/a:embed", "/models/{model:.+}", "a:embed"),
        ("GET", "/a.b/c", "/a.b/{model:.+}", "c"),
        ("GET", "/axb/c", None, ""),
        ("GET", "/list/", None, ""),
    ],
)
def test_a_path_has_the_first_of_its_routes(method: str, path: str, found: str | None, model: str) -> None:
    request = IncomingRequest(None, method, path, "1.1", {}, True)  # type: ignore[arg-type]
    route = SEVERAL.find(request)
    assert (route and route.path, request.model) == (found, model)
    if route is not None and path == "/list":
        assert route.handler is answer


def test_a_template_has_no_pattern() -> None:
    templates = [route.template for route in SEVERAL.routes]
    assert templates == [
        *("/list", "/chat", "/list"),
        *("/models/{model}", "/models/{model}:generate", "/models/{model}", "/a.b/{model}"),
    ]
    assert [route.method for route in SEVERAL.routes][:3] == ["GET", "POST", "POST"]
    assert SEVERAL.methods("/list") == ["GET", "HEAD", "POST"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/in/a/models/m/n", True), ("/in/a/b/models/m", False), ("/in//models/m", False), ("/in/a/models/", False)],
)
def test_a_folder_before_a_model_may_have_any_name(path: str, allowed: bool) -> None:
    router = Router([PathRoute("POST", "/in/{folder}/models/{model:.+}", answer)])
    assert bool(router.methods(path)) is allowed
    assert router.routes[0].template == "/in/{folder}/models/{model}"
