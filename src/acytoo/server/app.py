"""The application: routes, who may call, and error responses."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from acytoo._version import __version__
from acytoo.dialects import by_name
from acytoo.dialects.base import Dialect, Memory
from acytoo.dialects.server_side import secrets_in
from acytoo.errors import AcytooError, AuthenticationError, NotFoundError, RequestError, ServerError, StatusError
from acytoo.http import HTTPResponse
from acytoo.server.auth import PasswordCheck, WrongPasswordError
from acytoo.server.backends import model_names
from acytoo.server.body import Bodies
from acytoo.server.config import ServerConfig
from acytoo.server.connection import DisconnectedError
from acytoo.server.control import ANYONE, Control
from acytoo.server.cors import cors_headers, cross_site_reason, is_preflight, preflight_response
from acytoo.server.errors import public_error
from acytoo.server.models import model_routes
from acytoo.server.openapi import openapi_route
from acytoo.server.page import page_routes
from acytoo.server.relay import attempt_headers, count_tokens, relay
from acytoo.server.request import IncomingRequest
from acytoo.server.response import json_response
from acytoo.server.router import Handler, PathRoute, Router

_LOG = logging.getLogger("acytoo.server")


class Application:
    """The handler of all requests."""

    def __init__(self, config: ServerConfig, control: Control | None = None, routes: Iterable[PathRoute] = ()) -> None:
        self.config = config
        self._control = control or Control()
        self._passwords = PasswordCheck(config, self._control)
        self._bodies = Bodies(config, self._passwords)
        routes = [*routes, *self._control.routes(), *self._routes()]
        self._router = Router([*routes, openapi_route(routes)])

    def replace(self, config: ServerConfig) -> None:
        """Use another configuration from the next request on. Its `dialects` and addresses are not looked at."""
        self.config = self._passwords.config = self._bodies.config = config

    def answer(self, request: IncomingRequest) -> Coroutine[Any, Any, HTTPResponse | None]:
        """Return the response to a request, or None if a stream has been sent. Errors are in the client's format.

        Sets the call of the request, which its connection ends.
        """
        request.call = self._control.begin(request)
        return self._answer(request)

    async def _answer(self, request: IncomingRequest) -> HTTPResponse | None:
        config = self.config
        route = None
        try:
            if config.is_open and (reason := cross_site_reason(request)):
                raise AuthenticationError(reason, status=403)
            if is_preflight(request, config):
                response: HTTPResponse | None = preflight_response(request)
            else:
                route = self._router.find(request)
                if request.call is not None:
                    request.call.route = route
                await self._authenticate(request, route)
                if route is None:
                    return self._report(request, None, self._not_found(request))
                if "expect" in request.headers:
                    _check_expectation(request)
                response = await route.handler(request)
        except AcytooError as error:
            if isinstance(error, WrongPasswordError) and error.guess is not None:
                self._passwords.count(request, error.guess)
            return self._report(request, route, error)
        except DisconnectedError:
            raise
        except Exception:
            if request.status:
                raise  # with a response begun, no error can be sent: a body that is cut is never complete
            _LOG.exception("internal error while answering %s", request.path)
            return self._report(request, None, ServerError("internal server error", status=500))
        if response is not None and "origin" in request.headers:
            response.headers.update(cors_headers(request, config))
        return response

    async def _authenticate(self, request: IncomingRequest, route: PathRoute | None) -> None:
        """Note who has sent a request. Raises AuthenticationError if its head has to show that, and does not."""
        is_public = route is not None and route.is_public
        if self.config.is_open and not is_public:
            request.caller = ANYONE
            return
        presented = secrets_in(request.received())
        if is_public:
            if presented:  # a handler may check it, as that of a gateway's metrics does
                await self._passwords.wait(request)
            request.caller = ANYONE
            return
        has_body_secrets = route is not None and route.dialect is not None and not route.dialect.can_pass_through
        if presented or has_body_secrets:
            await self._passwords.wait(request)
        find = self._passwords.find if has_body_secrets else self._passwords.require
        request.caller = find(presented)

    def _report(self, request: IncomingRequest, route: PathRoute | None, error: AcytooError) -> HTTPResponse:
        """Return the response that reports an error in the format of the route's API, else of the client's."""
        dialect = route.dialect if route is not None else None
        if request.call is not None:
            request.call.error = error
        public = public_error(error, request)
        known = (dialect or client_dialect(request, self.config)).for_client(request.received())
        response = known.write_error(public)
        if isinstance(error, MethodNotAllowedError):
            response.headers["allow"] = error.allowed
        response.headers.update({**attempt_headers(error.attempts), **cors_headers(request, self.config)})
        return response

    def _routes(self) -> Iterator[PathRoute]:
        for dialect in self.config.dialects:
            memory = dialect.memory()  # one for all its paths
            for endpoint in (dialect, *[legacy() for legacy in dialect.legacy_endpoints]):
                handler = self._chat_handler(endpoint, memory if endpoint is dialect else Memory())
                for path in endpoint.routes:
                    yield PathRoute("POST", path, handler, endpoint)
            for path in dialect.count_routes:
                yield PathRoute("POST", path, self._count_handler(dialect, memory), dialect)
            for path in dialect.describe_routes:
                yield PathRoute("POST", path, self._describe_handler(dialect), dialect)
        yield from model_routes(self.config.dialects, self._model_names)
        yield PathRoute("GET", "/healthz", _health, is_public=True)
        yield from page_routes()

    def _chat_handler(self, dialect: Dialect, memory: Memory) -> Handler:
        async def handle(request: IncomingRequest) -> HTTPResponse | None:
            known = dialect.for_client(request.received())
            turn, parsed = await self._bodies.read(request, known, memory)
            return await relay(request, turn, parsed, known, self.config)

        return handle

    def _count_handler(self, dialect: Dialect, memory: Memory) -> Handler:
        async def handle(request: IncomingRequest) -> HTTPResponse:
            turn, parsed = await self._bodies.read(request, dialect, memory)
            tokens = await count_tokens(request, turn, parsed, dialect, self.config)
            return HTTPResponse(200, {"content-type": "application/json"}, dialect.write_count(tokens))

        return handle

    def _describe_handler(self, dialect: Dialect) -> Handler:
        async def handle(request: IncomingRequest) -> HTTPResponse:
            name = dialect.named_model(request.received(await self._bodies.read_small(request)))
            return json_response(dialect.description(name))

        return handle

    def _model_names(self, request: IncomingRequest) -> list[str]:
        """Return the names of the models that a caller may ask for."""
        caller = request.caller or ANYONE
        return [name for name in model_names(self.config.backends) if caller.allows(name)]

    def _not_found(self, request: IncomingRequest) -> AcytooError:
        if methods := self._router.methods(request.path):
            return MethodNotAllowedError(request, ", ".join(methods))
        is_batch = request.path.startswith(("/v1/files", "/v1/batches"))
        if is_batch and not self._router.methods("/v1/batches"):
            hint = "start the server with --files FOLDER (files in [storage] of a config file)"
        elif self._router.methods(request.path.rstrip("/")):
            hint = "leave out the '/' at its end"
        elif known := self._router.known_end(request.path):
            before = request.path.removesuffix(known)
            hint = f"end the client's base URL before {before!r}, because {known!r} is a path here"
        else:
            hint = "this server answers chats only, and GET /openapi.json lists its paths"
        return NotFoundError(f"unknown path {request.path!r}: {hint}", status=404)


class MethodNotAllowedError(StatusError):
    """The path allows other methods only."""

    def __init__(self, request: IncomingRequest, allowed: str) -> None:
        message = f"{request.path} does not allow {request.method}: use {allowed}"
        super().__init__(message, status=405, code="method_not_allowed")
        self.allowed = allowed


def _check_expectation(request: IncomingRequest) -> None:
    """Raise RequestError (417) for an expectation other than `100-continue`, which reading the body fulfils."""
    if request.version == "1.1" and request.headers["expect"].lower() != "100-continue":
        raise RequestError("unknown expectation: only 100-continue is supported", status=417)


def client_dialect(request: IncomingRequest, config: ServerConfig) -> Dialect:
    """Return the dialect for errors that occur outside of a dialect's own handler: the one whose client asks.

    The fallback is OpenAI's format: most clients read it, and its own clients send nothing that identifies them.
    """
    received = request.received()
    return next((dialect for dialect in config.dialects if dialect.is_client(received)), by_name("openai"))


async def _health(request: IncomingRequest) -> HTTPResponse:
    if request.connection.is_server_stopping:
        return json_response({"status": "stopping", "version": __version__}, 503)
    return json_response({"status": "ok", "version": __version__})
