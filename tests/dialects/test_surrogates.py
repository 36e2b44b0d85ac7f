"""Surrogate pairs that a server split over records are joined, and lone surrogates become U+FFFD."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.surrogates import SurrogateJoiner, replace_lone_escapes, replace_surrogates
from acytoo.errors import ServerError
from acytoo.types import Finish, Item, Logprobs, Reasoning, Refusal, Request, ToolCall, collect


def join(items: list[Item]) -> list[Item]:
    """Return the items of a complete reply, joined one by one."""
    joiner = SurrogateJoiner()
    return [joined for item in items for joined in joiner.join([item])] + joiner.flush()


@pytest.mark.parametrize(
    ("items", "joined"),
    [
        (["a\ud83d", "\ude00b"], ["a", "😀b"]),
        (["\ud83d", "\ude00"], ["😀"]),
        (["\ud83d", "b"], ["\ufffdb"]),
        (["\ude00"], ["\ufffd"]),
        (["a\ud83d"], ["a", "\ufffd"]),
        (["a\ud83d", Finish("stop")], ["a", "\ufffd", Finish("stop")]),
        ([Reasoning("\ud83d"), "\ud83d", Reasoning("\ude00"), "\ude00"], [Reasoning("😀"), "😀"]),
        ([Reasoning("\ud83d", 0), Reasoning("b", 1)], [Reasoning("b", 1), Reasoning("\ufffd", 0)]),
        ([Refusal("n\ud83d"), Refusal("\ude00")], [Refusal("n"), Refusal("😀")]),
        (
            [ToolCall(0, "a", "f", "\ud83d"), ToolCall(0, arguments="\ude00")],
            [ToolCall(0, "a", "f", ""), ToolCall(0, arguments="😀")],
        ),
        ([Logprobs([{"token": "\ud83d"}])], [Logprobs([{"token": "\ufffd"}])]),
    ],
)
def test_items_have_complete_characters(items: list[Item], joined: list[Item]) -> None:
    assert join(items) == joined


UNITS = st.lists(st.sampled_from(["a", "Ä", "😀", "\ud83d", "\ude00", "\udbff"]), max_size=12).map("".join)


@given(UNITS, st.lists(st.integers(0, 30)))
def test_a_text_split_anywhere_is_joined_to_the_same_text(text: str, places: list[int]) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    ends = sorted({2 * place for place in places if 2 * place < len(units)} | {len(units)})
    parts = [
        units[start:end].decode("utf-16-le", "surrogatepass") for start, end in zip([0, *ends], ends, strict=False)
    ]
    assert collect(join([part for part in parts if part])).text == replace_surrogates(text)


@pytest.mark.parametrize(
    ("document", "replaced"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00"', rb'"\ufffd"'),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\u00e4\n"', rb'"\u00e4\n"'),
    ],
)
def test_only_escapes_of_lone_surrogates_are_replaced(document: bytes, replaced: bytes) -> None:
    assert replace_lone_escapes(document) == replaced


def test_only_lone_surrogates_in_a_text_are_replaced() -> None:
    assert replace_surrogates("a\ud83d 😀 \ude00") == "a\ufffd 😀 \ufffd"


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_an_error_with_a_lone_surrogate_can_be_written(dialect: Dialect) -> None:
    error = ServerError("a\ud83db")
    writer = dialect.writer(Request([{"role": "user", "content": "Hi"}], "m"))
    for body in (writer.fail(error), dialect.write_error(error).body):
        assert b"\xed" not in body  # the first byte of a surrogate, were it encoded
