"""Compressed bodies decode to the same bytes however they are split, and never pass for complete when cut."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.wire.compression import (
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


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
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


def test_a_body_of_many_empty_members_costs_no_quadratic_time() -> None:
    body = gzip.compress(b"") * 100_000
    began = time.process_time()
    assert decode("gzip", body, len(body)) == b""
    assert time.process_time() - began < 5


@pytest.mark.parametrize("value", ["", "identity", " Identity "])
def test_a_body_that_is_not_encoded_has_no_decoder(value: str) -> None:
    assert content_decoder(value, 1000) is None


@pytest.mark.parametrize("value", ["br", "zstd", "gzip, gzip"])
def test_an_unknown_coding_is_an_error_only_when_the_body_is_read(value: str) -> None:
    content = decoder(value)
    with pytest.raises(UnknownCodingError, match=value):
        content.decode(b"x")
