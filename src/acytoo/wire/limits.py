"""Limits on what a peer can make us keep in memory."""

from __future__ import annotations

from acytoo.errors import ProtocolError

MAX_RECORD = 16 * 1024 * 1024
"""The maximum size of one record in bytes. The largest seen are generated images in base64."""


def check_record_size(size: int) -> None:
    """Raise ProtocolError if one record is larger than `MAX_RECORD`."""
    if size > MAX_RECORD:
        raise ProtocolError(
            f"a record of the reply is larger than {MAX_RECORD // 2**20} MiB: this is not a chat reply, check the URL"
        )
