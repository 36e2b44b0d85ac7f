"""What is left of a client's limits, in the headers of OpenAI's API, which most clients read.

Source: OpenAI's guide "Rate limits" ("Rate limits in headers"): counts, and the time until the reset as a duration
such as `1s`, `6m0s` or `12ms`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple


class Quota(NamedTuple):
    """What is left of a limit on requests or tokens, which begins again in `resets_in` seconds."""

    unit: Literal["requests", "tokens"]
    limit: int
    remaining: int
    resets_in: float


def openai_quota_headers(quotas: Iterable[Quota]) -> dict[str, str]:
    """Return the headers for quotas, of which each unit may occur once."""
    headers = {}
    for quota in quotas:
        headers[f"x-ratelimit-limit-{quota.unit}"] = str(quota.limit)
        headers[f"x-ratelimit-remaining-{quota.unit}"] = str(quota.remaining)
        headers[f"x-ratelimit-reset-{quota.unit}"] = _duration(quota.resets_in)
    return headers


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
