"""`/v1/files` and `/v1/batches` of a server, with the official SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from acytoo.batch.files import FileStore
from acytoo.batch.routes import BatchExtension
from acytoo.batch.service import MAX_UNFINISHED, BatchService
from acytoo.dialects import OpenAI
from acytoo.errors import RequestError, UsageError
from acytoo.gateway.config import parse
from acytoo.gateway.gateway import Gateway
from acytoo.gateway.keys import hash_secret
from acytoo.providers.compatible import Compatible
from acytoo.secret import Secret
from acytoo.server.app import Application
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.types import Finish

openai = pytest.importorskip("openai")

ANSWER = reply("Hello", Finish())


@asynccontextmanager
async def serving(folder: Path, fake: FakeEndpoint, password: str = "") -> AsyncIterator[tuple[str, BatchService]]:
    """A server with files in front of one backend."""
    secret = Secret(password)
    service = BatchService(folder, lambda _: secret)
    config = ServerConfig({"up": Compatible(url=fake.url, model="m1")}, secret, port=0, grace=1.0)
    server, url = await start(config, application=Application(config, routes=BatchExtension(service).routes()))
    service.start(url)
    try:
        yield url, service
    finally:
        service.stop()
        await server.close()
        await service.close()


_clients: list[Any] = []


@pytest.fixture(autouse=True)
async def closed_clients() -> AsyncIterator[None]:
    yield
    while _clients:
        await _clients.pop().close()


def client(url: str, key: str = "none") -> Any:
    """Return the SDK's client, which is closed at the end of the test."""
    sdk = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    _clients.append(sdk)
    return sdk


def lines(*prompts: str, url: str = "/v1/chat/completions", model: str = "m1") -> bytes:
    rows = [
        {
            "custom_id": f"row-{number}",
            "method": "POST",
            "url": url,
            "body": {"model": model, "messages": [{"role": "user", "content": prompt}]},
        }
        for number, prompt in enumerate(prompts, 1)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def upload(sdk: Any, content: bytes) -> Any:
    return await sdk.files.create(file=("rows.jsonl", content), purpose="batch")


async def finished(sdk: Any, batch_id: str) -> Any:
    """Return a batch once it has ended."""
    while True:
        batch = await sdk.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "cancelled"):
            return batch
        await asyncio.sleep(0.02)


async def begin(sdk: Any, file_id: str, endpoint: str = "/v1/chat/completions") -> Any:
    return await sdk.batches.create(
        input_file_id=file_id, endpoint=endpoint, completion_window="24h", metadata={"name": "test"}
    )


