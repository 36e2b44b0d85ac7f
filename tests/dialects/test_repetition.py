"""Replies that repeat themselves at their end, or send all the content so far again and again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.openai import OpenAI, Variations
from acytoo.errors import ProtocolError
from acytoo.http import ResponseHead
from acytoo.types import Reply, Request, collect

CALL = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"sum": 1}'}}
"""A call that must not be made twice."""


def sse(*documents: dict[str, Any]) -> bytes:
    return b"".join([b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents])


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join([json.dumps({"model": "m", **document}).encode() + b"\n" for document in documents])


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def message(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": fields, "finish_reason": finish}]}


def part(*parts: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}]}


def read(dialect: Dialect, body: bytes, size: int) -> Reply:
    reader = dialect.reader(ResponseHead(200, {"content-type": dialect.writer(Request([])).content_type}))
    items = [item for start in range(0, len(body), size) for item in reader.feed(body[start : start + size])]
    items += reader.flush()
    reader.close()
    return collect(items)


OPENAI, GEMINI, OLLAMA = dialects.OpenAI(), dialects.Gemini(), dialects.Ollama()

REPEATED: dict[str, tuple[Dialect, bytes]] = {
    # abundantbeing/hermes-browser-extension issue 11.
    "openai, a last message": (
        OPENAI,
        sse(
            delta(reasoning_content="I "),
            delta(reasoning_content="think"),
            delta(content="Hello "),
            delta(content="world"),
            delta(tool_calls=[{"index": 0, **CALL}]),
            message("tool_calls", content="Hello world", reasoning_content="I think", tool_calls=[CALL]),
        ),
    ),
    "openai, a last message beside an empty delta": (
        OPENAI,
        sse(
            delta(reasoning_content="I think"),
            delta(content="Hello "),
            delta(content="world"),
            delta(tool_calls=[{"index": 0, **CALL}]),
            {
                "choices": [
                    {
                        "delta": {},
                        "message": {"content": "Hello world", "reasoning": "I think", "tool_calls": [CALL]},
                        "finish_reason": "tool_calls",
                    }
                ]
            },
        ),
    ),
    "openai, a last delta": (
        OPENAI,
        sse(
            delta(reasoning_content="I think"),
            delta(content="Hello "),
            delta(content="world"),
            delta(tool_calls=[{"index": 0, **CALL}]),
            delta("tool_calls", content="Hello world", reasoning_content="I think", tool_calls=[{"index": 0, **CALL}]),
        ),
    ),
    "openai, a last message that has more": (
        OPENAI,
        sse(
            delta(content="Hello "),
            message("tool_calls", content="Hello world", reasoning_content="I think", tool_calls=[CALL]),
        ),
    ),
    "openai, messages that grow": (
        OPENAI,
        sse(
            message(reasoning_content="I "),
            message(reasoning_content="I think"),
            message(reasoning_content="I think", content="Hello"),
            message(reasoning_content="I think", content="Hello wor"),
            message(reasoning_content="I think", content="Hello world"),
            message("tool_calls", reasoning_content="I think", content="Hello world", tool_calls=[CALL]),
        ),
    ),
    "openai, messages that are pieces": (
        OPENAI,
        sse(
            message(reasoning_content="I "),
            message(reasoning_content="think"),
            message(content="Hello "),
            message(content="world"),
            message(tool_calls=[CALL]),
            message("tool_calls"),
        ),
    ),
    "openai, only a message": (
        OPENAI,
        sse(message("tool_calls", reasoning_content="I think", content="Hello world", tool_calls=[CALL])),
    ),
    "gemini": (
        GEMINI,
        sse(
            part({"text": "I think", "thought": True}),
            part({"text": "Hello "}),
            part({"text": "world"}),
            part({"functionCall": {"name": "pay", "args": {"sum": 1}}}),
            part(
                {"text": "I think", "thought": True},
                {"text": "Hello world"},
                {"functionCall": {"name": "pay", "args": {"sum": 1}}},
                finish="STOP",
            ),
        ),
    ),
    "ollama": (
        OLLAMA,
        lines(
            {"message": {"content": "", "thinking": "I think"}},
            {"message": {"content": "Hello "}},
            {"message": {"content": "world"}},
            {"message": {"content": "", "tool_calls": [{"function": {"name": "pay", "arguments": {"sum": 1}}}]}},
            {
                "message": {
                    "content": "Hello world",
                    "thinking": "I think",
                    "tool_calls": [{"function": {"name": "pay", "arguments": {"sum": 1}}}],
                },
                "done": True,
            },
        ),
    ),
}


def test_what_the_end_repeats_of_a_long_reply_is_read_once() -> None:
    calls = [
        {**CALL, "id": f"c{i}", "index": i, "function": {"name": "pay", "arguments": f'{{"sum": {i}}}'}}
        for i in range(20)
    ]
    texts = [f"text {i} " for i in range(3_000)]
    pieces = [delta(content=text) for text in texts[:1_500]]
    pieces += [delta(tool_calls=[call]) for call in calls]
    pieces += [delta(content=text) for text in texts[1_500:]]
    last = message("tool_calls", content="".join(texts), tool_calls=calls)
    body = b"".join([sse(piece) for piece in [*pieces, last]])
    reply = read(OPENAI, body, 100)
    assert reply.text == "".join(texts)
    assert [call["id"] for call in reply.tool_calls] == [call["id"] for call in calls]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("name", REPEATED)
def test_what_the_end_repeats_is_read_once(name: str, size: int) -> None:
    reply = read(*REPEATED[name], size)
    assert reply.text == "Hello world"
    assert [block["text"] for block in reply.reasoning] == ["I think"]
    calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in reply.tool_calls]
    assert calls == [("pay", {"sum": 1})]
    assert reply.finish_reason == "tool_calls"


NOT_REPEATED: dict[str, tuple[Dialect, bytes]] = {
    "openai": (OPENAI, sse(delta(content="ha"), delta("stop", content="ha"))),
    "gemini": (GEMINI, sse(part({"text": "ha"}), part({"text": "ha"}, finish="STOP"))),
    "ollama": (OLLAMA, lines({"message": {"content": "ha"}}, {"message": {"content": "ha"}, "done": True})),
}


@pytest.mark.parametrize("name", NOT_REPEATED)
def test_a_short_last_piece_that_is_said_twice_is_kept(name: str) -> None:
    assert read(*NOT_REPEATED[name], 100_000).text == "haha"


def test_a_second_call_in_a_last_message_is_read() -> None:
    other = {"id": "c2", "function": {"name": "pay", "arguments": '{"sum": 2}'}}
    body = sse(delta(tool_calls=[{"index": 0, **CALL}]), message("tool_calls", tool_calls=[CALL, other]))
    reply = read(OPENAI, body, 100_000)
    assert [call["id"] for call in reply.tool_calls] == ["c1", "c2"]
    assert [call["function"]["arguments"] for call in reply.tool_calls] == ['{"sum": 1}', '{"sum": 2}']


def test_white_space_that_a_last_message_lacks_makes_no_difference() -> None:
    body = sse(delta(content="\nHello "), delta(content="world\n"), message("stop", content="Hello world"))
    assert read(OPENAI, body, 100_000).text == "\nHello world\n"


def test_a_last_message_that_differs_from_the_deltas_is_ignored() -> None:
    body = sse(delta(content="Hello <b>world</b>"), message("stop", content="Hello world"))
    assert read(OPENAI, body, 100_000).text == "Hello <b>world</b>"


def test_a_long_stream_is_compared_as_a_short_one() -> None:
    words = [f"word {number} " for number in range(3000)]
    body = sse(*[delta(content=word) for word in words], message("stop", content="".join(words)))
    assert read(OPENAI, body, 60).text == "".join(words)


PIECES = ["Hello", "Hello wor", "Hello world", "Hello world!"]
FRAGMENTS = ['{"sum"', '{"sum": 1', '{"sum": 1, "to"', '{"sum": 1, "to": "me"}']


def anthropic_texts(pieces: list[str]) -> bytes:
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces
    ]
    return sse(*deltas, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"})


def responses_texts(pieces: list[str]) -> bytes:
    deltas = [{"type": "response.output_text.delta", "output_index": 0, "delta": piece} for piece in pieces]
    return sse(*deltas, {"type": "response.completed", "response": {"status": "completed"}})


CUMULATIVE: dict[str, tuple[Dialect, bytes]] = {
    # QwenLM/qwen-code pull request 3896.
    "openai": (OPENAI, sse(*[delta(content=piece) for piece in PIECES], delta("stop"))),
    "openai, reasoning": (OPENAI, sse(*[delta(reasoning_content=piece) for piece in PIECES], delta("stop"))),
    "openai, arguments": (
        OPENAI,
        sse(
            delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "pay", "arguments": ""}}]),
            *[delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in FRAGMENTS],
            delta("tool_calls"),
        ),
    ),
    "gemini": (GEMINI, sse(*[part({"text": piece}) for piece in PIECES], part({"text": ""}, finish="STOP"))),
    "ollama": (OLLAMA, lines(*[{"message": {"content": piece}} for piece in PIECES], {"done": True})),
    "anthropic": (dialects.Anthropic(), anthropic_texts(PIECES)),
    "openai-responses": (dialects.OpenAIResponses(), responses_texts(PIECES)),
}


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("name", CUMULATIVE)
def test_pieces_that_each_repeat_all_before_them_are_an_error(name: str, size: int) -> None:
    with pytest.raises(ProtocolError, match="cumulative"):
        read(*CUMULATIVE[name], size)


GROWING = OpenAI(Variations(cumulative_texts=True))


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_such_pieces_are_read_if_the_dialect_declares_them(size: int) -> None:
    for name, body in (("content", CUMULATIVE["openai"][1]), ("reasoning", CUMULATIVE["openai, reasoning"][1])):
        reply = read(GROWING, body, size)
        assert (reply.text if name == "content" else reply.reasoning[0]["text"]) == PIECES[-1]
    (call,) = read(GROWING, CUMULATIVE["openai, arguments"][1], size).tool_calls
    assert call["function"] == {"name": "pay", "arguments": FRAGMENTS[-1]}


@pytest.mark.parametrize("size", [1, 100_000])
def test_such_pieces_may_have_everything_of_the_reply_so_far(size: int) -> None:
    # DashScope without `incremental_output`.
    calls = [{"index": number, **CALL, "id": f"c{number}"} for number in range(2)]
    begun = [{**calls[0], "function": {"name": "pay", "arguments": '{"su'}}]
    body = sse(
        delta(reasoning_content="ha", content=""),
        delta(reasoning_content="haha", content=""),
        delta(reasoning_content="haha", content="ha"),
        delta(reasoning_content="haha", content="haha"),
        delta(reasoning_content="haha", content="hahaha", tool_calls=begun),
        delta(reasoning_content="haha", content="hahaha", tool_calls=[calls[0]]),
        delta(reasoning_content="haha", content="hahaha", tool_calls=calls),
        delta("tool_calls", reasoning_content="haha", content="hahaha", tool_calls=calls),
    )
    reply = read(GROWING, body, size)
    assert (reply.text, reply.reasoning[0]["text"]) == ("hahaha", "haha")
    assert [(call["id"], call["function"]) for call in reply.tool_calls] == [
        ("c0", CALL["function"]),
        ("c1", CALL["function"]),
    ]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("name", ["gemini", "ollama"])
def test_other_dialects_read_such_pieces_too_if_they_declare_them(name: str, size: int) -> None:
    dialect = dialects.Gemini(cumulative_texts=True) if name == "gemini" else dialects.Ollama(cumulative_texts=True)
    assert read(dialect, CUMULATIVE[name][1], size).text == PIECES[-1]
    assert not dialect.can_pass_through


def test_such_pieces_may_consist_of_several_parts() -> None:
    def frame(*parts: object, **fields: object) -> dict[str, object]:
        return {"candidates": [{"content": {"parts": parts}, **fields}]}

    thought = {"text": "hm", "thought": True}
    body = sse(
        frame({"text": "h", "thought": True}),
        frame(thought, {"text": "Hel"}),
        frame(thought, {"text": "Hel"}, {"text": "lo"}),
        frame(thought, {"text": "Hel"}, {"text": "lo"}),
        frame(thought, {"text": "Hello there"}, finishReason="STOP"),
    )
    reply = read(dialects.Gemini(cumulative_texts=True), body, 100_000)
    assert (reply.text, "".join([block["text"] for block in reply.reasoning])) == ("Hello there", "hm")
    body = sse(frame({"text": "Hello"}), frame({"text": "Hel"}, finishReason="STOP"))
    with pytest.raises(ProtocolError, match="leave out cumulative_texts"):
        read(dialects.Gemini(cumulative_texts=True), body, 100_000)


def test_increments_are_an_error_if_the_dialect_declares_such_pieces() -> None:
    for body in (
        sse(delta(content="Hello "), delta(content="world"), delta("stop")),
        sse(
            *[
                delta(tool_calls=[{"index": 0, **CALL, "function": {"name": "pay", "arguments": text}}])
                for text in ('{"a": 1', '{"b": 2}')
            ]
        ),
    ):
        with pytest.raises(ProtocolError, match="leave out cumulative_texts"):
            read(GROWING, body, 1)


def test_the_error_names_the_argument_where_there_is_one() -> None:
    with pytest.raises(ProtocolError, match=r"Variations\(cumulative_texts=True\)"):
        read(*CUMULATIVE["openai"], 1)
    with pytest.raises(ProtocolError, match=r"dialect with cumulative_texts=True"):
        read(*CUMULATIVE["ollama"], 1)
    with pytest.raises(ProtocolError) as caught:
        read(*CUMULATIVE["anthropic"], 1)
    assert "dialect with" not in str(caught.value)


def test_a_long_stream_of_such_pieces_is_an_error_too() -> None:
    words = "".join([f"{number} " for number in range(1500)])
    body = sse(*[delta(content=words[: end + 1]) for end in range(len(words) - 1)], delta("stop"))
    with pytest.raises(ProtocolError, match="cumulative"):
        read(OPENAI, body, 100_000)


@pytest.mark.parametrize(
    "pieces", [["ha", "haha", "hahaha", "hahahaha"], ["-", "--", "---", "----"], ["a", "ab", "abc"]]
)
def test_a_text_that_merely_begins_like_that_is_read(pieces: list[str]) -> None:
    body = sse(*[delta(content=piece) for piece in pieces], delta("stop"))
    assert read(OPENAI, body, 100_000).text == "".join(pieces)
    body = sse(*[delta(content=piece) for piece in [*PIECES, " Bye"]], delta("stop"))
    assert read(OPENAI, body, 100_000).text == "".join([*PIECES, " Bye"])


WORDS = ["Once ", "upon ", "a ", "time", "."]
WHOLE = [delta(content=word) for word in WORDS]
ARGUMENTS = [
    delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in ('{"su', 'm": 1', ', "a"', ": 2}")
]


def doubled(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [piece for piece in pieces for _ in range(2)]


DOUBLED: dict[str, tuple[Dialect, bytes]] = {
    "openai": (OPENAI, sse(*doubled([*WHOLE, delta("stop")]))),
    "openai, reasoning": (
        OPENAI,
        sse(*doubled([*[delta(reasoning_content=word) for word in WORDS], *WHOLE, delta("stop")])),
    ),
    "openai, arguments": (
        OPENAI,
        sse(
            *doubled(
                [
                    delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "pay"}}]),
                    *ARGUMENTS,
                    delta("tool_calls"),
                ]
            )
        ),
    ),
    "openai, replayed": (OPENAI, sse(*[*WHOLE, delta("stop")] * 2)),
    "gemini": (GEMINI, sse(*doubled([part({"text": word}) for word in WORDS]), part({"text": ""}, finish="STOP"))),
    "gemini, replayed": (
        GEMINI,
        sse(*[*[part({"text": word}) for word in WORDS], part({"text": ""}, finish="STOP")] * 2),
    ),
    "ollama": (OLLAMA, lines(*doubled([{"message": {"content": word}} for word in WORDS]), {"done": True})),
    "anthropic": (dialects.Anthropic(), anthropic_texts([word for word in WORDS for _ in range(2)])),
    "openai-responses": (dialects.OpenAIResponses(), responses_texts([word for word in WORDS for _ in range(2)])),
}


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("name", DOUBLED)
def test_a_stream_in_which_everything_comes_twice_is_an_error(name: str, size: int) -> None:
    with pytest.raises(ProtocolError, match="twice"):
        read(*DOUBLED[name], size)


def test_a_long_stream_in_which_everything_comes_twice_is_an_error_too() -> None:
    words = [f"{number} " for number in range(3000)]
    with pytest.raises(ProtocolError, match="twice"):
        read(OPENAI, sse(*doubled([delta(content=word) for word in words]), delta("stop")), 100_000)
    with pytest.raises(ProtocolError, match="twice"):
        read(OPENAI, sse(*[*[delta(content=word) for word in words], delta("stop")] * 2), 100_000)


@pytest.mark.parametrize("pieces", [["ha"] * 8, ["ha", "ha", "ho", "ho"], ["a", "a", "b", "b", "c", "c", "d"]])
def test_pieces_that_merely_come_in_pairs_are_read(pieces: list[str]) -> None:
    assert read(OPENAI, sse(*[delta(content=piece) for piece in pieces], delta("stop")), 100_000).text == "".join(
        pieces
    )
