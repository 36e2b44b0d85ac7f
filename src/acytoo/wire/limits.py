"""How much a peer may make us hold."""

from __future__ import annotations

from acytoo.errors import ProtocolError

MAX_RECORD = 16 * 1024 * 1024
"""Bytes one record may have; generated images in base64 are the largest seen."""


def check_record_size(size: int) -> None:
    """Raises ProtocolError where one record is larger than `MAX_RECORD`."""
    if size > MAX_RECORD:
        raise ProtocolError(
            f"one record of the reply is larger than {MAX_RECORD // 2**20} MiB: "
            "this is not a chat reply, or its server is faulty"
        )
