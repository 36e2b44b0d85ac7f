"""The header of a GGUF file: whatever is in it, the process lives."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.embedded.gguf import check_header
from acytoo.errors import EmbeddedError
from tests.processes import run, script

HEADER = 1_785_664
"""Bytes of the real model's header."""
NAN = struct.unpack("<I", struct.pack("<f", float("nan")))[0]
MINUS_ONE = struct.unpack("<I", struct.pack("<f", -1.0))[0]

LOAD = """
import sys
from pathlib import Path
from acytoo.embedded.provider import Model, load_engine
from acytoo.errors import EmbeddedError
try:
    load_engine(Model("x", Path(sys.argv[1])))
except EmbeddedError as error:
    print(error)
"""


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*keys: bytes, tensors: tuple[bytes, ...] = (), version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)


def u32(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", 4, value)


def f32(key: str, value: float) -> bytes:
    return text(key) + struct.pack("<If", 6, value)


def array(key: str, kind: int, count: int, content: bytes = b"") -> bytes:
    return text(key) + struct.pack("<IIQ", 9, kind, count) + content


def tensor(name: str, *dimensions: int, offset: int = 0) -> bytes:
    count = len(dimensions)
    return text(name) + struct.pack(f"<I{count}QIQ", count, *dimensions, 0, offset)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.block_count", 0),
        ("llama.block_count", 100_000),
        ("llama.block_count", 2**31 - 1),
        ("llama.context_length", 0),
        ("llama.context_length", 2**32 - 1),
        ("llama.attention.layer_norm_rms_epsilon", NAN),
        ("llama.attention.layer_norm_rms_epsilon", MINUS_ONE),
    ],
)
def test_a_real_model_with_an_absurd_number_is_an_error_and_the_process_lives(
    key: str, value: int, model_file: Path, file: Path
) -> None:
    with model_file.open("rb") as model:
        header = bytearray(model.read(HEADER))
    position = header.index(key.encode()) + len(key) + 4
    header[position : position + 4] = struct.pack("<I", value)
    with file.open("wb") as out:
        out.write(header)
        out.truncate(model_file.stat().st_size)
    done = run([*script(LOAD), str(file)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith(f"invalid model file {file}: {key} is ")


def test_the_real_model_is_valid(model_file: Path) -> None:
    check_header(model_file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGML" + bytes(100), "expected a GGUF file"),
        (gguf(version=1), "version 1"),
        (gguf(version=0x03000000), "big-endian"),
        (gguf()[:-8] + b"\xff" * 8, "number of tensors and keys exceeds the file"),
        (gguf(struct.pack("<Q", 2**63) + bytes(20)), "length of a text exceeds the file"),
        (gguf(text("k" * 20) + struct.pack("<I", 13)), "unknown type 13"),
        (gguf(array("k", 9, 1, bytes(50))), "array 'k' has the unknown type 9"),
        (gguf(array("k", 8, 2**60, bytes(50))), "array 'k' exceeds the file"),
        (gguf(array("k", 8, 2, text("x" * 50)[:-1])), "array 'k' exceeds the file"),
        (gguf(array("k", 10, 2**61, bytes(50))), "array 'k' exceeds the file"),
        (gguf(array("llama.attention.head_count", 4, 2, struct.pack("<II", 9, 2**32 - 1))), "head_count is 4294967295"),
        (gguf(f32("llama.rope.freq_base", float("inf"))), "freq_base is inf"),
        (gguf(u32("general.alignment", 0)), "alignment is 0"),
        (gguf(tensors=(tensor("t", 0),)), r"impossible shape \[0\]"),
        (gguf(tensors=(tensor("t", 2**40, 2**40),)), "impossible shape"),
        (gguf(tensors=(tensor("t", 1, 1, 1, 1, 1),)), "5 dimensions"),
        (gguf(tensors=(tensor("t" * 64, 1),)), "too long a name"),
        (gguf(tensors=(tensor("t", 1, offset=2**40),)), "begins behind the end"),
    ],
)
def test_an_invalid_header_is_an_error_that_names_the_file(content: bytes, message: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(EmbeddedError, match=message) as caught:
        check_header(file)
    assert str(file) in str(caught.value)


VALID = gguf(
    text("general.name") + struct.pack("<I", 8) + text("x"),
    u32("llama.block_count", 2),
    f32("llama.attention.layer_norm_rms_epsilon", 1e-5),
    array("tokenizer.ggml.tokens", 8, 2, text("a") + text("b")),
    array("tokenizer.ggml.scores", 6, 2, bytes(8)),
    tensors=(tensor("token_embd.weight", 8, 2), tensor("output.weight", 8)),
)


def test_a_small_valid_header_is_accepted(file: Path) -> None:
    file.write_bytes(VALID)
    check_header(file)


@given(data=st.data())
def test_any_damage_is_accepted_or_an_embedded_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(VALID[: data.draw(st.integers(1, len(VALID)))])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged.gguf"
    file.write_bytes(content)
    try:
        check_header(file)
    except EmbeddedError as error:
        assert str(file) in str(error)
