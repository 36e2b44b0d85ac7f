"""What a caller passes is checked before anything is sent, and what is wrong is told as a UsageError at once."""

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
    ("ca", "/nonexistent"),
    ("ca", Path(__file__)),
    ("session", "x"),
]
NAMES = [f"{name}={str(type(value))[8:-2]}" for name, value in WRONG_SETTINGS]


@pytest.mark.parametrize(("name", "value"), WRONG_SETTINGS, ids=NAMES)
def test_a_wrong_setting_is_told_by_name_when_it_is_given(name: str, value: Any) -> None:
    settings: dict[str, Any] = {"url": "http://127.0.0.1:9", name: value}
    if name == "base_url":
        del settings["url"]
    told = {"base_url": "url", "api_key": "key"}.get(name, name)
    with pytest.raises(UsageError, match=told if name != "timeout" else "seconds|no limit"):
        Acytoo(**settings)
    provider = Acytoo("http://127.0.0.1:9")
    with pytest.raises(UsageError, match=told if name != "timeout" else "seconds|no limit"):
        provider.create_async_generator("", MESSAGES, **{name: value})


@pytest.mark.parametrize("wrong", ["1", 0, -1, math.inf, True])
@pytest.mark.parametrize("limit", ["connect", "first_byte", "idle", "total"])
def test_a_limit_that_is_none_is_told_where_it_is_written(limit: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"{limit} must be a number of seconds"):
        Timeout(**{limit: wrong})


@pytest.mark.parametrize("wrong", ["abc", {1: 2}, [("a", 1)], 3])
def test_an_extra_body_that_is_no_dict_of_fields_is_told(wrong: Any) -> None:
    with pytest.raises(UsageError, match="extra_body must be a dict"):
        Acytoo("http://127.0.0.1:9").create_async_generator("", MESSAGES, extra_body=wrong)


@pytest.mark.parametrize("wrong", [123, b"gpt", ["gpt"]])
def test_a_model_that_is_no_text_is_told(wrong: Any) -> None:
    with pytest.raises(UsageError, match="model must be a str"):
        Acytoo("http://127.0.0.1:9").create_async_generator(wrong, MESSAGES)
    with pytest.raises(UsageError, match="model must be a str"):
        Acytoo("http://127.0.0.1:9", model=wrong)


@pytest.mark.parametrize("written", [" {}", "{} ", "{}#", "{}/#/", "{}#top", "\t{}\n", "{}?a=b#c"])
async def test_what_is_around_a_url_that_was_copied_is_left_out(written: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        url = written.format(fake.url)
        assert await texts(Acytoo(url)) == ["Hi"]
        assert await texts(Acytoo("http://127.0.0.1:9"), url=url) == ["Hi"]
        target = "/api/completions" + ("?a=b" if "?" in written else "")
        assert [request.target for request in fake.requests] == [target, target]


async def test_a_scheme_in_capitals_is_the_same_for_a_proxy_with_credentials() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy("alice", "word") as proxy:
        through = proxy.url.replace("://", "://alice:word@")
        assert await texts(Acytoo(fake.url.replace("http", "HTTP"), proxy=through)) == ["Hi"]
        assert await texts(Acytoo(fake.url, proxy=through.replace("http", "HTTP"))) == ["Hi"]


METHODS = ["create_async_generator", "create_async", "create_completion", "stream", "reply", "check"]


@pytest.mark.parametrize("provider", [Azure, Compatible])
def test_a_class_that_lacks_a_url_can_be_looked_at_and_says_so_when_called(provider: Any) -> None:
    found = dict(inspect.getmembers(provider))
    for name in METHODS:
        assert hasattr(provider, name)
        assert found[name].__doc__
    with pytest.raises(UsageError, match="needs a URL"):
        provider.create_async_generator("m", MESSAGES)
    with pytest.raises(UsageError, match="needs a URL"):
        provider.create_completion("m", MESSAGES)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_looks_the_same_on_the_class_and_on_an_instance(name: str) -> None:
    here, there = getattr(Acytoo, name), getattr(Acytoo("http://127.0.0.1:9"), name)
    assert inspect.signature(here) == inspect.signature(there)
    assert inspect.iscoroutinefunction(here) == inspect.iscoroutinefunction(there)
    assert (here.__name__, here.__doc__) == (there.__name__, there.__doc__)
