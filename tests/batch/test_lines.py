"""Results as lines."""

from __future__ import annotations

import json

from acytoo import Reply, RequestError, Usage
from acytoo.batch.lines import error_line, reply_line
from acytoo.batch.rows import Row


def test_a_line_has_only_what_a_reply_has() -> None:
    assert json.loads(reply_line(Row(3, "x"), Reply(""))) == {"id": "x"}
    reply = Reply("Hi", reasoning=[{"text": "a"}, {"text": "b"}], usage=Usage(input_tokens=1, cached_tokens=1))
    assert json.loads(reply_line(Row(3, 3), reply)) == {
        "id": 3,
        "text": "Hi",
        "reasoning": "ab",
        "usage": {"input_tokens": 1, "cached_tokens": 1},
    }


def test_every_line_is_one_line_of_valid_json() -> None:
    text = "a\nb\u2028c\ud800d"
    for line in (reply_line(Row(1, 1), Reply(text)), error_line(Row(1, 1), RequestError(text, status=400), 1)):
        assert line.count(b"\n") == 1
        assert line.endswith(b"}\n")
        assert "a\nb\u2028c\ufffdd" in json.loads(line).values()
