"""Connections of one event loop share a buffer, except where data of two can be in it at once."""

from __future__ import annotations

import sys

import pytest

from acytoo.http1.buffer import ReceiveBuffer


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_connections_share_a_buffer_except_on_windows(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    buffer = ReceiveBuffer()
    first, second = buffer.get(), buffer.get()
    first[:1], second[:1] = b"1", b"2"
    assert bytes(first[:1]) == (b"1" if platform == "win32" else b"2")


def test_a_buffer_has_room_for_one_read() -> None:
    assert len(ReceiveBuffer().get()) == 64 * 1024
