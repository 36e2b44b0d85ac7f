"""A certificate authority that no client trusts by default, created on demand."""

from __future__ import annotations

import ssl
from pathlib import Path

from acytoo.errors import MissingExtraError


class Authority:
    """A certificate authority: `server_context()` is for a server, `write()` for a client's setting `ca`."""

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError as error:
            raise MissingExtraError("a fake TLS server", "testing") from error
        self._authority = trustme.CA()

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server's context with a certificate for these names, by default 127.0.0.1 and localhost."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context

    def write(self, folder: Path) -> Path:
        """Write the authority's own certificate to a file in this folder and return its path."""
        path = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(path))
        return path
