"""Where a request goes follows from its URL."""

from __future__ import annotations

import pytest

from acytoo.errors import UsageError
from acytoo.transport.address import address_of

ADDRESSES = {
    "http://h": ("http", "h", 80, "h", "/"),
    "https://h": ("https", "h", 443, "h", "/"),
    "http://h:80/a": ("http", "h", 80, "h", "/a"),
    "http://H:443/a b?c=d e": ("http", "h", 443, "h:443", "/a%20b?c=d%20e"),
    "https://h:80/%20": ("https", "h", 80, "h:80", "/%20"),
    "http://[::1]:1/": ("http", "::1", 1, "[::1]:1", "/"),
    "http://bücher/": ("http", "xn--bcher-kva", 80, "xn--bcher-kva", "/"),
    "http+unix://%2Frun%2Fs/a": ("http+unix", "/run/s", 0, "localhost", "/a"),
    "http+unix://u:p@%2Frun%2Fs": ("http+unix", "/run/s", 0, "localhost", "/"),
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_a_url_has_a_place_and_a_target(url: str) -> None:
    address = address_of(url)
    assert (address.scheme, address.host, address.port, address.authority, address.target) == ADDRESSES[url]


def test_the_repr_of_an_address_has_no_credentials_and_no_query() -> None:
    assert repr(address_of("https://u:p@h:1/a?key=k")) == "Address(https://h:1)"


def test_a_host_that_cannot_be_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"invalid URL 'http://\*\*\*@é.*': its host is not a valid name"):
        address_of(f"http://u:p@é{'x' * 70}/")
