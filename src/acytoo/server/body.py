"""Read request bodies: timeout, size limit, Content-Encoding."""

from __future__ import annotations

from acytoo.dialects.fields import invalid
from acytoo.errors import RequestError
from acytoo.http1.head import HTTPError
from acytoo.server.request import BodyTooLargeError, IncomingRequest
from acytoo.wire.compression import DecodingError, OutputTooLargeError, UnknownCodingError, content_decoder

_BROKEN = "the request body is corrupt: check its content-encoding and its chunks"


async def read_body(request: IncomingRequest, max_size: int, timeout: float) -> bytes:
    """Return the complete body, decompressed; `max_size` is also that of the latter. Raises RequestError."""
    try:
        body = await request.body(max_size, timeout)
    except TimeoutError as error:
        raise RequestError(
            f"the request body did not arrive within {timeout:g} s", status=408, code="timeout_error"
        ) from error
    except HTTPError as error:
        raise invalid(_BROKEN) from error
    except BodyTooLargeError as error:
        raise _too_large(max_size) from error
    coding = request.headers.get("content-encoding")
    return body if coding is None else _decoded(body, coding, max_size)


def _decoded(body: bytes, content_encoding: str, max_size: int) -> bytes:
    decoder = content_decoder(content_encoding, max_size)
    if decoder is None:
        return body
    try:
        decoded = decoder.decode(body)
        decoder.flush()
    except UnknownCodingError as error:
        raise invalid(f"{error}: send gzip, deflate, zstd or none") from error
    except OutputTooLargeError as error:
        raise _too_large(max_size) from error
    except DecodingError as error:
        raise invalid(_BROKEN) from error
    return decoded


def _too_large(max_size: int) -> RequestError:
    return RequestError(f"the request body is larger than {max_size} bytes", status=413, code="request_too_large")
