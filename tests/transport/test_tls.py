"""Certificates are verified; a private authority can be configured."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import TLSError, UsageError
from acytoo.testing import Authority, FakeEndpoint, hang_up, reply
from tests.helpers import MESSAGES, failure, texts

AUTHORITY = Authority()


async def test_an_unknown_authority_is_not_trusted() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=AUTHORITY.server_context()) as fake:
        error = await failure(Acytoo(fake.url, key="sk-secret"))
        assert type(error) is TLSError
        assert "certificate" in str(error)
        assert not error.retryable
        assert fake.requests == []


async def test_a_configured_authority_is_trusted(tmp_path: Path) -> None:
    path = AUTHORITY.write(tmp_path)
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo"), tls=AUTHORITY.server_context()) as fake:
        assert "".join(await texts(Acytoo(fake.url, ca=str(path)))) == "Hello"
        assert "".join(await texts(Acytoo(fake.url, ca=path))) == "Hello"
        context = ssl.create_default_context(cafile=path)
        assert "".join(await texts(Acytoo(fake.url), ca=context)) == "Hello"


async def test_a_certificate_for_another_name_is_rejected(tmp_path: Path) -> None:
    context = AUTHORITY.server_context("somewhere.else")
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=context) as fake:
        error = await failure(Acytoo(fake.url, ca=str(AUTHORITY.write(tmp_path))))
        assert type(error) is TLSError


async def test_a_server_without_tls_is_a_tls_error() -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=reply("plain")) as fake:
        error = await failure(Acytoo(fake.url.replace("http:", "https:")))
        assert type(error) is TLSError


async def test_a_server_that_hangs_up_in_the_handshake_is_an_error() -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=hang_up()) as fake:
        error = await failure(Acytoo(fake.url.replace("http:", "https:")))
        assert isinstance(error, ConnectionError)


async def test_a_reply_cut_under_tls_is_truncated(tmp_path: Path) -> None:
    answer = reply("Hello").until_close().reset(after_bytes=2)
    async with FakeEndpoint(dialects.Acytoo(), answer, tls=AUTHORITY.server_context()) as fake:
        error = await failure(Acytoo(fake.url, ca=str(AUTHORITY.write(tmp_path))))
        assert error.text == "He"


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_ca_that_cannot_be_read_is_rejected_at_once(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^ca: .*ca\.pem"):
        Acytoo("https://127.0.0.1:9", ca=str(path))
    with pytest.raises(UsageError, match=r"^ca: .*ca\.pem"):
        Acytoo("https://127.0.0.1:9").create_async_generator("", MESSAGES, ca=path)


async def test_a_reply_larger_than_any_buffer_arrives_complete_with_and_without_tls(tmp_path: Path) -> None:
    path = AUTHORITY.write(tmp_path)
    large = "0123456789abcdef" * 40_000
    async with FakeEndpoint(dialects.Acytoo(), reply(large), tls=AUTHORITY.server_context()) as fake:
        assert "".join(await texts(Acytoo(fake.url, ca=str(path)))) == large
    async with FakeEndpoint(dialects.Acytoo(), reply(large)) as fake:
        assert "".join(await texts(Acytoo(fake.url))) == large
