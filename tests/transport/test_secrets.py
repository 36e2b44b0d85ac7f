"""No error, traceback or repr contains a key, a password or a proxy password."""

from __future__ import annotations

import traceback
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from acytoo import Acytoo, dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import AuthenticationError, UsageError
from acytoo.testing import (
    Authority,
    FakeEndpoint,
    FakeHTTPProxy,
    FakeSOCKSProxy,
    ScriptedResponse,
    garbage,
    hang_up,
    json_error,
    page,
    redirect,
    reply,
    status,
)
from tests.helpers import MESSAGES, failure

KEY = "sk-key-that-nobody-may-see"
PASSWORD = "password-that-nobody-may-see"
PROXY_PASSWORD = "proxy-word-that-nobody-may-see"
SECRETS = (KEY, PASSWORD, PROXY_PASSWORD)


class Bearer(AsyncGeneratorProvider):
    """An API that takes its key in a header."""

    dialect = dialects.OpenAI()
    url = "http://127.0.0.1"


def shown(error: BaseException | None) -> Iterator[str]:
    """Yield everything that a log, a traceback or an error reporter would show of an error and its causes."""
    if error is None:
        return
    yield "".join(traceback.format_exception(error))
    yield str(error)
    yield repr(error)
    yield repr(error.args)
    yield repr(vars(error))
    yield from shown(error.__cause__)
    yield from shown(error.__context__)


def clean(error: BaseException, secrets: tuple[str, ...] = SECRETS) -> None:
    for text in shown(error):
        for secret in secrets:
            assert secret not in text


ECHO = {"msg": f"no such key: {KEY}, password {PASSWORD}, through {PROXY_PASSWORD}"}

ANSWERS: dict[str, ScriptedResponse] = {
    "an error that repeats them": status(401, body=ECHO),
    "an error text that repeats them": status(500, body=f"{KEY} {PASSWORD}"),
    "a page that repeats them": page(f"Welcome {KEY} {PASSWORD}", 403),
    "a page with status 200": page(f"Welcome {KEY} {PASSWORD}"),
    "a JSON error with status 200": json_error(f"unknown: {KEY} {PASSWORD}"),
    "a redirect that repeats them": redirect(f"https://elsewhere.invalid/{KEY}?p={PASSWORD}"),
    "bytes of no charset": status(200, body=b"\xff" + KEY.encode()),
    "garbage": garbage(),
    "nothing": hang_up(),
    "a cut reply": reply("Hello").reset(after_bytes=2),
    "a reset before": reply("Hello").reset(at_byte=3),
    "a head beyond all measure": status(200, body="").header("x-long", "x" * 100_000),
    "a compression unknown": reply("Hi").header("content-encoding", KEY),
    "a charset unknown": reply("Hi").header("content-type", f"text/plain; charset={KEY}"),
    "silence": reply("Hello").stall(after=1),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_no_error_shows_key_or_password(answer: str) -> None:
    async with (
        FakeEndpoint(dialects.Acytoo(), ANSWERS[answer]) as fake,
        FakeHTTPProxy("me", PROXY_PASSWORD) as proxy,
    ):
        through = proxy.url.replace("://", f"://me:{PROXY_PASSWORD}@")
        provider = Acytoo(fake.url, key=KEY, password=PASSWORD, proxy=through, timeout={"idle": 0.3})
        clean(await failure(provider))


@pytest.mark.parametrize("answer", [name for name in ANSWERS if name != "a charset unknown"])
async def test_no_error_shows_a_key_that_goes_in_a_header(answer: str) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWERS[answer]) as fake:
        provider = Bearer(fake.url, key=KEY, timeout={"idle": 0.3}, extra_headers={"x-password": PASSWORD})
        with pytest.raises(Exception) as caught:
            async for _ in provider.create_async_generator("m", MESSAGES):
                pass
        clean(caught.value, (KEY, PASSWORD))


@pytest.mark.parametrize("kind", [FakeHTTPProxy, FakeSOCKSProxy])
@pytest.mark.parametrize("tls", [False, True])
async def test_no_error_shows_a_proxys_password(kind: Any, tls: bool) -> None:
    context = Authority().server_context() if tls else None
    async with FakeEndpoint(dialects.Acytoo(), hang_up(), tls=context) as fake:
        for right in (True, False):
            async with kind("me", PROXY_PASSWORD if right else "another") as proxy:
                through = proxy.url.replace("://", f"://me:{PROXY_PASSWORD}@")
                clean(await failure(Acytoo(fake.url, proxy=through, key=KEY)))


def locals_of(error: BaseException | None) -> Iterator[str]:
    """Yield the local variables that an error reporter would show, except those of the tests."""
    if error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals["__name__"].partition(".")[0] != "tests":
                yield repr(frame.f_locals)
        yield from locals_of(error.__cause__)
        yield from locals_of(error.__context__)


