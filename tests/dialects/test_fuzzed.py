"""Regressions that fuzzing (`python -m bench.fuzz`) discovered."""

from __future__ import annotations

import pytest

from acytoo import dialects
from acytoo.dialects import ResponseHead
from acytoo.errors import ProtocolError, TruncatedError


@pytest.mark.parametrize(
    "skipped", [b'"\xff": "error"', b'"error": "\xff"', b'"x": ' + b"[" * 5000 + b"]" * 5000 + b', "error": null']
)
def test_invalid_utf8_or_deep_nesting_in_an_unused_field_does_not_crash(skipped: bytes) -> None:
    reader = dialects.OpenAI().reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    with pytest.raises((TruncatedError, ProtocolError)):
        reader.feed(b"data: {" + skipped + b"}\n\n")
        reader.close()
