"""The web application: routes, who may call, the plain pages."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from acytoo import __version__
from acytoo.dialects import by_name
from acytoo.dialects.base import Dialect
from acytoo.errors import AcytooError, AuthenticationError, NotFoundError, ServerError, StatusError
from acytoo.http import ServerRequest
from acytoo.server.body import body_of
from acytoo.server.config import ServerConfig
from acytoo.server.cors import cross_site_reason, is_preflight, preflight_answer, readable
from acytoo.server.models import bodiless, model_routes
from acytoo.server.openapi import add_description
from acytoo.server.relay import count, relay
from acytoo.server.shutdown import InFlightRequests

_LOG = logging.getLogger("acytoo.server")


def make_app(config: ServerConfig) -> web.Application:
    """The application; run it with `handler_cancellation=True`, so that a client that leaves stops its upstream."""
    running = InFlightRequests()
    app = web.Application(client_max_size=config.max_body, middlewares=[_guard(config, running)])
    app.add_routes([*_chat_routes(config), *model_routes(config)])
    add_description(app, config)
    app.add_routes([web.get("/healthz", _healthz), web.get("/", _page(config))])

    async def end(_: web.Application) -> None:
        await running.end(config.grace)

    app.on_shutdown.append(end)
    return app


def _chat_routes(config: ServerConfig) -> Iterator[web.RouteDef]:
    for dialect in config.dialects:
        for route in dialect.routes:
            yield web.post(route, _endpoint(dialect, config))
        for route in dialect.count_routes:
            yield web.post(route, _counting(dialect, config))


def _endpoint(dialect: Dialect, config: ServerConfig) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await relay(request, await _incoming(request, config), dialect, config)
        except AcytooError as error:
            return error_response(dialect, error)

    return answer


def _counting(dialect: Dialect, config: ServerConfig) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            body = dialect.write_count(await count(await _incoming(request, config), dialect, config))
        except AcytooError as error:
            return error_response(dialect, error)
        return web.Response(body=body, content_type="application/json")

    return answer


async def _incoming(request: web.Request, config: ServerConfig) -> ServerRequest:
    return ServerRequest(request.path, request.headers, await body_of(request, config), request.query)


def error_response(dialect: Dialect, error: AcytooError) -> web.Response:
    """The error in the dialect's own shape."""
    answer = dialect.write_error(error)
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def client_dialect(request: web.Request, config: ServerConfig) -> Dialect:
    """Return the dialect in which to report an error that happens outside of a dialect's own handler.

    OpenAI's is the fallback: most clients know it, and its own clients send nothing by which to know them.
    """
    received = bodiless(request)
    return next((dialect for dialect in config.dialects if dialect.is_client(received)), by_name("openai"))


def _guard(config: ServerConfig, running: InFlightRequests) -> Middleware:
    """Keep other sites' pages away from a server without a password, let them read the answers of one that has one."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        running.begin()
        if not config.password and (problem := cross_site_reason(request)):
            return error_response(
                client_dialect(request, config), AuthenticationError(problem, status=403, code="permission_error")
            )
        if is_preflight(request, config):
            response: web.StreamResponse = preflight_answer(request)
        else:
            response = await _told(request, handler, config)
        response.headers.update(readable(request, config))
        return response

    return guard


async def _told(request: web.Request, handler: Handler, config: ServerConfig) -> web.StreamResponse:
    """The answer; a fault is answered in the path's dialect."""
    try:
        return await handler(request)
    except AcytooError as error:
        return error_response(client_dialect(request, config), error)
    except web.HTTPNotFound:
        missing = NotFoundError(f"there is nothing at {request.path}", status=404, code="not_found_error")
        return error_response(client_dialect(request, config), missing)
    except web.HTTPMethodNotAllowed as error:
        wrong = StatusError(
            f"{request.method} is not possible at {request.path}", status=405, code="method_not_allowed"
        )
        response = error_response(client_dialect(request, config), wrong)
        response.headers["allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except web.HTTPException:
        raise
    except Exception:
        if request.transport is None or request.writer.output_size:
            raise  # there is nobody to tell, or an answer has begun: cut, it cannot be taken for whole
        _LOG.exception("a fault of the server's own, answering %s", request.path)
        return error_response(client_dialect(request, config), ServerError("the server has failed", status=500))


async def _healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "version": __version__}, dumps=lambda d: msgspec.json.encode(d).decode())


def _page(config: ServerConfig) -> Handler:
    async def page(request: web.Request) -> web.Response:
        paths = "".join(
            f"<li><code>POST {html.escape(dialect.routes[0])}</code> {html.escape(dialect.name)}</li>"
            for dialect in config.dialects
        )
        closed = "A password is needed." if config.password else "No password is needed from this machine."
        return web.Response(
            content_type="text/html",
            charset="utf-8",
            text=_PAGE.format(version=__version__, paths=paths, closed=closed),
        )

    return page


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Acytoo</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}}</style>
</head><body><h1>Acytoo {version}</h1>
<p>This is a chat server: one model, answering in every API that chat clients speak. {closed}</p>
<ul>{paths}</ul>
<p>Try it: <code>acytoo chat --url http://…</code>, or point any client's base URL here.
<code>GET /healthz</code> tells whether it is up.</p>
</body></html>
"""
