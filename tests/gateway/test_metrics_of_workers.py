"""The metrics of several workers on one port."""

from __future__ import annotations

import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish, Usage
from tests.gateway.test_metrics import Series, parse, value
from tests.processes import ACYTOO, LIMIT, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="several workers need signals")

BODY = b'{"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}'


def get(url: str, body: bytes | None = None) -> bytes:
    """Return the body of a response, over a connection of its own."""
    request = urllib.request.Request(url, body, {"content-type": "application/json", "connection": "close"})
    with urllib.request.urlopen(request, timeout=LIMIT) as response:
        data: bytes = response.read()
        return data


def scrape(url: str) -> Series:
    """Return what Prometheus reads."""
    return parse(get(f"{url}/metrics"))


def test_whichever_worker_is_asked_reports_the_sums_of_all(tmp_path: Path) -> None:
    answer = reply("Hi", Usage(10, 5), Finish("stop"))
    with FakeEndpoint(dialects.OpenAI(), answer) as fake:
        path = tmp_path / "acytoo.toml"
        path.write_text(f"""
[server]
port = 0
workers = 2
[storage]
ledger = "none"
[upstreams.up]
provider = "compatible"
url = "{fake.url}"
[models.fast]
targets = ["up/m1"]
""")
        process = start([ACYTOO, "serve", "--config", str(path)])
        try:
            assert process.stderr is not None
            url = process.stderr.readline().decode().split()[2]
            for _ in range(20):
                get(f"{url}/v1/chat/completions", BODY)
            for _ in range(10):
                series = scrape(url)
                labels = {"key": "", "dialect": "openai", "model": "fast", "status": "200"}
                assert value(series, "acytoo_requests_total", **labels) == 20
                tokens = {"key": "", "model": "fast", "upstream": "up", "target": "up/m1", "type": "input"}
                assert value(series, "acytoo_tokens_total", **tokens) == 200
                assert value(series, "acytoo_requests_in_progress") == 1
                assert value(series, "acytoo_info", version=next(iter(versions(series)))) == 1
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=LIMIT)
    assert process.returncode == 0


def versions(series: Series) -> set[str]:
    """Return the versions that are reported."""
    return {dict(labels)["version"] for name, labels in series if name == "acytoo_info"}
