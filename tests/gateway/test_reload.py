"""A config file that changes while a server runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError
from acytoo.gateway.config import GatewayConfig, load
from acytoo.gateway.key_file import add_key
from acytoo.gateway.keys import hash_secret
from acytoo.gateway.reload import FileWatch, Reloader
from tests.processes import LIMIT

LOOK = 0.02
TEXT = """
[server]
port = 8001
[upstreams.local]
provider = "ollama"
key = "file:key.txt"
[models.fast]
targets = ["local/x"]
"""


class Reloads:
    """What a reloader has handed over and logged."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.arrived: asyncio.Queue[tuple[GatewayConfig, Mapping[str, AsyncGeneratorProvider]]] = asyncio.Queue()
        self.threads: list[threading.Thread] = []
        self.reloader = Reloader(file, self._note, LOOK)

    def _note(self, config: GatewayConfig, backends: Mapping[str, AsyncGeneratorProvider]) -> None:
        if "refused" in config.models:
            raise UsageError("no")
        self.threads.append(threading.current_thread())
        self.arrived.put_nowait((config, backends))

    def write(self, text: str) -> None:
        """Write the file in place."""
        self.file.write_text(text)

    def replace(self, text: str | None) -> None:
        """Put a new file in the place of the old one, or remove it."""
        if text is None:
            self.file.unlink()
            return
        new = self.file.with_name("new.toml")
        new.write_text(text)
        new.replace(self.file)

    async def next(self) -> tuple[GatewayConfig, Mapping[str, AsyncGeneratorProvider]]:
        return await asyncio.wait_for(self.arrived.get(), LIMIT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "key.txt").write_text("hunter2")
    path = tmp_path / "acytoo.toml"
    path.write_text(TEXT)
    return path


def is_same(backends: Mapping[str, AsyncGeneratorProvider], others: Mapping[str, AsyncGeneratorProvider]) -> bool:
    """Return whether two mappings have the same objects."""
    return {name: id(backend) for name, backend in backends.items()} == {
        name: id(backend) for name, backend in others.items()
    }


