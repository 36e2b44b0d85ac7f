"""`acytoo fake` as a process, with our own clients."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from acytoo import Acytoo
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import RateLimitError, TruncatedError
from acytoo.providers.openai import OpenAI
from acytoo.testing.script.directives import COMPLETE_REPLY
from tests.helpers import MESSAGES
from tests.processes import ACYTOO, LIMIT, run, start


@contextlib.contextmanager
def fake(*options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the command, and yield its URL and its process."""
    process = start([ACYTOO, "fake", *options])
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip(), process
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT)


async def text_of(provider: AsyncGeneratorProvider) -> str:
    return await provider.create_async("m", MESSAGES)


async def test_a_client_meets_the_fault() -> None:
    with fake("--dialect", "acytoo", "--fault", "reset:17") as (url, _):
        with pytest.raises(TruncatedError) as caught:
            await text_of(Acytoo(url))
        assert caught.value.text == COMPLETE_REPLY.encode()[:17].decode(errors="ignore")


async def test_several_faults_apply_to_successive_requests_and_the_last_one_stays() -> None:
    with fake("--fault", "status:429+retry-after:3", "--fault", "gzip+cut:1") as (url, _):
        provider = OpenAI(url, key="sk")
        with pytest.raises(RateLimitError) as caught:
            await text_of(provider)
        assert caught.value.retry_after == 3
        assert await text_of(provider) == COMPLETE_REPLY
        assert await text_of(provider) == COMPLETE_REPLY


async def test_a_row_of_the_fault_table_can_be_named() -> None:
    with fake("--fault", "cut-cleanly") as (url, _), pytest.raises(TruncatedError):
        await text_of(OpenAI(url, key="sk"))


async def test_with_tls_it_prints_the_path_of_its_certificate_authority() -> None:
    with fake("--tls", "--dialect", "acytoo") as (url, process):
        assert url.startswith("https://")
        assert process.stderr is not None
        authority = process.stderr.readline().decode().partition(": ")[2].strip()
        assert await text_of(Acytoo(url, ca=authority)) == COMPLETE_REPLY


def test_sigterm_ends_it_with_0() -> None:
    with fake() as (_, process):
        process.terminate()
        assert process.wait(LIMIT) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fault", "rest:17"], "unknown fault 'rest'"),
        (["--fault", "reset:x"], "write it like reset:17"),
        (["--fault", "page+garbage"], "more than one response"),
        (["--fault", "black-hole"], "needs more than an endpoint"),
        (["--dialect", "latin"], "unknown dialect 'latin'"),
    ],
)
def test_an_invalid_fault_or_dialect_is_an_error(options: list[str], message: str) -> None:
    done = run([ACYTOO, "fake", *options])
    assert done.returncode == 2
    assert message in done.stderr.decode()


def test_a_port_in_use_is_an_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run([ACYTOO, "fake", "--port", str(port)])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"acytoo: cannot listen on port {port}: {os.strerror(errno.EADDRINUSE)}\n"


def test_its_help_lists_the_faults() -> None:
    assert b"reset:17" in run([ACYTOO, "fake", "--help"]).stdout
