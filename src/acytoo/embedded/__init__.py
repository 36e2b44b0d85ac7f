"""`embedded://`: a local model in this process, behind an Acytoo server on a loopback port."""

from __future__ import annotations

import asyncio

from acytoo.http import Endpoint


async def open_endpoint(endpoint: Endpoint) -> Endpoint:
    """Return the HTTP endpoint of an `embedded://NAME` or `embedded:///path/model.gguf` URL.

    Its server is started at the first use, which also downloads the weights of a named model. The server's password is
    the endpoint's key too, because most dialects send only a key.

    Raises:
        EmbeddedError: The model cannot be downloaded or loaded.
        MissingExtraError: llama.cpp is not installed.
    """
    from acytoo.embedded.server import get_server

    server = await asyncio.to_thread(get_server, endpoint.url)
    return Endpoint(server.url, server.password, server.password)