async def test_a_batch_runs_on_any_backend_and_gives_its_output_as_a_file(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hello", Finish())) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        file = await upload(sdk, lines("one", "two", "three"))
        assert (file.object, file.purpose, file.filename, file.status) == ("file", "batch", "rows.jsonl", "processed")
        created = await begin(sdk, file.id)
        assert created.object == "batch"
        batch = await finished(sdk, created.id)
        assert (batch.status, batch.error_file_id, batch.metadata) == ("completed", None, {"name": "test"})
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (3, 3, 0)
        output = (await sdk.files.content(batch.output_file_id)).text
        rows = sorted(map(json.loads, output.splitlines()), key=lambda row: str(row["custom_id"]))
        assert [row["custom_id"] for row in rows] == ["row-1", "row-2", "row-3"]
        assert {row["response"]["body"]["choices"][0]["message"]["content"] for row in rows} == {"Hello"}
        assert [each.id for each in (await sdk.batches.list()).data] == [batch.id]
        assert len(fake.requests) == 3


async def test_rows_that_fail_are_in_the_error_file(tmp_path: Path) -> None:
    bad = status(400, "no such thing")
    async with FakeEndpoint(OpenAI(), bad) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        file = await upload(sdk, lines("one"))
        batch = await finished(sdk, (await begin(sdk, file.id)).id)
        assert batch.status == "completed"
        assert batch.request_counts.failed == 1
        error = json.loads((await sdk.files.content(batch.error_file_id)).text)
        assert error["custom_id"] == "row-1"
        assert "no such thing" in json.dumps(error)


async def test_a_batch_goes_on_after_a_restart_without_asking_again(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hello", Finish())) as fake:
        async with serving(tmp_path, fake) as (url, service):
            service.stop()  # before any row is begun
            sdk = client(url)
            created = await begin(sdk, (await upload(sdk, lines("one", "two"))).id)
        async with serving(tmp_path, fake) as (url, _):
            sdk = client(url)
            batch = await finished(sdk, created.id)
            assert batch.status == "completed"
            output = (await sdk.files.content(batch.output_file_id)).text
    assert len(output.splitlines()) == len(fake.requests) == 2


async def test_a_batch_can_be_cancelled(tmp_path: Path) -> None:
    held = reply("Hello", Finish()).stall(after=0)
    async with FakeEndpoint(OpenAI(), held) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        created = await begin(sdk, (await upload(sdk, lines("one"))).id)
        await fake.received()
        assert (await sdk.batches.cancel(created.id)).status == "cancelling"
    async with FakeEndpoint(OpenAI(), reply("Hello")) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        batch = await finished(sdk, created.id)
        assert (batch.status, batch.output_file_id) == ("cancelled", None)
        with pytest.raises(openai.BadRequestError, match="is cancelled already"):
            await sdk.batches.cancel(created.id)
    assert not fake.requests


@pytest.mark.parametrize(
    ("content", "endpoint", "message"),
    [
        (b"", "/v1/chat/completions", "the input file is empty"),
        (lines("one", url="/v1/responses"), "/v1/chat/completions", "line 1 is for /v1/responses"),
    ],
)
async def test_an_input_that_does_not_fit_fails_with_the_reason(
    content: bytes, endpoint: str, message: str, tmp_path: Path
) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hello")) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        batch = await finished(sdk, (await begin(sdk, (await upload(sdk, content)).id, endpoint)).id)
        assert batch.status == "failed"
        assert message in batch.errors.data[0].message
    assert not fake.requests


async def test_files_can_be_listed_read_and_deleted(tmp_path: Path) -> None:
    content = b'{"a": 1}\r\n\x00\xff\r\n--not-the-boundary\r\n'
    async with FakeEndpoint(OpenAI(), reply("Hello")) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        file = await upload(sdk, content)
        assert (await sdk.files.content(file.id)).content == content
        assert (await sdk.files.retrieve(file.id)).bytes == len(content)
        assert [each.id for each in (await sdk.files.list()).data] == [file.id]
        assert (await sdk.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError, match="there is no file"):
            await sdk.files.retrieve(file.id)
        for hostile in ("../service", "..%2f..%2fetc%2fpasswd", "file-x/../../x"):
            with pytest.raises(openai.NotFoundError):
                await sdk.files.retrieve(hostile)
        with pytest.raises(openai.BadRequestError, match="unknown purpose"):
            await sdk.files.create(file=("x", b"x"), purpose="assistants")
        with pytest.raises(openai.BadRequestError, match="unknown endpoint"):
            await begin(sdk, file.id, "/v1/embeddings")


async def test_a_password_is_needed_and_used(tmp_path: Path) -> None:
    fake_server = FakeEndpoint(OpenAI(), reply("Hello", Finish()))
    async with fake_server as fake, serving(tmp_path, fake, "secret-word") as (url, _):
        with pytest.raises(openai.AuthenticationError):
            await upload(client(url, "wrong"), lines("one"))
        sdk = client(url, "secret-word")
        batch = await finished(sdk, (await begin(sdk, (await upload(sdk, lines("one"))).id)).id)
        assert (batch.status, batch.request_counts.completed) == ("completed", 1)


async def test_a_key_sees_its_own_files_and_its_rows_are_in_the_ledger(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hello", Finish())) as fake:
        path = tmp_path / "acytoo.toml"
        path.write_text(
            f'[server]\nport = 0\n[storage]\nfiles = "files"\n[upstreams.up]\nprovider = "compatible"\n'
            f'url = "{fake.url}"\n[models.fast]\ntargets = ["up/m1"]\n'
            f'[keys.alice]\nhash = "{hash_secret("sk-alice")}"\n[keys.bob]\nhash = "{hash_secret("sk-bob")}"\n'
        )
        gateway = Gateway(path)
        service = BatchService(tmp_path / "files", gateway.stand_in)
        async with gateway.running(BatchExtension(service)) as application:
            server, url = await start(gateway.server_config, application=application)
            service.start(url)
            alice, bob = client(url, "sk-alice"), client(url, "sk-bob")
            file = await upload(alice, lines("one", "two", model="fast"))
            with pytest.raises(openai.NotFoundError):
                await bob.files.retrieve(file.id)
            assert not (await bob.files.list()).data
            batch = await finished(alice, (await begin(alice, file.id)).id)
            assert batch.request_counts.completed == 2
            service.stop()
            await server.close()
            await service.close()
            await gateway.ledger.flush()
            (row,) = await gateway.ledger.usage(0, 1e12, ["key"])
    assert (row.group["key"], row.requests) == ("alice", 2)


def test_several_workers_cannot_have_batches(tmp_path: Path) -> None:
    text = '[server]\nworkers = 2\n[storage]\nfiles = "f"\ncounters = "redis://h"\n[upstreams.ollama]\n'
    with pytest.raises(UsageError, match=r"a\.toml:4: .*batches run in one process"):
        parse(text, tmp_path / "a.toml")


def test_a_caller_has_a_share_of_the_room_for_files(tmp_path: Path) -> None:
    store = FileStore(tmp_path, owner_bytes=10, owner_files=2)
    first = store.save("alice", "a", "batch", b"123456")
    with pytest.raises(RequestError, match="your files take 6 of 10 bytes, and 5 more do not fit: delete some"):
        store.save("alice", "b", "batch", b"12345")
    store.save("alice", "b", "batch", b"1234")
    with pytest.raises(RequestError, match="you have 2 files, and no more are kept: delete some"):
        store.save("alice", "c", "batch", b"")
    store.save("bob", "a", "batch", b"1234567890")
    store.delete(first.id, "alice")
    store.save("alice", "c", "batch", b"123456")


async def test_a_callers_batches_wait_for_their_turn(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER.stall(after=0)) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        file = await upload(sdk, lines("one"))
        batches = [(await begin(sdk, file.id)).id for _ in range(6)]
        await fake.until(lambda: len(fake.requests) == 4)
        statuses = {each: (await sdk.batches.retrieve(each)).status for each in batches}
        assert sorted(statuses.values()) == ["in_progress"] * 4 + ["validating"] * 2
        waiting = next(each for each, status in statuses.items() if status == "validating")
        await sdk.batches.cancel(waiting)
        assert (await finished(sdk, waiting)).status == "cancelled"
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        ended = {each: (await finished(sdk, each)).status for each in batches}
        assert ended == {each: "cancelled" if each == waiting else "completed" for each in batches}


async def test_a_caller_has_a_limited_number_of_unfinished_batches(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER.stall(after=0)) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        file = await upload(sdk, lines("one"))
        for _ in range(MAX_UNFINISHED):
            await begin(sdk, file.id)
        with pytest.raises(openai.RateLimitError, match="you have 100 batches that are not finished"):
            await begin(sdk, file.id)
