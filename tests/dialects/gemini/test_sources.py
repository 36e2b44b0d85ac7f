"""What a reply of Gemini is based on: fields of the candidate, which are no parts of its content."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.dialects import Gemini
from acytoo.dialects.base import Unsupported
from acytoo.dialects.opaque import no_text_error
from acytoo.http import Endpoint
from acytoo.types import Finish, Item, OpaquePart, Reply, Request, collect
from acytoo.wire.sse import sse
from tests.dialects.strategies import read_document, read_items

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
GROUNDING = {"groundingChunks": [{"web": {"uri": "https://example.org/a", "title": "A"}}], "webSearchQueries": ["sun"]}
URLS = {"urlMetadata": [{"retrievedUrl": "https://example.org/a"}]}
FIRST, SECOND = {"uri": "https://example.org/b", "endIndex": 5}, {"uri": "https://example.org/c", "endIndex": 9}
SOURCES: dict[str, Any] = {
    "groundingMetadata": GROUNDING,
    "citationMetadata": {"citationSources": [FIRST, SECOND]},
    "urlContextMetadata": URLS,
}


def event(text: str | None, **fields: Any) -> dict[str, Any]:
    """Return an event with a text, and fields of its candidate."""
    content = {"content": {"role": "model", "parts": [{"text": text}]}} if text is not None else {}
    return {"candidates": [{**content, "index": 0, **fields}]}


END = {"finishReason": "STOP"}
STREAMS: dict[str, list[Any]] = {
    "at the end": [event("Sunny"), event(" day.", **SOURCES, **END)],
    "after the text": [event("Sunny"), event(" day."), event(None, **SOURCES, **END)],
    "beside a text": [event("Sunny", **SOURCES), event(" day.", **END)],
    "one after the other": [
        event("Sunny", citationMetadata={"citationSources": [FIRST]}, urlContextMetadata=URLS),
        event(" day.", citationMetadata={"citationSources": [SECOND]}),
        event(None, groundingMetadata=GROUNDING, **END),
    ],
    "all so far": [
        event("Sunny", citationMetadata={"citationSources": [FIRST]}),
        event(" day.", citationMetadata={"citationSources": [FIRST, SECOND]}),
        event(None, groundingMetadata=GROUNDING, urlContextMetadata=URLS, **END),
    ],
    "after the finish reason": [event("Sunny"), event(" day.", **END), event(None, **SOURCES)],
}


def sources_of(reply: Reply) -> list[Any]:
    """Return the parts of a turn that are sources."""
    return [part["fields"] for part in reply.turn_parts if part["type"] == "opaque"]


@pytest.mark.parametrize("documents", STREAMS.values(), ids=STREAMS)
def test_the_sources_of_a_stream_are_kept(documents: list[Any]) -> None:
    reply = collect(read_items(Gemini(), [sse(msgspec.json.encode(document)) for document in documents]))
    assert reply.text == "Sunny day."
    assert sources_of(reply) == [SOURCES]


def test_the_sources_of_a_document_are_kept() -> None:
    reply = collect(read_document(Gemini(), [msgspec.json.encode(event("Sunny day.", **SOURCES, **END))]))
    assert (reply.text, sources_of(reply)) == ("Sunny day.", [SOURCES])


def test_a_server_writes_them_beside_the_content() -> None:
    items: list[Item] = ["Sunny day.", OpaquePart("gemini/host", SOURCES), Finish("stop")]
    writer = Gemini().writer(Request(HELLO, "m"))
    assert sources_of(collect(read_items(Gemini(), [writer.write(items) + writer.end()]))) == [SOURCES]
    [candidate] = msgspec.json.decode(Gemini().write_reply(collect(items), Request(HELLO, "m")))["candidates"]
    assert candidate["content"]["parts"] == [{"text": "Sunny day."}]
    assert {name: candidate[name] for name in SOURCES} == SOURCES


def test_they_do_not_go_back_with_the_turn_and_are_no_answer() -> None:
    reply = collect(["Sunny day.", OpaquePart("gemini", SOURCES), Finish("stop")])
    request = Request([*HELLO, reply.message], "m")
    body = Gemini().encode_request(request, Endpoint("http://h"), Unsupported("gemini")).body
    assert msgspec.json.decode(body)["contents"][1] == {"role": "model", "parts": [{"text": "Sunny day."}]}
    assert no_text_error([OpaquePart("gemini", SOURCES)]) is None


def test_sources_after_others_that_were_complete_are_kept_too() -> None:
    documents = [event("Sunny", groundingMetadata=GROUNDING, **END), event(None, urlContextMetadata=URLS, **END)]
    reply = collect(read_items(Gemini(), [sse(msgspec.json.encode(each)) for each in documents]))
    assert sources_of(reply) == [{"groundingMetadata": GROUNDING}, {"urlContextMetadata": URLS}]
