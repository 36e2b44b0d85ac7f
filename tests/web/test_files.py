"""The page's files as a server sends them: headers, caching, size, and where the vendored ones come from."""

from __future__ import annotations

import gzip
import http.client
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from acytoo.web import PATHS, PageFile, page_file
from tests.web.chat import Site, answer
from tests.web.conftest import OpenSite
from tests.web.npm import STREAMING_MARKDOWN, VENDOR, npm_file

FILES = [page_file(path) for path in PATHS]
LIMIT = 60 * 1024
"""Bytes of all files together, compressed."""


@pytest.fixture
def site(open_site: OpenSite) -> Site:
    """A server with a password, which the page's files do not need."""
    return open_site(answer("Hi"), password="secret")


def fetch(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
    """Return status, headers and body; underscores in the headers' names are hyphens."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path)
def test_a_file_allows_only_this_server_and_is_not_sniffed(site: Site, file: PageFile) -> None:
    status, headers, body = fetch(site.url, file.path)
    assert (status, body) == (200, file.body)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy and "*" not in policy and "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path)
def test_a_file_is_compressed_for_clients_that_accept_it(site: Site, file: PageFile) -> None:
    _, headers, body = fetch(site.url, file.path, accept_encoding="br, gzip;q=0.8")
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "accept-encoding"
    assert gzip.decompress(body) == file.body
    _, headers, body = fetch(site.url, file.path, accept_encoding="br, gzip;q=0")
    assert headers["content-encoding"] is None
    assert body == file.body


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_an_unchanged_file_is_not_sent_again(site: Site, encoding: str) -> None:
    tag = fetch(site.url, "/", accept_encoding=encoding)[1]["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        status, headers, body = fetch(site.url, "/", accept_encoding=encoding, if_none_match=known)
        assert (status, body, headers["etag"]) == (304, b"", tag), known
        assert headers["content-security-policy"]
    assert fetch(site.url, "/", accept_encoding=encoding, if_none_match='"other"')[0] == 200


def test_the_compressed_file_has_an_etag_of_its_own(site: Site) -> None:
    tags = {fetch(site.url, "/", accept_encoding=encoding)[1]["etag"] for encoding in ("gzip", "identity")}
    assert len(tags) == 2


def test_head_has_the_headers_of_get_and_no_body(site: Site) -> None:
    status, headers, body = fetch(site.url, "/", "HEAD")
    assert (status, body) == (200, b"")
    expected = fetch(site.url, "/")[1]
    assert [(name, headers[name]) for name in expected] == list(expected.items())


def test_all_files_together_are_at_most_60_kib() -> None:
    assert sum(len(file.compressed) for file in FILES) <= LIMIT


def test_every_file_in_the_folder_is_served_or_describes_what_is_vendored() -> None:
    folder = Path(__file__).parents[2] / "src/acytoo/web/static"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    served = {"index.html" if file.path == "/" else file.path.removeprefix("/web/") for file in FILES}
    assert {name for name in found if not name.endswith((".LICENSE", ".cdx.json"))} == served


def test_no_file_of_ours_has_an_inline_script_style_or_handler_or_makes_html_of_text() -> None:
    for file in FILES:
        if "vendor" in file.path:
            continue
        text = file.body.decode()
        for pattern in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            " onclick=",
        ):
            assert pattern not in text, (file.path, pattern)


@pytest.mark.parametrize(
    ("vendored", "name"), [("smd.min.js", "smd.min.js"), ("streaming-markdown.LICENSE", "license")]
)
def test_a_vendored_file_is_the_one_in_the_registry(vendored: str, name: str, tmp_path: Path) -> None:
    assert (VENDOR / vendored).read_bytes() == npm_file(STREAMING_MARKDOWN, name, tmp_path)
