"""What is valid in a config file, but probably not meant."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from acytoo.gateway.config_warnings import warnings_of
from tests.gateway.test_config import HASH, config_of, with_models
from tests.processes import ACYTOO, LIMIT, start


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("*", None),
        ("fast", None),
        ("f?st", None),
        ("fast*", None),
        ("openai/*", None),
        ("openai/gpt-5", None),
        ("open*", None),
        ("*/gpt-5", None),
        ("*gpt-5", None),
        ("openai", None),
        ("fsat", "did you mean 'fast'?"),
        ("claude*", "models are NAME or UPSTREAM/MODEL"),
        ("anthropic/*", "models are NAME or UPSTREAM/MODEL"),
        ("openaix/*", "did you mean 'openai'?"),
        ("?", "models are NAME or UPSTREAM/MODEL"),
    ],
)
def test_a_pattern_that_no_model_can_match_is_a_warning_with_its_line(pattern: str, hint: str | None) -> None:
    text = with_models(f"[models.fast]\ntargets = ['openai/x']\n[keys.a]\nhash = '{HASH}'\nmodels = [\n'{pattern}']\n")
    expected = f"acytoo.toml:10: the key 'a' may use {pattern!r}, which no model can be named: {hint}"
    assert warnings_of(config_of(text)) == ([expected] if hint else [])


def test_an_expired_key_is_a_warning_with_its_line() -> None:
    text = with_models(f"[keys.a]\nhash = '{HASH}'\nexpires = 2020-01-31\n")
    assert warnings_of(config_of(text)) == ["acytoo.toml:7: the key 'a' expired at the end of 2020-01-31"]


def test_a_key_that_may_use_no_model_is_a_warning_with_its_line() -> None:
    text = with_models(f"[keys.a]\nhash = '{HASH}'\nmodels = []\n")
    assert warnings_of(config_of(text)) == [
        "acytoo.toml:7: the key 'a' may use no model: leave out the field, for all of them"
    ]


@pytest.mark.parametrize(("field", "is_forgotten"), [("requests_per_day", True), ("requests_per_minute", False)])
def test_a_limit_that_a_start_forgets_is_a_warning_with_its_line(field: str, is_forgotten: bool) -> None:
    text = f"[upstreams.local]\nprovider = 'ollama'\n{field} = 5\n[keys.a]\nhash = '{HASH}'\n{field} = 5\n[storage]\n"
    expected = [
        f"acytoo.toml:{line}: without a ledger, {field} of {name!r} begins again with each start of the server"
        for line, name in ((6, "a"), (3, "local"))
    ]
    assert warnings_of(config_of(f'{text}ledger = "none"\n')) == (expected if is_forgotten else [])
    assert warnings_of(config_of(f'{text}ledger = "none"\ncounters = "redis://127.0.0.1"\n')) == []
    assert warnings_of(config_of(text)) == []


def test_a_price_of_a_target_that_is_probably_misspelt_is_a_warning_with_its_line() -> None:
    price = "input = 1\noutput = 1\n"
    text = with_models(f'[models.fast]\ntargets = ["openai/gpt-5-mini"]\n[prices."openai/gpt5-mini"]\n{price}')
    expected = "there is a price of 'openai/gpt5-mini', but no such target: did you mean 'openai/gpt-5-mini'?"
    assert warnings_of(config_of(text)) == [f"acytoo.toml:7: {expected}"]
    assert warnings_of(config_of(text + f'[prices."openai/gpt-5-mini"]\n{price}')) == []


UNPRICED = "the price of 'local/llama3.2' is unknown, so a budget refuses its requests: set [prices.\"local/llama3.2\"]"


@pytest.mark.parametrize(
    ("key", "is_refused"),
    [
        ("budget_per_month = 5", True),
        ("budget_per_day = 5\nmodels = ['f*']", True),
        ("budget_per_month = 5\nmodels = ['openai/*']", False),
        ("tokens_per_day = 5", False),
    ],
)
def test_a_target_without_a_price_that_a_budget_refuses_is_a_warning_with_its_line(key: str, is_refused: bool) -> None:
    text = with_models(
        "[models.fast]\ntargets = [\n'openai/gpt-5-mini',\n'local/llama3.2']\n"
        f"[keys.a]\nhash = '{HASH}'\n{key}\n[models.outer]\ntargets = ['fast']\n"
    )
    assert warnings_of(config_of(text)) == ([f"acytoo.toml:8: {UNPRICED}"] if is_refused else [])
    for name in ("local/llama3.2", "local"):
        assert warnings_of(config_of(f'{text}[prices."{name}"]\ninput = 0\noutput = 0\n')) == []


def test_a_budget_of_an_upstream_needs_prices_too() -> None:
    text = with_models("budget_per_day = 1\n[models.fast]\ntargets = ['local/llama3.2']\n")
    assert warnings_of(config_of(text)) == [f"acytoo.toml:7: {UNPRICED}"]


@pytest.mark.parametrize("server", ["port = 0", "port = 0\nworkers = 2\n[storage]\ncounters = 'redis://127.0.0.1:1'"])
def test_a_server_that_starts_reports_the_warnings_once(tmp_path: Path, server: str) -> None:
    path = tmp_path / "acytoo.toml"
    path.write_text(
        f"[server]\n{server}\n[upstreams.local]\nprovider = 'ollama'\n[keys.a]\nhash = '{HASH}'\nexpires = 2020-01-31\n"
    )
    process = start([ACYTOO, "serve", "--config", str(path)])
    try:
        assert process.stderr is not None
        lines = [process.stderr.readline().decode() for _ in range(2)]
        assert lines[0].endswith("the key 'a' expired at the end of 2020-01-31\n")
        assert lines[1].startswith("Acytoo serves http://127.0.0.1:")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT)
