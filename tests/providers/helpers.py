"""Helpers: what a provider sends, and to which URL it would send it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Unsupported
from acytoo.http import Endpoint
from acytoo.testing import FakeEndpoint, ReceivedRequest, reply
from acytoo.types import Finish, Request

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def target(cls: type[AsyncGeneratorProvider], model: str = "m-1", url: str = "") -> str:
    """Return the URL to which a call of the class goes by default."""
    assert cls.dialect is not None
    return cls.dialect.encode_request(
        Request(HELLO, model), Endpoint(url or cls.url), Unsupported(cls.dialect.name)
    ).url


async def sent(cls: type[AsyncGeneratorProvider], key: str | None = "sk-1", **options: Any) -> ReceivedRequest:
    """Return what the class sends to a fake endpoint that stands in for its own."""
    assert cls.dialect is not None
    async with FakeEndpoint(cls.dialect, reply("Hello", Finish("stop"))) as fake:
        provider = cls(fake.url + urlsplit(cls.url).path, key=key, model="m-1")
        assert await provider.create_async("", HELLO, **options) == "Hello"
    return fake.requests[0]
