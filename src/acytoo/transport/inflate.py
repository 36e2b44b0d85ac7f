"""Unpacks a reply that a server compresses although it was not asked to."""

from __future__ import annotations

import zlib

from acytoo.dialects.base import Head
from acytoo.errors import ProtocolError, TruncatedError

_MAX_INFLATED = 16 * 1024 * 1024
"""Bytes that one read of the socket may grow to."""


def inflater(head: Head) -> Inflater | None:
    """Decompress chunk by chunk, where the server compresses although it was not asked to."""
    coding = head.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ProtocolError(f"the reply is compressed ({coding}) although that was not asked for")
    return Inflater()


class Inflater:
    """gzip or deflate, whichever its header says. Raises TruncatedError where the compressed data is cut."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def __call__(self, chunk: bytes) -> bytes:
        if not chunk:
            if not self._inflate.eof:
                raise TruncatedError("the compressed reply was cut")
            return b""
        try:
            plain = self._inflate.decompress(chunk, _MAX_INFLATED)
        except zlib.error as error:
            raise ProtocolError(f"the compressed reply is damaged ({error})") from error
        if self._inflate.unconsumed_tail:
            raise ProtocolError("the compressed reply grows beyond all measure")
        return plain
