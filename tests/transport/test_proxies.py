"""HTTP and SOCKS proxies: credentials, refusals, and the environment's proxies."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import MissingExtraError, ProxyError, RequestError, UnreachableError, UsageError
from acytoo.http import HTTPRequest
from acytoo.secret import Secret
from acytoo.testing import (
    Authority,
    FakeEndpoint,
    FakeHTTPProxy,
    FakeSOCKSProxy,
    hang_up,
    raw,
    refused_port,
    reply,
    status,
)
from acytoo.testing.conformance.clock import occurs_within
from acytoo.transport.config import Connection, Proxy
from acytoo.transport.exchange import open_exchange
from tests.helpers import failure, texts


def with_credentials(url: str, credentials: str = "alice:s3cret-word") -> str:
    return url.replace("://", f"://{credentials}@")


async def test_an_http_proxy_carries_a_plain_request() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        assert await texts(Acytoo(fake.url, proxy=proxy.url)) == ["Hi"]
        assert proxy.targets == [f"127.0.0.1:{fake.port}"]
        assert proxy.requests[0].method == "POST"


async def test_an_http_proxy_carries_tls_in_a_tunnel_it_cannot_read(tmp_path: Path) -> None:
    authority = Authority()
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=authority.server_context()) as fake,
        FakeHTTPProxy("alice", "s3cret-word") as proxy,
    ):
        provider = Acytoo(fake.url, proxy=with_credentials(proxy.url), ca=str(authority.write(tmp_path)))
        assert await texts(provider) == ["Hi"]
        assert (proxy.requests[0].method, proxy.requests[0].target) == ("CONNECT", f"127.0.0.1:{fake.port}")
        assert proxy.requests[0].headers["host"] == f"127.0.0.1:{fake.port}"
        assert proxy.requests[0].headers.keys() == {"host", "proxy-authorization"}
        assert "proxy-authorization" not in fake.requests[0].headers


async def test_a_proxys_credentials_are_sent_only_to_the_proxy() -> None:
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake,
        FakeHTTPProxy("alice", "s3cret-word") as proxy,
    ):
        assert await texts(Acytoo(fake.url, proxy=with_credentials(proxy.url))) == ["Hi"]
        assert "authorization" not in fake.requests[0].headers
        assert "proxy-authorization" not in fake.requests[0].headers


async def test_credentials_may_have_characters_that_urls_escape() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy("a@b", "p:/ü") as proxy:
        assert await texts(Acytoo(fake.url, proxy=with_credentials(proxy.url, "a%40b:p%3A%2F%C3%BC"))) == ["Hi"]


async def test_a_password_without_a_user_is_sent_as_well() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        assert await texts(Acytoo(fake.url, proxy=with_credentials(proxy.url, ":word"))) == ["Hi"]
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic OndvcmQ="


@pytest.mark.parametrize("tls", [False, True])
async def test_a_wrong_proxy_password_is_a_proxy_error_that_does_not_show_it(tls: bool) -> None:
    context = Authority().server_context() if tls else None
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=context) as fake,
        FakeHTTPProxy("alice", "another") as proxy,
    ):
        error = await failure(Acytoo(fake.url, proxy=with_credentials(proxy.url)))
        assert type(error) is ProxyError
        assert error.status == 407
        assert proxy.url in str(error)
        assert "s3cret-word" not in str(error)
        assert fake.connections == 0


@pytest.mark.parametrize("refuse", [300, 403, 503])
async def test_a_proxy_that_refuses_a_tunnel_is_a_proxy_error(refuse: int) -> None:
    async with FakeHTTPProxy(refuse=refuse) as proxy:
        error = await failure(Acytoo("https://127.0.0.1:9", proxy=proxy.url))
        assert type(error) is ProxyError
        assert error.status == refuse


@pytest.mark.parametrize("answered", [b"407 Non autoris\xe9", b"403 \xff", b"502 \xed\xa0\xbd"])
async def test_a_proxys_message_that_is_not_utf8_can_be_printed(answered: bytes) -> None:
    head = b"HTTP/1.1 " + answered + b"\r\ncontent-length: 0\r\n\r\n"
    async with FakeEndpoint(dialects.Acytoo(), raw(head)) as mute:
        error = await failure(Acytoo("https://127.0.0.1:9", proxy=mute.url))
        assert type(error) is ProxyError
        for text in (str(error), error.message, *error.args):
            assert text.encode().startswith(b"the proxy")
        assert await occurs_within(mute.disconnected(), 5.0)


@pytest.mark.parametrize("scheme", ["http", "socks4", "socks4a", "socks5", "socks5h"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://127.0.0.1:9"])
async def test_an_unreachable_proxy_is_a_proxy_error(scheme: str, url: str) -> None:
    with refused_port() as port:
        error = await failure(Acytoo(url, proxy=f"{scheme}://127.0.0.1:{port}"))
        assert type(error) is ProxyError
        assert str(port) in str(error)


@pytest.mark.parametrize("scheme", ["http", "socks4", "socks5"])
async def test_a_proxy_that_hangs_up_is_a_proxy_error(scheme: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=hang_up()) as mute:
        error = await failure(Acytoo("https://127.0.0.1:9", proxy=f"{scheme}://127.0.0.1:{mute.port}"))
        assert isinstance(error, ProxyError)


@pytest.mark.parametrize(
    ("scheme", "version", "asked"),
    [
        ("socks4", 4, "127.0.0.1"),
        ("socks4a", 4, "localhost"),
        ("socks5", 5, "127.0.0.1"),
        ("socks5h", 5, "localhost"),
    ],
)
async def test_socks_is_used_and_with_h_the_proxy_resolves_the_name(scheme: str, version: int, asked: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeSOCKSProxy() as proxy:
        provider = Acytoo(f"http://localhost:{fake.port}", proxy=f"{scheme}://127.0.0.1:{proxy.port}")
        assert await texts(provider) == ["Hi"]
        assert proxy.versions == [version]
        assert proxy.targets == [f"{asked}:{fake.port}"]


async def test_socks_credentials_are_used() -> None:
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake,
        FakeSOCKSProxy("alice", "s3cret-word") as proxy,
    ):
        url = f"socks5://alice:s3cret-word@127.0.0.1:{proxy.port}"
        assert await texts(Acytoo(fake.url, proxy=url)) == ["Hi"]
        assert type(await failure(Acytoo(fake.url, proxy=url.replace("s3cret", "wrong")))) is ProxyError
        assert type(await failure(Acytoo(fake.url, proxy=f"socks5://127.0.0.1:{proxy.port}"))) is ProxyError


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_a_socks_proxy_that_refuses_is_a_proxy_error(scheme: str) -> None:
    async with FakeSOCKSProxy(refuse=True) as proxy:
        error = await failure(Acytoo("http://127.0.0.1:9", proxy=f"{scheme}://127.0.0.1:{proxy.port}"))
        assert type(error) is ProxyError


@pytest.mark.parametrize(
    ("scheme", "response"),
    [("socks4", b""), ("socks4a", b"\0"), ("socks5", b""), ("socks5h", b"\5"), ("socks5h", b"\5\0")],
)
async def test_a_socks_proxy_that_closes_in_its_handshake_is_a_proxy_error(scheme: str, response: bytes) -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=raw(response).half_close()) as mute:
        error = await failure(Acytoo("http://127.0.0.1:9", proxy=f"{scheme}://127.0.0.1:{mute.port}"))
        assert type(error) is ProxyError


async def test_a_host_name_that_cannot_be_resolved_locally_is_not_a_proxy_error() -> None:
    async with FakeSOCKSProxy() as proxy:
        url = f"socks4://127.0.0.1:{proxy.port}"
        error = await failure(Acytoo("http://no-such-host.invalid", proxy=url))
        assert type(error) is UnreachableError
        assert "no-such-host.invalid" in str(error)


async def test_tls_goes_through_socks(tmp_path: Path) -> None:
    authority = Authority()
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=authority.server_context()) as fake,
        FakeSOCKSProxy() as proxy,
    ):
        provider = Acytoo(fake.url, proxy=f"socks5://127.0.0.1:{proxy.port}", ca=str(authority.write(tmp_path)))
        assert await texts(provider) == ["Hi"]


async def test_a_proxy_can_be_set_for_one_call() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        assert await texts(Acytoo(fake.url), proxy=proxy.url) == ["Hi"]
        assert await texts(Acytoo(fake.url)) == ["Hi"]
        assert proxy.connections == 1


async def test_the_environments_proxy_is_used_only_with_trust_env(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert await texts(Acytoo(fake.url)) == ["Hi"]
        assert proxy.connections == 0
        assert await texts(Acytoo(fake.url, trust_env=True)) == ["Hi"]
        assert proxy.connections == 1
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert await texts(Acytoo(fake.url, trust_env=True)) == ["Hi"]
        assert proxy.connections == 1


@pytest.mark.parametrize("prefix", ["http://", ""])
async def test_the_environment_may_have_one_proxy_for_all_schemes(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("all_proxy", prefix + proxy.url.removeprefix("http://"))
        assert await texts(Acytoo(fake.url, trust_env=True)) == ["Hi"]
        assert proxy.connections == 1


async def test_the_environment_may_have_another_proxy_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeHTTPProxy(refuse=403) as proxy:
        monkeypatch.setenv("https_proxy", with_credentials(proxy.url))
        error = await failure(Acytoo("https://127.0.0.1:9", trust_env=True))
        assert type(error) is ProxyError
        assert "s3cret-word" not in str(error)
        assert "proxy-authorization" in proxy.requests[0].headers


@pytest.mark.parametrize(
    "wrong", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "socks6://x", "http://x:port", "http://[x", 3]
)
def test_an_invalid_proxy_is_rejected_before_anything_is_sent(wrong: object) -> None:
    with pytest.raises(UsageError, match="proxy"):
        Acytoo("http://127.0.0.1", proxy=wrong)  # type: ignore[arg-type]


def test_a_malformed_proxy_is_not_shown_with_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        Acytoo("http://127.0.0.1", proxy="alice:s3cret-word@127.0.0.1:8080")
    assert "s3cret-word" not in str(caught.value)


@pytest.mark.parametrize("via", ["nothing", "socks"])
async def test_a_servers_own_407_is_not_an_error_of_a_proxy(via: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(407, "who are you?")) as fake, FakeSOCKSProxy() as proxy:
        error = await failure(Acytoo(fake.url, proxy=proxy.url if via == "socks" else None))
        assert isinstance(error, RequestError)
        assert not isinstance(error, ProxyError)
        assert (error.status, error.message) == (407, "who are you?")


async def test_an_http_proxy_is_sent_the_complete_url() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        request = HTTPRequest(f"{fake.url}/a?b=c", {}, b"{}", query=Secret("d=e"))
        with await open_exchange(request, Connection(proxy=Proxy.of(proxy.url))) as exchange:
            assert exchange.head.status == 200
        assert proxy.requests[0].target == f"{fake.url}/a?b=c&d=e"
        assert proxy.requests[0].headers["host"] == f"127.0.0.1:{fake.port}"


async def test_a_unix_socket_is_reached_without_the_proxy_seeing_it(tmp_path: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n" + head.split(b" ")[1])
        writer.close()

    async with await asyncio.start_unix_server(handle, tmp_path / "s"), FakeHTTPProxy() as proxy:
        url = f"http+unix://{quote(str(tmp_path / 's'), safe='')}"
        assert "".join(await texts(Acytoo(url, proxy=proxy.url))) == "/api/completions"
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "dropped the connection to https://127.0.0.1:9 (the connection ended before "),
        (b"HTTP/1.1 200 OK\r\n", "dropped the connection to https://127.0.0.1:9 (the connection ended before "),
        (b"HTTP/1.1 199 Odd\r\n\r\n", "dropped the connection"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "dropped the connection to https://127.0.0.1:9"),
        (b"HTTP/1.1 300 Where\r\ncontent-length: 0\r\n\r\n", "refused: 300 Where"),
        (b"HTTP/1.1 502 \r\ncontent-length: 0\r\n\r\n", "refused: 502"),
    ],
    ids=range(6),
)
async def test_a_proxy_that_opens_no_tunnel_is_named_with_what_it_did(answer: bytes, text: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=raw(answer).half_close()) as mute:
        proxy = f"http://127.0.0.1:{mute.port}"
        error = await failure(Acytoo("https://127.0.0.1:9", proxy=proxy))
        assert type(error) is ProxyError
        assert str(error).startswith(f"the proxy {proxy} {text}")
        assert await occurs_within(mute.disconnected(), 60.0)


async def test_without_its_library_a_socks_proxy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    error = await failure(Acytoo("http://127.0.0.1:9", proxy="socks5://u:p@127.0.0.1:9"))
    assert type(error) is MissingExtraError
    assert "the proxy socks5://127.0.0.1:9 " in str(error)
    assert "acytoo[socks]" in str(error)


async def test_an_address_of_another_family_is_not_resolved_for_socks4() -> None:
    async with FakeSOCKSProxy() as proxy:
        error = await failure(Acytoo("http://[::1]:9", proxy=f"socks4://127.0.0.1:{proxy.port}"))
        assert type(error) is UnreachableError
        assert "cannot resolve the host of http://[::1]:9 on this machine" in str(error)
        assert proxy.connections == 0


@pytest.mark.parametrize(("scheme", "first"), [("http", b"CON"), ("https", b"\x16\x03\x01")])
async def test_an_https_proxy_is_spoken_to_in_tls(scheme: str, first: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readexactly(3))
        writer.close()

    received: list[bytes] = []
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(Acytoo("https://127.0.0.1:9", proxy=f"{scheme}://127.0.0.1:{port}"))
    assert type(error) is ProxyError
    assert received == [first]
