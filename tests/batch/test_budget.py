"""Caps of a run: dollars, tokens, failures."""

from __future__ import annotations

import pytest

from acytoo import Attempt, Reply, Route, Usage, UsageError, provider
from acytoo.batch.budget import Caps, Price, Spending, price_of
from tests.processes import run, script

REPLY = Reply("Hello", usage=Usage(input_tokens=100, output_tokens=50))


def test_without_caps_there_is_no_reason_to_stop() -> None:
    spending = Spending()
    spending.note_reply(REPLY)
    spending.note_failure("ServerError")
    assert spending.reason_to_stop() == ""
    assert (spending.input_tokens, spending.output_tokens, spending.errors) == (100, 50, {"ServerError": 1})


def test_a_cap_on_the_cost_is_reached_by_what_the_replies_cost() -> None:
    spending = Spending(Caps(dollars=0.003), lambda reply: 1_000_000)
    reasons = []
    for _ in range(3):
        spending.note_reply(REPLY)
        reasons.append(spending.reason_to_stop())
    assert reasons == ["", "", "the cap of $0.003 has been reached"]


@pytest.mark.parametrize("price", [None, lambda reply: None])
def test_a_cap_on_the_cost_is_not_kept_by_guessing(price: Price | None) -> None:
    spending = Spending(Caps(dollars=1), price)
    spending.note_reply(REPLY)
    assert spending.reason_to_stop() == "the cost of a reply is unknown, so that the cap on the cost cannot be kept"


def test_a_cap_on_tokens_counts_both_directions_and_needs_usage() -> None:
    spending = Spending(Caps(tokens=300))
    spending.note_reply(REPLY)
    assert spending.reason_to_stop() == ""
    spending.note_reply(REPLY)
    assert spending.reason_to_stop() == "the cap of 300 tokens has been reached"
    spending = Spending(Caps(tokens=300))
    spending.replies = 1
    spending.note_reply(Reply("Hello"))
    assert spending.reason_to_stop() == "the replies report no usage, so that the cap on tokens cannot be kept"


def test_failures_are_capped_by_number_or_by_share() -> None:
    spending = Spending(Caps(failures=2))
    spending.note_failure("A")
    assert spending.reason_to_stop() == ""
    spending.note_failure("B")
    assert spending.reason_to_stop() == "2 rows have failed"
    spending = Spending(Caps(failure_share=0.1))
    for _ in range(10):
        spending.note_failure("A")
    assert spending.reason_to_stop() == ""  # the first ten of a hundred may be bad luck
    spending.replies = 90
    assert spending.reason_to_stop() == "10 of 100 rows have failed"


def test_the_price_is_that_of_the_target_that_answered() -> None:
    pytest.importorskip("genai_prices", reason="needs genai-prices: pip install 'acytoo[gateway]'")
    route = Route(provider("openai/gpt-5-mini", key="k"), provider("openai/gpt-5", key="k"))
    price, alone = price_of(route), price_of(provider("openai/gpt-5", key="k"))
    assert price is not None
    assert alone is not None
    reply = Reply("", usage=REPLY.usage, attempts=[Attempt("openai/gpt-5", "answered", 1.0)])
    assert price(reply) == alone(reply)
    assert (alone(reply) or 0) > 0
    assert price(Reply("", usage=REPLY.usage)) is None


def test_a_cap_on_the_cost_needs_a_known_price() -> None:
    pytest.importorskip("genai_prices", reason="needs genai-prices: pip install 'acytoo[gateway]'")
    with pytest.raises(UsageError, match="the price of ollama/mine is unknown, so --max-cost cannot be kept"):
        price_of(provider("ollama/mine"), must_be_known=True)


def test_failures_before_the_first_reply_stop_a_batch_in_which_nothing_works() -> None:
    spending = Spending(Caps(first_failures=3))
    for _ in range(3):
        assert spending.reason_to_stop() == ""
        spending.note_failure("NotFoundError")
    assert spending.reason_to_stop() == "the first 3 rows have failed"
    spending.replies = 1
    assert spending.reason_to_stop() == ""


def test_the_list_of_prices_is_not_loaded_for_providers_that_are_not_in_it() -> None:
    code = "import sys; from acytoo import Route, provider; from acytoo.batch.budget import price_of; "
    code += "assert price_of(Route('ollama/a', provider('compatible/m', url='http://127.0.0.1:1'))) is None; "
    code += "assert 'genai_prices' not in sys.modules"
    done = run(script(code))
    assert done.returncode == 0, done.stderr
