"""`/v1/files` and `/v1/batches` of a server that is attacked, killed, or out of luck."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from acytoo.batch.routes import BatchExtension, form_fields
from acytoo.batch.service import BatchService
from acytoo.dialects import OpenAI
from acytoo.errors import RequestError, UsageError
from acytoo.gateway.gateway import Gateway
from acytoo.gateway.keys import hash_secret
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish
from tests.batch.test_service import begin, client, closed_clients, finished, lines, openai, serving, upload
from tests.server.live_server import call, head

__all__ = ["closed_clients"]

ANSWER = reply("Hello", Finish())


@asynccontextmanager
async def gateway(folder: Path, fake: FakeEndpoint, rest: str = "") -> AsyncIterator[tuple[str, Gateway]]:
    """A gateway with files, an admin key and the key of alice."""
    path = folder / "acytoo.toml"
    path.write_text(
        '[server]\nport = 0\ngrace = 0.1\nadmin_key = "env:TEST_ADMIN_KEY"\n[storage]\nfiles = "files"\n'
        f'[upstreams.up]\nprovider = "compatible"\nurl = "{fake.url}"\ntimeout = {{ total = 1 }}\n'
        '[models.fast]\ntargets = [{ to = "up/m1", failures = 1000 }]\n'
        f'[keys.alice]\nhash = "{hash_secret("sk-alice")}"\n{rest}'
    )
    running = Gateway(path)
    service = BatchService(folder / "files", running.stand_in)
    async with running.running(BatchExtension(service)) as application:
        server, url = await start(running.server_config, application=application)
        service.start(url)
        try:
            yield url, running
        finally:
            service.stop()
            await server.close()
            await service.close()


async def test_the_admin_key_has_no_files_and_no_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ADMIN_KEY", "sk-the-admin-key")
    other = f'[keys.admin]\nhash = "{hash_secret("sk-named-admin")}"\n'
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, gateway(tmp_path, fake, other) as (url, _):
        admin = client(url, "sk-the-admin-key")
        for work in (admin.files.list(), admin.batches.list(), upload(admin, lines("one")), begin(admin, "file-1")):
            with pytest.raises(openai.PermissionDeniedError, match="admin key"):
                await work


async def test_a_key_that_is_revoked_in_mid_batch_stops_it_and_what_was_answered_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_ADMIN_KEY", "sk-the-admin-key")
    bob = f'[keys.bob]\nhash = "{hash_secret("sk-bob")}"\n'
    async with (
        FakeEndpoint(OpenAI(), ANSWER, ANSWER.stall(after=0)) as fake,
        gateway(tmp_path, fake, bob) as (url, running),
    ):
        sdk = client(url, "sk-bob")
        created = await begin(sdk, (await upload(sdk, lines(*map(str, range(40)), model="fast"))).id)
        await fake.until(lambda: len(fake.requests) > 1)
        path = tmp_path / "acytoo.toml"
        text = path.read_text()
        path.write_text(text.replace(bob, ""))
        await running.reloaded()
        with pytest.raises(openai.AuthenticationError):
            await sdk.batches.retrieve(created.id)
        document = tmp_path / "files" / f"{created.id}.json"
        while b'"failed_at":null' in document.read_bytes():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        path.write_text(text)
        await running.reloaded()
        batch = await sdk.batches.retrieve(created.id)
        assert batch.status == "failed"
        assert "key is missing or wrong" in batch.errors.data[0].message
        assert len((await sdk.files.content(batch.output_file_id)).text.splitlines()) == 1


async def test_a_batch_whose_input_has_been_deleted_fails_at_the_next_start(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake:
        async with serving(tmp_path, fake) as (url, service):
            service.stop()
            sdk = client(url)
            file = await upload(sdk, lines("one"))
            created = await begin(sdk, file.id)
            await sdk.files.delete(file.id)
        async with serving(tmp_path, fake) as (url, _):
            batch = await finished(client(url), created.id)
            assert batch.status == "failed"
            assert "input file" in batch.errors.data[0].message


async def test_a_row_that_never_fits_into_the_limits_of_its_key_is_an_error_and_the_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_ADMIN_KEY", "sk-the-admin-key")
    async with (
        asyncio.timeout(120),
        FakeEndpoint(OpenAI(), ANSWER) as fake,
        gateway(tmp_path, fake, "tokens_per_minute = 5000\n") as (url, _),
    ):
        sdk = client(url, "sk-alice")
        file = await upload(sdk, lines("one", "long " * 5000, "two", model="fast"))
        batch = await finished(sdk, (await begin(sdk, file.id)).id)
        assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 2, 1)
        error = json.loads((await sdk.files.content(batch.error_file_id)).text)
    assert error["custom_id"] == "row-2"
    assert "this request may need" in json.dumps(error)
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "line 1: the JSON"),
        (b'{"custom_id": "a", "body": [' + b"{}," * 2_000_000 + b"{}]}\n", "line 1: the JSON"),
        (b'{"prompt": "' + b"a" * 40_000_000 + b'"}\n', "line 1 is larger than"),
    ],
    ids=["deep", "many values", "long"],
)
async def test_an_input_that_is_too_costly_to_decode_fails(content: bytes, message: str, tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        async with asyncio.timeout(120):
            batch = await finished(sdk, (await begin(sdk, (await upload(sdk, content)).id)).id)
        assert batch.status == "failed"
        assert message in batch.errors.data[0].message


async def test_a_server_that_is_killed_while_it_finalizes_a_batch_asks_nothing_again(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake:
        async with serving(tmp_path, fake) as (url, _):
            sdk = client(url)
            created = await begin(sdk, (await upload(sdk, lines("one", "two"))).id)
            batch = await finished(sdk, created.id)
        # What is on disk after kill -9 between the steps: the output has moved, and the batch is not complete yet.
        place = tmp_path / f"{created.id}.json"
        document = json.loads(place.read_bytes())
        document["status"], document["completed_at"] = "finalizing", None
        place.write_text(json.dumps(document))
        (tmp_path / f"{batch.output_file_id}.json").unlink()
        async with serving(tmp_path, fake) as (url, _):
            sdk = client(url)
            again = await finished(sdk, created.id)
            assert (again.status, again.output_file_id) == ("completed", batch.output_file_id)
            assert len((await sdk.files.content(again.output_file_id)).text.splitlines()) == 2
        assert len(fake.requests) == 2


async def test_rows_in_flight_when_the_server_stops_are_asked_again_and_are_no_errors(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER.stall(after=0)) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        created = await begin(sdk, (await upload(sdk, lines("one", "two"))).id)
        await fake.received()
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path, fake) as (url, _):
        batch = await finished(client(url), created.id)
        assert (batch.status, batch.request_counts.completed, batch.error_file_id) == ("completed", 2, None)


def test_what_a_killed_server_left_half_written_is_removed(tmp_path: Path) -> None:
    for name in ("file-1.tmp", "file-2", "batch_1.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "file-3.json").write_bytes(b'{"id": "\xff')
    (tmp_path / "batch_3.json").write_bytes(b'{"id": "\xff')
    (tmp_path / "mine.txt").write_bytes(b"not the server's")
    BatchService(tmp_path, lambda _: None)
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"file-1.tmp", "file-2", "batch_1.tmp"}
    assert names >= {"file-3.json", "batch_3.json", "mine.txt"}


async def test_two_servers_cannot_have_one_folder(tmp_path: Path) -> None:
    service = BatchService(tmp_path, lambda _: None)
    with pytest.raises(UsageError, match="another process"):
        BatchService(tmp_path, lambda _: None)
    await service.close()
    await BatchService(tmp_path, lambda _: None).close()


async def test_a_batch_that_cannot_be_written_is_an_error_and_does_not_exist(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path / "files", fake) as (url, _):
        sdk = client(url)
        file = await upload(sdk, lines("one"))
        (tmp_path / "files").rename(tmp_path / "moved")
        with pytest.raises(openai.InternalServerError, match="cannot be kept"):
            await begin(sdk, file.id)
        assert not (await sdk.batches.list()).data
        (tmp_path / "moved").rename(tmp_path / "files")
        assert (await finished(sdk, (await begin(sdk, file.id)).id)).status == "completed"


async def test_an_output_that_cannot_be_written_fails_the_batch_without_showing_where_it_is(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path, fake) as (url, service):
        service.stop()
        sdk = client(url)
        created = await begin(sdk, (await upload(sdk, lines("one"))).id)
    (tmp_path / f"{created.id}.replies.jsonl").unlink(missing_ok=True)
    (tmp_path / f"{created.id}.replies.jsonl").mkdir()
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path, fake) as (url, _):
        batch = await finished(client(url), created.id)
        assert batch.status == "failed"
        assert str(tmp_path) not in batch.errors.data[0].message


@pytest.mark.parametrize("query", ["limit=" + "9" * 5000, "limit=-1", "limit=x", "after=nothing", "limit=0", "limit=²"])
async def test_any_query_of_a_list_is_answered(query: str, tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path, fake) as (url, _):
        port = urlsplit(url).port or 0
        for path in ("/v1/files", "/v1/batches"):
            response = await call(port, head(f"GET {path}?{query} HTTP/1.1".replace("²", "%C2%B2"), ""))
            assert response.status == 200


def form(*parts: bytes, boundary: bytes = b"x") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


MANY_FIELDS = form(*[b"content-disposition: form-data; name=%d\r\n\r\n" % number for number in range(200)])
FILE = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"'


@pytest.mark.parametrize(
    ("part", "name", "data"),
    [
        (FILE + b"\r\n\r\n{}", "a.jsonl", b"{}"),
        (FILE + b"\r\nContent-Type: application/jsonl\r\n\r\n\r\n--\r\n--xy\n--x\r", "a.jsonl",
         b"\r\n--\r\n--xy\n--x\r"),
        (FILE + b"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\na\r\n--y--", "a.jsonl",
         b"--y\r\n\r\na\r\n--y--"),
        (FILE + b"\r\ncontent-type: message/rfc822\r\n\r\nA: b\r\n\r\nc", "a.jsonl", b"A: b\r\n\r\nc"),
        ('content-disposition: form-data; filename="ä\\"b.jsonl"; name=file\r\n\r\nx'.encode(), 'ä"b.jsonl', b"x"),
        (b'content-disposition: form-data; name="file"; filename="\xff"\r\n\r\nx', "\ufffd", b"x"),
        (b'content-disposition: form-data; name="file"\r\n\r\n', "", b""),
        (b'content-disposition: form-data; name="file"; filename="../../passwd"\r\n\r\nx', "../../passwd", b"x"),
    ],
)  # fmt: skip
def test_the_bytes_of_a_file_are_kept_as_they_are(part: bytes, name: str, data: bytes) -> None:
    fields = form_fields("multipart/form-data; boundary=x", form(part))
    assert fields["file"] == (name, data)
    fields = form_fields('Multipart/Form-Data; charset=utf-8; boundary="x"', b"preamble\r\n" + form(part) + b"end")
    assert fields["file"] == (name, data)


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("application/json", b"{}", "content type"),
        ("multipart/form-data", form(FILE + b"\r\n\r\n{}"), "boundary"),
        ("multipart/form-data; boundary=" + "b" * 300, b"", "boundary"),
        ("multipart/form-data; boundary=y", form(FILE + b"\r\n\r\n{}"), "does not end"),
        ("multipart/form-data; boundary=x", form(FILE + b"\r\n\r\n{}").removesuffix(b"--\r\n"), "does not end"),
        ("multipart/form-data; boundary=x", b"", "does not end"),
        ("multipart/form-data; boundary=x", MANY_FIELDS, "more than"),
        ("multipart/form-data; boundary=x", form(FILE + b"\r\n\r\n{}", FILE + b"\r\n\r\n[]"), "twice"),
        ("multipart/form-data; boundary=x", form(FILE), "does not end"),
        ("multipart/form-data; boundary=x", form(FILE + b"\r\nx: " + b"y" * 100_000 + b"\r\n\r\n{}"), "too long"),
    ],
)  # fmt: skip
def test_a_form_that_is_cut_or_odd_is_refused(content_type: str, body: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        form_fields(content_type, body)


async def test_a_form_of_millions_of_lines_is_read_without_holding_up_others(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake, serving(tmp_path, fake) as (url, _):
        sdk = client(url)
        file = await upload(sdk, b"\n" * 20_000_000)
        assert file.bytes == 20_000_000