@pytest.mark.parametrize(
    "answer", [hang_up(), garbage(), status(401), status(407), redirect("http://other/"), reply("Hello").reset()]
)
@pytest.mark.parametrize("dialect", [dialects.Acytoo(), dialects.OpenAI()], ids=["key in the body", "key in a header"])
@pytest.mark.parametrize("tunnel", [False, True])
async def test_no_variable_of_a_traceback_shows_a_secret(dialect: Any, answer: ScriptedResponse, tunnel: bool) -> None:
    async with FakeEndpoint(dialect, answer) as fake, FakeHTTPProxy("me", PROXY_PASSWORD) as proxy:
        provider = type("Any", (Bearer,), {"dialect": dialect})(
            fake.url,
            key=KEY,
            extra_headers={"x-password": PASSWORD},
            proxy=proxy.url.replace("://", f"://me:{PROXY_PASSWORD}@") if tunnel else None,
        )
        error = await failure(provider)
    found = list(locals_of(error))
    assert len(found) > 1
    for text in found:
        for secret in (*SECRETS, b64encode(f"me:{PROXY_PASSWORD}".encode()).decode()):
            assert secret not in text


def test_no_repr_shows_a_secret() -> None:
    provider = Acytoo("http://127.0.0.1", key=KEY, password=PASSWORD, proxy=f"http://me:{PROXY_PASSWORD}@127.0.0.1:1")
    for text in (repr(provider), str(provider), repr(vars(provider)), repr(provider._settings)):
        for secret in SECRETS:
            assert secret not in text


def test_credentials_in_the_url_are_not_shown() -> None:
    provider = Acytoo(f"http://me:{PASSWORD}@127.0.0.1:9")
    assert PASSWORD not in repr(provider)
    assert PASSWORD not in str(provider)


async def test_credentials_in_the_url_are_not_in_an_error() -> None:
    clean(await failure(Acytoo(f"http://me:{PASSWORD}@127.0.0.1:9")))


WRONG_URLS = [
    f"ftp://me:{PASSWORD}@x",
    f"me:{PASSWORD}@x",
    f"http://me:{PASSWORD}@x:port",
    *[f"http://me:{mark.join((PASSWORD, PASSWORD))}@x:80/" for mark in "#/?"],
    *[f"me:{mark.join((PASSWORD, PASSWORD))}@x:80" for mark in "#/?"],
]


@pytest.mark.parametrize("url", WRONG_URLS)
def test_the_credentials_of_an_invalid_url_are_not_in_the_error(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Acytoo(url)
    clean(caught.value)
    with pytest.raises(UsageError) as caught:
        Acytoo("http://127.0.0.1", proxy=url)
    clean(caught.value)


def echo(request: Any) -> ScriptedResponse:
    """Return an error that repeats all headers of the request, as gateways in debug mode do."""
    return status(502, body="\n".join(f"{name}: {value}" for name, value in request.headers.items()))


@pytest.mark.parametrize("user", ["me", "mé", "", "a@b"])
async def test_no_error_shows_encoded_credentials(user: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), echo) as fake:
        credentials = f"{quote(user)}:{PASSWORD}"
        for provider in (
            Acytoo(fake.url.replace("://", f"://{credentials}@")),
            Acytoo("http://example.invalid", proxy=fake.url.replace("://", f"://{credentials}@")),
        ):
            error = await failure(provider)
            assert "authorization: Basic ***" in str(error)
            clean(error)


@pytest.mark.parametrize("before", [*range(470, 501, 5), *range(1970, 2001, 5)])
async def test_no_part_of_a_key_remains_where_a_long_error_is_truncated(before: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(401, body="x" * before + KEY + "y" * 100)) as fake:
        error = await failure(Acytoo(fake.url, key=KEY))
        assert isinstance(error, AuthenticationError)
        assert KEY[:3] not in str(error) + error.body


async def test_a_url_whose_user_is_a_token_does_not_show_it() -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(401, body=f"no such user: {KEY}")) as fake:
        clean(await failure(Acytoo(fake.url.replace("://", f"://{KEY}@"))))


async def test_no_error_shows_the_password_of_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeEndpoint(dialects.Acytoo(), echo, status(403, body=f"not me:{PROXY_PASSWORD}")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("://", f"://me:{PROXY_PASSWORD}@"))
        for _ in range(2):
            error = await failure(Acytoo("http://example.invalid", trust_env=True))
            assert "***" in str(error)
            clean(error)


async def test_an_invalid_proxy_in_the_environment_does_not_show_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:{PROXY_PASSWORD}#x@127.0.0.1:1")
    error = await failure(Acytoo("http://example.invalid", trust_env=True))
    assert type(error) is UsageError
    clean(error)
