"""Settings of a provider and of a call are checked in one place, and none is lost or shown."""

from __future__ import annotations

import re
import ssl
import traceback
from pathlib import Path
from typing import Any

import pytest

from acytoo.errors import UsageError
from acytoo.http import Endpoint
from acytoo.secret import Secret
from acytoo.settings import (
    MAX_REPLY,
    SCHEMES,
    Settings,
    as_body_fields,
    as_headers,
    as_secret,
    as_size,
    as_text,
    check_url,
    hidden,
    resolve,
    scheme_of,
    without_frames,
)
from acytoo.transport.config import Connection, Proxy, Timeout

START = Settings(Endpoint("http://a", Secret("k"), Secret("p")), extra_headers={"x": Secret("1")})


def changed(start: Settings = START, **changes: Any) -> Settings:
    return start.changed(changes, check_url)


def test_nothing_changes_without_changes() -> None:
    assert changed() == START
    assert changed(url="", key=None, password="", extra_headers=None) == START


@pytest.mark.parametrize(
    ("changes", "endpoint"),
    [
        ({"url": "http://b"}, Endpoint("http://b", Secret("k"), Secret("p"))),
        ({"base_url": "http://b"}, Endpoint("http://b", Secret("k"), Secret("p"))),
        ({"url": "http://b", "base_url": "http://c"}, Endpoint("http://b", Secret("k"), Secret("p"))),
        ({"key": "l"}, Endpoint("http://a", Secret("l"), Secret("p"))),
        ({"api_key": "l"}, Endpoint("http://a", Secret("l"), Secret("p"))),
        ({"key": "l", "api_key": "m"}, Endpoint("http://a", Secret("l"), Secret("p"))),
        ({"password": Secret("q")}, Endpoint("http://a", Secret("k"), Secret("q"))),
    ],
)
def test_a_change_of_the_endpoint_keeps_its_other_parts(changes: dict[str, Any], endpoint: Endpoint) -> None:
    assert changed(**changes).endpoint == endpoint


@pytest.mark.parametrize("url", ["http://u:w@h/v1?q=1", "https://u:w@h/v1?q=1", "http+unix://u:w@%2Fs/v1?q=1"])
def test_user_and_query_of_a_url_are_secret_parts(url: str) -> None:
    endpoint = changed(url=url).endpoint
    assert (endpoint.user, endpoint.query) == (Secret("u:w"), Secret("q=1"))
    assert endpoint.url == url.replace("u:w@", "").replace("?q=1", "")


def test_user_and_query_stay_with_their_url() -> None:
    start = changed(url="http://u:w@h?q=1")
    assert changed(start, key="l").endpoint.user == Secret("u:w")
    assert changed(start, key="l").endpoint.query == Secret("q=1")
    assert (changed(start, url="http://b").endpoint.user, changed(start, url="http://b").endpoint.query) == (
        Secret(),
        Secret(),
    )


def test_a_url_of_another_scheme_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_endpoint(endpoint: Endpoint) -> Endpoint:
        return Endpoint("http://opened")

    monkeypatch.setitem(SCHEMES, "fake", open_endpoint)
    assert changed(url="fake://u@x?y=1").endpoint == Endpoint("fake://u@x?y=1", Secret("k"), Secret("p"))


async def test_the_endpoint_of_another_scheme_is_what_its_opener_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_endpoint(endpoint: Endpoint) -> Endpoint:
        return Endpoint(endpoint.url.replace("fake", "http"))

    monkeypatch.setitem(SCHEMES, "fake", open_endpoint)
    assert await resolve(Endpoint("fake://x")) == Endpoint("http://x")


@pytest.mark.parametrize("url", ["fake:x", "fake:/x", "http://x", "HTTPS://x", "x", ""])
def test_only_a_registered_scheme_has_to_be_resolved(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_endpoint(endpoint: Endpoint) -> Endpoint:
        return endpoint

    for name in ("fake", "fake:x", "fake:/x", "http", "HTTPS", "x", ""):
        monkeypatch.setitem(SCHEMES, name, open_endpoint)
    assert scheme_of(url) is None


def test_the_connection_changes_by_parts() -> None:
    context = ssl.create_default_context()
    start = changed(proxy="http://p:1", timeout=Timeout(connect=1), trust_env=True, ca=context)
    assert start.connection == Connection(
        proxy=Proxy.of("http://p:1"), timeout=Timeout(connect=1), trust_env=True, ca=context
    )
    after = changed(start, timeout={"idle": 2})
    assert after.connection.timeout == Timeout(idle=2)
    assert (after.connection.proxy, after.connection.ca) == (start.connection.proxy, context)
    assert after.connection.trust_env is True
    assert changed(start, proxy=Secret("http://p:2")).connection.proxy == Proxy.of("http://p:2")


def test_headers_are_added_and_replaced_by_name() -> None:
    after = changed(extra_headers={"X": "2", "Y": Secret("3")})
    assert after.extra_headers == {"x": Secret("2"), "y": Secret("3")}
    assert START.extra_headers == {"x": Secret("1")}


def test_the_other_settings_are_kept_by_later_changes() -> None:
    start = changed(drop_unsupported=True, max_reply=5)
    assert (start.drop_unsupported, start.max_reply) == (True, 5)
    assert (changed(start, key="l").drop_unsupported, changed(start, key="l").max_reply) == (True, 5)
    assert (START.drop_unsupported, START.max_reply) == (False, MAX_REPLY)


@pytest.mark.parametrize("name", ["url", "key", "password"])
def test_a_setting_that_is_not_text_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} must be a str, not int$"):
        START.changed({name: 5}, check_url)


