"""A canary in every setting that may hold a secret never shows, whatever goes wrong."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from acytoo import AcytooError, dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, ScriptedResponse, garbage, hang_up, page, raw, redirect, reply, status
from acytoo.types import Request
from tests.helpers import MESSAGES
from tests.server.live_server import call, request

CANARY = "canary-0123456789-abcdef"
OWN = __name__.partition(".")[0]


class Provider(AsyncGeneratorProvider):
    """An API that takes its key in a header."""

    dialect = dialects.OpenAI()
    url = "http://127.0.0.1"


def settings(url: str) -> dict[str, dict[str, Any]]:
    """Return the settings with a canary in one of them."""
    return {
        "key": {"url": url, "key": CANARY},
        "password": {"url": url, "password": CANARY},
        "user of the URL": {"url": url.replace("://", f"://{CANARY}@")},
        "password of the URL": {"url": url.replace("://", f"://me:{CANARY}@")},
        "query of the URL": {"url": f"{url}?api-version=1&key={CANARY}"},
        "query without a telling name": {"url": f"{url}?x={CANARY}"},
        "secret header": {"url": url, "extra_headers": {"x-api-key": CANARY}},
        "bearer header": {"url": url, "extra_headers": {"Authorization": f"Bearer {CANARY}"}},
        "cookie": {"url": url, "extra_headers": {"cookie": f"a=b; session={CANARY}"}},
        "header without a telling name": {"url": url, "extra_headers": {"x-tenant": CANARY}},
        "proxy": {"url": url, "proxy": url.replace("://", f"://me:{CANARY}@")},
    }


SETTINGS = pytest.mark.parametrize("setting", settings(""))


def repeat(request: Any) -> ScriptedResponse:
    """Return an error that repeats the request."""
    head = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    return status(502, body=f"{request.target}\n{head}\n{request.body.decode()}")


ANSWERS: dict[str, Any] = {
    "repeats the request": repeat,
    "hangs up": hang_up(),
    "not HTTP": garbage(),
    "a page": page(),
    "401": status(401),
    "429": status(429, retry_after=1),
    "a redirect elsewhere": redirect("http://other.invalid/"),
    "a redirect that is a GET": redirect("/elsewhere", 302),
    "a cut reply": reply("Hello").reset(after_bytes=2),
    "silence": reply("Hello").stall(after=1),
}


def shown_of(error: BaseException | None) -> Iterator[str]:
    """Yield what a log, a traceback with its variables or an error reporter shows, but for the frames of tests."""
    if error is None:
        return
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    yield from (repr(frame.locals) for frame in frames if f"/{OWN}/" not in frame.filename)
    yield from shown_of(error.__cause__)
    yield from shown_of(error.__context__)


@SETTINGS
@pytest.mark.parametrize("answer", ANSWERS)
async def test_no_error_shows_a_secret_setting(setting: str, answer: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    async with FakeEndpoint(Provider.dialect, ANSWERS[answer]) as fake:
        provider = Provider(**settings(fake.url)[setting], timeout={"idle": 0.2})
        with pytest.raises(AcytooError) as caught:
            await provider.create_async("m", MESSAGES)
    assert not [text for text in shown_of(caught.value) if CANARY in text]
    assert CANARY not in caplog.text


CHUNKED = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nConnection: close\r\n%b\r\n"
RAW: dict[str, tuple[bytes, bytes]] = {
    "a JSON error": (CHUNKED % (b"400 Bad", b"application/json", b""), b'{"error": {"message": "no", "url": "%b"}}'),
    "an error page": (CHUNKED % (b"502 Bad", b"text/html", b""), b"<title>no</title><p>%b"),
    "a large error": (CHUNKED % (b"500 Bad", b"text/plain", b""), b"x" * 9000 + b"%b"),
    "a JSON error with status 200": (CHUNKED % (b"200 OK", b"application/json", b""), b'{"error": "no", "u": "%b"}'),
    "a document of another API": (CHUNKED % (b"200 OK", b"application/json", b""), b'{"url": "%b"}'),
    "a broken document": (CHUNKED % (b"200 OK", b"application/json", b""), b'{"url": "%b" "x'),
    "a page with status 200": (CHUNKED % (b"200 OK", b"text/html", b""), b"<html><p>%b</html>"),
    "an error record": (CHUNKED % (b"200 OK", b"text/event-stream", b""), b'data: {"error": {"u": "%b"}}\n\n'),
    "an error event": (
        CHUNKED % (b"200 OK", b"text/event-stream", b""),
        b'event: error\ndata: {"type": "error", "error": {"message": "no", "u": "%b"}}\n\n',
    ),
    "a broken record": (CHUNKED % (b"200 OK", b"text/event-stream", b""), b'data: {"u": "%b" "\n\n'),
    "a record that is not text": (CHUNKED % (b"200 OK", b"text/event-stream", b""), b'data: "%b\xff"\n\n'),
    "a wrong line": (CHUNKED % (b"200 OK", b"application/x-ndjson", b""), b'{"error": "no", "u": "%b"}\n'),
    "a broken line": (CHUNKED % (b"200 OK", b"application/x-ndjson", b""), b'{"u": "%b" "\n'),
    "text that is not UTF-8": (CHUNKED % (b"200 OK", b"text/plain", b""), b"%b\xff"),
    "a body of no charset": (CHUNKED % (b"200 OK", b"text/plain; charset=%b", b""), b"x"),
    "a coding that does not exist": (CHUNKED % (b"200 OK", b"text/plain", b"Content-Encoding: %b\r\n"), b"x"),
    "data that is not gzip": (CHUNKED % (b"200 OK", b"text/plain", b"Content-Encoding: gzip\r\n"), b"%b"),
    "a broken chunk": (CHUNKED % (b"200 OK", b"text/plain", b"Transfer-Encoding: chunked\r\n"), b"%b"),
    "a broken header": (CHUNKED % (b"200 OK", b"text/plain", b"%b\r\n"), b""),
    "a broken status": (b"HTTP/1.1 %b\r\n\r\n", b""),
    "a header that is too long": (CHUNKED % (b"200 OK", b"text/plain", b"X: %b" + b"x" * 90_000 + b"\r\n"), b""),
    "a wrong redirect": (CHUNKED % (b"302 Found", b"text/plain", b"Location: http://%b/\r\n"), b""),
    "a limit": (CHUNKED % (b"429 Slow", b"text/plain", b"Retry-After: %b\r\n"), b"%b"),
}
"""Responses that repeat a secret at each `%b`."""

METHODS: dict[str, Any] = {
    "create_async": lambda provider: provider.create_async("m", MESSAGES),
    "reply": lambda provider: provider.reply(MESSAGES, model="m"),
    "list_models": lambda provider: provider.list_models(),
    "count_tokens": lambda provider: provider.count_tokens(Request(messages=MESSAGES, model="m")),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dialect", dialects.ALL, ids=[dialect.name for dialect in dialects.ALL])
@pytest.mark.parametrize("answer", RAW)
async def test_no_response_that_repeats_a_secret_of_the_url_stays_in_an_error(
    answer: str, dialect: Any, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    response = b"".join(part.replace(b"%b", CANARY.encode()) for part in RAW[answer])
    async with FakeEndpoint(dialect, raw(response).close()) as fake:
        provider = type("Any", (Provider,), {"dialect": dialect})(f"{fake.url}?x={CANARY}", key=f"key-{CANARY}")
        try:
            await METHODS[method](provider)
        except AcytooError as error:
            is_reply = dialect.name == "acytoo" and method in ("create_async", "reply") and CANARY in error.text
            assert is_reply or not [text for text in shown_of(error) if CANARY in text]
        else:
            assert answer not in ("a JSON error", "a broken status")
    assert CANARY not in caplog.text


@SETTINGS
async def test_no_repr_of_a_provider_shows_a_secret_setting(setting: str) -> None:
    provider = Provider(**settings("http://127.0.0.1:9/v1")[setting])
    shown = [repr(provider), str(provider), provider.url, repr(vars(provider)), repr(provider._settings)]
    shown += [repr(list(item.__rich_repr__())) for item in (provider._settings, provider._settings.endpoint)]
    shown += [repr(list(provider._settings.connection.__rich_repr__()))]
    assert not [text for text in shown if CANARY in text]


@SETTINGS
@pytest.mark.parametrize(
    "wrong",
    [{"timeout": -1}, {"ca": "/nowhere"}, {"extra_headers": {"x": 1, "y": CANARY}}, {"url": f"ftp://{CANARY}@x"}],
)
def test_an_error_about_another_setting_does_not_show_it(setting: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Provider(**{**settings("http://127.0.0.1:9/v1")[setting], **wrong})
    assert not [text for text in shown_of(caught.value) if CANARY in text]


@SETTINGS
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "document"])
@pytest.mark.parametrize("answer", ["repeats the request", "hangs up", "a page", "a redirect that is a GET"])
async def test_no_client_of_a_server_sees_a_secret_setting(setting: str, stream: bool, answer: str) -> None:
    async with FakeEndpoint(Provider.dialect, ANSWERS[answer]) as fake:
        server, url = await start(ServerConfig({"b": Provider(**settings(fake.url)[setting], model="m")}, port=0))
        for client in ("openai", "anthropic"):
            response = await call(urlsplit(url).port or 0, request(client, stream=stream))
            assert response.status >= 400
            assert CANARY not in str(response.headers) + response.body.decode()
        await server.close()


@SETTINGS
async def test_every_secret_setting_is_sent(setting: str) -> None:
    async with FakeEndpoint(Provider.dialect, reply("Hello")) as fake:
        await Provider(**settings(fake.url)[setting]).create_async("m", MESSAGES)
    (sent,) = fake.requests
    text = f"{sent.target} {sent.headers}"
    if "URL" in setting and "query" not in setting:
        assert sent.headers["authorization"].startswith("Basic ")
    elif setting == "proxy":
        assert sent.headers["proxy-authorization"].startswith("Basic ")
    elif setting != "password":  # this API has none
        assert CANARY in text
