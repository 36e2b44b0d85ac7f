"""Where a fault happens: at the endpoint itself, or on the way to it."""

from __future__ import annotations

import contextlib
import enum
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from acytoo.testing.conformance.subject import PROXY_PASSWORD, Subject
from acytoo.testing.fakes.certificates import Authority
from acytoo.testing.fakes.endpoint import FakeEndpoint
from acytoo.testing.fakes.proxies import FakeHTTPProxy, FakeSOCKSProxy
from acytoo.testing.fakes.server import FakeServer, black_hole, refused_port
from acytoo.testing.script.directives import SYNTAX
from acytoo.testing.script.responses import raw, reply, silent
from acytoo.types import JSONObject


class Environment(enum.Enum):
    """The environments a provider is called in. The value is the name in docs/faults.md."""

    DIRECT = "direct connection"
    TLS = "TLS"
    TLS_UNTRUSTED = "TLS, untrusted authority"
    TLS_WRONG_NAME = "TLS, certificate for another name"
    TLS_UNSUPPORTED = "server without TLS"
    TLS_SILENT = "TLS handshake without an answer"
    REFUSED = "port that refuses connections"
    BLACK_HOLE = "port that drops connections"
    NO_SUCH_HOST = "host name without an address"
    HTTP_PROXY = "HTTP proxy"
    HTTP_PROXY_TLS = "HTTP proxy, TLS"
    HTTP_PROXY_WRONG_PASSWORD = "HTTP proxy, wrong password"
    HTTP_PROXY_TLS_WRONG_PASSWORD = "HTTP proxy, TLS, wrong password"
    HTTP_PROXY_REFUSES_TUNNEL = "HTTP proxy that refuses the tunnel"
    SOCKS_PROXY = "SOCKS proxy"
    SOCKS_PROXY_WRONG_PASSWORD = "SOCKS proxy, wrong password"
    SOCKS_PROXY_REFUSES = "SOCKS proxy that refuses the target"
    PROXY_REFUSED = "proxy port that refuses connections"
    PROXY_BLACK_HOLE = "proxy port that drops connections"

    def start(
        self, subject: Subject, scripts: tuple[str, ...]
    ) -> contextlib.AbstractAsyncContextManager[RunningEnvironment]:
        """Start the servers; the endpoint performs the scripts, one per request."""
        return _FACTORIES[self](subject, scripts)


@dataclass
class RunningEnvironment:
    """The URL and settings for the provider, and the servers behind them.

    `fake` is the endpoint, if the provider can reach one. `elsewhere` is an endpoint that must never get a request.
    """

    url: str
    settings: JSONObject = field(default_factory=dict)
    fake: FakeEndpoint | None = None
    servers: list[FakeServer] = field(default_factory=list)
    elsewhere: FakeEndpoint | None = None


Factory: TypeAlias = Callable[[Subject, tuple[str, ...]], contextlib.AbstractAsyncContextManager[RunningEnvironment]]


def endpoint(subject: Subject, scripts: tuple[str, ...], **options: Any) -> FakeEndpoint:
    """Return an endpoint in the subject's dialect that performs the scripts, one per request."""
    return FakeEndpoint(subject.dialect, *[SYNTAX.parse(text, subject.dialect) for text in scripts], **options)


