"""Read request bodies: timeout, size limit, Content-Encoding."""

from __future__ import annotations

import asyncio

from aiohttp import web

from acytoo.dialects.fields import invalid
from acytoo.errors import RequestError
from acytoo.server.config import ServerConfig
from acytoo.wire.compression import DecodingError, OutputTooLargeError, UnknownCodingError, content_decoder

_BROKEN = "the request body is corrupt: check its content-encoding and its chunks"


async def read_body(request: web.Request, config: ServerConfig) -> bytes:
    """Return the complete body, decompressed. Raises RequestError."""
    try:
        if request.content.is_eof():
            body = await request.read()
        else:
            async with asyncio.timeout(config.receive):
                body = await request.read()
    except TimeoutError as error:
        raise RequestError(
            f"the request body did not arrive within {config.receive:g} s", status=408, code="timeout_error"
        ) from error
    except web.RequestPayloadError as error:
        raise invalid(_BROKEN) from error
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(config) from error
    return _decoded(body, request.headers.get("content-encoding", ""), config)


def _decoded(body: bytes, content_encoding: str, config: ServerConfig) -> bytes:
    decoder = content_decoder(content_encoding, config.max_body)
    if decoder is None:
        return body
    try:
        decoded = decoder.decode(body)
        decoder.flush()
    except UnknownCodingError as error:
        raise invalid(f"{error}: send gzip, deflate or none") from error
    except OutputTooLargeError as error:
        raise _too_large(config) from error
    except DecodingError as error:
        raise invalid(_BROKEN) from error
    return decoded


def _too_large(config: ServerConfig) -> RequestError:
    return RequestError(
        f"the request body is larger than {config.max_body} bytes", status=413, code="request_too_large"
    )
