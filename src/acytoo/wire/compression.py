"""Unpacks a reply that a server compresses although it was not asked to."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from acytoo.errors import ProtocolError, TruncatedError
from acytoo.http import ResponseHead

_MAX_INFLATED = 16 * 1024 * 1024
"""Bytes that one read of the socket may grow to."""
_ANY_HEADER = zlib.MAX_WBITS | 32
_NO_HEADER = -zlib.MAX_WBITS


def inflater(head: ResponseHead) -> Callable[[bytes], bytes] | None:
    """Decompress chunk by chunk, where the server compresses although it was not asked to.

    What it returns raises ProtocolError for a compression that is not known: status and headers count all the same.
    """
    coding = head.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return None
    if coding in ("gzip", "x-gzip"):
        return Inflater(_ANY_HEADER)
    return Inflater() if coding == "deflate" else _unknown(coding)


def _unknown(coding: str) -> Callable[[bytes], bytes]:
    def refuse(chunk: bytes) -> bytes:
        raise ProtocolError(f"the reply is compressed ({coding}) although that was not asked for")

    return refuse


class Inflater:
    """gzip of any number of members, or deflate, with the header it should have or without, as many servers send it.

    Raises TruncatedError where the compressed data is cut, ProtocolError where it is damaged.
    """

    def __init__(self, window: int | None = None) -> None:
        self._window = window
        self._start = b""  # of deflate, until its two bytes of header, if it has one, are here
        self._inflate = zlib.decompressobj(window or _ANY_HEADER)

    def __call__(self, chunk: bytes) -> bytes:
        if not chunk:
            if not self._inflate.eof:
                raise TruncatedError("the compressed reply was cut")
            return b""
        if self._window is None:
            chunk = self._start + chunk
            if len(chunk) < 2:
                self._start = chunk
                return b""
            self._window = _window(chunk)
            self._inflate = zlib.decompressobj(self._window)
        plain = b""
        try:
            while True:
                plain += self._inflate.decompress(chunk, max(1, _MAX_INFLATED - len(plain)))
                if self._inflate.unconsumed_tail:
                    raise ProtocolError("the compressed reply grows beyond all measure")
                chunk = self._inflate.unused_data.lstrip(b"\0")  # what follows a member: another, or padding
                if not chunk:
                    return plain
                self._inflate = zlib.decompressobj(self._window)
        except zlib.error as error:
            raise ProtocolError(f"the compressed reply is damaged ({error})") from error


def _window(start: bytes) -> int:
    """What zlib is to expect, by the first two bytes. Source: RFC 1950, section 2.2, and RFC 1952, section 2.3.1."""
    is_zlib = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return _ANY_HEADER if is_zlib or start[:2] == b"\x1f\x8b" else _NO_HEADER
