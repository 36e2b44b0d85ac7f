"""The engine's own fields: allowed by name and range."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.embedded.fields import check_fields
from acytoo.errors import UsageError

HUGE = 2_147_483_647


@pytest.mark.parametrize(
    "fields",
    [
        {"repeat_last_n": HUGE},
        {"repeat_last_n": -1},
        {"repeat_last_n": "64"},
        {"repeat_last_n": True},
        {"dry_penalty_last_n": HUGE, "dry_multiplier": 1},
        {"n_probs": HUGE},
        {"min_keep": HUGE},
        {"min_p": float("nan")},
        {"n": 5},
        {"ignore_eos": 1},
        {"samplers": ["top_k"] * 1000},
        {"dry_sequence_breakers": ["x" * 10_000]},
        {"dry_sequence_breakers": [1]},
        {"logit_bias": {str(token): 1 for token in range(10_000)}},
        {"logit_bias": 1},
        {"logit_bias": {"x" * 101: 1}},
        {"logit_bias": [["x" * 101, 1]]},
        {"logit_bias": [[1] * 1000]},
        {"logit_bias": [{"5": 1}]},
        {"logit_bias": [5, 1]},
        {"logit_bias": {"5": "1"}},
        {"logit_bias": {"5": True}},
        {"chat_template_kwargs": {"messages": []}},
        {"chat_template_kwargs": {"deep": [1]}},
        {"chat_template_kwargs": "x"},
        {"reasoning_format": "x" * 1000},
        {"stream_options": 1},
        {"grammar_triggers": [{"type": 2, "value": "(a*)*b"}]},
        {"grammar_lazy": True},
        {"lora": []},
        {"id_slot": 3},
        {"speculative.n_max": HUGE},
    ],
)
def test_a_field_out_of_its_range_or_of_no_use_to_a_client_is_an_error_that_names_it(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(fields))):
        check_fields(fields)


def test_fields_within_their_ranges_are_kept() -> None:
    fields = {
        "repeat_last_n": 512,
        "repeat_penalty": 1.1,
        "min_p": None,
        "ignore_eos": True,
        "samplers": ["top_k", "temperature"],
        "chat_template_kwargs": {"enable_thinking": False},
        "logit_bias": {"5": -100, "hello": False},
        "stream_options": {"include_usage": True},
        "user_data": 1,
        "store": True,
    }
    assert check_fields(fields) == {name: value for name, value in fields.items() if name != "user_data"}


def test_known_fields_are_returned_as_the_same_object() -> None:
    fields = {"repeat_last_n": 512, "metadata": {}}
    assert check_fields(fields) is fields
