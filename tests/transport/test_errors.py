"""Every failure of a server or of the network is a typed error with the text received before it."""

from __future__ import annotations

import errno
import gzip
import os
import sys
import tracemalloc
import zlib

import pytest

from acytoo import Acytoo, AcytooError, dialects
from acytoo.errors import (
    AuthenticationError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    TruncatedError,
    UnreachableError,
)
from acytoo.testing import (
    FakeEndpoint,
    ScriptedResponse,
    garbage,
    hang_up,
    json_error,
    page,
    raw,
    refused_port,
    reply,
    status,
)
from tests.helpers import failure, texts
from tests.processes import run, script

CUT_CHARACTER = raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\na\xc3\xa9").end(
    after_bytes=66
)
HELLO = reply("Hello ", "world")


async def failure_of(answer: ScriptedResponse) -> AcytooError:
    async with FakeEndpoint(dialects.Acytoo(), answer) as fake:
        return await failure(Acytoo(fake.url, timeout=20))


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (status(400, "temperature must be a number"), RequestError, "temperature must be a number"),
        (status(401, "wrong password"), AuthenticationError, "wrong password"),
        (status(403, "not for you"), AuthenticationError, "not for you"),
        (status(404, "no such model"), NotFoundError, "no such model"),
        (status(413, body="too much text"), RequestError, "too much text"),
        (status(422, body={"detail": "messages: required"}), RequestError, "messages: required"),
        (status(429, "slow down", retry_after=2), RateLimitError, "slow down"),
        (status(500, body=""), ServerError, "no message"),
        (status(500, body={"msg": "the upstream is gone"}), ServerError, "the upstream is gone"),
        (status(503, body={"error": "overloaded"}), ServerError, "overloaded"),
        (page("502 Bad Gateway", 502), ServerError, "502 Bad Gateway"),
        (status(418, body={"error": {"message": "teapot"}}), RequestError, "teapot"),
        (status(304, body=""), ServerError, "304"),
    ],
)
async def test_an_error_status_is_a_typed_error_with_the_servers_message(
    answer: ScriptedResponse, kind: type[AcytooError], message: str
) -> None:
    error = await failure_of(answer)
    assert type(error) is kind
    assert message in str(error)


@pytest.mark.parametrize("head", ["content-type: text/html", "content-type: text/plain"])
async def test_text_buffered_for_inspection_is_in_the_error_if_the_reply_is_cut(head: str) -> None:
    start = f"HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: 500\r\n\r\n<think>Let me see.".encode()
    error = await failure_of(raw(start).close(after_bytes=len(start)))
    assert (type(error), error.text) == (TruncatedError, "<think>Let me see.")


async def test_retry_after_is_in_the_error() -> None:
    error = await failure_of(status(429, "slow down", retry_after=2))
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 2
    assert error.retryable


@pytest.mark.parametrize(("value", "wait", "retryable"), [("false", 0, False), ("false", 7, True), ("true", 0, True)])
@pytest.mark.parametrize(("code", "cls"), [(429, RateLimitError), (502, ServerError)])
async def test_what_the_server_says_will_never_be_answered_is_not_retryable(
    code: int, cls: type[AcytooError], value: str, wait: int, retryable: bool
) -> None:
    error = await failure_of(status(code, "too much", retry_after=wait or None).header("x-should-retry", value))
    assert isinstance(error, cls)
    assert error.retryable == retryable


@pytest.mark.parametrize(
    "value",
    [
        "9" * 400,
        "inf",
        "nan",
        "soon",
        "Wed, 25 Nov 99999999999999999999 18:00:00 GMT",
        "Wed, 25 Nov 2026 18:00:00 +99999999999999999",
    ],
)
@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
async def test_an_invalid_retry_after_is_ignored(value: str, header: str) -> None:
    error = await failure_of(status(429, "slow down").header(header, value))
    assert isinstance(error, RateLimitError)
    assert error.retry_after is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (HELLO.reset(after_bytes=0), TruncatedError),
        (HELLO.close(after_bytes=0), TruncatedError),
        (HELLO.half_close(after_bytes=0), TruncatedError),
        (reply().end(), TruncatedError),
        (status(200, body=""), TruncatedError),
        (status(204, body=""), TruncatedError),
        (reply("Hi").end(after_bytes=0), TruncatedError),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-type: te").close(), UnreachableError),
        (raw(b"HTTP/1.1 200 OK").close(), UnreachableError),
        (hang_up(), UnreachableError),
        (raw().reset(), UnreachableError),
        (garbage(), ProtocolError),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), ProtocolError),
        (raw(b"HTTP/1.1 banana\r\n\r\n").close(), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000 + b"\r\n\r\n").close(), ProtocolError),
        (page(), ProtocolError),
        (page().with_length(), ProtocolError),
        (reply("Hi").header("content-encoding", "br"), ProtocolError),
        (reply("Hi").header("content-encoding", "gzip"), ProtocolError),
        (reply("Hi").header("content-type", "text/plain; charset=klingon"), ProtocolError),
        (json_error("the model is asleep"), ServerError),
    ],
)
async def test_a_response_that_is_not_a_reply_is_an_error(answer: ScriptedResponse, kind: type[AcytooError]) -> None:
    error = await failure_of(answer)
    assert type(error) is kind
    assert error.text == ""


