"""URL schemes of our own and of other packages, which lead to an HTTP endpoint."""

from __future__ import annotations

import importlib
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

import acytoo
from acytoo import Acytoo, dialects
from acytoo.embedded import open_endpoint
from acytoo.errors import UsageError
from acytoo.http import Endpoint
from acytoo.secret import Secret
from acytoo.settings import SCHEME_GROUP, SCHEMES, register_scheme, scheme_of
from acytoo.testing import FakeEndpoint, reply
from tests.helpers import MESSAGES
from tests.processes import run, script

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


async def test_a_registered_scheme_leads_to_the_endpoint_that_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:

        async def open_fake(endpoint: Endpoint) -> Endpoint:
            return Endpoint(f"{fake.url}/{endpoint.url.removeprefix('fake://')}")

        monkeypatch.setitem(SCHEMES, "fake", open_fake)
        assert await Acytoo("fake://here", proxy="http://127.0.0.1:9").create_async("", MESSAGES) == "Hi"
        assert [request.target for request in fake.requests] == ["/here/api/completions"]


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_the_opened_endpoints_credentials_replace_those_of_the_provider(
    dialect: dialects.Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = type("Mine", (acytoo.AsyncGeneratorProvider,), {"dialect": dialect, "url": "fake://"})
    async with FakeEndpoint(dialect, reply("Hi", acytoo.Finish("stop"))) as fake:

        async def open_fake(endpoint: Endpoint) -> Endpoint:
            return Endpoint(fake.url, Secret("sk-opened"), Secret("sk-opened"))

        monkeypatch.setitem(SCHEMES, "fake", open_fake)
        assert await provider(key="sk-mine", password="sk-mine").create_async("m", MESSAGES) == "Hi"
    sent = fake.requests[0].body.decode() + str(fake.requests[0].headers)
    assert "sk-opened" in sent
    assert "sk-mine" not in sent


async def test_a_request_that_the_dialect_cannot_express_is_refused_before_the_scheme_is_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def open_nothing(endpoint: Endpoint) -> Endpoint:
        raise AssertionError("opened")

    monkeypatch.setitem(SCHEMES, "fake", open_nothing)
    with pytest.raises(UsageError, match="max_tokens"):
        Acytoo("fake://here").create_async_generator("", MESSAGES, max_tokens=5)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing"):
        Acytoo("nothing://here")


@pytest.mark.parametrize("url", ["http://h", "https://h", "HTTP://h", "h:1", ""])
def test_a_url_of_http_needs_no_resolving(url: str) -> None:
    assert scheme_of(url) is None


def test_a_scheme_may_be_written_in_capitals() -> None:
    assert scheme_of("EMBEDDED://Model") == "embedded"
    assert Acytoo("Embedded:///Path/Model.gguf").url == "embedded:///Path/Model.gguf"


def test_register_scheme_makes_a_scheme_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acytoo.settings.SCHEMES", {})
    assert scheme_of("fake://here") is None
    register_scheme("fake", open_endpoint)
    assert scheme_of("fake://here") == "fake"


def test_the_embedded_scheme_is_the_entry_point_that_pyproject_names() -> None:
    entries = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][SCHEME_GROUP]
    module, _, name = entries["embedded"].partition(":")
    assert getattr(importlib.import_module(module), name) is open_endpoint


def test_the_embedded_scheme_is_known_without_reading_the_metadata_of_packages() -> None:
    code = """
import sys
from acytoo import Acytoo
Acytoo()
from acytoo.settings import SCHEMES
print(*SCHEMES, "importlib.metadata" in sys.modules)
"""
    assert run(script(code, "-I")).stdout == b"embedded False\n"


def with_package(site: Path, entry: str, code: str) -> subprocess.CompletedProcess[bytes]:
    """Use a `remote://` URL in a process in which a package offers that scheme."""
    (site / "remote.py").write_text(f"from acytoo.http import Endpoint\nasync def open(endpoint):\n    {code}\n")
    info = site / "remote-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: remote\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{SCHEME_GROUP}]\nremote = {entry}\n")
    program = """
import asyncio
from acytoo import Acytoo, UsageError
try:
    print(asyncio.run(Acytoo("remote://x").create_async("", [{"role": "user", "content": "Hi"}])))
except UsageError as error:
    print(error)
"""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return run(script(program, "-W", "error"), env={"PYTHONPATH": path})


def test_another_package_offers_a_scheme_as_an_entry_point(tmp_path: Path) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        done = with_package(tmp_path, "remote:open", f"return Endpoint({fake.url!r})")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello\n", b"")


def test_a_broken_entry_point_of_a_scheme_is_named(tmp_path: Path) -> None:
    done = with_package(tmp_path, "remote:missing", "pass")
    assert done.stdout.decode().startswith("the entry point remote:missing for remote:// URLs cannot be loaded: Attr")
