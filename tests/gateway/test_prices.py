"""What attempts cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from acytoo.gateway.prices import Price, Prices
from acytoo.types import Usage

OWN = Prices(
    {
        "site/large": Price(2.0, 8.0, cached=0.5, cache_write=2.5),
        "site/small": Price(0.0025, 0.01),
        "site/hour": Price(2.0, 8.0, cached=0.5, cache_write=2.5, cache_write_1h=4.0),
    }
)


def cost(prices: Prices, provider: str, target: str, *tokens: int) -> int | None:
    total, output, cached, written, for_an_hour = [*tokens, 0, 0, 0][:5]
    usage = Usage(total, output, cached, written, cache_write_1h_tokens=for_an_hour)
    return prices.cost(provider, target, target.partition("/")[2], usage)


@pytest.mark.parametrize(
    ("target", "tokens", "nanodollars"),
    [
        ("site/large", (1000, 100), 2_000_000 + 800_000),
        ("site/large", (1000, 100, 400, 100), 500 * 2000 + 400 * 500 + 100 * 2500 + 100 * 8000),
        ("site/large", (0, 0), 0),
        ("site/small", (1, 0), 2),
        ("site/small", (1_000_000, 1_000_000), 12_500_000),
        ("site/small", (1_000_000, 0, 1_000_000), 2_500_000),
        ("site/large", (10, 0, 50), 10 * 500),
        ("site/large", (-5, -7), 0),
        ("site/large", (1000, 0, 0, 100, 60), 900 * 2000 + 100 * 2500),
        ("site/hour", (1000, 0, 0, 100, 60), 900 * 2000 + 40 * 2500 + 60 * 4000),
        ("site/hour", (1000, 0, 0, 100, 500), 900 * 2000 + 100 * 4000),
        ("site/hour", (1000, 0, 0, 100, -5), 900 * 2000 + 100 * 2500),
    ],
)
def test_the_price_of_the_config_is_per_million_tokens(target: str, tokens: tuple[int, ...], nanodollars: int) -> None:
    assert cost(OWN, "openai", target, *tokens) == nanodollars


def test_the_price_of_the_config_wins_over_the_list() -> None:
    assert cost(Prices(), "openai", "o/gpt-4o-mini", 1000, 0) == 150_000
    assert cost(Prices({"o/gpt-4o-mini": Price(1.0, 1.0)}), "openai", "o/gpt-4o-mini", 1000, 0) == 1_000_000


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "no-such-model"), ("ollama", "llama3.2"), ("compatible", "gpt-4o-mini"), ("openai", "\ud800\0")],
)
def test_an_unknown_price_is_none_and_not_zero(provider: str, model: str) -> None:
    assert cost(Prices(), provider, f"o/{model}", 1000, 1000) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-mini"),
        ("openai-responses", "gpt-5-mini-2025-08-07"),
        ("anthropic", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-pro"),
        ("deepseek", "deepseek-chat"),
        ("mistral", "mistral-large-latest"),
        ("perplexity", "sonar-pro"),
        ("xai", "grok-3"),
    ],
)
@pytest.mark.parametrize(
    "tokens",
    [(1000, 10, 300, 0, 0), (199_999, 10, 0, 0, 0), (250_001, 10, 1000, 0, 0), (300_000, 10, 20, 250_000, 70_000)],
)
def test_listed_prices_are_those_that_genai_prices_calculates(
    provider: str, model: str, tokens: tuple[int, int, int, int, int]
) -> None:
    import genai_prices

    total, output, cached, written, for_an_hour = tokens
    usage = genai_prices.Usage(
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=for_an_hour,
    )
    expected = genai_prices.calc_price(usage, model, provider_id=provider).total_price
    found = cost(Prices(), provider, f"name/{model}", *tokens)
    assert found is not None
    assert abs(found - expected * 10**9) <= 1


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("anthropic", "claude-sonnet-4-0", Usage(1000, 100, other_counts={"web_searches": 3})),
        ("gemini", "gemini-2.5-flash", Usage(1000, 100, other_counts={"input_audio_tokens": 800})),
        ("gemini", "gemini-2.5-flash", Usage(1000, 100, other_counts={"input_image_tokens": 800})),
        ("gemini", "gemini-2.5-flash-image", Usage(1000, 1300, other_counts={"output_image_tokens": 1290})),
        ("openai", "gpt-4o-mini", Usage(1000, 100, other_counts={"input_audio_tokens": 800})),
        ("openai", "gpt-4o-mini", Usage(1000, 100)),
    ],
)
def test_what_is_charged_otherwise_costs_what_genai_prices_calculates(provider: str, model: str, usage: Usage) -> None:
    import genai_prices

    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    expected = genai_prices.calc_price(
        genai_prices.Usage(**tokens, **usage.other_counts), model, provider_id=provider
    ).total_price
    assert Prices().cost(provider, f"name/{model}", model, usage) == expected * 10**9


def test_more_of_a_kind_than_there_is_of_all_counts_as_all() -> None:
    kinds = {"input_audio_tokens": 5000, "output_image_tokens": 10**9, "input_new_tokens": 7}
    most = Usage(1000, 100, other_counts={"input_audio_tokens": 1000, "output_image_tokens": 100})
    for model in ("gemini-2.5-flash", "gemini-2.5-flash-image"):
        found = Prices().cost("gemini", f"g/{model}", model, Usage(1000, 100, other_counts=kinds))
        assert found == Prices().cost("gemini", f"g/{model}", model, most)


def test_without_the_extra_only_the_prices_of_the_config_are_known() -> None:
    code = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from acytoo.gateway.prices import Price, Prices\n"
        "prices = Prices({'a/b': Price(1.0, 1.0)})\n"
        "from acytoo.types import Usage\n"
        "print(*[prices.cost('openai', f'a/{model}', model, Usage(1)) for model in ('b', 'gpt-4o-mini')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1000", "None"]
