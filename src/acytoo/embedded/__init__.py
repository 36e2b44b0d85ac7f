"""`embedded://`: a real model in this process, behind a real server on a loopback port."""

from __future__ import annotations

import asyncio

from acytoo.http import Endpoint


async def open_endpoint(endpoint: Endpoint) -> Endpoint:
    """The HTTP endpoint of an `embedded://NAME` or `embedded:///path/model.gguf` URL; started at its first use.

    Its password is its key too: most dialects send nothing else. The first use of a named model fetches its weights.
    Raises EmbeddedError, MissingExtraError.
    """
    from acytoo.embedded.server import running_host

    host = await asyncio.to_thread(running_host, endpoint.url)
    return Endpoint(host.url, host.password, host.password)
