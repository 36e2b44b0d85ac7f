"""The private details of asyncio that are used are those of this Python, and none of them is needed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from acytoo import dialects
from acytoo.testing import Authority, FakeEndpoint, reply
from acytoo.transport._asyncio import use_small_tls_buffer

DETAILS = {"max_size": 262144, "_ssl_buffer": bytearray(262144), "_ssl_buffer_view": memoryview(b"")}


async def test_tls_is_received_into_a_small_buffer(tmp_path: Path) -> None:
    authority = Authority()
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), tls=authority.server_context()) as fake:
        context = ssl.create_default_context(cafile=authority.write(tmp_path))
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "127.0.0.1", fake.port, ssl=context
        )
        use_small_tls_buffer(transport)
        tls: Any = transport._ssl_protocol  # type: ignore[attr-defined]
        assert (tls.max_size, len(tls.get_buffer(-1))) == (32768, 32768)
        transport.close()


@pytest.mark.parametrize("missing", DETAILS)
def test_a_transport_without_one_of_the_details_is_left_as_it_is(missing: str) -> None:
    tls = SimpleNamespace(**{name: value for name, value in DETAILS.items() if name != missing})
    before = dict(vars(tls))
    use_small_tls_buffer(cast("asyncio.BaseTransport", SimpleNamespace(_ssl_protocol=tls)))
    assert vars(tls) == before


def test_a_transport_without_tls_is_left_as_it_is() -> None:
    transport = SimpleNamespace()
    use_small_tls_buffer(cast("asyncio.BaseTransport", transport))
    assert vars(transport) == {}
