"""What a reply is based on, as Perplexity and xAI send it: beside the choices, not in them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.types import Finish, Item, OpaquePart, Reply, Request, collect
from tests.dialects.openai.helpers import DIALECT, HELLO, STOP, choice, encode, events, read

SOURCES: dict[str, Any] = {
    "citations": ["https://example.org/a", "https://example.org/b"],
    "search_results": [{"title": "A", "url": "https://example.org/a", "date": None}],
}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2}
FIRST, LAST = choice({"content": "Sunny"}), choice({"content": " [1]."})
STREAMS: dict[str, list[Any]] = {
    "in every chunk": [FIRST | SOURCES, LAST | SOURCES, STOP | SOURCES],
    "growing": [FIRST | {"citations": ["https://example.org/a"]}, LAST | SOURCES, STOP],
    "in the last chunk": [FIRST, LAST, STOP | SOURCES | {"usage": USAGE}],
    "with the usage": [FIRST, LAST, STOP, {"choices": [], "usage": USAGE, **SOURCES}],
    "in the middle": [FIRST, LAST | SOURCES, STOP],
}


def sources_of(reply: Reply) -> list[Any]:
    """Return the parts of a turn that are sources."""
    return [part["fields"] for part in reply.turn_parts if part["type"] == "opaque"]


@pytest.mark.parametrize("chunks", STREAMS.values(), ids=STREAMS)
def test_the_sources_of_a_stream_are_kept_once(chunks: list[Any]) -> None:
    items = read(events(*chunks, "[DONE]"))
    assert collect(items).text == "Sunny [1]."
    assert sources_of(collect(items)) == [SOURCES]
    assert sum(isinstance(item, OpaquePart) for item in items) == 1


def test_the_sources_of_a_document_are_kept() -> None:
    message = {"role": "assistant", "content": "Sunny [1]."}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **SOURCES}
    reply = collect(read(msgspec.json.encode(body), "application/json"))
    assert (reply.text, sources_of(reply)) == ("Sunny [1].", [SOURCES])


def test_a_server_writes_them_where_they_were() -> None:
    items: list[Item] = ["Sunny [1].", OpaquePart("openai/api.perplexity.ai", SOURCES), Finish("stop")]
    writer = DIALECT.writer(Request(HELLO))
    body = writer.write(items) + writer.end()
    assert sources_of(collect(read(body))) == [SOURCES]
    document = msgspec.json.decode(DIALECT.write_reply(collect(items), Request(HELLO)))
    assert {name: document[name] for name in SOURCES} == SOURCES
    assert document["choices"][0]["message"]["content"] == "Sunny [1]."


def test_they_do_not_go_back_with_the_turn() -> None:
    reply = collect(read(events(FIRST, LAST, STOP | SOURCES, "[DONE]")))
    body = encode(Request([*HELLO, reply.message]))
    assert body["messages"][1] == {"role": "assistant", "content": "Sunny [1]."}
