"""The settings of connections are checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from acytoo.errors import UsageError
from acytoo.transport.config import Proxy, Timeout, check_http_url

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


def test_no_timeout_setting_means_the_defaults() -> None:
    assert Timeout.of(None) == Timeout()


def test_the_repr_of_a_proxy_is_its_url_without_credentials() -> None:
    assert repr(Proxy.of("http://u:p@h:1")) == "Proxy('http://h:1')"
