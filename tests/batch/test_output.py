"""The output as a checkpoint: torn lines, other batches, other processes, full disks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from acytoo import OutputError, UsageError
from acytoo.batch.output import AppendedFile, Fingerprint, Output, errors_path, fingerprint_path
from tests.processes import script

BATCH = Fingerprint("input", {"model": "a"})


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_what_was_written_is_done_when_the_output_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    output = Output.open(path, BATCH)
    output.write_reply(1, b'{"id":1}\n')
    output.write_reply("x", b'{"id":"x"}\n')
    output.write_error(2, b'{"id":2,"row":2}\n')
    output.write_invalid(3, b'{"id":null,"row":3}\n')
    output.close()
    output = Output.open(path, BATCH)
    assert [id in output.done for id in (1, "x", 2, 3)] == [True, True, False, False]
    assert [id in output.failed for id in (1, 2, 3)] == [False, True, False]
    output.write_invalid(3, b"again\n")
    output.close()
    assert len(lines(errors_path(path))) == 2


def test_a_row_with_a_reply_after_its_error_has_not_failed(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    output = Output.open(path, BATCH)
    output.write_error(2, b'{"id":2,"row":2}\n')
    output.write_reply(2, b'{"id":2}\n')
    output.close()
    output = Output.open(path, BATCH)
    output.close()
    assert (2 in output.done, 2 in output.failed, output.errors) == (True, False, 0)


@pytest.mark.parametrize("torn", [b"{", b'{"id":2}', b'{"id":2' + b" " * 3_000_000])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "replies.jsonl"
    output = Output.open(path, BATCH)
    output.write_reply(1, b'{"id":1}\n')
    output.close()
    with path.open("ab") as file:
        file.write(torn)
    output = Output.open(path, BATCH)
    assert 2 not in output.done
    output.write_reply(2, b'{"id":2}\n')
    output.close()
    assert lines(path) == [b'{"id":1}\n', b'{"id":2}\n']


def test_a_file_of_one_torn_line_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    Output.open(path, BATCH).close()
    path.write_bytes(b'{"id"')
    Output.open(path, BATCH).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (Fingerprint("another", {"model": "a"}), "its input was another one"),
        (Fingerprint("input", {"model": "b"}), "its model was a, now it is b"),
        (Fingerprint("input", {"model": "a", "seed": "1"}), "its seed was not set, now it is 1"),
    ],
)
def test_the_output_of_another_batch_is_refused_unless_asked_for(
    tmp_path: Path, changed: Fingerprint, what: str
) -> None:
    path = tmp_path / "replies.jsonl"
    output = Output.open(path, BATCH)
    output.write_reply(1, b'{"id":1}\n')
    output.close()
    with pytest.raises(UsageError, match=f"is the output of another batch: {what}"):
        Output.open(path, changed)
    output = Output.open(path, changed, accept_changes=True)
    output.close()
    assert 1 in output.done
    output = Output.open(path, BATCH, overwrite=True)
    output.close()
    assert 1 not in output.done
    assert path.read_bytes() == b""


def test_a_file_that_no_batch_has_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thesis.jsonl"
    path.write_text("my thesis\n")
    with pytest.raises(UsageError, match=r"is not the output of a batch \(thesis.batch.json is missing\)"):
        Output.open(path, BATCH)
    assert path.read_text() == "my thesis\n"


def test_a_line_that_no_batch_has_written_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    Output.open(path, BATCH).close()
    path.write_text('{"id":1}\nnot a line\n')
    with pytest.raises(UsageError, match=r"replies\.jsonl, line 2 is not that of a batch"):
        Output.open(path, BATCH)


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    output = Output.open(path, BATCH)
    code = f"""
    from pathlib import Path
    from acytoo.batch.output import Fingerprint, Output
    Output.open(Path({str(path)!r}), Fingerprint("input", {{"model": "a"}}))
    """
    done = subprocess.run(script(code), capture_output=True, text=True, check=False)
    assert f"another process is writing {path}" in done.stderr
    output.close()


def test_an_output_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "replies.jsonl", tmp_path):
        with pytest.raises(UsageError, match="cannot write"):
            Output.open(path, BATCH)


def test_a_full_disk_is_an_output_error() -> None:
    file = AppendedFile(Path("/dev/full"))
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
        file.append(b"line\n")
    file.close()


def test_a_fingerprint_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    fingerprint_path(path).write_text("{")
    with pytest.raises(UsageError, match=r"cannot read .*replies\.batch\.json: .*--overwrite begins again"):
        Output.open(path, BATCH)


@pytest.mark.parametrize("path", ["/dev/null", "-"])
def test_an_output_that_cannot_be_continued_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"cannot write {path}: the output is the checkpoint, so it must be a file"):
        Output.open(Path(path), Fingerprint("", {}))
    assert not list(tmp_path.iterdir())