@contextlib.asynccontextmanager
async def _direct(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    """Start the endpoint alone. `{elsewhere}` in its scripts is the URL of another origin."""
    async with FakeEndpoint(subject.dialect, reply("stolen")) as elsewhere:
        scripts = tuple(text.replace("{elsewhere}", elsewhere.url) for text in scripts)
        async with endpoint(subject, scripts) as fake:
            yield RunningEnvironment(fake.url, {}, fake, [fake], elsewhere)


def _tls(*names: str, trusted: bool = True) -> Factory:
    @contextlib.asynccontextmanager
    async def start(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
        authority = Authority()
        with tempfile.TemporaryDirectory() as folder:
            settings = {"ca": str(authority.write(Path(folder)))} if trusted else {}
            async with FakeEndpoint(subject.dialect, reply("stolen")) as elsewhere:
                scripts = tuple(text.replace("{elsewhere}", elsewhere.url) for text in scripts)
                async with endpoint(subject, scripts, tls=authority.server_context(*names)) as fake:
                    yield RunningEnvironment(fake.url, settings, fake, [fake], elsewhere)

    return start


@contextlib.asynccontextmanager
async def _tls_unsupported(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    bad_request = raw(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").close()
    async with FakeEndpoint(subject.dialect, on_connect=bad_request) as fake:
        yield RunningEnvironment(fake.url.replace("http:", "https:"), {}, fake, [fake])


@contextlib.asynccontextmanager
async def _tls_silent(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    async with FakeEndpoint(subject.dialect, on_connect=silent()) as fake:
        yield RunningEnvironment(fake.url.replace("http:", "https:"), {}, fake, [fake])


@contextlib.asynccontextmanager
async def _refused(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    with refused_port() as port:
        yield RunningEnvironment(f"http://127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def _black_hole(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    async with black_hole() as port:
        yield RunningEnvironment(f"http://127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def _no_such_host(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    yield RunningEnvironment("http://no-such-host.invalid")  # RFC 6761 reserves `.invalid`


def _proxied(
    proxy_type: type[FakeHTTPProxy] | type[FakeSOCKSProxy],
    *,
    tls: bool = False,
    wrong_password: bool = False,
    **options: Any,
) -> Factory:
    @contextlib.asynccontextmanager
    async def start(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context((_tls() if tls else _direct)(subject, scripts))
            password = "another" if wrong_password else PROXY_PASSWORD
            proxy = await stack.enter_async_context(proxy_type("me", password, **options))
            running.settings["proxy"] = proxy.url.replace("://", f"://me:{PROXY_PASSWORD}@")
            running.servers.append(proxy)
            yield running

    return start


@contextlib.asynccontextmanager
async def _proxy_refused(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    async with _direct(subject, scripts) as running:
        with refused_port() as port:
            running.settings["proxy"] = f"http://127.0.0.1:{port}"
            yield running


@contextlib.asynccontextmanager
async def _proxy_black_hole(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[RunningEnvironment]:
    async with _direct(subject, scripts) as running, black_hole() as port:
        running.settings["proxy"] = f"http://127.0.0.1:{port}"
        yield running


_FACTORIES: dict[Environment, Factory] = {
    Environment.DIRECT: _direct,
    Environment.TLS: _tls(),
    Environment.TLS_UNTRUSTED: _tls(trusted=False),
    Environment.TLS_WRONG_NAME: _tls("somewhere.else"),
    Environment.TLS_UNSUPPORTED: _tls_unsupported,
    Environment.TLS_SILENT: _tls_silent,
    Environment.REFUSED: _refused,
    Environment.BLACK_HOLE: _black_hole,
    Environment.NO_SUCH_HOST: _no_such_host,
    Environment.HTTP_PROXY: _proxied(FakeHTTPProxy),
    Environment.HTTP_PROXY_TLS: _proxied(FakeHTTPProxy, tls=True),
    Environment.HTTP_PROXY_WRONG_PASSWORD: _proxied(FakeHTTPProxy, wrong_password=True),
    Environment.HTTP_PROXY_TLS_WRONG_PASSWORD: _proxied(FakeHTTPProxy, wrong_password=True, tls=True),
    Environment.HTTP_PROXY_REFUSES_TUNNEL: _proxied(FakeHTTPProxy, tls=True, refuse=502),
    Environment.SOCKS_PROXY: _proxied(FakeSOCKSProxy),
    Environment.SOCKS_PROXY_WRONG_PASSWORD: _proxied(FakeSOCKSProxy, wrong_password=True),
    Environment.SOCKS_PROXY_REFUSES: _proxied(FakeSOCKSProxy, refuse=True),
    Environment.PROXY_REFUSED: _proxy_refused,
    Environment.PROXY_BLACK_HOLE: _proxy_black_hole,
}
