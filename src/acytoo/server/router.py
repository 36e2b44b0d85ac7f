"""Which handler answers a path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.http import HTTPResponse
from acytoo.server.request import IncomingRequest

Handler: TypeAlias = Callable[[IncomingRequest], Awaitable[HTTPResponse | None]]


class PathRoute(NamedTuple):
    """A method and path with their handler; `dialect` is the API that both belong to, if only one.

    `is_public`: whether it answers without the password.
    """

    method: str
    path: str
    handler: Handler
    dialect: Dialect | None = None
    is_public: bool = False

    @property
    def template(self) -> str:
        """The path without the pattern of its variable."""
        return self.path.replace(":.+}", "}")


class Router:
    """The routes of a server. Of several for one path, the first answers."""

    def __init__(self, routes: Iterable[PathRoute]) -> None:
        self._exact: dict[tuple[str, str], PathRoute] = {}
        self._patterns: list[tuple[re.Pattern[str], PathRoute]] = []
        for route in routes:
            before, brace, rest = route.path.partition("{model:.+}")
            if brace:
                start = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(before))
                pattern = re.compile(f"{start}(.+){re.escape(rest)}", re.DOTALL)
                self._patterns.append((pattern, route))
            else:
                self._exact.setdefault((route.method, route.path), route)

    @property
    def routes(self) -> list[PathRoute]:
        """All routes."""
        return [*self._exact.values(), *[route for _, route in self._patterns]]

    def find(self, request: IncomingRequest) -> PathRoute | None:
        """Return the route of a request and set its `model`. HEAD is answered as GET."""
        method = "GET" if request.method == "HEAD" else request.method
        if (route := self._exact.get((method, request.path))) is not None:
            return route
        for pattern, route in self._patterns:
            if route.method == method and (match := pattern.fullmatch(request.path)):
                request.model = match[1]
                return route
        return None

    def methods(self, path: str) -> list[str]:
        """Return the methods that a path allows, sorted.

        Where a model's name is looked up, a colon may also begin one of Gemini's verbs (`:embedContent`).
        """
        found = {method for method, exact in self._exact if exact == path}
        for pattern, route in self._patterns:
            if (match := pattern.fullmatch(path)) and not (route.method == "GET" and ":" in match[1]):
                found.add(route.method)
        return sorted(found | ({"HEAD"} if "GET" in found else set()))

    def known_end(self, path: str) -> str:
        """Return the longest end of an unknown path that is a path of its own, "" if there is none.

        A client adds its API's path to a base URL, and the base URL of another service may have a folder. One name
        alone, as `/completions`, may also be the end of something else: Mistral has `/v1/fim/completions`.
        """
        for _ in range(_MAX_FOLDERS):
            _, slash, end = path.removeprefix("/").partition("/")
            path = slash + end
            if path.count("/") < 2:
                break
            if self.methods(path):
                return path
        return ""


_MAX_FOLDERS = 8
"""Folders before a known path: a client chooses the path, and each costs a search."""
