"""What responses report of limits: read as it is written, and as the services write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects.quotas import Quota
from acytoo.http import ResponseHead

NOW = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


def written(dialect: str, quotas: list[Quota], now: float = NOW) -> dict[str, str]:
    """Return the headers that report quotas."""
    lines = dialects.by_name(dialect).quota_fields(quotas, now).decode().split("\r\n")
    assert lines.pop() == ""
    return dict([line.split(": ") for line in lines])


def read(dialect: str, headers: dict[str, str]) -> list[Quota]:
    return dialects.by_name(dialect).read_quotas(ResponseHead(200, headers), NOW)


@given(
    st.sampled_from(["openai", "openai-responses", "anthropic"]),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 100_000),
)
def test_what_a_server_writes_is_what_a_client_reads(name: str, limit: int, remaining: int, seconds: int) -> None:
    quotas = [Quota("requests", limit, remaining, seconds), Quota("tokens", remaining, limit, seconds)]
    assert read(name, written(name, quotas)) == quotas


@pytest.mark.parametrize("name", ["gemini", "ollama", "acytoo"])
def test_an_api_without_headers_for_quotas_has_none(name: str) -> None:
    assert written(name, [Quota("requests", 60, 59, 1.0)]) == {}
    assert read(name, {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}) == []


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("12ms", 0.012), ("1s", 1), ("6m0s", 360), ("1h2m3.5s", 3723.5), ("2.5", 2.5), ("86400", 86400), ("1d", 86400),
     ("", 0), ("soon", 0), ("-1s", 0), ("1s" * 20, 0), ("9" * 400, 0), ("٣s", 3)],
)  # fmt: skip
def test_a_reset_is_a_duration(reset: str, seconds: float) -> None:
    headers = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}
    (quota,) = read("openai", {**headers, "x-ratelimit-reset-requests": reset})
    assert quota.resets_in == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [(-1, "0ms"), (0, "0ms"), (0.0123, "12ms"), (1, "1s"), (59.4, "59s"), (360, "6m0s"), (7325, "2h2m5s")],
)
def test_openai_reports_durations(seconds: float, duration: str) -> None:
    headers = written("openai", [Quota("requests", 1, 1, seconds)])
    assert headers["x-ratelimit-reset-requests"] == duration


@pytest.mark.parametrize("value", ["", "many", "-1", "1e9", "9" * 30])
def test_a_count_that_cannot_be_read_is_no_quota(value: str) -> None:
    assert read("openai", {"x-ratelimit-limit-requests": value, "x-ratelimit-remaining-requests": "1"}) == []
    name = "anthropic-ratelimit-requests"
    assert read("anthropic", {f"{name}-limit": "5", f"{name}-remaining": value}) == []


@pytest.mark.parametrize("reset", ["", "soon", "9999-99-99T00:00:00Z", "2020-01-01T00:00:00Z"])
def test_a_time_that_cannot_be_read_or_is_past_is_now(reset: str) -> None:
    name = "anthropic-ratelimit-tokens"
    headers = {f"{name}-limit": "80000", f"{name}-remaining": "79999", f"{name}-reset": reset}
    assert read("anthropic", headers) == [Quota("tokens", 80000, 79999, 0.0)]


HEADERS = {
    "openai": {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-remaining-tokens": "8000",
        "x-ratelimit-reset-tokens": "1m30s",
    },
    "anthropic": {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:01Z",
        "anthropic-ratelimit-tokens-limit": "9000",
        "anthropic-ratelimit-tokens-remaining": "8000",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:01:30Z",
    },
}
HEADERS["openai-responses"] = HEADERS["openai"]


@pytest.mark.parametrize("name", HEADERS)
def test_each_quota_has_three_headers(name: str) -> None:
    quotas = [Quota("requests", 60, 59, 1.0), Quota("tokens", 9000, 8000, 90.0)]
    assert written(name, quotas) == HEADERS[name]
    assert read(name, HEADERS[name]) == quotas
    assert written(name, []) == {}
    assert read(name, {}) == read(name, {"content-type": "text/plain"}) == []
    for unit, quota in (("requests", quotas[1]), ("tokens", quotas[0])):
        others = {field: value for field, value in HEADERS[name].items() if unit not in field}
        assert read(name, others) == [quota]
        for part in ("limit", "remaining"):
            (missing,) = [field for field in HEADERS[name] if unit in field and part in field.replace("ratelimit", "")]
            kept = {field: value for field, value in HEADERS[name].items() if field != missing}
            assert read(name, kept) == [quota]
