"""Decompression of HTTP bodies: `Content-Encoding: gzip`, `deflate` and `zstd`, incrementally.

Neither side asks for compression, but some servers and clients use it regardless, and bodies are not always well
formed: gzip in several members or padded with zeros, deflate with the zlib header that RFC 9110 asks for or without.
A body must never grow without limit, nor pass for complete when it was cut. Hence zlib's own objects, one for each
member: each reports its end, what follows it, and how much output is left. Starting a member costs far more than its 20
bytes, so their number is limited.

zstd is in the standard library since Python 3.14. Before that it is an optional dependency, imported on use.

Source: RFC 9110, section 8.4.1; RFC 1950 (zlib), section 2.2; RFC 1952 (gzip), sections 2.2 and 2.3.1; RFC 8878 (zstd),
section 3; RFC 9659 (the window of zstd in HTTP).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

_ANY_HEADER = zlib.MAX_WBITS | 32
_NO_HEADER = -zlib.MAX_WBITS
MAX_MEMBERS = 10_000
"""The maximum number of gzip members or zstd frames in a body. Tools that write several put 64 KB or more into each."""

_SLICE = 4096
"""Bytes given to zlib at once. It copies what follows a member, so many tiny members would cost quadratic time."""

_ZSTD_SLICE = 64
"""Bytes given to zstd at once. `zstandard` cannot limit its output, and a block of 4 bytes may become 128 KB."""

_ZSTD_WINDOW_LOG = 23
"""The largest window that zstd data in HTTP may need: 8 MiB."""


class DecodingError(Exception):
    """A body that cannot be decompressed."""


class IncompleteDataError(DecodingError):
    """Compressed data that ends too early."""


class OutputTooLargeError(DecodingError):
    """Data that decompresses to more than the limit."""


class UnknownCodingError(DecodingError):
    """A content coding that cannot be decoded."""


class ContentDecoder(Protocol):
    """A decoder of one body."""

    def decode(self, chunk: bytes) -> bytes:
        """Return what the chunk decodes to, perhaps nothing yet. Raises DecodingError."""

    def flush(self) -> None:
        """Check that the body is complete. Raises DecodingError."""


class GzipDecoder:
    """A decoder of gzip data of any number of members, with zeros between or after them."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._window = _ANY_HEADER
        self._members = 1
        self._member = zlib.decompressobj(self._window)

    def decode(self, chunk: bytes) -> bytes:
        """Return the decompressed chunk.

        Raises OutputTooLargeError if that is larger than `max_size`, DecodingError if the data is corrupt.
        """
        output: list[bytes] = []
        room = self._max_size
        try:
            for place in range(0, len(chunk), _SLICE):
                data = chunk[place : place + _SLICE]
                while data:
                    if self._member.eof:  # it would keep whatever follows it, and copy that for each slice
                        data = data.lstrip(b"\0")
                        if not data:
                            break
                        self._members += 1
                        _check_members(self._members)
                        self._member = zlib.decompressobj(self._window)
                    output.append(self._member.decompress(data, room + 1))
                    room -= len(output[-1])
                    if room < 0:
                        raise OutputTooLargeError(f"it decompresses to more than {self._max_size} bytes")
                    data = self._member.unused_data
        except zlib.error as error:
            raise DecodingError(f"the data is corrupt ({error})") from error
        return b"".join(output)

    def flush(self) -> None:
        """Check that the last member is complete. Raises IncompleteDataError."""
        if not self._member.eof:
            raise IncompleteDataError("the compressed data ends too early")


