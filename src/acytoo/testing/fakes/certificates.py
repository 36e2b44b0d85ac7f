"""Certificates of an authority that nobody knows, made on the spot."""

from __future__ import annotations

import ssl
from pathlib import Path

from acytoo.errors import MissingExtraError


class Authority:
    """A certificate authority: `server_context()` is for a server on 127.0.0.1, `write()` for a client's `ca`."""

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError as error:
            raise MissingExtraError("a fake TLS server", "testing") from error
        self._authority = trustme.CA()

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server's context with a certificate for these names; none are 127.0.0.1 and localhost."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context

    def write(self, folder: Path) -> Path:
        """A file with the authority's own certificate, in that folder."""
        path = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(path))
        return path
