"""A server with a config file in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from acytoo.gateway.gateway import Gateway
from acytoo.gateway.keys import hash_secret
from acytoo.server.http_server import HTTPServer
from acytoo.server.run import start
from tests.server.live_server import Response, call, head


class Served(msgspec.Struct):
    """A running gateway with its HTTP side."""

    gateway: Gateway
    http: HTTPServer
    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    async def get(self, path: str, headers: str = "") -> Response:
        """Return the response to a GET request; `headers` are lines with their ends."""
        return await call(self.port, head(f"GET {path} HTTP/1.1", headers))

    async def post(self, path: str, body: object, headers: str = "authorization: Bearer sk-ci\r\n") -> Response:
        """Return the response to a POST request with a JSON document."""
        return await self.post_bytes(path, msgspec.json.encode(body), headers)

    async def post_bytes(self, path: str, data: bytes, headers: str = "authorization: Bearer sk-ci\r\n") -> Response:
        """Return the response to a POST request with a body."""
        return await call(self.port, head(f"POST {path} HTTP/1.1", f"content-length: {len(data)}\r\n{headers}") + data)


@asynccontextmanager
async def served(
    folder: Path, upstream: str, rest: str = "", *, server: str = "", provider: str = "compatible"
) -> AsyncIterator[Served]:
    """Run a gateway with the key `sk-ci` in front of one upstream `up`; `rest` is more of its config file."""
    path = folder / "acytoo.toml"
    (folder / "upstream-key").write_text("sk-upstream-0123456789")
    path.write_text(f"""
[server]
port = 0
{"" if "grace" in server else "grace = 0.1"}
{server}
[upstreams.up]
provider = "{provider}"
key = "file:upstream-key"
url = "{upstream}"
[keys.ci]
hash = "{hash_secret("sk-ci")}"
{rest}
""")
    running = Gateway(path)
    async with running.running() as application:
        http, url = await start(running.server_config, application=application)
        try:
            yield Served(running, http, url)
        finally:
            await http.close()