@pytest.mark.parametrize("bytes_before", range(1, 11))
@pytest.mark.parametrize("way", ["reset", "close", "half_close"])
async def test_a_reply_cut_in_mid_stream_is_truncated_and_its_text_is_in_the_error(way: str, bytes_before: int) -> None:
    error = await failure_of(getattr(HELLO, way)(after_bytes=bytes_before))
    assert type(error) is TruncatedError
    assert error.text == "Hello world"[:bytes_before]


@pytest.mark.parametrize("answer", [HELLO.reset(), HELLO.close(), HELLO.half_close()])
async def test_a_reply_without_its_end_is_truncated(answer: ScriptedResponse) -> None:
    error = await failure_of(answer)
    assert type(error) is TruncatedError
    assert error.text == "Hello world"


@pytest.mark.parametrize("at_byte", range(114))
async def test_a_connection_reset_at_any_byte_is_an_error(at_byte: int) -> None:
    error = await failure_of(HELLO.reset(at_byte=at_byte))
    assert type(error) in (UnreachableError, TruncatedError)
    assert "Hello world".startswith(error.text)


async def test_a_body_shorter_than_its_stated_length_is_truncated() -> None:
    error = await failure_of(reply("Hello").with_length(20).close())
    assert type(error) is TruncatedError
    assert "the connection ended before the response was complete" in str(error)
    assert error.text == "Hello"


async def test_a_body_without_length_that_is_reset_is_truncated() -> None:
    error = await failure_of(reply("Hello").until_close().reset())
    assert type(error) is TruncatedError
    assert os.strerror(errno.ECONNRESET) in str(error)
    assert error.text == "Hello"


@pytest.mark.parametrize("noise", [b"not a size\r\n", b"zz\r\n", b"\0", b"-1\r\n", b"0x5\r\n"])
async def test_broken_chunked_framing_is_an_error_at_once(noise: bytes) -> None:
    error = await failure_of(reply("Hello", " you").insert(noise, after=1))
    assert type(error) is TruncatedError
    assert error.text == "Hello"


async def test_a_cut_gzip_body_is_truncated() -> None:
    error = await failure_of(reply("Hello ", "world").gzip().end(after=2))
    assert type(error) is TruncatedError
    assert error.text == "Hello world"


async def test_an_unrequested_gzip_body_is_decompressed() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").gzip().cut_bytes(1)) as fake:
        assert "".join(await texts(Acytoo(fake.url))) == "Hello world"
        assert fake.requests[0].headers["accept-encoding"] == "identity"


def _deflated(data: bytes, window: int) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"Hello ") + gzip.compress(b"") + gzip.compress(b"world")),
        ("gzip", gzip.compress(b"Hello world") + bytes(20)),
        ("deflate", zlib.compress(b"Hello world")),
        ("deflate", _deflated(b"Hello world", -15)),
    ],
    ids=["gzip of several members", "gzip with padding", "deflate", "deflate without its header"],
)
async def test_a_compressed_body_of_any_form_is_decompressed_however_it_is_split(
    coding: str, body: bytes, size: int
) -> None:
    answer = status(200, body=body, content_type="text/plain").header("content-encoding", coding).cut_bytes(size)
    async with FakeEndpoint(dialects.Acytoo(), answer) as fake:
        assert "".join(await texts(Acytoo(fake.url))) == "Hello world"


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        (gzip.compress(b"world")[:12], TruncatedError),
        (gzip.compress(b"world")[:-1], TruncatedError),
        (b"x", TruncatedError),
        (b"\xff" * 500, ProtocolError),
        (b"rest", ProtocolError),
    ],
    ids=["half a member", "a member without its last byte", "a byte", "bytes", "text"],
)
@pytest.mark.parametrize("size", [1, 1000])
async def test_a_compressed_body_with_a_cut_member_or_garbage_at_its_end_is_an_error(
    rest: bytes, kind: type[AcytooError], size: int
) -> None:
    answer = status(200, body=gzip.compress(b"Hello ") + rest, content_type="text/plain").cut_bytes(size)
    error = await failure_of(answer.header("content-encoding", "gzip"))
    assert type(error) is kind


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip"])
async def test_an_error_whose_body_cannot_be_decompressed_keeps_its_status_and_retry_after(coding: str) -> None:
    error = await failure_of(status(429, body=b"\x0b\x02\x80xx", retry_after=5).header("content-encoding", coding))
    assert type(error) is RateLimitError
    assert (error.status, error.retry_after, error.message) == (429, 5, "no message")


