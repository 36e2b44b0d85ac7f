"""Several output messages with annotations: each keeps its own, whatever events a server leaves out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from acytoo.dialects import OpenAIResponses
from acytoo.types import Reply, collect
from tests.dialects.openai_responses.helpers import decode_events, encode, make_request, sse, write
from tests.dialects.test_finish import read as read_body

USER = {"role": "user", "content": "Hello"}


def note(name: str) -> dict[str, Any]:
    url = f"https://{name}.example"
    return {"type": "url_citation", "url": url, "title": name, "start_index": 0, "end_index": 2}


def message(number: int, *texts: tuple[str, list[str]]) -> dict[str, Any]:
    parts = [{"type": "output_text", "text": text, "annotations": [*map(note, notes)]} for text, notes in texts]
    return {"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant", "content": parts}


ONE, TWO = message(1, ("Aa", ["a"])), message(2, ("Bb", ["b"]))
TWO_PARTS = message(3, ("Cc", ["c"]), ("Dd", ["d", "e"]))
PLAIN = message(4, ("Ee", []))
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
OUTPUTS: dict[str, list[dict[str, Any]]] = {
    "two messages": [ONE, TWO],
    "searches between them": [SEARCH, ONE, SEARCH | {"id": "ws_2"}, TWO],
    "several parts": [ONE, TWO_PARTS],
    "a plain one last": [ONE, PLAIN],
    "a plain one first": [PLAIN, ONE],
    "a call between them": [ONE, CALL, TWO],
    "a thought between them": [ONE, THOUGHT, TWO],
}
LEFT_OUT = [
    frozenset(names)
    for count in range(3)
    for names in itertools.combinations(("annotation.added", "output_item.done", "output"), count)
    if names != ("annotation.added", "output_item.done")  # then only the last event has them, after other messages
]


def stream(output: list[dict[str, Any]], left_out: frozenset[str]) -> bytes:
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r"}}]
    for number, item in enumerate(output):
        place: dict[str, Any] = {"output_index": number}
        is_message = item["type"] == "message"
        begun = item | {"content": []} if is_message else item
        events.append({"type": "response.output_item.added", **place, "item": begun})
        for index, part in enumerate(item["content"] if is_message else []):
            here = place | {"item_id": item["id"], "content_index": index}
            events += [{"type": "response.output_text.delta", **here, "delta": piece} for piece in part["text"]]
            if "annotation.added" not in left_out:
                added = "response.output_text.annotation.added"
                events += [{"type": added, **here, "annotation": one} for one in part["annotations"]]
            events.append({"type": "response.output_text.done", **here, "text": part["text"]})
        if "output_item.done" not in left_out or not is_message:
            events.append({"type": "response.output_item.done", **place, "item": item})
    last = {"id": "r", "status": "completed", "output": [] if "output" in left_out else output}
    return sse(*events, {"type": "response.completed", "response": last})


def addresses(output: list[dict[str, Any]]) -> list[list[list[str]]]:
    messages = [item["content"] for item in output if item.get("role") == "assistant"]
    return [[[one["url"] for one in part.get("annotations", [])] for part in parts] for parts in messages]


def sent_back(reply: Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = encode(make_request(USER, reply.message))["input"][1:]
    return items


@pytest.mark.parametrize("left_out", LEFT_OUT, ids=lambda names: " and ".join(sorted(names)) or "nothing")
@pytest.mark.parametrize("name", OUTPUTS)
def test_each_message_keeps_its_annotations(name: str, left_out: frozenset[str]) -> None:
    output = OUTPUTS[name]
    items, error = read_body(OpenAIResponses(), stream(output, left_out))
    assert error is None
    reply = collect(items)
    assert addresses(sent_back(reply)) == addresses(output)
    assert addresses(decode_events(write(items))[-1]["response"]["output"]) == addresses(output)
    document = json.loads(OpenAIResponses().write_reply(reply, make_request(USER)))
    assert addresses(document["output"]) == addresses(output)


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_message_of_a_document_keeps_its_annotations(name: str) -> None:
    body = json.dumps({"id": "r", "object": "response", "status": "completed", "output": OUTPUTS[name]}).encode()
    items, error = read_body(OpenAIResponses(), body)
    assert error is None
    assert addresses(sent_back(collect(items))) == addresses(OUTPUTS[name])
