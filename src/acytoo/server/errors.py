"""Errors about backends: complete in the log, without the backend's address in the response."""

from __future__ import annotations

import logging

from acytoo.errors import (
    AcytooError,
    MissingExtraError,
    ProtocolError,
    RedirectError,
    ServerError,
    TLSError,
    UnreachableError,
    one_line,
)
from acytoo.server.request import IncomingRequest

_LOG = logging.getLogger("acytoo.server")

_PUBLIC = (
    TLSError("no TLS connection to the backend can be made"),
    UnreachableError("the backend cannot be reached: try again later"),
    RedirectError("the backend has moved"),
    ProtocolError("the backend's response is not in the format of its API"),
)
"""What clients get instead of an error of these classes, the first that fits."""


def public_error(error: AcytooError, request: IncomingRequest) -> AcytooError:
    """Return the error as a client may see it, and log what it does not see.

    Messages about connections contain the backend's host, port and proxy, which is for the operator only. What the
    backend itself reports is for the client.
    """
    if isinstance(error, MissingExtraError):
        public: AcytooError = ServerError("the server lacks an optional dependency", status=500)
    else:
        found = next((public for public in _PUBLIC if isinstance(error, type(public))), None)
        if found is None:
            return error
        public = type(found)(found.message)
    _LOG.warning("%s: %s", request.raw_path, one_line(error.message))
    return public