@asynccontextmanager
async def following(file: Path) -> AsyncIterator[Reloads]:
    reloads = Reloads(file)
    reloads.reloader.start()
    try:
        yield reloads
    finally:
        reloads.reloader.stop()


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until the log has a text."""

    async def look() -> None:
        while text not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    await asyncio.wait_for(look(), LIMIT)


async def test_a_new_file_takes_effect_in_the_event_loop(file: Path) -> None:
    async with following(file) as reloads:
        reloads.replace(TEXT.replace("fast", "best"))
        config, backends = await reloads.next()
        await asyncio.sleep(0)
        assert (list(config.models), list(backends)) == (["best"], ["best", "local"])
        assert reloads.reloader.config is config
        assert reloads.reloader.backends is backends
        assert reloads.threads == [threading.current_thread()]


async def test_a_file_that_is_written_in_place_takes_effect(file: Path) -> None:
    async with following(file) as reloads:
        reloads.write(TEXT + "balance = true\n")
        config, _ = await reloads.next()
        assert config.models["fast"].balance


def test_a_file_has_changed_once_it_is_no_longer_written(file: Path) -> None:
    watch = FileWatch(file)
    assert not watch.has_changed()
    seen = []
    for text in ("", TEXT[:10], TEXT + "#", TEXT + "#", TEXT + "#"):
        if file.read_text() != text:
            file.write_text(text)
        seen.append(watch.has_changed())
    assert seen == [False, False, False, True, False]


def test_a_file_that_was_replaced_or_removed_has_changed(file: Path) -> None:
    watch = FileWatch(file)
    new = file.with_name("new.toml")
    new.write_text(TEXT)
    new.replace(file)
    assert [watch.has_changed() for _ in range(2)] == [True, False]
    file.unlink()
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]
    file.write_text(TEXT)
    assert [watch.has_changed() for _ in range(3)] == [False, True, False]


async def test_a_new_key_takes_effect_and_the_backends_stay(file: Path) -> None:
    async with following(file) as reloads:
        before = reloads.reloader.backends
        add_key(file, "alice", {"hash": hash_secret("a")})
        config, backends = await reloads.next()
        assert list(config.keys) == ["alice"]
        assert is_same(backends, before)


async def test_another_limit_of_an_upstream_leaves_the_backends(file: Path) -> None:
    async with following(file) as reloads:
        before = reloads.reloader.backends
        reloads.replace(TEXT.replace("[models", "concurrent = 3\n[models"))
        config, backends = await reloads.next()
        assert config.upstreams["local"].concurrent == 3
        assert is_same(backends, before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT + "hegde = true\n", "acytoo.toml:9: unknown field 'hegde' in [models.fast]: did you mean 'hedge'?"),
        (TEXT.replace("key.txt", "other.txt"), "acytoo.toml:6: cannot read"),
        (TEXT + '[storage]\ncounters = "env:NO_SUCH_VARIABLE"\n', "environment variable NO_SUCH_VARIABLE is not set"),
        (None, "acytoo.toml: No such file or directory; the server goes on with the config it has"),
    ],
)
async def test_a_bad_file_changes_nothing_and_is_logged_once(
    file: Path, text: str | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(file) as reloads:
        before = (reloads.reloader.config, reloads.reloader.backends)
        reloads.replace(text)
        await logged(caplog, message)
        assert (reloads.reloader.config, reloads.reloader.backends) == before
        assert reloads.arrived.empty()
        reloads.replace(TEXT.replace("fast", "best"))  # is read after that
        config, _ = await reloads.next()
        assert list(config.models) == ["best"]
        assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


async def test_what_a_running_server_cannot_change_stays_and_is_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(file) as reloads:
        text = TEXT.replace("8001", "8002").replace("[server]", "[server]\ngrace = 5")
        reloads.replace(text + '[storage]\nledger = "none"\n[log]\nrequests = "stderr"\n')
        config, _ = await reloads.next()
        assert (config.server.port, config.server.grace) == (8001, 5)
        assert config.storage == load(file).storage.__class__(ledger=f"sqlite:{file.parent / 'acytoo.db'}")
        assert "acytoo.toml:4: [server] port has changed, which takes effect at the next start" in caplog.text
        assert "acytoo.toml:11: [storage] ledger has changed, which takes effect at the next start" in caplog.text
        assert config.log.requests == ""
        assert "acytoo.toml:13: [log] requests has changed" in caplog.text
        assert "grace" not in caplog.text


async def test_a_config_that_the_server_cannot_use_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(file) as reloads:
        before = (reloads.reloader.config, reloads.reloader.backends)
        reloads.replace(TEXT.replace("fast", "refused"))
        await logged(caplog, "acytoo.toml: no; the server goes on with the config it has")
        assert (reloads.reloader.config, reloads.reloader.backends) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
async def test_a_hangup_signal_reads_the_secrets_again(file: Path) -> None:
    async with following(file) as reloads:
        before = reloads.reloader.backends
        (file.parent / "key.txt").write_text("other")
        os.kill(os.getpid(), signal.SIGHUP)
        _, backends = await reloads.next()
        assert not is_same(backends, before)
        local = backends["local"]
        assert local.settings_with({}).endpoint.key.reveal() == "other"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
async def test_a_hangup_signal_without_a_change_leaves_the_backends(file: Path) -> None:
    async with following(file) as reloads:
        before = reloads.reloader.backends
        os.kill(os.getpid(), signal.SIGHUP)
        _, backends = await reloads.next()
        assert is_same(backends, before)


async def test_a_file_that_changed_before_the_start_takes_effect(file: Path) -> None:
    reloads = Reloads(file)
    reloads.replace(TEXT.replace("fast", "best"))
    reloads.reloader.start()
    config, _ = await reloads.next()
    assert list(config.models) == ["best"]
    reloads.reloader.stop()


async def test_nothing_is_handed_over_after_stop(file: Path) -> None:
    async with following(file) as reloads:
        reloads.reloader.request()
        reloads.reloader.stop()
        reloads.replace(TEXT.replace("fast", "best"))
    await asyncio.sleep(0)
    assert reloads.arrived.empty()
    assert "acytoo-reload" not in [thread.name for thread in threading.enumerate()]


def test_a_missing_secret_at_the_start_is_an_error(file: Path) -> None:
    (file.parent / "key.txt").unlink()
    with pytest.raises(UsageError, match=r"acytoo.toml:6: cannot read .*key.txt: No such file"):
        Reloads(file)
