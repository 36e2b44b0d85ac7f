"""The ledger: one row for each attempt."""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct):
    """One attempt to answer a request, as the ledger keeps it.

    `at`: when it began, Unix seconds. `key`: the name of the caller's key. `model`: the name asked for. `target`: the
    `UPSTREAM/MODEL` that was asked, "" if none was. `cost`: in nanodollars, None if the price is unknown.
    `first_content`: seconds until the first content, None if there was none.
    """

    request_id: str
    attempt: int
    at: float
    key: str
    dialect: str
    model: str
    target: str
    upstream: str
    status: int
    outcome: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    is_estimated: bool
    cost: int | None
    first_content: float | None
    seconds: float
