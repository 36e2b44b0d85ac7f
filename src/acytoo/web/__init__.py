"""The chat page: static files, served as they are.

A file is read and compressed when it is first asked for: most servers are never asked by a browser. The page loads
nothing from elsewhere and has no inline script, so its policy allows only this server.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from pkgutil import get_data  # from a zip file too; importlib.resources would import its readers during a request
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


PATHS = {
    "/": "index.html",
    **{
        f"/web/{name}": name
        for name in ("app.js", "api.js", "store.js", "markdown.js", "style.css", "icon.svg", "vendor/smd.min.js")
    },
}
"""The page's files by their paths on the server; the first is the page itself."""


class PageFile(NamedTuple):
    """A file of the page: its path on the server, its bytes, and the headers that it is served with."""

    path: str
    body: bytes
    compressed: bytes
    headers: dict[str, str]


@functools.cache
def page_file(path: str) -> PageFile:
    """Return the file at one of the paths."""
    name = PATHS[path]
    body = get_data(__name__, f"static/{name}")
    assert body is not None
    headers = {
        "content-type": _TYPES[name[name.rindex(".") :]],
        "cache-control": "no-cache",  # ask each time whether it has changed
        "etag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        "vary": "accept-encoding",
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return PageFile(path, body, gzip.compress(body, mtime=0), headers)
