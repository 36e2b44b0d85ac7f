"""Summaries and rows of the ledger as a gateway makes them."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.gateway.ledger import Row
from acytoo.gateway.summary import Asked, Summary
from acytoo.types import Finish, Request

ROW = Row(
    request_id="r-1",
    attempt=1,
    at=1_800_000_000.0,
    key="ci-bot",
    dialect="openai",
    model="fast",
    target="openai/gpt-5-mini",
    upstream="openai",
    status=200,
    outcome="complete",
    input_tokens=12,
    output_tokens=30,
    cached_tokens=4,
    cache_write_tokens=0,
    reasoning_tokens=5,
    is_estimated=False,
    cost=2_500_000,
    first_content=0.2,
    seconds=1.5,
)

SUMMARY = Summary(
    request_id="r-1",
    key="ci-bot",
    dialect="openai",
    path="/v1/chat/completions",
    method="POST",
    model="fast",
    status=200,
    rows=[ROW],
    started_at=1_800_000_000.0,
    seconds=1.6,
    first_content=0.25,
    sent=4096,
    peer="127.0.0.1",
    user_agent="OpenAI/Python 3.54.0",
    error="",
    asked={1: Asked(Request([], max_tokens=100, temperature=0.5, seed=7, reasoning_effort="low"), Finish("stop"))},
)


def row(**changes: Any) -> Row:
    """Return the row with changes."""
    return msgspec.structs.replace(ROW, **changes)


def summary(**changes: Any) -> Summary:
    """Return the summary with changes."""
    return msgspec.structs.replace(SUMMARY, **changes)
