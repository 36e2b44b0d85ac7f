"""The access log: what a line has, and what happens if it cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from acytoo.errors import UsageError
from acytoo.gateway.access_log import AccessLog
from tests.gateway.disks import fill
from tests.gateway.summaries import row, summary
from tests.services import wait_until


def to(path: Path) -> str:
    """Return the destination that is a file."""
    return f"file:{path}"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def logged(file: Path, /, **changes: Any) -> Any:
    """Return the line of one request."""
    log = AccessLog(to(file))
    log.ended(summary(**changes))
    log.close()
    return lines(file)[-1]


def test_a_request_is_one_line_of_json(tmp_path: Path) -> None:
    assert logged(tmp_path / "access.log") == {
        "time": "2027-01-15T08:00:00.000Z",
        "request_id": "r-1",
        "peer": "127.0.0.1",
        "key": "ci-bot",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "seconds": 1.6,
        "sent_bytes": 4096,
        "user_agent": "OpenAI/Python 3.54.0",
        "dialect": "openai",
        "model": "fast",
        "first_content": 0.25,
        "target": "openai/gpt-5-mini",
        "attempts": 1,
        "outcome": "complete",
        "input_tokens": 12,
        "output_tokens": 30,
        "cost_dollars": 0.0025,
    }


def test_tokens_and_cost_are_those_of_all_attempts(tmp_path: Path) -> None:
    line = logged(tmp_path / "log", rows=[row(target="local/llama", outcome="error"), row()], error="TruncatedError")
    assert (line["attempts"], line["input_tokens"], line["output_tokens"], line["cost_dollars"]) == (2, 24, 60, 0.005)
    assert (line["target"], line["outcome"], line["error"]) == ("openai/gpt-5-mini", "complete", "TruncatedError")


def test_a_reply_from_the_cache_took_no_attempt(tmp_path: Path) -> None:
    line = logged(tmp_path / "log", rows=[row(target="", upstream="", attempt=0, outcome="cached", cost=0)])
    assert (line["target"], line["attempts"], line["outcome"], line["cost_dollars"]) == ("", 0, "cached", 0)


def test_a_cost_that_is_not_known_completely_is_null(tmp_path: Path) -> None:
    assert logged(tmp_path / "log", rows=[row(), row(cost=None)])["cost_dollars"] is None


def test_a_request_to_no_model_has_no_fields_of_models(tmp_path: Path) -> None:
    line = logged(tmp_path / "log", path="/healthz", method="GET", dialect="", model="", rows=[], first_content=None)
    assert not {"dialect", "model", "target", "attempts", "cost_dollars", "first_content", "error"} & set(line)


def test_a_line_has_the_id_of_the_trace(tmp_path: Path) -> None:
    traced = logged(tmp_path / "log", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert traced["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


def test_what_a_client_sends_cannot_begin_another_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = logged(path, user_agent='x"}\n{"key": "admin"\r\u2028\x1b[2J', request_id="a\nb")
    assert line["user_agent"] == 'x"}\n{"key": "admin"\r\u2028\x1b[2J'
    assert path.read_bytes().count(b"\n") == 1
    assert b"\x1b" not in path.read_bytes()


def test_lines_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"request_id": "before"}\n')
    log = AccessLog(to(path))
    for number in range(1000):
        log.started()
        log.ended(summary(request_id=str(number)))
    log.close()
    log.close()
    assert [line["request_id"] for line in lines(path)] == ["before", *map(str, range(1000))]


def test_a_renamed_file_is_used_until_the_log_is_reopened(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = AccessLog(to(path))
    path.rename(old)
    log.reopen()
    log.ended(summary())
    log.close()
    assert not lines(old)
    assert len(lines(path)) == 1


def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot open the access log '.*/nowhere/log': No such file"):
        AccessLog(to(tmp_path / "nowhere" / "log"))


def test_nobody_else_on_the_machine_can_read_the_file(tmp_path: Path) -> None:
    logged(tmp_path / "log")
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    return path


def wait_for_record(caplog: pytest.LogCaptureFixture) -> None:
    """Wait until something was logged."""
    deadline = time.monotonic() + 120
    while not caplog.records:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_full_disk_is_reported_once(full: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(to(full))
    log.ended(summary())
    wait_for_record(caplog)
    log.ended(summary())
    log.close()
    message = f"cannot write the access log to {full}: No space left on device"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_lines_that_were_lost_are_counted_once_writing_works_again(
    full: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(to(full))
    log.ended(summary())
    wait_for_record(caplog)
    full.unlink()
    log.reopen()
    log.ended(summary())
    log.close()
    assert sum(line.get("dropped_lines", 0) for line in lines(full)) == 1
    assert sum("request_id" in line for line in lines(full)) == 1


def test_lines_that_were_lost_at_several_tries_are_all_counted(full: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(to(full))
    for _ in range(5):
        log.ended(summary())
    wait_for_record(caplog)
    log.ended(summary())
    wait_until(lambda: not log._waiting, "the log takes the line")
    full.unlink()
    log.reopen()
    log.ended(summary())
    log.close()
    written = lines(full)
    assert sum(line.get("dropped_lines", 0) for line in written) + sum("request_id" in line for line in written) == 7
    assert "dropped_lines" in written[-1]


def test_a_line_that_a_full_disk_has_cut_does_not_spoil_the_next_one(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, filler = small_disk / "access.log", small_disk / "filler"
    log = AccessLog(to(path))
    log.ended(summary(request_id="first"))
    wait_until(lambda: path.stat().st_size > 0, "the first line is written")
    fill(filler)
    for _ in range(100):
        log.ended(summary())
    wait_for_record(caplog)
    filler.unlink()
    log.ended(summary(request_id="last"))
    log.close()
    *cut, last, report = path.read_text().splitlines()
    assert json.loads(last)["request_id"] == "last"
    assert cut[-1]
    assert not cut[-1].endswith("}")
    assert json.loads(report)["dropped_lines"] == 101 - len(cut[:-1])


def test_a_reader_that_has_stalled_holds_nothing_up_and_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(to(path))
    for _ in range(30_000):
        log.ended(summary())
    received = b""
    os.set_blocking(reader, True)
    while b'"dropped_lines":' not in received:
        received += os.read(reader, 1 << 20)
    kept = received.count(b'"request_id"')
    assert 10_000 <= kept < 30_000
    log.close()
    os.close(reader)


def test_the_standard_streams_are_destinations() -> None:
    script = """
from acytoo.gateway.access_log import AccessLog
from tests.gateway.disks import fill
from tests.gateway.summaries import summary
for name in ("stdout", "stderr"):
    log = AccessLog(name)
    log.reopen()
    log.ended(summary(key=name))
    log.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout)["key"] == "stdout"
    assert json.loads(done.stderr)["key"] == "stderr"
