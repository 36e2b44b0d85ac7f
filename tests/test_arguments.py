"""Arguments are validated before anything is sent; an invalid one raises UsageError at once."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest

from acytoo import Acytoo, Timeout, dialects
from acytoo.errors import UsageError
from acytoo.providers.azure import Azure
from acytoo.providers.compatible import Compatible
from acytoo.testing import FakeEndpoint, FakeHTTPProxy, reply
from tests.helpers import MESSAGES, texts

WRONG_SETTINGS: list[tuple[str, Any]] = [
    ("url", 123),
    ("url", b"http://127.0.0.1"),
    ("base_url", 123),
    ("key", 123),
    ("key", b"sk-1"),
    ("api_key", b"sk-1"),
    ("password", ["word"]),
    ("proxy", 123),
    ("proxy", b"http://127.0.0.1:1"),
    ("timeout", math.inf),
    ("timeout", math.nan),
    ("timeout", 10**400),
    ("timeout", 10**5000),
    ("timeout", 0),
    ("timeout", "1"),
    ("timeout", {"idle": -1}),
    ("timeout", {"idle": True}),
    ("timeout", {"idel": 1}),
    ("timeout", {1: 1}),
    ("extra_headers", "abc"),
    ("extra_headers", {"X": 1}),
    ("extra_headers", {1: "x"}),
    ("extra_headers", [("x", "y")]),
    ("ca", 123),
    ("ca", "/nonexistent/ca.pem"),
    ("ca", Path(__file__)),
]
NAMES = [f"{name}={str(type(value))[8:-2]}" for name, value in WRONG_SETTINGS]


@pytest.mark.parametrize(("name", "value"), WRONG_SETTINGS, ids=NAMES)
def test_an_invalid_setting_is_named_by_the_constructor_and_by_a_call(name: str, value: Any) -> None:
    settings: dict[str, Any] = {"url": "http://127.0.0.1:9", name: value}
    if name == "base_url":
        del settings["url"]
    reported = {"base_url": "url", "api_key": "key"}.get(name, name)
    with pytest.raises(UsageError, match=reported if name != "timeout" else "seconds|unknown timeout"):
        Acytoo(**settings)
    provider = Acytoo("http://127.0.0.1:9")
    with pytest.raises(UsageError, match=reported if name != "timeout" else "seconds|unknown timeout"):
        provider.create_async_generator("", MESSAGES, **{name: value})


@pytest.mark.parametrize("wrong", ["1", 0, -1, math.inf, True])
@pytest.mark.parametrize("limit", ["connect", "first_byte", "idle", "total"])
def test_an_invalid_timeout_is_named_when_it_is_created(limit: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"invalid {limit}: expected a number of seconds"):
        Timeout(**{limit: wrong})


@pytest.mark.parametrize("wrong", ["abc", {1: 2}, [("a", 1)], 3])
def test_an_extra_body_that_is_not_a_dict_of_fields_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="extra_body must be a dict"):
        Acytoo("http://127.0.0.1:9").create_async_generator("", MESSAGES, extra_body=wrong)


@pytest.mark.parametrize("wrong", [123, b"gpt", ["gpt"]])
def test_a_model_that_is_not_a_str_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="model must be a str"):
        Acytoo("http://127.0.0.1:9").create_async_generator(wrong, MESSAGES)
    with pytest.raises(UsageError, match="model must be a str"):
        Acytoo("http://127.0.0.1:9", model=wrong)


@pytest.mark.parametrize("written", [" {}", "{} ", "{}#", "{}/#/", "{}#top", "\t{}\n", "{}?a=b#c"])
async def test_whitespace_and_fragment_around_a_copied_url_are_removed(written: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        url = written.format(fake.url)
        assert await texts(Acytoo(url)) == ["Hi"]
        assert await texts(Acytoo("http://127.0.0.1:9"), url=url) == ["Hi"]
        target = "/api/completions" + ("?a=b" if "?" in written else "")
        assert [request.target for request in fake.requests] == [target, target]


async def test_an_uppercase_scheme_works_for_a_url_and_for_a_proxy_with_credentials() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy("alice", "word") as proxy:
        through = proxy.url.replace("://", "://alice:word@")
        assert await texts(Acytoo(fake.url.replace("http", "HTTP"), proxy=through)) == ["Hi"]
        assert await texts(Acytoo(fake.url, proxy=through.replace("http", "HTTP"))) == ["Hi"]


METHODS = ["create_async_generator", "create_async", "create_completion", "stream", "reply", "check"]


@pytest.mark.parametrize("provider", [Azure, Compatible])
def test_a_class_without_a_url_can_be_inspected_and_reports_it_when_called(provider: Any) -> None:
    members = dict(inspect.getmembers(provider))
    for name in METHODS:
        assert hasattr(provider, name)
        assert members[name].__doc__
    with pytest.raises(UsageError, match="needs a URL"):
        provider.create_async_generator("m", MESSAGES)
    with pytest.raises(UsageError, match="needs a URL"):
        provider.create_completion("m", MESSAGES)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_same_signature_on_the_class_and_on_an_instance(name: str) -> None:
    on_class, on_instance = getattr(Acytoo, name), getattr(Acytoo("http://127.0.0.1:9"), name)
    assert inspect.signature(on_class) == inspect.signature(on_instance)
    assert inspect.iscoroutinefunction(on_class) == inspect.iscoroutinefunction(on_instance)
    assert (on_class.__name__, on_class.__doc__) == (on_instance.__name__, on_instance.__doc__)