async def test_a_body_that_ends_with_its_connection_is_complete() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").until_close()) as fake:
        assert "".join(await texts(Acytoo(fake.url))) == "Hello world"


async def test_a_reply_that_ends_inside_a_character_is_truncated() -> None:
    error = await failure_of(reply("né").end(after_bytes=2))
    assert type(error) is TruncatedError
    assert error.text == "n"
    assert "character" in str(error)


async def test_bytes_invalid_in_the_charset_are_an_error_that_shows_them() -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(200, body=b"ok \xff\xfe").with_length()) as fake:
        error = await failure(Acytoo(fake.url))
    assert type(error) is ProtocolError
    assert "\\xff" in str(error)


async def test_a_port_that_refuses_connections_is_unreachable() -> None:
    with refused_port() as port:
        error = await failure(Acytoo(f"http://127.0.0.1:{port}"))
    assert type(error) is UnreachableError
    assert f"127.0.0.1:{port}" in str(error)


async def test_a_host_name_that_cannot_be_resolved_is_unreachable_and_named() -> None:
    error = await failure(Acytoo("http://no-such-host.invalid"))
    assert type(error) is UnreachableError
    assert "no-such-host.invalid" in str(error)


async def test_an_html_page_instead_of_a_reply_is_reported_with_its_title() -> None:
    error = await failure_of(page("Sign in to the hotel network"))
    assert "Sign in to the hotel network" in str(error)


@pytest.mark.parametrize(
    "document",
    ['{"a": 1}', '{"error": 3, "explained": "in the text"}', '["one"]', "<b>bold</b>", "[not json", "{", '"quoted"'],
)
@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/json", "text/html"])
async def test_a_reply_that_is_json_or_html_passes(document: str, content_type: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(200, body=document, content_type=content_type)) as fake:
        assert "".join(await texts(Acytoo(fake.url))) == document
    async with FakeEndpoint(dialects.Acytoo(), reply(*document).header("content-type", content_type)) as fake:
        assert "".join(await texts(Acytoo(fake.url))) == document


async def test_only_the_start_of_a_huge_error_page_is_read() -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(500, body=b"out of cheese " * 750_000)) as fake:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            error = await failure(Acytoo(fake.url))
            await fake.disconnected()
            used = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
    assert type(error) is ServerError
    assert "out of cheese" in str(error)
    assert len(str(error)) < 1000
    assert len(error.body) <= 2000
    assert fake.written < 10_000_000
    assert used < 12_000_000, "10 MB are the endpoint's own page"


async def test_an_error_page_that_never_ends_is_an_error_with_the_part_received() -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(500, body="out of").with_length(100).stall()) as fake:
        error = await failure(Acytoo(fake.url, timeout={"idle": 0.3}))
        await fake.disconnected()
    assert type(error) is ServerError
    assert error.message == "out of"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_reply_in_tiny_packets_arrives_complete(size: int) -> None:
    texts_sent = ["你好，", "مرحبا ", "👩‍👩‍👧‍👦🇨🇭", "é\r\n\0", "\N{BYTE ORDER MARK}x"]
    async with FakeEndpoint(dialects.Acytoo(), reply(*texts_sent).cut_bytes(size)) as fake:
        seen = await texts(Acytoo(fake.url))
    assert "".join(seen) == "".join(texts_sent)
    assert all(seen)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_without_free_file_descriptors_a_request_is_unreachable_and_nothing_else() -> None:
    """Nothing can be imported then either, not even the codec of a message."""
    with FakeEndpoint(dialects.Acytoo(), reply("Hi").stall(after=1)) as fake:
        done = run(
            script(f"""
                import asyncio, resource
                from acytoo import Acytoo, UnreachableError

                messages = [{{"role": "user", "content": "Hi"}}]

                async def ask():
                    async for _ in Acytoo({fake.url!r}).create_async_generator("", messages):
                        await asyncio.sleep(60)

                async def main():
                    waiting = [asyncio.create_task(ask())]
                    await asyncio.sleep(0)
                    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
                    waiting += [asyncio.create_task(ask()) for _ in range(50)]
                    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    assert {{type(task.exception()) for task in done}} == {{UnreachableError}}, done
                    for task in waiting:
                        task.cancel()
                    await asyncio.gather(*waiting, return_exceptions=True)

                asyncio.run(main())
            """)
        )
    assert (done.returncode, done.stderr) == (0, b"")
