"""The gateway's own paths: metrics, usage and probes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from ipaddress import ip_address

from acytoo.dialects.server_side import secrets_in
from acytoo.errors import AcytooError, AuthenticationError, ServerError, StatusError
from acytoo.gateway.call import ADMIN
from acytoo.gateway.control import GatewayControl
from acytoo.gateway.metrics import CONTENT_TYPE, Metrics
from acytoo.gateway.usage import usage_document
from acytoo.http import HTTPResponse
from acytoo.server.auth import WrongPasswordError, address_of
from acytoo.server.control import ANYONE
from acytoo.server.request import IncomingRequest
from acytoo.server.response import json_response
from acytoo.server.router import PathRoute

_LOG = logging.getLogger("acytoo.gateway")


def admin_routes(control: GatewayControl, metrics: Metrics | None) -> Iterator[PathRoute]:
    """Yield the routes of a gateway. Probes never ask a model, a database or the counters."""

    async def show_metrics(request: IncomingRequest) -> HTTPResponse:
        assert metrics is not None
        if control.setup.admin_key:
            presented = secrets_in(request.received())
            caller = control.find(presented)
            if caller is None:
                raise WrongPasswordError(presented)
            if caller is not ADMIN:
                raise AuthenticationError("the metrics need the admin key", status=401, code="authentication_error")
        elif not _is_local(request):
            message = "the metrics are for this machine only: set admin_key in [server] to read them from others"
            raise AuthenticationError(message, status=403, code="permission_error")
        # Rendering the series of 100 keys and 20 models takes 0.2 s (measured).
        return HTTPResponse(200, {"content-type": CONTENT_TYPE}, await asyncio.to_thread(metrics.render))

    async def show_usage(request: IncomingRequest) -> HTTPResponse:
        caller = request.caller
        key = None if caller is ADMIN or caller is ANYONE else caller.name if caller is not None else ""
        try:
            return json_response(await usage_document(control.ledger, key, request.query))
        except StatusError:  # about the query
            raise
        except AcytooError as error:  # has the ledger's path or host
            _LOG.error("/usage: %s", error)
            message = "usage cannot be read at the moment: try again later"
            raise ServerError(message, status=503, retry_after=5) from error

    if metrics is not None:
        yield PathRoute("GET", "/metrics", show_metrics, is_public=True)
    yield PathRoute("GET", "/usage", show_usage)
    yield PathRoute("GET", "/livez", _live, is_public=True)
    yield PathRoute("GET", "/readyz", _ready, is_public=True)


async def _live(_: IncomingRequest) -> HTTPResponse:
    return json_response({"status": "ok"})


async def _ready(request: IncomingRequest) -> HTTPResponse:
    if request.connection.is_server_stopping:
        return json_response({"status": "stopping"}, 503)
    return json_response({"status": "ok"})


def _is_local(request: IncomingRequest) -> bool:
    """Return whether a request comes from this machine, and not through a proxy on it."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    try:
        return ip_address(address_of(request)).is_loopback
    except ValueError:  # over a Unix socket, or an IPv6 network
        return address_of(request).startswith("::/") or address_of(request) == "-"
