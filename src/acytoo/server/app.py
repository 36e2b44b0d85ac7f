"""The web application: routes, middlewares, error responses and the start page."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from acytoo._version import __version__
from acytoo.dialects import by_name
from acytoo.dialects.base import Dialect
from acytoo.errors import AcytooError, AuthenticationError, NotFoundError, ServerError, StatusError
from acytoo.http import ServerRequest
from acytoo.server.body import read_body
from acytoo.server.config import ServerConfig
from acytoo.server.cors import cors_headers, cross_site_reason, is_preflight, preflight_response
from acytoo.server.models import bodiless, model_routes
from acytoo.server.openapi import openapi_route
from acytoo.server.relay import count_tokens, relay
from acytoo.server.shutdown import InFlightRequests

_LOG = logging.getLogger("acytoo.server")


def make_app(config: ServerConfig) -> web.Application:
    """Return the application.

    Run it with `handler_cancellation=True`: then a client that disconnects cancels the request to its backend.
    """
    in_flight = InFlightRequests()
    app = web.Application(
        client_max_size=config.max_body, middlewares=[_access_middleware(config, in_flight), _error_middleware(config)]
    )
    app.add_routes(_routes(config))

    async def finish(_: web.Application) -> None:
        await in_flight.finish(config.grace)

    app.on_shutdown.append(finish)
    return app


def _routes(config: ServerConfig) -> Iterator[web.RouteDef]:
    for dialect in config.dialects:
        for path in dialect.routes:
            yield web.post(path, _chat_handler(dialect, config))
        for path in dialect.count_routes:
            yield web.post(path, _count_handler(dialect, config))
    yield from model_routes(config)
    yield openapi_route(config)
    yield web.get("/healthz", _health)
    yield web.get("/", _page_handler(config))


def _chat_handler(dialect: Dialect, config: ServerConfig) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await relay(request, await _received(request, config), dialect, config)
        except AcytooError as error:
            return error_response(dialect, error)

    return handle


def _count_handler(dialect: Dialect, config: ServerConfig) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            body = dialect.write_count(await count_tokens(await _received(request, config), dialect, config))
        except AcytooError as error:
            return error_response(dialect, error)
        return web.Response(body=body, content_type="application/json")

    return handle


async def _received(request: web.Request, config: ServerConfig) -> ServerRequest:
    return ServerRequest(request.path, request.headers, await read_body(request, config), request.query)


def error_response(dialect: Dialect, error: AcytooError) -> web.Response:
    """Return the response that reports an error in the dialect's own format."""
    response = dialect.write_error(error)
    return web.Response(status=response.status, headers=response.headers, body=response.body)


def client_dialect(request: web.Request, config: ServerConfig) -> Dialect:
    """Return the dialect for errors that occur outside of a dialect's own handler: the one whose client asks.

    The fallback is OpenAI's format: most clients read it, and its own clients send nothing that identifies them.
    """
    received = bodiless(request)
    return next((dialect for dialect in config.dialects if dialect.is_client(received)), by_name("openai"))


def _access_middleware(config: ServerConfig, in_flight: InFlightRequests) -> Middleware:
    """Reject cross-site requests unless a password is set; with one, answer preflights and add CORS headers."""

    @web.middleware
    async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
        in_flight.add_current_task()
        if not config.password and (reason := cross_site_reason(request)):
            error = AuthenticationError(reason, status=403, code="permission_error")
            return error_response(client_dialect(request, config), error)
        if is_preflight(request, config):
            response: web.StreamResponse = preflight_response(request)
        else:
            response = await handler(request)
        response.headers.update(cors_headers(request, config))
        return response

    return check_access


def _error_middleware(config: ServerConfig) -> Middleware:
    """Turn exceptions into responses in the format of the client's API."""

    @web.middleware
    async def report_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except AcytooError as error:
            return error_response(client_dialect(request, config), error)
        except web.HTTPNotFound:
            missing = NotFoundError(f"unknown path {request.path!r}", status=404, code="not_found_error")
            return error_response(client_dialect(request, config), missing)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            message = f"{request.path} does not allow {request.method}: use {allowed}"
            wrong = StatusError(message, status=405, code="method_not_allowed")
            response = error_response(client_dialect(request, config), wrong)
            response.headers["allow"] = allowed
            return response
        except web.HTTPException:
            raise
        except Exception:
            # With the client gone, or a response begun, no error can be sent: a body that is cut is never complete.
            if request.transport is None or request.writer.output_size:
                raise
            _LOG.exception("internal error while answering %s", request.path)
            return error_response(client_dialect(request, config), ServerError("internal server error", status=500))

    return report_errors


async def _health(request: web.Request) -> web.Response:
    return web.Response(
        body=msgspec.json.encode({"status": "ok", "version": __version__}), content_type="application/json"
    )


def _page_handler(config: ServerConfig) -> Handler:
    paths = "".join(
        f"<li><code>POST {html.escape(dialect.routes[0])}</code> {html.escape(dialect.name)}</li>"
        for dialect in config.dialects
    )
    access = "A password is needed." if config.password else "No password is needed from this machine."
    page = _PAGE.format(version=__version__, paths=paths, access=access)

    async def show_page(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", charset="utf-8")

    return show_page


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Acytoo</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}}</style>
</head><body><h1>Acytoo {version}</h1>
<p>This is a chat server. It answers every chat API below. {access}</p>
<ul>{paths}</ul>
<p>Try it: <code>acytoo chat --url http://…</code>, or set any client's base URL to this server.
<code>GET /healthz</code> reports whether it is running.</p>
</body></html>
"""
