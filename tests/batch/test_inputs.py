"""Inputs of the command: OpenAI's Batch format, columns, schemas, standard input."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pytest

from acytoo.batch.requests import Template
from acytoo.batch.rows import Row
from acytoo.testing import ScriptedResponse, status
from tests.batch.upstream import Upstream, read, write_rows
from tests.processes import LIMIT, run, start


def request(id: str, prompt: str, **body: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **body}
    return {"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_requests_in_openais_batch_format_are_answered_in_it(tmp_path: Path) -> None:
    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return status(422, "no such thing") if prompt == "bad" else None

    rows = [
        request("a", "Hello", temperature=0.5),
        request("b", "bad"),
        {"custom_id": "c", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "Hello there"}},
        {**request("d", "x"), "url": "/v1/embeddings"},
        {**request("e", "x"), "body": {"model": "m"}},
    ]
    with Upstream(answer) as upstream:
        command = upstream.command(write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
        assert run(command).returncode == 3
        assert run(command).returncode == 3
        assert upstream.counts == {"Hello": 1, "bad": 1, "Hello there": 1}
    replies = {line["custom_id"]: line for line in read(tmp_path / "out.jsonl")}
    assert replies.keys() == {"a", "c"}
    first = replies["a"]
    assert first.keys() == {"id", "custom_id", "response", "error"}
    assert first["id"].startswith("batch_req_")
    assert first["error"] is None
    assert first["response"].keys() == {"status_code", "request_id", "body"}
    assert first["response"]["status_code"] == 200
    body = first["response"]["body"]
    assert (body["object"], body["choices"][0]["message"]["content"]) == ("chat.completion", "re: Hello")
    assert body["usage"]["total_tokens"] == 5
    assert replies["c"]["response"]["body"]["output"][0]["content"][0]["text"] == "re: Hello there"
    errors = {line["custom_id"]: line for line in read(tmp_path / "out.errors.jsonl")}
    assert errors.keys() == {"b", "d", "e"}
    assert errors["b"]["response"]["status_code"] == 422
    assert errors["b"]["response"]["body"]["error"]["message"] == "no such thing"
    assert errors["b"]["error"] is None
    assert errors["d"]["response"] is None
    assert "expected method POST and one of the urls" in errors["d"]["error"]["message"]
    sent = {received.json["messages"][0]["content"]: received.json for received in upstream.requests}
    assert sent["Hello"]["temperature"] == 0.5


def test_the_columns_of_csv_fill_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,name,temperature\nx,"Ada ""A"" L",hot\n')
    with Upstream() as upstream:
        prompt = ["-p", "{{Hello}} {name}, {temperature}", "-s", "Address {name}."]
        done = run(upstream.command(tmp_path / "in.csv", tmp_path / "out.jsonl", *prompt))
        assert done.returncode == 0, done.stderr
        missing = run(upstream.command(tmp_path / "in.csv", tmp_path / "other.jsonl", "-p", "{title}"))
    assert upstream.requests[0].json["messages"] == [
        {"role": "system", "content": 'Address Ada "A" L.'},
        {"role": "user", "content": '{Hello} Ada "A" L, hot'},
    ]
    assert (missing.returncode, missing.stderr) == (
        2,
        b"acytoo: no column 'title': the input has id, name, temperature\n",
    )
    assert not (tmp_path / "other.jsonl").exists()


def test_rows_come_from_a_pipe_while_it_is_open(tmp_path: Path) -> None:
    with Upstream() as upstream:
        process = start(upstream.command("-", tmp_path / "out.jsonl"))
        assert process.stdin is not None
        for number in range(3):
            process.stdin.write(json.dumps({"prompt": f"p{number}"}).encode() + b"\n")
            process.stdin.flush()
            while upstream.counts.total() <= number:
                assert process.poll() is None
        process.stdin.close()
        assert process.wait(LIMIT) == 0
    process.stdout.close()  # type: ignore[union-attr]
    process.stderr.close()  # type: ignore[union-attr]
    assert [line["text"] for line in read(tmp_path / "out.jsonl")] == ["re: p0", "re: p1", "re: p2"]


def test_many_rows_come_from_a_pipe(tmp_path: Path) -> None:
    rows = b"".join(b'{"prompt": "p%d"}\n' % number for number in range(3000))
    with Upstream() as upstream:
        done = run(upstream.command("-", tmp_path / "out.jsonl"), stdin=rows)
    assert (done.returncode, len(read(tmp_path / "out.jsonl")), upstream.counts.total()) == (0, 3000, 3000)


def test_a_schema_is_sent_and_its_data_is_in_the_output(tmp_path: Path) -> None:
    pytest.importorskip("fastjsonschema", reason="needs fastjsonschema: pip install 'acytoo[schema]'")
    (tmp_path / "schema.json").write_text('{"type": "string"}')
    rows = write_rows(tmp_path / "in.jsonl", [{"prompt": "a"}])
    with Upstream() as upstream:
        done = run(upstream.command(rows, tmp_path / "out.jsonl", "--schema", str(tmp_path / "schema.json"),
                                    "--attempts", "1"))  # fmt: skip
        assert done.returncode == 3
        (tmp_path / "schema.json").write_text("{")
        done = run(upstream.command(rows, tmp_path / "out.jsonl", "--schema", str(tmp_path / "schema.json")))
        assert (done.returncode, b"schema.json is not JSON" in done.stderr) == (2, True)
    assert read(tmp_path / "out.errors.jsonl")[0]["error"] == "InvalidReplyError"
    assert upstream.requests[0].json["response_format"]["json_schema"]["schema"] == {"type": "string"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("temperature=hot", b"invalid temperature 'hot': expected a number\n"),
        ("stream=true", b"unknown option --option stream: for a field of the API itself, use --option extra_body="),
        ("stream", b"invalid option --option stream: expected NAME=VALUE, such as --option max_tokens=100\n"),
    ],
)
def test_an_option_that_is_wrong_for_every_row_begins_no_batch(tmp_path: Path, option: str, message: bytes) -> None:
    rows = write_rows(tmp_path / "in.jsonl", [{"prompt": "a"}])
    with Upstream() as upstream:
        done = run(upstream.command(rows, tmp_path / "out.jsonl", "--option", option))
    assert (done.returncode, done.stderr[: len(message) + 8]) == (2, b"acytoo: " + message)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_values_of_parquet_are_plain_in_a_prompt_unless_they_are_json() -> None:
    values = {
        "date": datetime.date(2026, 11, 28),
        "time": datetime.datetime(2026, 11, 28, 16, 30),
        "price": decimal.Decimal("1.50"),
        "count": 2,
        "list": ["a", 1],
        "text": '"quoted"',
        "none": None,
    }
    template = Template("|".join(f"{{{name}}}" for name in values))
    assert template.fill(Row(1, 1, values)) == '2026-11-28|2026-11-28T16:30:00|1.50|2|["a",1]|"quoted"|'
