"""Words are not broken at the edge of a terminal."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.cli.terminal import WordWrapper
from acytoo.testing import FakeEndpoint, reply
from tests.processes import ACYTOO
from tests.terminal import Terminal


def screen(texts: list[str], columns: int) -> list[str]:
    """Return the lines on a terminal after the texts, interpreting only newlines and backspaces."""
    wrapper = WordWrapper(columns)
    lines, column = [""], 0
    for character in "".join(map(wrapper.feed, texts)):
        if character == "\n":
            lines, column = [*lines, ""], 0
        elif character == "\b":
            assert column > 0
            column -= 1
        else:
            lines[-1] = lines[-1][:column] + character + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_word_that_does_not_fit_begins_the_next_line(size: int) -> None:
    text = "one two three four\n\n  indented words\nend"
    texts = [text[start : start + size] for start in range(0, len(text), size)]
    assert screen(texts, 11) == ["one two", "three four", "", "  indented", "words", "end"]


words = st.text("abcdefgh", min_size=1, max_size=9)


@given(st.lists(words, min_size=1), st.integers(1, 5))
def test_words_and_their_order_stay_whatever_the_pieces(wordlist: list[str], size: int) -> None:
    text = " ".join(wordlist)
    lines = screen([text[start : start + size] for start in range(0, len(text), size)], 10)
    assert " ".join(line for line in lines if line).split() == wordlist
    assert all(len(line) < 10 for line in lines)


def test_a_line_may_be_broken_between_wide_characters() -> None:
    wrapper = WordWrapper(9)
    assert wrapper.feed("你好你好你好") == "你好你好\n你好"


def test_a_word_longer_than_a_line_is_left_to_the_terminal() -> None:
    assert screen(["x" * 30], 10) == ["x" * 30]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_reply_in_a_terminal_is_wrapped_and_shown_as_it_arrives() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("an unfinished wo", "rd").stall(after=1)) as fake,
        Terminal([ACYTOO, "--url", fake.url, "Hi"], env={"COLUMNS": "40"}) as terminal,
    ):
        terminal.wait_for("an unfinished wo")
    with (
        FakeEndpoint(dialects.Acytoo(), reply("aaaa bbbb cccc dddd ", "eeee ffffff")) as fake,
        Terminal([ACYTOO, "--url", fake.url, "Hi"], env={"COLUMNS": "30"}) as terminal,
    ):
        assert terminal.wait() == 0
    assert terminal.shown == "aaaa bbbb cccc dddd eeee \nffffff\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_waiting_line_is_shown_and_removed() -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("late").slow_head(0.05)) as fake,
        Terminal([ACYTOO, "--url", fake.url, "Hi"]) as terminal,
    ):
        terminal.wait_for("(reading the prompt, 2 s; Ctrl-C stops)")
        assert terminal.wait() == 0
    assert terminal.shown.endswith("\r" + " " * 50 + "\rlate\n")
