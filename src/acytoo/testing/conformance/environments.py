"""Where a fault happens: at the endpoint itself, or on the way there."""

from __future__ import annotations

import contextlib
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
from acytoo.testing.fakes.server import Loopback, black_hole, refused_port
from acytoo.testing.script.responses import raw, reply, silent
from acytoo.testing.script.syntax import script_of


@dataclass
class Environment:
    """What a provider is pointed at; `fake` is the endpoint, `elsewhere` one that must never be asked."""

    url: str
    settings: dict[str, Any] = field(default_factory=dict)
    fake: FakeEndpoint | None = None
    servers: list[Loopback] = field(default_factory=list)
    elsewhere: FakeEndpoint | None = None


Place: TypeAlias = Callable[[Subject, tuple[str, ...]], contextlib.AbstractAsyncContextManager[Environment]]


def endpoint(subject: Subject, scripts: tuple[str, ...], **settings: Any) -> FakeEndpoint:
    """The endpoint in the subject's dialect that does what the words say, request by request."""
    return FakeEndpoint(subject.dialect, *[script_of(text, subject.dialect) for text in scripts], **settings)


@contextlib.asynccontextmanager
async def direct(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """The endpoint itself; `{elsewhere}` in its words is another origin."""
    async with FakeEndpoint(subject.dialect, reply("stolen")) as elsewhere:
        scripts = tuple(text.replace("{elsewhere}", elsewhere.url) for text in scripts)
        async with endpoint(subject, scripts) as fake:
            yield Environment(fake.url, {}, fake, [fake], elsewhere)


def _tls(*names: str, trusted: bool = True) -> Place:
    @contextlib.asynccontextmanager
    async def place(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
        authority = Authority()
        with tempfile.TemporaryDirectory() as folder:
            settings = {"ca": str(authority.write(Path(folder)))} if trusted else {}
            async with FakeEndpoint(subject.dialect, reply("stolen")) as elsewhere:
                scripts = tuple(text.replace("{elsewhere}", elsewhere.url) for text in scripts)
                async with endpoint(subject, scripts, tls=authority.server_context(*names)) as fake:
                    yield Environment(fake.url, settings, fake, [fake], elsewhere)

    return place


@contextlib.asynccontextmanager
async def plain_for_tls(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """A server without TLS where TLS is spoken to it."""
    async with FakeEndpoint(
        subject.dialect, on_connect=raw(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").close()
    ) as fake:
        yield Environment(fake.url.replace("http:", "https:"), {}, fake, [fake])


@contextlib.asynccontextmanager
async def silent_tls(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """A server that accepts a connection and never answers the TLS handshake."""
    async with FakeEndpoint(subject.dialect, on_connect=silent()) as fake:
        yield Environment(fake.url.replace("http:", "https:"), {}, fake, [fake])


@contextlib.asynccontextmanager
async def refused(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """A port on which nobody listens."""
    with refused_port() as port:
        yield Environment(f"http://127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def black_holed(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """A port that never answers a connect."""
    async with black_hole() as port:
        yield Environment(f"http://127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def nowhere(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """A host name that has no address (RFC 6761 reserves `.invalid`)."""
    yield Environment("http://no-such-host.invalid")


def _proxied(
    kind: type[FakeHTTPProxy] | type[FakeSOCKSProxy], *, tls: bool = False, right: bool = True, **options: Any
) -> Place:
    @contextlib.asynccontextmanager
    async def place(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
        way = _tls() if tls else direct
        async with AsyncExitStack() as stack:
            scene = await stack.enter_async_context(way(subject, scripts))
            proxy: Any = await stack.enter_async_context(kind("me", PROXY_PASSWORD if right else "another", **options))
            scene.settings["proxy"] = proxy.url.replace("://", f"://me:{PROXY_PASSWORD}@")
            scene.servers.append(proxy)
            yield scene

    return place


@contextlib.asynccontextmanager
async def refused_proxy(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """A proxy that is not there, before an endpoint that is."""
    async with direct(subject, scripts) as scene:
        with refused_port() as port:
            scene.settings["proxy"] = f"http://127.0.0.1:{port}"
            yield scene


@contextlib.asynccontextmanager
async def black_holed_proxy(subject: Subject, scripts: tuple[str, ...]) -> AsyncIterator[Environment]:
    """A proxy that never answers a connect."""
    async with direct(subject, scripts) as scene, black_hole() as port:
        scene.settings["proxy"] = f"http://127.0.0.1:{port}"
        yield scene


ENVIRONMENTS: dict[str, Place] = {
    "": direct,
    "tls": _tls(),
    "unknown authority": _tls(trusted=False),
    "another's certificate": _tls("somewhere.else"),
    "no TLS": plain_for_tls,
    "silent handshake": silent_tls,
    "refused": refused,
    "black hole": black_holed,
    "no such host": nowhere,
    "HTTP proxy": _proxied(FakeHTTPProxy),
    "HTTP proxy, TLS": _proxied(FakeHTTPProxy, tls=True),
    "SOCKS proxy": _proxied(FakeSOCKSProxy),
    "HTTP proxy, wrong password": _proxied(FakeHTTPProxy, right=False),
    "HTTP proxy, TLS, wrong password": _proxied(FakeHTTPProxy, right=False, tls=True),
    "HTTP proxy that refuses TLS": _proxied(FakeHTTPProxy, tls=True, refuse=502),
    "SOCKS proxy, wrong password": _proxied(FakeSOCKSProxy, right=False),
    "SOCKS proxy that refuses": _proxied(FakeSOCKSProxy, refuse=True),
    "no proxy there": refused_proxy,
    "black-holed proxy": black_holed_proxy,
}
"""Each with the name that the fault table calls it by."""
