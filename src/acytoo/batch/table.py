"""The replies as a Parquet table, which is written when a run ends.

A Parquet file ends with its index, so that one that is still being written is worth nothing after a crash. Therefore
JSONL stays the checkpoint, and the table is made from it, under another name first. The cost: the replies are on disk
twice, and are read once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from acytoo.batch.output import Line, read_lines
from acytoo.batch.rows import import_parquet
from acytoo.errors import OutputError

_GROUP_ROWS = 10_000
_GROUP_BYTES = 16 * 1024 * 1024
"""Rows, and bytes of their lines, that are held and written at a time."""


def is_table(output: Path) -> bool:
    """Return whether an output is a Parquet table."""
    return output.suffix.lower() == ".parquet"


def checkpoint_of(output: Path) -> Path:
    """Return the file with the lines of an output: `replies.jsonl` beside `replies.parquet`, otherwise itself."""
    return output.with_suffix(".jsonl") if is_table(output) else output


class _Line(Line):
    """A line of the output, with what is not text left as JSON."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    model: str = ""
    target: str = ""
    data: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()


_TEXTS = ("text", "refusal", "reasoning", "finish_reason", "model", "target")
_JSON = ("data", "tool_calls")


def write_table(checkpoint: Path, table: Path) -> None:
    """Write the table of all replies in the checkpoint. Raises OutputError.

    Its columns: `id`, the texts and token counts of a line, and `data`, `tool_calls` and `response` as JSON. The last
    one is that of a row in OpenAI's Batch format.
    """
    pyarrow = import_parquet()
    has_numbers = all(isinstance(line.row_id, int) for line in read_lines(checkpoint))
    schema = pyarrow.schema(
        [
            ("id", pyarrow.int64() if has_numbers else pyarrow.string()),
            *[(name, pyarrow.string()) for name in (*_TEXTS, *_JSON, "response")],
            *[(name, pyarrow.int64()) for name in ("input_tokens", "output_tokens")],
        ]
    )
    temporary = table.with_name(f"{table.name}.tmp")
    try:
        with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
            for rows in _groups(checkpoint, has_numbers):
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
        temporary.replace(table)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {table}: {error.strerror or error}; its rows are in {checkpoint}") from error


def _groups(checkpoint: Path, has_numbers: bool) -> Iterator[list[dict[str, object]]]:
    decode = msgspec.json.Decoder(_Line).decode
    rows: list[dict[str, object]] = []
    size = 0
    with checkpoint.open("rb") as lines:
        for data in lines:
            rows.append(_fields(decode(data), has_numbers))
            size += len(data)
            if len(rows) == _GROUP_ROWS or size > _GROUP_BYTES:
                yield rows
                rows, size = [], 0
    yield rows


def _fields(line: _Line, has_numbers: bool) -> dict[str, object]:
    input_tokens, output_tokens = line.token_counts
    return {
        "id": line.row_id if has_numbers else str(line.row_id),
        **{name: getattr(line, name) or None for name in _TEXTS},
        **{name: bytes(raw).decode() if (raw := getattr(line, name)) else None for name in _JSON},
        "response": msgspec.json.encode(line.response).decode() if line.response is not None else None,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
