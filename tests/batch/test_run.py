"""Batches from file to file: every row exactly once, whatever happens to the process."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acytoo.testing import ScriptedResponse, reply, silent, status
from tests.batch.upstream import Upstream, read, write_prompts, write_rows
from tests.processes import ACYTOO, LIMIT, run, script, start
from tests.skipping_loop import in_skipping_loop, skip


def texts(path: Path) -> dict[int | str, str]:
    """Return the texts of an output by id. Every id is there once."""
    lines = read(path)
    found = {line["id"]: line["text"] for line in lines}
    assert len(found) == len(lines)
    return found


def test_every_row_gets_its_reply(tmp_path: Path) -> None:
    with Upstream() as upstream:
        done = run(upstream.command(write_prompts(tmp_path / "in.jsonl", 300), tmp_path / "out.jsonl"))
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"300 replies, 0 errors\nthis run: 300 rows in ")
    assert done.stderr.endswith(b"/s), 600 + 900 tokens\n")
    assert texts(tmp_path / "out.jsonl") == {number: f"re: p{number}" for number in range(1, 301)}
    assert {
        "id": 1,
        "text": "re: p1",
        "finish_reason": "stop",
        "model": "m",
        "usage": {"input_tokens": 2, "output_tokens": 3},
    } in read(tmp_path / "out.jsonl")
    assert read(tmp_path / "out.errors.jsonl") == []


def test_the_same_command_asks_for_no_row_again(tmp_path: Path) -> None:
    rows = write_prompts(tmp_path / "in.jsonl", 50)
    with Upstream() as upstream:
        run(upstream.command(rows, tmp_path / "out.jsonl"))
        done = run(upstream.command(rows, tmp_path / "out.jsonl"))
    assert done.stderr.startswith(b"50 replies, 0 errors\nthis run: 0 rows in ")
    assert set(upstream.counts.values()) == {1}


def test_errors_are_rows_of_their_own_and_are_retried_on_request(tmp_path: Path) -> None:
    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return status(422, "no such thing") if prompt == "p2" and count == 1 else None

    rows, out = write_prompts(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with Upstream(answer) as upstream:
        first = run(upstream.command(rows, out))
        again = run(upstream.command(rows, out))
        assert upstream.counts["p2"] == 1
        retried = run(upstream.command(rows, out, "--retry-errors"))
    assert (first.returncode, again.returncode, retried.returncode) == (3, 3, 0)
    assert read(tmp_path / "out.errors.jsonl") == [
        {"id": 2, "row": 2, "error": "RequestError", "status": 422, "message": "no such thing", "attempts": 1,
         "retryable": False}
    ]  # fmt: skip
    assert texts(out) == {1: "re: p1", 2: "re: p2", 3: "re: p3"}
    assert upstream.counts == {"p1": 1, "p2": 2, "p3": 1}


@pytest.mark.parametrize(
    "failure", [status(500), reply("cut").reset(after_bytes=50), reply("cut").close(after_bytes=50)]
)
def test_what_may_succeed_later_is_asked_again_and_a_cut_reply_never_counts(
    tmp_path: Path, failure: ScriptedResponse
) -> None:
    with Upstream(lambda prompt, count: failure if count == 1 else None) as upstream:
        done = run(upstream.command(write_prompts(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"))
    assert done.returncode == 0
    assert texts(tmp_path / "out.jsonl") == {number: f"re: p{number}" for number in range(1, 6)}
    assert set(upstream.counts.values()) == {2}


def test_a_row_is_given_up_after_its_attempts(tmp_path: Path) -> None:
    with Upstream(lambda prompt, count: status(500, "broken")) as upstream:
        done = run(upstream.command(write_prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl", "--attempts=2"))
    assert done.returncode == 3
    errors = read(tmp_path / "out.errors.jsonl")
    assert [(error["error"], error["attempts"], error["retryable"]) for error in errors] == [
        ("ServerError", 2, True)
    ] * 2
    assert set(upstream.counts.values()) == {2}


def test_rows_that_cannot_be_read_are_errors_with_their_number(tmp_path: Path) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"prompt": "p1"}\nnot JSON\n{"text": "x"}\n{"id": 1, "prompt": "p4"}\n{"prompt": "p5"}\n')
    with Upstream() as upstream:
        for _ in range(2):
            done = run(upstream.command(rows, out))
            assert done.returncode == 3
    assert texts(out) == {1: "re: p1", 5: "re: p5"}
    errors = sorted(read(tmp_path / "out.errors.jsonl"), key=lambda error: int(error["row"]))
    assert [(error["row"], error["id"], error["error"]) for error in errors] == [
        (2, None, "UsageError"),
        (3, 3, "UsageError"),
        (4, None, "UsageError"),
    ]
    assert errors[1]["message"] == "row 3: no prompt and no messages: it has text; --prompt makes one of its columns"


def test_a_wrong_key_stops_the_batch_before_it_fails_every_row(tmp_path: Path) -> None:
    rows, out = write_prompts(tmp_path / "in.jsonl", 500), tmp_path / "out.jsonl"
    with Upstream(lambda prompt, count: status(401, "wrong key") if count == 1 else None) as upstream:
        done = run(upstream.command(rows, out))
        assert done.returncode == 4
        assert b"acytoo: 401: wrong key\n" in done.stderr
        assert sum(upstream.counts.values()) <= 8
        assert read(tmp_path / "out.errors.jsonl") == []


def test_a_model_that_cannot_be_loaded_stops_the_batch_before_it_fails_any_row(tmp_path: Path) -> None:
    rows, out = write_prompts(tmp_path / "in.jsonl", 500), tmp_path / "out.jsonl"
    done = run([ACYTOO, "batch", str(rows), "-o", str(out), "--url", f"embedded://{tmp_path}/no.gguf"])
    assert done.returncode == 4
    assert b"acytoo: cannot read the model file" in done.stderr
    assert read(tmp_path / "out.errors.jsonl") == []


def test_a_changed_input_is_refused(tmp_path: Path) -> None:
    rows, out = write_prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    with Upstream() as upstream:
        run(upstream.command(rows, out))
        done = run(upstream.command(write_prompts(rows, 3), out))
        assert done.returncode == 2
        assert b"is the output of another batch: its input was another one" in done.stderr
        done = run(upstream.command(rows, out, "--accept-changes"))
    assert (done.returncode, len(texts(out)), upstream.counts.total()) == (0, 3, 3)


@pytest.mark.parametrize("name", ["out.csv", "out.TSV", "out.jsonl.gz"])
def test_replies_in_a_format_that_is_not_written_are_refused(tmp_path: Path, name: str) -> None:
    with Upstream() as upstream:
        done = run(upstream.command(write_prompts(tmp_path / "in.jsonl", 1), tmp_path / name))
    assert done.returncode == 2
    assert b": replies are written as JSONL, or as a table to .parquet" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_cap_that_the_last_row_reaches_leaves_nothing_unfinished(tmp_path: Path) -> None:
    with Upstream() as upstream:
        rows = write_prompts(tmp_path / "in.jsonl", 3)
        done = run(upstream.command(rows, tmp_path / "out.jsonl", "-j", "1", "--max-tokens", "15"))
        assert (done.returncode, b"not finished" in done.stderr) == (0, False)
        done = run(upstream.command(rows, tmp_path / "out-2.jsonl", "-j", "1", "--max-tokens", "14"))
        assert (done.returncode, b"not finished" in done.stderr) == (0, False)
        done = run(upstream.command(rows, tmp_path / "out-3.jsonl", "-j", "1", "--max-tokens", "10"))
    assert (done.returncode, b"not finished: the cap of 10 tokens" in done.stderr) == (4, True)


def test_a_run_that_leaves_errors_names_the_option_that_asks_again(tmp_path: Path) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"prompt": "p1"}\nnot JSON\n')
    hint = b"--retry-errors asks again for rows that have an error\n"
    with Upstream(lambda prompt, count: status(422) if count == 1 else None) as upstream:
        assert run(upstream.command(rows, out)).stderr.endswith(hint)
        assert run(upstream.command(rows, out)).stderr.endswith(hint)
        assert hint not in run(upstream.command(rows, out, "--retry-errors")).stderr


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    rows = write_prompts(tmp_path / "in.jsonl", 2)
    before = rows.read_bytes()
    with Upstream() as upstream:
        done = run(upstream.command(rows, tmp_path / "x" / ".." / "in.jsonl", "--overwrite"))
    assert (done.returncode, b"the input and the output are the same file" in done.stderr) == (2, True)
    assert rows.read_bytes() == before


def wait_for(condition: object, process: subprocess.Popen[bytes]) -> None:
    """Wait until a condition is true or the process has ended."""
    assert callable(condition)
    ends_at = time.monotonic() + LIMIT
    while not condition() and process.poll() is None:
        assert time.monotonic() < ends_at
        time.sleep(0.001)


FORKING = """
import os, signal, sys
from pathlib import Path
from acytoo import provider
from acytoo.batch.run import BatchConfig, BatchRun
import acytoo.client, asyncio
url, rows, out = sys.argv[1:]
for _ in sys.stdin:
    child = os.fork()
    if not child:
        compatible = provider("compatible/m", url=url)
        run = BatchRun(BatchConfig(provider=compatible, input=rows, output=Path(out), jobs=8))
        asyncio.run(run.run())
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Forks a process that runs the batch for each line of its input: fifty processes start in a second."""


def test_a_batch_killed_fifty_times_has_every_row_once_and_asks_again_only_what_was_in_flight(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    kills, jobs, count = 50, 8, 2000
    rows = write_rows(tmp_path / "in.jsonl", ({"id": f"row-{n}", "prompt": f"p{n}"} for n in range(count)))
    out = tmp_path / "out.jsonl"
    with Upstream() as undisturbed:
        run(undisturbed.command(rows, tmp_path / "undisturbed.jsonl"))
    finished: dict[str, int] = {}  # how often each row that has a reply was asked for
    wanted: float = 0  # how many requests are received before the next kill; more than these are not answered

    def answer(prompt: str, times: int) -> ScriptedResponse | None:
        return silent() if upstream.counts.total() > wanted else None

    with (
        Upstream(answer) as upstream,
        start([*script(FORKING, "-W", "error"), upstream.url, str(rows), str(out)]) as parent,
    ):
        stdin, stdout = parent.stdin, parent.stdout
        assert stdin is not None
        assert stdout is not None
        for kill in range(kills + 1):
            wanted = upstream.counts.total() + chance.randrange(0, 50) if kill < kills else math.inf
            stdin.write(b"\n")
            stdin.flush()
            child = int(stdout.readline())
            if kill < kills:
                wait_for(lambda wanted=wanted: upstream.counts.total() >= wanted, parent)
                os.kill(child, signal.SIGKILL)
            assert int(stdout.readline()) == (signal.SIGKILL if kill < kills else 0)
            for line in out.read_bytes().splitlines(keepends=True) if out.exists() else ():
                if line.endswith(b"\n") and (prompt := json.loads(line)["text"][4:]) not in finished:
                    finished[prompt] = upstream.counts[prompt]
        parent.communicate()
    assert texts(out) == texts(tmp_path / "undisturbed.jsonl")
    assert upstream.counts == finished
    assert upstream.counts.total() - count <= kills * jobs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@in_skipping_loop
async def test_an_interrupt_completes_the_rows_in_flight_and_begins_no_other(tmp_path: Path, number: int) -> None:
    rows, out = write_prompts(tmp_path / "in.jsonl", 100), tmp_path / "out.jsonl"
    async with Upstream(lambda prompt, count: reply("re: ", prompt).wait(1000, after=0)) as upstream:
        process = start(upstream.command(rows, out, "-j", "5"))
        await upstream.received(5)
        process.send_signal(number)
        assert process.stderr is not None
        line = await asyncio.to_thread(process.stderr.readline)
        assert line == b"acytoo: waiting for 5 replies; Ctrl-C again leaves them\n"
        skip(1000)
        _, stderr = await asyncio.to_thread(process.communicate, timeout=LIMIT)
    assert process.returncode == 130
    assert b"5 replies, 0 errors\nthis run: 5 rows in " in stderr
    assert stderr.endswith(b"not finished: interrupted\n")
    assert len(texts(out)) == upstream.counts.total() == 5


def test_a_second_interrupt_leaves_the_rows_in_flight(tmp_path: Path) -> None:
    rows, out = write_prompts(tmp_path / "in.jsonl", 100), tmp_path / "out.jsonl"
    with Upstream(lambda prompt, count: reply("re: ", prompt).stall(after=0)) as upstream:
        process = start(upstream.command(rows, out, "-j", "5"))
        wait_for(lambda: upstream.counts.total() >= 5, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == b"acytoo: waiting for 5 replies; Ctrl-C again leaves them\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, read(out), stderr.strip()) == (130, [], b"")


def test_a_full_disk_is_a_clear_error_and_the_batch_can_be_continued(tmp_path: Path) -> None:
    rows, disk = write_prompts(tmp_path / "in.jsonl", 2000), tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    out = disk / "out.jsonl"
    try:
        with Upstream() as upstream:
            done = run(upstream.command(rows, out))
            assert done.returncode == 1
            assert f"acytoo: cannot write {out}: No space left on device\n".encode() in done.stderr
            written = texts(out)
            assert 0 < len(written) < 2000
            subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
            done = run(upstream.command(rows, out))
        assert (done.returncode, len(texts(out))) == (0, 2000)
        assert all(upstream.counts[f"p{id}"] == 1 for id in written)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