def test_a_refused_setting_leaves_no_frame_that_holds_its_secret() -> None:
    refused: list[dict[str, Any]] = [
        {"url": "htp://s3cret@x"}, {"proxy": "htp://s3cret@x"}, {"extra_headers": {"content-length": "1"}},
    ]  # fmt: skip
    for changes in refused:
        with pytest.raises(UsageError) as caught:
            changed(**changes)
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[-1] == "without_frames"
        assert caught.value.__context__ is None
        assert "s3cret" not in str(caught.value)


def test_without_frames_passes_arguments_results_and_other_errors_on() -> None:
    assert without_frames(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        without_frames(divmod, 1, 0)


@pytest.mark.parametrize("value", [1, 2, MAX_REPLY])
def test_a_size_is_a_positive_number(value: int) -> None:
    assert as_size(value, "max_reply") == value


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None])
def test_anything_else_is_not_a_size(value: object) -> None:
    message = f"invalid max_reply {value!r}: expected a number of bytes, such as 67108864"
    with pytest.raises(UsageError, match=re.escape(message)):
        as_size(value, "max_reply")
    with pytest.raises(UsageError, match="invalid max_reply"):
        changed(max_reply=0)


def test_text_is_a_str_or_nothing() -> None:
    assert (as_text("a", "x"), as_text("", "x"), as_text(None, "x")) == ("a", "", "")
    with pytest.raises(UsageError, match=r"^x must be a str, not bytes$"):
        as_text(b"a", "x")


def test_a_secret_is_kept_or_made_of_text() -> None:
    secret = Secret("a")
    assert as_secret(secret, "x") is secret
    assert (as_secret("a", "x"), as_secret(None, "x")) == (secret, Secret())
    with pytest.raises(UsageError, match=r"^x must be a str, not int$"):
        as_secret(5, "x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": 5}, "extra_headers['x'] must be a str, not int"),
        ({"X-A": None}, "extra_headers['X-A'] must be a str, not NoneType"),
        ({"Content-Length": "1"}, "extra_headers must not set 'Content-Length'"),
        ({"transfer-encoding": "x"}, "extra_headers must not set 'transfer-encoding'"),
        ({"X Team": "1"}, "extra_headers cannot be sent: invalid header name 'x team'"),
        ({"X-A": "1\r\nX-B: 2"}, "extra_headers cannot be sent: the header 'x-a' contains a line end or NUL"),
        ({"X-A": "\ud800"}, "extra_headers cannot be sent: a header contains a lone surrogate"),
        ({5: "x"}, "extra_headers must be a dict whose keys are str"),
        ([("x", "y")], "extra_headers must be a dict whose keys are str"),
        ("x", "extra_headers must be a dict whose keys are str"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(value: object, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        as_headers(value)


@pytest.mark.parametrize("name", ["model", "messages"])
def test_the_body_has_no_second_place_for_an_argument(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^extra_body has '{name}': pass {name}=… instead$"):
        as_body_fields({"x": 1, name: "y"})


def test_fields_of_the_body_are_copied() -> None:
    fields = {"x": [1]}
    assert as_body_fields(fields) == fields
    assert as_body_fields(fields) is not fields
    assert as_body_fields(None) == {}
    with pytest.raises(UsageError, match=r"^extra_body must be a dict"):
        as_body_fields(["x"])


def test_settings_that_may_be_secret_are_hidden() -> None:
    timeout = Timeout()
    names = ("url", "base_url", "key", "api_key", "password", "proxy")
    settings: dict[str, Any] = {name: name for name in names}
    headers = {"a": "b", "c": 5, "d": Secret("e")}
    after = hidden({**settings, "ca": None, "timeout": timeout, "trust_env": False, "extra_headers": headers})
    assert after == {
        **{name: Secret(name) for name in names},
        "timeout": timeout,
        "trust_env": False,
        "extra_headers": {"a": Secret("b"), "c": 5, "d": Secret("e")},
    }
    assert headers == {"a": "b", "c": 5, "d": Secret("e")}
    assert hidden({"key": 5, "extra_headers": [("a", "b")]}) == {"key": 5, "extra_headers": [("a", "b")]}
    assert hidden({}) == {}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose entry points offer schemes, as if it were installed."""
    monkeypatch.setattr("acytoo.settings.SCHEMES", {})
    metadata = tmp_path / "offered-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[another.group]\nelse = offered_scheme:fail\n"
        "[acytoo.schemes]\noffered = offered_scheme:open_endpoint\nbroken = offered_scheme:missing\n"
    )
    (tmp_path / "offered_scheme.py").write_text("async def open_endpoint(endpoint):\n    return endpoint\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


async def test_the_scheme_of_an_installed_package_is_found(package: Path) -> None:
    assert scheme_of("offered://x") == "offered"
    assert await resolve(Endpoint("offered://x")) == Endpoint("offered://x")
    assert scheme_of("else://x") is None
    assert scheme_of("unknown://x") is None


def test_the_broken_scheme_of_a_package_is_an_error_that_names_it(package: Path) -> None:
    message = "the entry point offered_scheme:missing for broken:// URLs cannot be loaded: AttributeError: "
    with pytest.raises(UsageError, match=f"^{message}"):
        scheme_of("broken://x")
