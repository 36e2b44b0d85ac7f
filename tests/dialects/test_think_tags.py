"""Thoughts between `<think>` and `</think>` in the text of servers that are declared to send them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.openai import OpenAI, Variations
from acytoo.dialects.think_tags import ThinkTags
from acytoo.errors import TruncatedError
from acytoo.http import ResponseHead
from acytoo.types import Finish, Item, Logprobs, Reasoning, Reply, Start, ToolCall, Usage, collect
from tests.dialects.test_finish import read, sse

DIALECTS: dict[str, Dialect] = {
    "openai": OpenAI(Variations(think_tags=True)),
    "ollama": dialects.Ollama(think_tags=True),
}


def body_of(name: str, texts: list[str], *, ends: bool = True) -> bytes:
    """Return a stream of these texts."""
    if name == "ollama":
        lines = [{"message": {"role": "assistant", "content": text}, "done": False} for text in texts]
        end = [{"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}] if ends else []
        return b"".join([json.dumps(line).encode() + b"\n" for line in [*lines, *end]])
    finish = [{"choices": [{"delta": {}, "finish_reason": "stop"}]}] if ends else []
    return sse(*[{"choices": [{"delta": {"content": text}}]} for text in texts], *finish)


def parts(items: list[Item]) -> tuple[str, str]:
    """Return the (reasoning, text) of some items."""
    reply = collect(items)
    return "".join([block.get("text", "") for block in reply.reasoning]), reply.text


CASES = {
    "<think>Hm, 1 < 2.</think>Yes": ("Hm, 1 < 2.", "Yes"),
    "\n<think>\nHm</thin k></think>\n\nYes": ("\nHm</thin k>", "\n\nYes"),
    "<think></think>Yes": ("", "Yes"),
    "<think>Hm": ("Hm", ""),
    "<think>Hm</thi": ("Hm</thi", ""),
    "<think": ("", "<think"),
    "  ": ("", "  "),
    "<thinking>Hm</thinking>": ("", "<thinking>Hm</thinking>"),
    "Use <think>x</think>": ("", "Use <think>x</think>"),
    "<think>a</think>b<think>c</think>": ("a", "b<think>c</think>"),
    "x</think>Yes": ("", "x</think>Yes"),
}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("text", CASES)
def test_a_thought_at_the_beginning_is_reasoning_however_it_is_divided(text: str, name: str) -> None:
    for texts in ([text], list(text), [text[:3], text[3:]]):
        items, error = read(DIALECTS[name], body_of(name, texts))
        assert error is None
        assert parts(items) == CASES[text]
        assert items[-1] == Finish("stop")


OPEN: dict[str, Dialect] = {
    "openai": OpenAI(Variations(think_tags="open")),
    "ollama": dialects.Ollama(think_tags="open"),
}
OPENED = {
    "Hm, 1 < 2.\n</think>\n\nYes": ("Hm, 1 < 2.\n", "\n\nYes"),
    "<think>Hm</think>Yes": ("Hm", "Yes"),
    "\n<think>\nHm</think>Yes": ("\nHm", "Yes"),
    "</think>Yes": ("", "Yes"),
    "a</think>b</think>c": ("a", "b</think>c"),
    "Use <think>x</think>y": ("Use <think>x", "y"),
    "Hm": ("Hm", ""),
    "<thi": ("<thi", ""),
    "Hm</thi": ("Hm</thi", ""),
}


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("text", OPENED)
def test_a_reply_may_begin_inside_a_thought_that_the_template_has_opened(text: str, name: str) -> None:
    for texts in ([text], list(text), [text[:3], text[3:]]):
        items, error = read(OPEN[name], body_of(name, texts))
        assert error is None
        assert parts(items) == OPENED[text]
    message = {"role": "assistant", "content": text}
    document: object = {"message": message, "done": True, "done_reason": "stop"}
    if name == "openai":
        document = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert parts(OPEN[name].read_reply(json.dumps(document).encode())) == OPENED[text]
    assert not OPEN[name].can_pass_through


@pytest.mark.parametrize("name", DIALECTS)
def test_a_document_is_divided_too(name: str) -> None:
    text = "<think>Hm</think>Yes"
    message = {"role": "assistant", "content": text}
    document = (
        {"message": message, "done": True, "done_reason": "stop"}
        if name == "ollama"
        else {"choices": [{"message": message, "finish_reason": "stop"}]}
    )
    body = json.dumps(document).encode()
    assert parts(DIALECTS[name].read_reply(body)) == ("Hm", "Yes")
    assert parts(read(DIALECTS[name], body)[0]) == ("Hm", "Yes")


@pytest.mark.parametrize("name", DIALECTS)
def test_the_text_stays_as_it_is_without_the_declaration(name: str) -> None:
    items, _ = read(dialects.by_name(name), body_of(name, ["<think>Hm</think>Yes"]))
    assert parts(items) == ("", "<think>Hm</think>Yes")


@pytest.mark.parametrize("name", DIALECTS)
def test_a_server_translates_what_has_such_thoughts(name: str) -> None:
    assert dialects.by_name(name).can_pass_through
    assert not DIALECTS[name].can_pass_through


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(("text", "held"), [("<thi", "<thi"), ("<think>Hm</thi", "</thi")])
def test_what_is_held_back_precedes_the_error_of_a_cut_reply(text: str, held: str, name: str) -> None:
    reader = DIALECTS[name].reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    before = reader.feed(body_of(name, [text], ends=False))
    assert held not in str(before)
    last = reader.flush() + reader.flush_truncated()
    assert "".join(parts(before + last)) == text.replace("<think>", "")
    with pytest.raises(TruncatedError):
        reader.close()


def test_what_is_held_back_precedes_a_call_but_not_what_accompanies_a_text() -> None:
    tags, call = ThinkTags(), ToolCall(0, "a", "f", "{}")
    assert tags.divide([Start("1"), "<think>a</", Logprobs([]), Usage(1), "b", call]) == [
        Start("1"), Reasoning("a"), Logprobs([]), Usage(1), Reasoning("</b"), call
    ]  # fmt: skip
    assert ThinkTags().divide(["<th", call, "ink>"]) == ["<th", call, "ink>"]


pieces = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think", ">", " ", "a", "\n"]), max_size=12)


@given(pieces)
def test_nothing_is_lost_and_any_split_gives_the_same(words: list[str]) -> None:
    text = "".join(words)

    def divided(texts: list[str]) -> Reply:
        tags = ThinkTags()
        items = [item for piece in texts if piece for item in tags.divide([piece])] + tags.flush()
        assert all(items)
        return collect(items)

    reference = divided([text])
    for texts in (list(text), words, [text[: len(text) // 2], text[len(text) // 2 :]]):
        found = divided(texts)
        assert (found.text, found.reasoning) == (reference.text, reference.reasoning)
    thought = "".join([block["text"] for block in reference.reasoning])
    if text.lstrip().startswith("<think>"):
        first, _, rest = text.lstrip().removeprefix("<think>").partition("</think>")
        assert (thought, reference.text) == (first, rest)
    else:
        assert (thought, reference.text) == ("", text)
