"""The body of a request: it has a time to come in, a size, and maybe a coding."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web

from acytoo.dialects.fields import invalid
from acytoo.errors import RequestError
from acytoo.server.config import ServerConfig

_BROKEN = "the request body cannot be read: its content-encoding or its chunks are broken"


async def body_of(request: web.Request, config: ServerConfig) -> bytes:
    """The whole body, uncompressed. Raises RequestError."""
    try:
        if request.content.is_eof():
            body = await request.read()
        else:
            async with asyncio.timeout(config.receive):
                body = await request.read()
    except TimeoutError as error:
        raise RequestError(
            f"the request body did not come within {config.receive:g} s", status=408, code="timeout_error"
        ) from error
    except web.RequestPayloadError as error:
        raise invalid(_BROKEN) from error
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(config) from error
    coding = request.headers.get("content-encoding", "").strip().lower()
    return body if coding in ("", "identity") else _inflated(body, coding, config)


def _inflated(body: bytes, coding: str, config: ServerConfig) -> bytes:
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise invalid(f"the content-encoding {coding!r} cannot be undone here: send gzip, deflate, or none")
    bare = coding == "deflate" and body[:1] and body[0] & 0x0F != zlib.DEFLATED
    inflate = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
    try:
        plain = inflate.decompress(body, config.max_body + 1)
    except zlib.error as error:
        raise invalid(_BROKEN) from error
    if len(plain) > config.max_body:
        raise _too_large(config)
    if not inflate.eof or inflate.unused_data:
        raise invalid(_BROKEN)
    return plain


def _too_large(config: ServerConfig) -> RequestError:
    return RequestError(
        f"the request body is larger than {config.max_body} bytes", status=413, code="request_too_large"
    )
