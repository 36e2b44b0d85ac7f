"""Compressed bodies decode to the same bytes however they are split, and never pass for complete when cut."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from acytoo.wire.compression import (
    MAX_MEMBERS,
    ContentDecoder,
    DecodingError,
    IncompleteDataError,
    OutputTooLargeError,
    UnknownCodingError,
    content_decoder,
)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw_deflate),
    "deflate with a header of gzip": ("deflate", gzip.compress),
    "zstd": ("zstd", zstandard.compress),
}


def decoder(coding: str, max_size: int = 1_000_000) -> ContentDecoder:
    found = content_decoder(coding, max_size)
    assert found is not None
    return found


def decode(coding: str, body: bytes, size: int) -> bytes:
    """Decode a complete body in chunks of `size` bytes."""
    content = decoder(coding)
    data = b"".join([content.decode(body[i : i + size]) for i in range(0, len(body), size)])
    content.flush()
    return data


@pytest.mark.parametrize(("coding", "encode"), ENCODERS.values(), ids=ENCODERS)
@given(data=st.binary(), size=st.integers(1, 50))
def test_a_body_decodes_to_the_same_bytes_however_it_is_split(
    coding: str, encode: Callable[[bytes], bytes], data: bytes, size: int
) -> None:
    assert decode(coding, encode(data), size) == data


@given(parts=st.lists(st.tuples(st.binary(), st.integers(0, 9)), min_size=1), size=st.integers(1, 50))
def test_gzip_members_are_joined_and_zeros_after_them_are_skipped(parts: list[tuple[bytes, int]], size: int) -> None:
    body = b"".join(gzip.compress(data) + bytes(zeros) for data, zeros in parts)
    assert decode("gzip", body, size) == b"".join(data for data, _ in parts)


@pytest.mark.parametrize(("coding", "encode"), ENCODERS.values(), ids=ENCODERS)
def test_a_body_cut_anywhere_is_incomplete(coding: str, encode: Callable[[bytes], bytes]) -> None:
    body = encode(b"Hello, world")
    for length in range(len(body)):
        with pytest.raises(IncompleteDataError):
            decode(coding, body[:length], 7)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("rest", [b"more", b"\xff" * 500], ids=["text", "bytes"])
def test_data_after_the_end_that_is_not_a_member_is_corrupt(coding: str, rest: bytes) -> None:
    body = ENCODERS[coding][1](b"Hello")
    with pytest.raises(DecodingError, match="corrupt"):
        decode(coding, body + rest, 1000)


@pytest.mark.parametrize(("coding", "encode"), ENCODERS.values(), ids=ENCODERS)
def test_a_chunk_may_decode_to_the_limit_and_not_to_a_byte_more(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert decoder(coding, 1000).decode(encode(b"x" * 1000)) == b"x" * 1000
    with pytest.raises(OutputTooLargeError):
        decoder(coding, 1000).decode(encode(b"x" * 1001))


def test_the_limit_counts_all_members_of_a_chunk() -> None:
    with pytest.raises(OutputTooLargeError):
        decoder("gzip", 1000).decode(gzip.compress(b"x" * 600) * 2)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [100, 10_000_000])
def test_the_number_of_members_of_a_body_is_limited(coding: str, size: int) -> None:
    member = ENCODERS[coding][1](b"a")
    assert decode(coding, member * MAX_MEMBERS, size) == b"a" * MAX_MEMBERS
    with pytest.raises(DecodingError, match="more than 10000 members"):
        decode(coding, member * (MAX_MEMBERS + 1), size)


@pytest.mark.parametrize("value", ["", "identity", " Identity "])
def test_a_body_that_is_not_encoded_has_no_decoder(value: str) -> None:
    assert content_decoder(value, 1000) is None


@pytest.mark.parametrize("value", ["br", "gzip, gzip", "zstd, gzip"])
def test_an_unknown_coding_is_an_error_only_when_the_body_is_read(value: str) -> None:
    content = decoder(value)
    with pytest.raises(UnknownCodingError, match=value):
        content.decode(b"x")


# zstd.


def test_zstd_frames_are_joined() -> None:
    body = zstandard.compress(b"Hel") + zstandard.compress(b"") + zstandard.compress(b"lo")
    for size in range(1, len(body) + 1):
        assert decode("zstd", body, size) == b"Hello"


def test_a_zstd_body_that_grows_without_limit_costs_little_memory() -> None:
    bomb = zstandard.compress(b"x" * 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(OutputTooLargeError):
            decoder("zstd", 1000).decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("window_log", [24, 25])
def test_a_zstd_body_with_a_larger_window_than_http_allows_is_refused(window_log: int) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(DecodingError, match="corrupt"):
        decoder("zstd").decode(compressor.compress(b"x" * 20_000_000) + compressor.flush())


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="zstd is in the standard library")
def test_without_its_extra_a_zstd_body_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    content = decoder("zstd")
    with pytest.raises(UnknownCodingError, match=r"pip install 'acytoo\[zstd\]'"):
        content.decode(b"x")


@pytest.mark.parametrize(
    ("coding", "member"), [("gzip", gzip.compress(b"Hi")), ("deflate", zlib.compress(b"Hi"))], ids=["gzip", "deflate"]
)
def test_megabytes_of_zeros_after_a_member_take_as_long_as_reading_them(coding: str, member: bytes) -> None:
    decoder = content_decoder(coding, 100)
    assert decoder is not None
    assert decoder.decode(member + bytes(32_000_000)) == b"Hi"  # minutes, if the zeros were kept
    decoder.flush()
