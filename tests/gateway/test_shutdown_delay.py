"""A server that still accepts connections for a while after SIGTERM, so that load balancers notice it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from acytoo.dialects import OpenAI
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish
from tests.processes import ACYTOO, LIMIT, start
from tests.services import wait_until

REQUEST = json.dumps({"model": "up/m1", "messages": [{"role": "user", "content": "Hello"}]})


@contextmanager
def serving(folder: Path, upstream: str, delay: float, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run `acytoo serve` and yield its process and address."""
    path = folder / "acytoo.toml"
    path.write_text(f"""
[server]
port = 0
workers = {workers}
shutdown_delay = {delay}
[storage]
ledger = "none"
[metrics]
enabled = false
[upstreams.up]
provider = "compatible"
url = "{upstream}"
""")
    process = start([ACYTOO, "serve", "--config", str(path)])
    try:
        assert process.stderr is not None
        yield process, urlsplit(process.stderr.readline().split()[2].decode()).netloc
    finally:
        process.kill()
        process.communicate()


def answer(address: str, path: str, body: str | None = None) -> tuple[int, bytes, str | None]:
    """Return the status, the body and the header `connection` of a response on a new connection."""
    connection = HTTPConnection(address, timeout=LIMIT)
    try:
        connection.request("POST" if body else "GET", path, body)
        response = connection.getresponse()
        return response.status, response.read(), response.headers["connection"]
    finally:
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_new_connections_are_answered_and_only_health_checks_report_the_end(tmp_path: Path, workers: int) -> None:
    with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake:
        with serving(tmp_path, fake.url, 1e6, workers) as (process, address):
            assert answer(address, "/readyz")[0] == 200
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: answer(address, "/readyz")[0] == 503, "/readyz does not report the end", process)
            assert answer(address, "/livez")[0] == 200
            status, body, connection = answer(address, "/v1/chat/completions", REQUEST)
            assert (status, connection) == (200, "close")
            assert b"Hi" in body
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == 0


def test_the_server_ends_after_the_delay(tmp_path: Path) -> None:
    with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake:
        with serving(tmp_path, fake.url, 0.1, 1) as (process, _):
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == 0