class DeflateDecoder(GzipDecoder):
    """A decoder of deflate data, with or without a zlib header: the first two bytes show which it is."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self._start: bytes | None = b""
        """What has arrived of the first two bytes; None after that."""

    def decode(self, chunk: bytes) -> bytes:
        """Return the decompressed chunk. Raises as `GzipDecoder.decode`."""
        if self._start is not None:
            chunk = self._start + chunk
            if len(chunk) < 2:
                self._start = chunk
                return b""
            self._start = None
            self._window = _ANY_HEADER if _has_header(chunk) else _NO_HEADER
            self._member = zlib.decompressobj(self._window)
        return super().decode(chunk)


class ZstdDecoder:
    """A decoder of zstd data of any number of frames."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._frame: _ZstdFrame | None = None
        self._frames = 1

    def decode(self, chunk: bytes) -> bytes:
        """Return the decompressed chunk. Raises as `GzipDecoder.decode`, or UnknownCodingError if zstd is missing."""
        new_frame, corrupt = _zstd()
        frame = self._frame or new_frame()
        output: list[bytes] = []
        room = self._max_size
        try:
            for place in range(0, len(chunk), _ZSTD_SLICE):
                data = chunk[place : place + _ZSTD_SLICE]
                while data:
                    if frame.eof:
                        self._frames += 1
                        _check_members(self._frames)
                        frame = new_frame()
                    output.append(frame.decompress(data))
                    room -= len(output[-1])
                    if room < 0:
                        raise OutputTooLargeError(f"it decompresses to more than {self._max_size} bytes")
                    data = frame.unused_data if frame.eof else b""
            self._frame = frame
        except corrupt as error:
            raise DecodingError(f"the data is corrupt ({error})") from error
        return b"".join(output)

    def flush(self) -> None:
        """Check that the last frame is complete. Raises IncompleteDataError."""
        if self._frame is None or not self._frame.eof:
            raise IncompleteDataError("the compressed data ends too early")


class _ZstdFrame(Protocol):
    """A decompressor of one frame."""

    @property
    def eof(self) -> bool:
        """Whether the frame is complete."""

    @property
    def unused_data(self) -> bytes:
        """The data after the frame."""

    def decompress(self, data: bytes) -> bytes:
        """Return what the data decompresses to."""


def _zstd() -> tuple[Callable[[], _ZstdFrame], type[Exception]]:
    """Return what creates a decompressor of one frame, and the exception that it raises for corrupt data.

    Raises UnknownCodingError if zstd is missing. Like an unknown coding, this counts only when the body is read.
    """
    module: Any
    if sys.version_info >= (3, 14):
        from compression import zstd as module

        options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return lambda: module.ZstdDecompressor(options=options), module.ZstdError
    try:
        import zstandard as module
    except ImportError as error:
        raise UnknownCodingError(
            "the content-encoding 'zstd' needs an optional dependency: pip install 'acytoo[zstd]'"
        ) from error
    context = module.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW_LOG)
    return context.decompressobj, module.ZstdError


class UnknownDecoder:
    """A stand-in for the decoder of an unknown coding: it fails only when the body is read."""

    def __init__(self, coding: str) -> None:
        self._coding = coding

    def decode(self, chunk: bytes) -> bytes:
        """Raise UnknownCodingError."""
        raise UnknownCodingError(f"the content-encoding {self._coding!r} is unknown")

    def flush(self) -> None:
        """Do nothing: an empty body is empty in every coding."""


def content_decoder(content_encoding: str, max_size: int) -> ContentDecoder | None:
    """Return a decoder for the value of a Content-Encoding header, None if the body is not encoded.

    One call of `decode` returns at most `max_size` bytes. An unknown coding raises only when the body is read: the
    status and the headers of a response count regardless.
    """
    coding = content_encoding.strip().lower()
    if coding in ("identity", ""):
        return None
    if coding in ("gzip", "x-gzip"):
        return GzipDecoder(max_size)
    if coding == "deflate":
        return DeflateDecoder(max_size)
    return ZstdDecoder(max_size) if coding == "zstd" else UnknownDecoder(coding)


def _check_members(number: int) -> None:
    if number > MAX_MEMBERS:
        raise DecodingError(f"the compressed data has more than {MAX_MEMBERS} members")


def _has_header(start: bytes) -> bool:
    """Return whether data begins with a zlib or gzip header, by its first two bytes."""
    is_zlib = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
    return is_zlib or start[:2] == b"\x1f\x8b"
