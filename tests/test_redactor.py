"""A backend's secrets are replaced in its replies, also if they are in several pieces."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.redactor import Redactor, Searches
from acytoo.secret import Secret
from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Refusal, Start, ToolCall, Usage, collect
from tests.dialects.test_growth import assert_linear

KEY = "sk-proj-0123456789abcdefghij/KLMNOP"
TEXTS = st.lists(st.sampled_from([KEY, KEY[:10], KEY[1:], "sk-", "s", "sk-proj", "Hello ", "\u00e9"]), max_size=6)


def redacted(*batches: list[Item], secrets: tuple[str, ...] = (KEY,)) -> list[Item]:
    redactor = Redactor(Searches(map(Secret, secrets)))
    items = [item for batch in batches for item in redactor.redact(batch)]
    return items + redactor.flush()


def pieces_of(text: str, cuts: list[int]) -> list[Item]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(places) if start < stop]


def without_begun(text: str) -> str:
    return re.sub(r"(sk-|sk|s)+(?=\*\*\*)", "", text)


@given(TEXTS, st.lists(st.integers(0, 400), max_size=8))
def test_a_secret_in_any_pieces_of_the_text_is_replaced(texts: list[str], cuts: list[int]) -> None:
    text = "".join(texts) + "."
    shown = redacted(*[[piece] for piece in pieces_of(text, cuts)])
    # Up to three characters may have left before a secret was noticed.
    joined = "".join([item for item in shown if isinstance(item, str)])
    assert without_begun(joined) == without_begun(text.replace(KEY, "***"))
    assert all(shown)


@pytest.mark.parametrize("kind", [Reasoning, Refusal, ToolCall])
@pytest.mark.parametrize("size", [1, 3, 4, 7, 20, 100])
def test_a_secret_in_pieces_of_another_text_is_replaced(kind: type, size: int) -> None:
    text = f"begin {KEY} end"
    field = "arguments" if kind is ToolCall else "text"
    items: list[list[Item]] = [[kind(**{field: text[at : at + size]})] for at in range(0, len(text), size)]
    shown = "".join([getattr(item, field) for item in redacted(*items)])
    assert without_begun(shown) == "begin *** end"


OTHERS: dict[str, list[Item]] = {
    "text": ["text"],
    "reasoning": [Reasoning("thought")],
    "another block of reasoning": [Reasoning("thought", 1)],
    "another call": [ToolCall(1, arguments="{")],
    "two calls": [ToolCall(1, arguments="{"), ToolCall(2, arguments="[")],
    "a refusal": [Refusal("no")],
    "usage": [Usage(1)],
}


@pytest.mark.parametrize("kind", [str, Reasoning, Refusal, ToolCall])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("size", [1, 3, 7, 20])
@pytest.mark.parametrize("together", [True, False])
def test_a_secret_in_pieces_of_texts_that_take_turns_is_replaced(
    kind: type, other: str, size: int, together: bool
) -> None:
    field = "arguments" if kind is ToolCall else "text"
    text = f"begin {KEY} end"
    batches: list[list[Item]] = []
    for at in range(0, len(text), size):
        piece: Item = text[at : at + size] if kind is str else kind(**{field: text[at : at + size]})
        batches += [[piece, *OTHERS[other]]] if together else [[piece], OTHERS[other]]
    if any(of_first(item, kind) for item in OTHERS[other]):
        pytest.skip("this is the same text")
    shown = redacted(*batches)
    pieces = [item if isinstance(item, str) else getattr(item, field) for item in shown if of_first(item, kind)]
    assert without_begun("".join(pieces)) == "begin *** end"
    others = [item for item in shown if not of_first(item, kind)]
    assert others == OTHERS[other] * len(range(0, len(text), size))


def of_first(item: Item, kind: type) -> bool:
    return type(item) is kind and (isinstance(item, str) or getattr(item, "index", 0) == 0)


def test_a_beginning_of_a_secret_holds_back_a_limited_number_of_items() -> None:
    redactor = Redactor(Searches([Secret(KEY)]))
    assert redactor.redact([KEY[:5]]) == []
    calls: list[Item] = [ToolCall(0, arguments=str(number)) for number in range(1000)]
    shown: list[Item] = []
    for number, call in enumerate(calls):
        shown += redactor.redact([call])
        assert number + 2 - len(shown) <= 101
    assert shown == [KEY[:5], *calls]


def test_any_other_field_is_searched_too() -> None:
    items: list[Item] = [
        Start(KEY, f"m {KEY}"),
        Reasoning("", 1, signature=KEY, id=KEY),
        ToolCall(2, KEY, KEY, "{}"),
        OpaquePart("x", {KEY: [{"a": KEY}, 1]}),
        Logprobs([{"token": KEY, "logprob": -1.0}]),
        Finish("stop", raw=KEY),
    ]
    shown = redacted(items)
    assert [type(item) for item in shown] == [type(item) for item in items]
    assert KEY not in repr(shown)
    assert repr(shown).count("***") == 10
    assert "***" in repr(redacted([OpaquePart("x", {"\ud800": KEY})]))


def test_a_beginning_waits_for_the_next_piece_and_leaves_in_its_place() -> None:
    redactor = Redactor(Searches([Secret(KEY)]))
    assert redactor.redact(["a sk-pr"]) == ["a "]
    assert redactor.redact([Usage(1)]) == []
    assert redactor.redact(["ofit", "b"]) == ["sk-pr", Usage(1), "ofit", "b"]
    assert redactor.redact(["sk-p"]) == []
    assert redactor.redact([ToolCall(0, "c", "f", "{}")]) == []
    assert redactor.redact(["x"]) == ["sk-p", ToolCall(0, "c", "f", "{}"), "x"]
    assert redactor.redact(["sk-p", Finish()]) == ["sk-p", Finish()]
    assert redactor.flush() == []


def test_a_call_that_begins_with_the_beginning_of_a_secret_keeps_its_name() -> None:
    redactor = Redactor(Searches([Secret(KEY)]))
    assert redactor.redact([ToolCall(1, "c", "f", KEY[:9])]) == [ToolCall(1, "c", "f")]
    assert redactor.redact([ToolCall(1, arguments=KEY[9:])]) == [ToolCall(1, arguments="***")]


def test_half_of_a_secret_at_the_end_is_replaced_and_less_is_kept() -> None:
    assert redacted(["a " + KEY[:18]]) == ["a ", "***"]
    assert redacted(["a " + KEY[:17]]) == ["a ", KEY[:17]]
    assert redacted(["a " + KEY[:18], Finish()]) == ["a ***", Finish()]


def test_log_probabilities_beside_a_secret_are_dropped_because_they_spell_it() -> None:
    spelled = Logprobs([{"token": character} for character in KEY])
    assert redacted([f"a {KEY}", spelled, "b"]) == ["a ***", "b"]
    assert redacted(["a sk-pr", spelled], ["b"]) == ["a ", "sk-pr", spelled, "b"]


def test_items_without_secrets_are_returned_as_they_are() -> None:
    batch: list[Item] = ["Hello", Reasoning("x"), ToolCall(0, "c", "f"), Usage(1)]
    assert Redactor(Searches([Secret(KEY)])).redact(batch) is batch
    assert Redactor(Searches([])).redact(batch) is batch


def test_several_secrets_that_overlap_are_replaced_at_once() -> None:
    other = KEY[20:] + "-another-one"
    assert collect(redacted(["x ", KEY[:30]], [KEY[30:] + "-another-one y"], secrets=(KEY, other))).text == "x *** y"


@pytest.mark.parametrize("cut", range(len(KEY) + 1))
def test_the_larger_part_of_a_secret_in_two_records_is_replaced(cut: int) -> None:
    records = b"".join([f"data: {json.dumps({'content': part})}\n\n".encode() for part in (KEY[:cut], KEY[cut:])])
    for form in (records, records.replace(b"/", b"\\/")):
        shown = Redactor(Searches([Secret(KEY)])).redact_bytes(form)
        assert b"***" in shown
        assert all(KEY[at : at + 18].encode() not in shown.replace(b"\\/", b"/") for at in range(len(KEY) - 17))


def test_bytes_with_less_than_half_of_a_secret_are_returned_as_they_are() -> None:
    data = KEY[:17].encode() + b" " + KEY[-17:].encode() + b" " + KEY[9:26].encode()
    assert (
        Redactor(Searches([Secret(KEY)])).redact_bytes(data) is data
        or Redactor(Searches([Secret(KEY)])).redact_bytes(data) == data
    )


def test_a_deep_field_is_left_out_if_it_may_have_a_secret() -> None:
    fields: dict[str, object] = {"a": KEY}
    for _ in range(3000):
        fields = {"a": fields}
    assert KEY not in repr(redacted([KEY, OpaquePart("x", fields)])[0])


@pytest.mark.parametrize("text", [f"{KEY} ", "sk-", KEY[:-1]])
def test_the_work_grows_as_the_items_do(text: str) -> None:
    assert_linear(lambda size: lambda: Redactor(Searches([Secret(KEY)])).redact([text] * size))
