"""The line of a running batch."""

from __future__ import annotations

import pytest

from acytoo import Reply, Usage
from acytoo.batch.budget import Spending
from acytoo.batch.progress import Progress, duration, short, summary_text


def test_the_line_has_rate_rest_requests_tokens_cost_and_errors() -> None:
    now, fraction = [0.0], [0.0]
    spending = Spending(price=lambda reply: 2_000_000)
    progress = Progress(spending, lambda: 7, lambda: fraction[0], lambda: now[0])
    assert progress.line() == "[....................]   0%  0 rows  0.0/s  7 in flight  0 + 0 tokens"
    now[0], fraction[0] = 10.0, 0.25
    for _ in range(1500):
        spending.replies += 1
        spending.note_reply(Reply("", usage=Usage(input_tokens=10, output_tokens=1)))
    for name in ("ServerError", "RequestError", "ServerError"):
        spending.note_failure(name)
    assert progress.line() == (
        "[#####...............]  25%  1,503 rows  150/s  30.0 s left  7 in flight  15k + 1.5k tokens  $3  "
        "3 errors (ServerError 2, RequestError 1)"
    )
    assert summary_text(spending, 75) == "this run: 1,503 rows in 1:15 (20.0/s), 15,000 + 1,500 tokens, $3"


def test_a_pipe_has_no_end() -> None:
    line = Progress(Spending(), lambda: 0, lambda: None, lambda: 0.0).line()
    assert line == "0 rows  0.0/s  0 in flight  0 + 0 tokens"


def test_a_cost_that_is_partly_unknown_is_a_lower_bound() -> None:
    spending = Spending(price=lambda reply: 1_000_000_000)
    spending.note_reply(Reply("", usage=Usage()))
    spending.note_reply(Reply(""))
    assert summary_text(spending, 0).endswith("at least $1")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (950, "950"), (999, "999"), (1000, "1.0k"), (1234, "1.2k"), (34_000, "34k"), (5_600_000, "5.6M"),
     (999_999, "1.0M"), (10**16, "10000T")],
)  # fmt: skip
def test_numbers_are_short(number: int, text: str) -> None:
    assert short(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(4.21, "4.2 s"), (185, "3:05"), (3723, "1:02:03"), (float("inf"), "?")])
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
