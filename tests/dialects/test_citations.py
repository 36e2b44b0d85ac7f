"""What a reply is based on: where each API has its citations, and how a writer of another API writes them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects.citations import Citation
from acytoo.types import Finish, Item, OpaquePart, Request, collect

NOTE = {"url": "u", "title": "t", "start_index": 1, "end_index": 4}
FIELDS: dict[str, tuple[str, dict[str, Any], list[Citation]]] = {
    "annotations": ("openai", {"annotations": [{"url_citation": NOTE}, {"type": "file"}]}, [Citation("u", "t", 1, 4)]),
    "an address alone": ("openai", {"annotations": [{"url_citation": {"url": "u"}}]}, [Citation("u")]),
    "no address": ("openai", {"annotations": [{"url_citation": {"url": ""}}, {"url_citation": {"title": "t"}}]}, []),
    "perplexity": (
        "openai",
        {"citations": ["u", "v"], "search_results": [{"url": "v", "title": "t"}]},
        [Citation("u"), Citation("v", "t")],
    ),
    "results alone": ("openai", {"search_results": [{"url": "v", "title": "t"}, 7]}, [Citation("v", "t")]),
    "no list": ("openai", {"citations": "u"}, []),
    "responses": (
        "openai-responses",
        {"content": [{"annotations": [NOTE, {"type": "file_path"}]}, {"annotations": [{"url": "v"}]}]},
        [Citation("u", "t", 1, 4), Citation("v")],
    ),
    "anthropic": (
        "anthropic",
        {"citations": [{"url": "u", "title": "t"}, {"type": "char_location"}]},
        [Citation("u", "t")],
    ),
    "grounding": (
        "gemini",
        {
            "groundingMetadata": {
                "groundingChunks": [
                    {"web": {"uri": "u", "title": "t"}},
                    {"retrievedContext": {"uri": "v"}},
                    {"maps": {"uri": "w"}},
                    {"other": {"uri": "x"}},
                ]
            }
        },
        [Citation("u", "t"), Citation("v"), Citation("w")],
    ),
    "gemini": ("gemini", {"citationMetadata": {"citationSources": [{"uri": "u"}]}}, [Citation("u")]),
    "vertex": ("gemini", {"citationMetadata": {"citations": [{"uri": "u", "title": "t"}]}}, [Citation("u", "t")]),
    "ollama": ("ollama", {"citations": [{"url": "u"}]}, []),
}


@pytest.mark.parametrize(("api", "fields", "expected"), FIELDS.values(), ids=FIELDS)
def test_the_citations_of_an_api_are_where_it_has_them(api: str, fields: Any, expected: list[Citation]) -> None:
    assert dialects.by_name(api).citations_in(fields) == expected


FIRST = OpaquePart("anthropic", {"citations": [{"url": "u", "title": "t"}]}, "text")
SECOND = OpaquePart("anthropic/host", {"citations": [{"url": "u", "title": "t"}, {"url": "v"}]}, "text")
UNKNOWN = OpaquePart("mine", {"citations": [{"url": "x"}]}, "text")
ITEMS: list[Item] = ["Hello", FIRST, SECOND, UNKNOWN, Finish("stop")]


def chat_note(url: str, title: str) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"url": url, "title": title, "start_index": 0, "end_index": 0}}


def note(url: str, title: str) -> dict[str, Any]:
    return {"type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": 0}


def written(api: str) -> tuple[list[Any], Any]:
    """Return the events of a stream, and the document, of a reply with citations of another API."""
    dialect = dialects.by_name(api)
    writer = dialect.writer(Request([{"role": "user", "content": "Hi"}], "m"))
    events = (writer.write(ITEMS) + writer.end()).split(b"\n\n")
    found = [line for event in events for line in event.splitlines() if line.startswith(b"data: {")]
    document = dialect.write_reply(collect(ITEMS), Request([{"role": "user", "content": "Hi"}], "m"))
    return [msgspec.json.decode(line[6:]) for line in found], msgspec.json.decode(document)


def test_chat_completions_have_the_citations_of_other_apis_as_annotations() -> None:
    events, document = written("openai")
    deltas = [event["choices"][0]["delta"] for event in events]
    assert [delta["annotations"] for delta in deltas if "annotations" in delta] == [
        [chat_note("u", "t")],
        [chat_note("v", "")],
    ]
    assert document["choices"][0]["message"]["annotations"] == [chat_note("u", "t"), chat_note("v", "")]


def test_responses_have_the_citations_of_other_apis_as_annotations_of_the_text() -> None:
    events, document = written("openai-responses")
    added = [event for event in events if event["type"] == "response.output_text.annotation.added"]
    assert [(event["annotation_index"], event["annotation"]) for event in added] == [
        (0, note("u", "t")),
        (1, note("v", "")),
    ]
    assert {(event["output_index"], event["content_index"]) for event in added} == {(0, 0)}
    [item] = document["output"]
    assert {event["item_id"] for event in added} == {events[-1]["response"]["output"][0]["id"]}
    for message in (item, events[-1]["response"]["output"][0]):
        assert message["content"][0]["annotations"] == [note("u", "t"), note("v", "")]


def test_gemini_has_the_citations_of_other_apis_as_grounding() -> None:
    events, document = written("gemini")
    chunks = [{"web": {"uri": "u", "title": "t"}}, {"web": {"uri": "v", "title": ""}}]
    assert [event for event in events if "groundingMetadata" in event["candidates"][0]] == events[-1:]
    for reply in (events[-1], document):
        assert reply["candidates"][0]["groundingMetadata"] == {"groundingChunks": chunks}


@pytest.mark.parametrize("api", ["acytoo", "anthropic", "ollama"])
def test_other_apis_leave_them_out(api: str) -> None:
    dialect = dialects.by_name(api)
    writer = dialect.writer(Request([{"role": "user", "content": "Hi"}], "m"))
    items: list[Item] = ["Hello", OpaquePart("openai", {"annotations": [chat_note("u", "t")]}), Finish("stop")]
    assert b'"u"' not in writer.write(items) + writer.end()
