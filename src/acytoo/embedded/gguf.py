"""The header of a GGUF file, checked before llama.cpp reads it.

The problem: llama.cpp ends the process if a number in the header is absurd, such as no layers or a negative epsilon.

The strategy: read the header with every length compared to the file's size, and reject the numbers that it cannot take.
Keys differ between architectures, but their endings do not.

The cost: a file with 100,000 tokens takes a tenth of a second. Weights with a pinned hash are not checked.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

from acytoo.errors import EmbeddedError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""Value types by number, as `struct` formats."""
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_MAX_LAYERS = 512
"""`LLAMA_MAX_LAYERS`."""
_MAX_INTEGER = 2**31 - 1
"""llama.cpp keeps most numbers as a signed integer of 32 bits."""
_MAX_DIMENSIONS = 4
_MAX_NAME = 64
_MIN_KEY_BYTES = 8 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8


class _InvalidError(Exception):
    """Why the header is invalid."""


def check_header(path: Path) -> None:
    """Raise EmbeddedError if the file cannot be read, or has not the header of a GGUF file that llama.cpp can load."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise _InvalidError("expected a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _Header(data).check()
    except OSError as error:
        raise EmbeddedError(f"cannot read the model file {path}: {error.strerror}") from error
    except _InvalidError as error:
        raise EmbeddedError(f"invalid model file {path}: {error}") from error


class _Header:
    """A reader of the header in `data`."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._size = len(data)
        self._position = 4

    def check(self) -> None:
        version = self._u32()
        if version not in (2, 3):
            raise _InvalidError(f"GGUF version {version} is unknown, or the file is big-endian")
        tensor_count, key_count = self._u64(), self._u64()
        self._require(tensor_count * _MIN_TENSOR_BYTES + key_count * _MIN_KEY_BYTES, "the number of tensors and keys")
        for _ in range(key_count):
            key = self._text()
            self._check_value(key, self._u32())
        for _ in range(tensor_count):
            self._check_tensor()

    def _require(self, count: int, what: str) -> None:
        """Raise _InvalidError unless the file has that many bytes after the position."""
        if count > self._size - self._position:
            raise _InvalidError(f"{what} exceeds the file, which is damaged or incomplete")

    def _u32(self) -> int:
        self._require(4, "its header")
        self._position += 4
        return int(_U32.unpack_from(self._data, self._position - 4)[0])

    def _u64(self) -> int:
        self._require(8, "its header")
        self._position += 8
        return int(_U64.unpack_from(self._data, self._position - 8)[0])

    def _text(self) -> str:
        length = self._u64()
        self._require(length, "the length of a text")
        self._position += length
        return self._data[self._position - length : min(self._position, self._position - length + 200)].decode(
            "utf-8", "replace"
        )

    def _check_value(self, key: str, kind: int) -> None:
        if kind == _STRING:
            self._text()
        elif kind == _ARRAY:
            self._check_array(key, self._u32(), self._u64())
        elif kind in _SCALARS:
            size = struct.calcsize(_SCALARS[kind])
            self._require(size, "its header")
            _check_number(key, struct.unpack_from(_SCALARS[kind], self._data, self._position)[0])
            self._position += size
        else:
            raise _InvalidError(f"the key {key!r} has the unknown type {kind}")

    def _check_array(self, key: str, kind: int, count: int) -> None:
        if kind == _STRING:
            self._require(count * 8, f"the array {key!r}")
            position, limit = self._position, self._size - 8
            for _ in range(count):  # inlined: models have hundreds of thousands of tokens
                if position > limit:
                    raise _InvalidError(f"the array {key!r} exceeds the file, which is damaged or incomplete")
                position += 8 + _U64.unpack_from(self._data, position)[0]
            self._position = position
            self._require(0, f"the array {key!r}")
        elif kind in _SCALARS:
            size = count * struct.calcsize(_SCALARS[kind])
            self._require(size, f"the array {key!r}")
            if not key.startswith("tokenizer."):  # counts of each layer; the tokenizer's are large and harmless
                values = self._data[self._position : self._position + size]
                for (value,) in struct.iter_unpack(_SCALARS[kind], values):
                    _check_number(key, value)
            self._position += size
        else:
            raise _InvalidError(f"the array {key!r} has the unknown type {kind}")

    def _check_tensor(self) -> None:
        name = self._text()
        count = self._u32()
        if not 1 <= count <= _MAX_DIMENSIONS or len(name) >= _MAX_NAME:
            raise _InvalidError(f"the tensor {name!r:.80} has {count} dimensions, or too long a name")
        dimensions = [self._u64() for _ in range(count)]
        if not 0 < math.prod(dimensions) < 2**48 or max(dimensions) > _MAX_INTEGER:
            raise _InvalidError(f"the tensor {name!r} has the impossible shape {dimensions}")
        self._u32()  # llama.cpp knows its types itself
        if self._u64() >= self._size:
            raise _InvalidError(f"the tensor {name!r} begins behind the end of the file, which is incomplete")


def _check_number(key: str, value: float) -> None:
    """Raise _InvalidError for a number with which llama.cpp ends the process."""
    if key.startswith(("general.", "tokenizer.", "split.")) and not key.endswith("alignment"):
        return
    is_valid = math.isfinite(value) and abs(value) <= _MAX_INTEGER if isinstance(value, int) else math.isfinite(value)
    if key.endswith(".block_count"):
        is_valid = 1 <= value <= _MAX_LAYERS
    elif key.endswith((".context_length", ".embedding_length", "alignment")):
        is_valid = 1 <= value <= _MAX_INTEGER
    elif key.endswith("epsilon"):
        is_valid = 0 <= value < 1
    if not is_valid:
        raise _InvalidError(f"{key} is {value}")
