"""`acytoo models` against our own server and scripted endpoints."""

from __future__ import annotations

import subprocess

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, raw, status
from tests.processes import ACYTOO, run
from tests.server.live_server import live_server

BODY = rb'{"data": [{"id": "b\u001b[2J"}, {"id": "c\nd"}, {"id": "a"}]}'
LIST = raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY)


def models(*arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return run([ACYTOO, "models", *arguments], env=env)


def test_names_are_printed_as_the_model_option_takes_them() -> None:
    with FakeEndpoint(dialects.OpenAI(), LIST) as fake:
        done = models("openai", "--url", fake.url, OPENAI_API_KEY="k-1")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (
        0,
        "openai/b\ufffd[2J\nopenai/c\ufffdd\nopenai/a\n",
        b"",
    )


async def test_a_url_alone_is_a_server_like_ours() -> None:
    import asyncio

    async with live_server(LIST, password="p-1") as server:
        done = await asyncio.to_thread(models, server.url, ACYTOO_PASSWORD="p-1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"m-1\n", b"")


def test_the_built_in_models_are_the_default() -> None:
    assert models().stdout.startswith(b"embedded/smollm2-135m")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["http://127.0.0.1:9", "--url", "http://127.0.0.1:9"], 2, b"the URL is set twice"),
        (["openai", "-m", "openai"], 2, b"the provider is set twice"),
        (["-m", "openai/a|anthropic/b"], 2, b"a list of models"),
    ],
)
def test_what_cannot_be_listed_is_an_error(arguments: list[str], code: int, message: bytes) -> None:
    done = models(*arguments, OPENAI_API_KEY="k-1", ANTHROPIC_API_KEY="k-2")
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr


def test_a_refusal_is_an_error() -> None:
    with FakeEndpoint(dialects.OpenAI(), status(401, "wrong key")) as fake:
        done = models("openai", "--url", fake.url, OPENAI_API_KEY="k-1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"wrong key" in done.stderr
