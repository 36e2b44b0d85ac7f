"""The chat page: static files, served as they are.

Each file is compressed once, when the server starts. The page loads nothing from elsewhere and has no inline script, so
its policy allows only this server.
"""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files
from typing import NamedTuple

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""The page's Content-Security-Policy."""


class PageFile(NamedTuple):
    """A file of the page: its path on the server, its bytes, and the headers that it is served with."""

    path: str
    body: bytes
    compressed: bytes
    headers: dict[str, str]


def page_files() -> list[PageFile]:
    """Return all files of the page; the first is the page itself, at `/`."""
    folder = files(__name__) / "static"
    names = ["index.html", "app.js", "api.js", "store.js", "markdown.js", "style.css", "icon.svg", "vendor/smd.min.js"]
    return [_page_file(name, (folder / name).read_bytes()) for name in names]


def _page_file(name: str, body: bytes) -> PageFile:
    headers = {
        "content-type": _TYPES[name[name.rindex(".") :]],
        "cache-control": "no-cache",  # ask each time whether it has changed
        "etag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        "vary": "accept-encoding",
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    path = "/" if name == "index.html" else f"/web/{name}"
    return PageFile(path, body, gzip.compress(body, mtime=0), headers)
