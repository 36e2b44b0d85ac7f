"""The settings of connections are checked before anything is sent."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acytoo.errors import UsageError
from acytoo.testing import Authority
from acytoo.transport.config import Connection, Proxy, Timeout, check_http_url, default_context

HINT = " (in a password, write %23, %2F and %3F for #, / and ?)"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (check_http_url, "invalid URL 'http://h:port': bad host or port"),
        (Proxy.of, "invalid proxy: expected a URL like http://host:port or socks5://host:port"),
    ],
)
def test_the_error_for_a_url_has_a_hint_only_if_there_may_be_a_password(
    check: Callable[[str], object], message: str
) -> None:
    with pytest.raises(UsageError) as plain:
        check("http://h:port")
    assert str(plain.value) == message
    with pytest.raises(UsageError) as with_password:
        check("http://u:p@h:port")
    assert str(with_password.value).endswith(HINT)


@pytest.mark.parametrize("check", [check_http_url, Proxy.of])
@pytest.mark.parametrize("port", ["0", "00", "65536", "-1"])
def test_a_port_that_nothing_can_be_reached_at_is_refused(check: Callable[[str], object], port: str) -> None:
    with pytest.raises(UsageError, match="invalid"):
        check(f"http://h:{port}")


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://h", "http://h"),
        (" https://h:1/a?b=c ", "https://h:1/a?b=c"),
        ("HTTP://H/A", "http://H/A"),
        ("http://h/a#b#c", "http://h/a"),
        ("http+unix://%2Fs/a", "http+unix://%2Fs/a"),
        ("http://[::1]", "http://[::1]"),
    ],
)
def test_a_url_is_normalized(url: str, normal: str) -> None:
    assert check_http_url(url) == normal


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "the URL is empty: expected one like https://host/…"),
        (" \n", "the URL is empty: expected one like https://host/…"),
        ("h:1", "invalid URL 'h:1': no scheme, did you mean http://h:1 or https://h:1?"),
        ("u:p@h", "invalid URL '***@h': no scheme, did you mean http://***@h or https://***@h?"),
        ("ftp://u:p@h", "invalid URL 'ftp://***@h': unknown scheme 'ftp', expected http, https, http+unix or embedded"),
        ("http:///a", "invalid URL 'http:///a': no host"),
        ("http://[u", "invalid URL 'http://[u': bad host or port"),
        (
            "http://h/\udcff",
            "invalid URL 'http://h/\\udcff': it has a lone surrogate, which cannot be encoded",
        ),
        (
            "http://h/?key=sesame\udcff",
            "invalid URL 'http://h/?***': it has a lone surrogate, which cannot be encoded",
        ),
    ],
)
def test_an_invalid_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_http_url(url)
    assert str(caught.value) == message


DEFAULTS = Timeout(connect=10.0, first_byte=600.0, idle=300.0, total=None)


@pytest.mark.parametrize(
    ("setting", "timeout"),
    [
        (None, DEFAULTS),
        (Timeout(total=3), Timeout(10.0, 600.0, 300.0, 3)),
        ({}, DEFAULTS),
        ({"idle": 2, "connect": None}, Timeout(None, 600.0, 2, None)),
        (7, Timeout(7, 7, 7, None)),
        (1e9, Timeout(1e9, 1e9, 1e9, None)),
        (0.001, Timeout(0.001, 0.001, 0.001, None)),
    ],
)
def test_a_timeout_setting_is_one_number_or_some_of_four(setting: Any, timeout: Timeout) -> None:
    assert Timeout.of(setting) == timeout


@pytest.mark.parametrize("value", [0, -1, True, False, "1", 1.01e9, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["connect", "first_byte", "idle", "total", "timeout"])
def test_a_timeout_that_cannot_be_waited_for_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Timeout.of(value if name == "timeout" else {name: value})
    expected = f"invalid {name}: expected a number of seconds above 0, or None for no limit"
    assert str(caught.value) == expected


def test_an_unknown_timeout_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError) as caught:
        Timeout.of({"idle": 1, "read": 1})
    assert str(caught.value) == "unknown timeout 'read': expected connect, first_byte, idle, total"


@pytest.mark.parametrize(
    ("value", "url", "user", "password", "is_socks"),
    [
        ("http://h", "http://h:80", "", "", False),
        ("https://h", "https://h:443", "", "", False),
        ("socks4://h", "socks4://h:1080", "", "", True),
        ("socks4a://h", "socks4a://h:1080", "", "", True),
        ("socks5://h", "socks5://h:1080", "", "", True),
        ("socks5h://h:7", "socks5h://h:7", "", "", True),
        ("http://u:p%40q@[::1]:8/a?b#c", "http://[::1]:8", "u", "p@q", False),
        ("http://u%3A@h", "http://h:80", "u:", "", False),
        ("http://:p@h", "http://h:80", "", "p", False),
    ],
)
def test_a_proxy_is_a_url_without_its_credentials(
    value: str, url: str, user: str, password: str, is_socks: bool
) -> None:
    proxy = Proxy.of(value)
    assert (proxy.url, proxy.user.reveal(), proxy.password.reveal()) == (url, user, password)
    assert (proxy.is_socks, repr(proxy)) == (is_socks, f"Proxy({url!r})")
    assert Proxy.of(proxy) is proxy


def test_the_secrets_of_a_proxy_are_its_password_and_the_header() -> None:
    assert [each.reveal() for each in Proxy.of("http://u:p@h").secrets] == ["p", "dTpw", "dTpw"]


@pytest.mark.parametrize("value", ["ftp://h", "http://", "h:1"])
def test_a_proxy_of_another_kind_is_refused_with_those_that_exist(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        Proxy.of(value)
    assert str(caught.value) == (
        "invalid proxy: expected a URL like http://host:port or socks5://host:port, "
        "with one of the schemes http, https, socks4, socks4a, socks5, socks5h"
    )


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://h", None),
        ({"http_proxy": "http://p:1"}, "http://h", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://h", None),
        ({"https_proxy": "p:1"}, "https://h", "http://p:1"),
        ({"all_proxy": "socks5://p:1"}, "https://h", "socks5://p:1"),
        ({"all_proxy": "http://p:1", "http_proxy": "http://q:2"}, "http://h", "http://q:2"),
        ({"all_proxy": "http://p:1", "no_proxy": "h"}, "http://u:p@h/a", None),
        ({"all_proxy": "http://p:1", "no_proxy": "h:2"}, "http://h:2", None),
        ({"all_proxy": "http://p:1", "no_proxy": "h:2"}, "http://h:3", "http://p:1"),
        ({"all_proxy": "http://p:1", "no_proxy": "g"}, "http://h", "http://p:1"),
        ({"all_proxy": "http://p:1"}, "http:///a", None),
    ],
)
def test_the_environment_has_the_proxy_only_if_it_is_trusted_and_no_other_is_set(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = Connection(trust_env=True).proxy_for(url)
    assert (found and found.url) == proxy
    assert Connection().proxy_for(url) is None
    own = Proxy.of("http://own:9")
    assert Connection(proxy=own, trust_env=True).proxy_for(url) is own
    assert Connection(proxy=own).proxy_for(url) is own


def hello_of(context: ssl.SSLContext) -> bytes:
    """Return the first bytes of a handshake."""
    sent = ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="h")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return sent.read()


@pytest.mark.parametrize("where", ["the system", "a file", "a folder", "a text", "the home folder"])
def test_every_context_of_ours_verifies_and_offers_http_1_1_alone(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = Authority().write(tmp_path)
    ca: dict[str, Any] = {
        "the system": None,
        "a file": path,
        "a folder": tmp_path,
        "a text": str(path),
        "the home folder": f"~/{path.name}",
    }
    context = Connection(ca=ca[where]).tls()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert b"\x00\x10\x00\x0b\x00\x09\x08http/1.1" in hello_of(context)  # the extension ALPN with one name
    assert Connection(ca=ca[where]).tls() is context
    if ca[where] is None:
        assert context is default_context()
    elif where != "a folder":
        assert len(context.get_ca_certs()) == 1


def test_a_context_of_the_callers_is_used_as_it_is() -> None:
    context = ssl.create_default_context()
    assert Connection(ca=context).tls() is context


def test_a_ca_of_another_kind_is_refused_with_its_kind() -> None:
    with pytest.raises(UsageError) as caught:
        Connection(ca=3)  # type: ignore[arg-type]
    assert str(caught.value) == "invalid ca: expected a file, a folder or an ssl.SSLContext, not int"


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_a_ca_that_cannot_be_a_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match=r"^ca: cannot read certificates from "):
        Connection(ca=path)
