"""OpenAI's headers of what is left of a client's limits, which the chat completions and the responses have.

Source: OpenAI's guide "Rate limits" ("Rate limits in headers"): counts, and the time until the reset as a duration
such as `1s`, `6m0s` or `12ms`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from acytoo.dialects.quotas import UNITS, Quota, number


def quota_template(quotas: Iterable[Quota]) -> bytes:
    """Return the header fields for quotas, with `%d` for what is left. Each unit may occur once."""
    fields = ""
    for quota in quotas:
        unit, resets_in = quota.unit, quota.resets_in
        reset = _duration(round(resets_in)) if resets_in >= 1 else f"{max(0, round(resets_in * 1000))}ms"
        fields += (
            f"x-ratelimit-limit-{unit}: {quota.limit}\r\nx-ratelimit-remaining-{unit}: %d\r\n"
            f"x-ratelimit-reset-{unit}: {reset}\r\n"
        )
    return fields.encode()


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def read_quotas(headers: Mapping[str, str]) -> list[Quota]:
    """Return the quotas in the headers of a response. A value that cannot be read counts as absent."""
    quotas: list[Quota] = []
    if not any(name in headers for name in _LIMITS):
        return quotas
    for unit in UNITS:
        limit, remaining = (
            number(headers, f"x-ratelimit-limit-{unit}"),
            number(headers, f"x-ratelimit-remaining-{unit}"),
        )
        if limit is not None and remaining is not None:
            quotas.append(Quota(unit, limit, remaining, _seconds(headers.get(f"x-ratelimit-reset-{unit}", ""))))
    return quotas


_LIMITS = tuple([f"x-ratelimit-limit-{unit}" for unit in UNITS])


def _seconds(duration: str) -> float:
    """Return a duration such as `1h2m3.5s`, `12ms` or `3.5` (seconds) in seconds, 0 if it cannot be read."""
    if not re.fullmatch(f"(?:{_PART}){{1,6}}", duration):
        return 0.0
    return sum([float(value) * _UNIT_SECONDS[unit] for value, unit in re.findall(_PART, duration)])


_PART = r"(\d{1,12}(?:\.\d{1,12})?)(ms|us|µs|ns|d|h|m|s|)"
_UNIT_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 0.0}
