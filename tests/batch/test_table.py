"""The Parquet table of the replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acytoo.batch.output import errors_path
from acytoo.batch.table import checkpoint_of
from acytoo.testing import status
from tests.batch.upstream import Upstream, read, write_prompts, write_rows
from tests.processes import ACYTOO, run

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'acytoo[parquet]'")


def table(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def test_the_replies_are_a_table_at_the_end_of_each_run(tmp_path: Path) -> None:
    rows, output = write_prompts(tmp_path / "in.jsonl", 3), tmp_path / "out.parquet"
    with Upstream(lambda prompt, count: status(422) if (prompt, count) == ("p2", 1) else None) as upstream:
        assert run(upstream.command(rows, output)).returncode == 3
        assert sorted(row["id"] for row in table(output)) == [1, 3]
        assert len(read(errors_path(checkpoint_of(output)))) == 1
        assert run(upstream.command(rows, output, "--retry-errors")).returncode == 0
    found = sorted(table(output), key=lambda row: row["id"])
    assert [(row["id"], row["text"], row["output_tokens"]) for row in found] == [(n, f"re: p{n}", 3) for n in (1, 2, 3)]
    assert found[0]["refusal"] is found[0]["tool_calls"] is found[0]["response"] is None
    done = run([ACYTOO, "batch", "status", str(output)])
    assert b"replies: 3" in done.stdout


def test_a_table_that_was_lost_is_made_from_the_checkpoint(tmp_path: Path) -> None:
    rows, output = write_prompts(tmp_path / "in.jsonl", 3), tmp_path / "out.parquet"
    with Upstream() as upstream:
        run(upstream.command(rows, output))
        output.unlink()
        output.with_name("out.parquet.tmp").write_bytes(b"PAR1, as kill -9 leaves it")
        assert run(upstream.command(rows, output)).returncode == 0
        assert len(table(output)) == upstream.counts.total() == 3


def test_rows_of_openais_format_have_the_response_and_other_ids_are_texts(tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    request = {"custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": body}
    rows = write_rows(tmp_path / "in.jsonl", [request, {"id": 7, "prompt": "b"}])
    output = tmp_path / "out.parquet"
    with Upstream() as upstream:
        assert run(upstream.command(rows, output)).returncode == 0
    first, second = sorted(table(output), key=lambda row: str(row["text"]))
    if first["id"] == "7":
        first, second = second, first
    assert (first["id"], second["id"], second["text"], second["response"]) == ("x", "7", "re: b", None)
    assert json.loads(first["response"])["body"]["choices"][0]["message"]["content"] == "re: a"
    assert (first["input_tokens"], first["output_tokens"]) == (2, 3)


@pytest.mark.parametrize(
    ("input", "output", "message"),
    [
        (
            "in.jsonl",
            "in.parquet",
            "the output in.parquet has its replies in in.jsonl too, which must not be the input",
        ),
        ("in.jsonl", "other.parquet", "other.parquet exists and is not the output of a batch"),
    ],
)
def test_a_table_overwrites_nothing_of_the_user(tmp_path: Path, input: str, output: str, message: str) -> None:
    write_prompts(tmp_path / "in.jsonl", 1)
    (tmp_path / "other.parquet").write_bytes(b"mine")
    done = run([ACYTOO, "batch", input, "-o", output, "-m", "ollama/m"], cwd=tmp_path)
    assert (done.returncode, message in done.stderr.decode()) == (2, True)
    assert (tmp_path / "other.parquet").read_bytes() == b"mine"
