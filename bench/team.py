"""The config file of the gateway under measurement, with every limit, none of which is ever reached."""

from __future__ import annotations

import hashlib

KEY = "bench"
"""The secret of its only key."""


def config(upstream: str, key: str, ledger: str) -> str:
    """Return the text of the file for an upstream's URL, a reference to its key, and a ledger."""
    return f"""
[server]
port = 0
[storage]
ledger = "{ledger}"
[upstreams.openai]
url = "{upstream}"
key = "{key}"
requests_per_minute = 1000000000
[models."gpt-4o-mini"]
targets = ["openai/gpt-4o-mini"]
[keys.bench]
hash = "sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
requests_per_minute = 1000000000
tokens_per_minute = 1000000000000
tokens_per_day = 1000000000000
concurrent = 100000
budget_per_day = 1000000.0
budget_per_month = 1000000.0
"""
