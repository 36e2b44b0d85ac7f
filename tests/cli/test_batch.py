"""`acytoo batch`: caps, progress, status, wrong usage."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from acytoo.testing import ScriptedResponse, reply, status
from tests.batch.upstream import Upstream, read, write_prompts
from tests.processes import ACYTOO, run
from tests.terminal import Terminal


def test_a_cap_on_tokens_is_passed_by_no_more_than_what_is_in_flight(tmp_path: Path) -> None:
    rows, out = write_prompts(tmp_path / "in.jsonl", 200), tmp_path / "out.jsonl"
    with Upstream() as upstream:
        done = run(upstream.command(rows, out, "-j", "4", "--max-tokens", "100"))
        assert done.returncode == 4
        assert done.stderr.endswith(b"not finished: the cap of 100 tokens has been reached\n")
        assert 20 <= len(read(out)) == upstream.counts.total() <= 24  # five tokens each
        done = run(upstream.command(rows, out))
        assert (done.returncode, upstream.counts.total()) == (0, 200)


def test_a_cap_that_the_last_row_reaches_changes_nothing(tmp_path: Path) -> None:
    with Upstream() as upstream:
        rows = write_prompts(tmp_path / "in.jsonl", 5)
        done = run(upstream.command(rows, tmp_path / "out.jsonl", "--max-tokens", "25"))
    assert done.returncode == 0


@pytest.mark.parametrize(("cap", "reason"), [("3", "3 rows have failed"), ("50%", "50 of 100 rows have failed")])
def test_failures_stop_the_batch(tmp_path: Path, cap: str, reason: str) -> None:
    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return status(400) if int(prompt[1:]) % 2 else None

    with Upstream(answer) as upstream:
        rows = write_prompts(tmp_path / "in.jsonl", 500)
        done = run(upstream.command(rows, tmp_path / "out.jsonl", "-j", "1", "--max-failures", cap))
    assert done.returncode == 4
    assert done.stderr.endswith(f"not finished: {reason}\n".encode())


def test_a_deadline_stops_the_batch(tmp_path: Path) -> None:
    with Upstream(lambda prompt, count: reply("re: ", prompt).wait(0.1, after=0)) as upstream:
        rows = write_prompts(tmp_path / "in.jsonl", 500)
        done = run(upstream.command(rows, tmp_path / "out.jsonl", "-j", "2", "--deadline", "0.5s"))
    assert done.returncode == 4
    assert done.stderr.endswith(b"not finished: the deadline of 0.5s has passed\n")
    assert 0 < len(read(tmp_path / "out.jsonl")) < 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-failures", "0"], "invalid --max-failures 0: expected a number of rows, or a share from 1% to 100%"),
        (["--max-failures", "150%"], "invalid --max-failures 150%: expected"),
        (["--deadline", "soon"], "invalid --deadline soon: expected a time such as 90s, 30m or 8h"),
        (["--deadline", "-1s"], "invalid --deadline -1s: expected"),
        (["--shard", "0/4"], "invalid --shard 0/4: expected a number and how many there are, such as 3/16"),
        (["--shard", "3"], "invalid --shard 3: expected"),
        (["--schema", "missing.json"], "cannot read missing.json: No such file or directory"),
        (["-p", "{"], "invalid prompt '{': "),
        (["another.jsonl"], "expected one INPUT, got "),
    ],
)
def test_wrong_options_are_usage_errors_before_anything_is_written(
    tmp_path: Path, options: list[str], message: str
) -> None:
    rows, out = write_prompts(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    done = run([ACYTOO, "batch", str(rows), "-o", str(out), "-m", "ollama/m", *options], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"acytoo: {message}")
    assert not out.exists()


def test_an_output_is_needed() -> None:
    done = run([ACYTOO, "batch", "in.jsonl"])
    assert (done.returncode, done.stderr.startswith(b"acytoo: missing -o FILE")) == (2, True)


def test_the_status_is_that_of_the_files(tmp_path: Path) -> None:
    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return {"p2": status(400), "p3": status(500)}.get(prompt)

    rows, out = write_prompts(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"
    with Upstream(answer) as upstream:
        run(upstream.command(rows, out, "--attempts", "1", "-p", "{prompt}"))
        url = upstream.url
    done = run([ACYTOO, "batch", "status", str(out)])
    assert done.returncode == 0
    assert done.stdout.decode() == (
        f"{out}: not running\n"
        f"  model: compatible/m {url}\n"
        "  prompt: {prompt}\n"
        "  replies: 3, with 6 + 9 tokens\n"
        "  errors: 2 (RequestError 1, ServerError 1), 1 may succeed later\n"
    )
    done = run([ACYTOO, "batch", "status", str(rows)])
    assert (done.returncode, done.stderr) == (2, f"acytoo: {rows} is not the output of a batch\n".encode())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_terminal_shows_the_progress(tmp_path: Path) -> None:
    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        return reply("re: ", prompt).wait(1.5, after=0) if prompt == "p3" else None

    rows = write_prompts(tmp_path / "in.jsonl", 3)
    with Upstream(answer) as upstream, Terminal(upstream.command(rows, tmp_path / "out.jsonl")) as terminal:
        terminal.wait_for("[####################] 100%  2 rows")
        terminal.wait_for("1 in flight")
        terminal.wait_for("\r\x1b[K3 replies, 0 errors\n")
        assert terminal.wait() == 0


def test_shards_have_every_row_once_between_them(tmp_path: Path) -> None:
    rows = write_prompts(tmp_path / "in.jsonl", 40)
    with rows.open("a") as file:
        file.write("not JSON\n")
    with Upstream() as upstream:
        outputs = [tmp_path / f"out-{number}.jsonl" for number in (1, 2, 3)]
        codes = [
            run(upstream.command(rows, output, "--shard", f"{number}/3")).returncode
            for number, output in enumerate(outputs, 1)
        ]
        other = run(upstream.command(rows, outputs[0], "--shard", "2/3"))
    assert sorted(codes) == [0, 0, 3]  # one of them reports the row that cannot be read
    ids = [line["id"] for output in outputs for line in read(output)]
    assert sorted(ids) == list(range(1, 41))
    assert min(len(read(output)) for output in outputs) > 5
    assert (other.returncode, b"its shard was 1/3, now it is 2/3" in other.stderr) == (2, True)
