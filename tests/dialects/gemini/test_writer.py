"""Gemini's writer: items to replies and errors, and back through the reader."""

from __future__ import annotations

import json
import re
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    NotFoundError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TimedOutError,
    TruncatedError,
    status_error,
)
from acytoo.types import Finish, Item, Logprobs, Reasoning, Refusal, Reply, Start, ToolCall, Usage, collect
from tests.dialects.gemini.helpers import (
    CONTENTS,
    DIALECT,
    DOCUMENT,
    STREAM,
    arguments,
    decode,
    make_request,
    no_deadline,
    read,
    response,
    signatures,
    sse,
    texts,
    write,
)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", Finish("stop")),
        ("MAX_TOKENS", Finish("length")),
        ("RECITATION", Finish("content_filter", raw="RECITATION")),
        ("SPII", Finish("content_filter", raw="SPII")),
        ("OTHER", Finish("OTHER", raw="OTHER")),
    ],
)
def test_every_finish_reason_survives_a_round_trip(reason: str, finish: Finish) -> None:
    items: list[Item] = ["x", finish]
    assert read(sse(response({"text": "x"}, reason=reason))) == items
    assert collect(read(write(items))).finish == finish


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (None, "STOP"),
        (Finish("tool_calls"), "STOP"),
        (Finish("content_filter"), "SAFETY"),
        (Finish("content_filter", raw="refusal"), "SAFETY"),
        (Finish("load"), "OTHER"),
    ],
)
def test_another_apis_finish_reason_becomes_the_nearest_one(finish: Finish | None, reason: str) -> None:
    document = json.loads(DIALECT.write_reply(Reply("x", finish=finish), make_request()))
    assert document["candidates"][0]["finishReason"] == reason


@pytest.mark.parametrize(
    ("status", "cls", "code"),
    [
        (400, RequestError, "INVALID_ARGUMENT"),
        (401, AuthenticationError, "UNAUTHENTICATED"),
        (404, NotFoundError, "NOT_FOUND"),
        (429, RateLimitError, "RESOURCE_EXHAUSTED"),
        (503, ServerError, "UNAVAILABLE"),
        (529, ServerError, "UNKNOWN"),
    ],
)
def test_an_error_response_survives_a_round_trip(status: int, cls: type[AcytooError], code: str) -> None:
    response = DIALECT.write_error(status_error(status, "no", retry_after=2))
    error = DIALECT.read_error(response.status, response.body)
    assert (response.status, response.headers["retry-after"]) == (status, "2")
    assert (type(error), error.message, error.code, error.retry_after) == (cls, "no", code, 2)


def test_an_error_in_mid_stream_is_written_as_plain_json() -> None:
    writer = DIALECT.writer(make_request())
    text, error = writer.write([Start(model="m"), "Hi"]), writer.fail(TimedOutError("idle", 60))
    assert b"finishReason" not in text + error
    assert writer.fails_alone
    assert json.loads(error)["error"] == {"code": 504, "message": ANY, "status": "DEADLINE_EXCEEDED"}
    with pytest.raises(ServerError, match="did not continue") as caught:
        read(text + error)
    assert caught.value.status == 504


def test_an_error_read_together_with_texts_is_not_skipped_by_the_javascript_sdk() -> None:
    # It skips what is not `data:` before a blank line, and raises for what follows the last one.
    writer = DIALECT.writer(make_request())
    body = writer.write(["Hi"]) + writer.fail(TimedOutError("idle", 60))
    assert b"error" in body.rpartition(b"\n\n")[2]


def test_a_written_stream_looks_like_the_documented_one() -> None:
    items: list[Item] = [Start("r1", "m"), "Hi", Finish("length"), Usage(8, 34, 5, 0, 30)]
    first, last, rest = write(items).split(b"\n\n")
    assert rest == b""
    assert json.loads(first.removeprefix(b"data: ")) == {
        "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "index": 0}],
        "modelVersion": "m",
        "responseId": "r1",
    }
    assert json.loads(last.removeprefix(b"data: ")) == {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 4,
            "totalTokenCount": 42,
            "cachedContentTokenCount": 5,
            "thoughtsTokenCount": 30,
        },
        "modelVersion": "m",
        "responseId": "r1",
    }


def test_every_event_has_the_index_and_role_of_the_documented_ones() -> None:
    writer = DIALECT.writer(make_request())
    items: list[Item] = [Start("r1", "m"), Reasoning("hm"), Refusal("no"), Logprobs([{"token": "a", "logprob": -1.0}])]
    thought, refusal, logprobs = [
        json.loads(event.removeprefix(b"data: ")) for event in writer.write(items).rstrip(b"\n").split(b"\n\n")
    ]
    identity = {"modelVersion": "m", "responseId": "r1"}
    for event, part in ((thought, {"text": "hm", "thought": True}), (refusal, {"text": "no"})):
        assert event == {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}], **identity}
    assert logprobs["candidates"][0].keys() == {"index", "logprobsResult"}
    assert logprobs["candidates"][0]["index"] == 0


def test_calls_are_written_before_what_follows_them() -> None:
    items: list[Item] = [
        *("a", ToolCall(0, "1", "f", '{"x":'), ToolCall(1, "2", "g", "{}"), ToolCall(0, arguments="1}")),
        *(Reasoning("hm", 0, source="gemini"), ToolCall(2, "3", "h", "{}", "s", "gemini"), "b"),
        *(Reasoning("", 1, "s2", source="gemini"), ToolCall(3, "4", "i", "{"), ToolCall(2, signature="late"), "c"),
        ToolCall(3, arguments="}"),
    ]
    turn = collect(read(write(items))).turn_parts
    assert [part.get("text", (part["type"], part.get("index"))) for part in turn] == [
        *("a", ("tool_call", 0), ("tool_call", 1), ("reasoning", 0), ("tool_call", 2)),
        *("b", ("reasoning", 1), "c", ("tool_call", 3)),
    ]
    events = [json.loads(event[6:]) for event in write(items).rstrip(b"\n").split(b"\n\n")]
    assert [len(event["candidates"][0]["content"]["parts"]) for event in events] == [1, 2, 1, 1, 1, 1, 1, 1]


def test_a_start_without_id_or_model_keeps_those_of_the_server() -> None:
    writer = DIALECT.writer(make_request(model="asked"))
    [before] = collect_ids(writer.write(["Hi"]))
    [after] = collect_ids(writer.write([Start(), "Hi"]))
    assert before == after
    assert before[0]
    assert before[1] == "asked"
    assert collect_ids(writer.write([Start("r", "m"), "Hi"])) == [("r", "m")]


def collect_ids(events: bytes) -> list[tuple[str, str]]:
    """Return the id and the model of each event."""
    documents = [json.loads(event.removeprefix(b"data: ")) for event in events.rstrip(b"\n").split(b"\n\n")]
    return [(document["responseId"], document["modelVersion"]) for document in documents]


def test_a_ping_is_blank_and_readers_skip_it() -> None:
    # google-genai parses every line as JSON that is neither blank nor begins with `data: `.
    writer = DIALECT.writer(make_request())
    data = writer.ping + writer.write(["Hi"]) + writer.ping + writer.end() + writer.ping
    assert writer.ping.strip() == b""
    assert collect(read(data, [1])).text == "Hi"


def test_another_apis_signature_is_not_sent_as_geminis() -> None:
    items: list[Item] = [Reasoning("hm", 0, "sig", source="anthropic"), ToolCall(0, "1", "f", "{}", "sig", "other")]
    assert b"sig" not in write(items[:1])
    assert collect(read(write(items[:1]))).reasoning == [{"text": "hm", "source": "gemini"}]


def test_a_refusal_is_written_as_text() -> None:
    assert collect(read(write([Refusal("I will not")]))).text == "I will not"


def test_a_call_whose_arguments_the_token_limit_cut_is_left_out() -> None:
    reply = collect(read(write(["Hi", ToolCall(0, "1", "f", '{"a": '), Finish("length")])))
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("Hi", [], "length")


def test_the_finish_reason_and_message_report_a_call_whose_arguments_are_not_json() -> None:
    data = write(["Hi", ToolCall(0, "1", "f", '{"a": '), Finish("tool_calls")])
    with pytest.raises(ServerError, match="the model's arguments for 'f' are not a JSON object") as caught:
        read(data, [len(data) - 1, 1])
    assert caught.value.code == "MALFORMED_FUNCTION_CALL"


def test_every_character_that_python_takes_for_a_line_end_is_escaped() -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x1cf"
    items: list[Item] = [text, Reasoning(text, source="gemini"), ToolCall(0, "1", "f", json.dumps({"x": text}))]
    data = write(items)
    assert all(line.startswith("data: ") for line in data.decode().splitlines() if line)
    assert collect(read(data)).text == text


def test_without_alt_sse_a_stream_is_an_array() -> None:
    writer = DIALECT.writer(decode({"contents": CONTENTS}, query={}))
    data = writer.write(["He"]) + writer.ping + writer.write(["llo", Finish("stop")]) + writer.end()
    assert writer.content_type == "application/json"
    assert len(json.loads(data)) == 3
    assert collect(read(data, [4], DOCUMENT)).text == "Hello"


@pytest.mark.parametrize("items", [[], ["Hi"]])
def test_an_error_in_mid_stream_is_the_last_element_of_an_array(items: list[Item]) -> None:
    writer = DIALECT.writer(decode({"contents": CONTENTS}, query={}))
    data = writer.write(items) + writer.fail(status_error(429, "slow down"))
    assert json.loads(data)[-1]["error"]["code"] == 429
    with pytest.raises(RateLimitError):
        read(data, head=DOCUMENT)


# Round trips.


def token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """Draw the items of a reply that this API can express."""
    items: list[Item] = [Start(draw(texts), draw(texts))]
    blocks = draw(st.lists(st.lists(texts, min_size=1, max_size=2), max_size=2))
    for index, pieces in enumerate(blocks):
        items += [Reasoning(piece, index, source="gemini") for piece in pieces]
        if index < len(blocks) - 1 or draw(st.booleans()):
            items.append(Reasoning("", index, "c2ln", source="gemini"))
    for text in draw(st.lists(texts, max_size=4)):
        items.append(text)
        if draw(st.booleans()):
            probability = draw(st.integers(-50, 0).map(float))
            tops = [token(other, probability) for other in draw(st.lists(texts, max_size=2))]
            items.append(Logprobs([{**token(text, probability), "top_logprobs": tops}]))
    if signature := draw(signatures):
        items.append(Reasoning("", len(blocks), signature, source="gemini"))
    calls = draw(st.lists(arguments, max_size=3))
    for index, candidate in enumerate(calls):
        text = json.dumps(candidate, ensure_ascii=False, separators=(",", ":"))
        cut = draw(st.integers(0, len(text)))
        signed = (signature, "gemini") if (signature := draw(signatures)) else ("", "")
        items += [
            ToolCall(index, f"id{index}", draw(texts), text[:cut]),
            ToolCall(index, "", "", text[cut:], *signed),
        ]
    blocked = Finish("content_filter", raw="RECITATION")
    ends: list[Item] = [draw(st.sampled_from([Finish("tool_calls" if calls else "stop"), Finish("length"), blocked]))]
    if draw(st.booleans()):
        thoughts = draw(st.integers(0, 2**30))
        counts = [draw(st.integers(0, 2**30)) for _ in range(3)]
        ends.append(Usage(counts[0], counts[1] + thoughts, counts[2], reasoning_tokens=thoughts))
    return items + draw(st.permutations(ends))


cuts = st.lists(st.integers(1, 90), min_size=1, max_size=5)


@given(replies(), cuts, st.booleans())
@no_deadline
def test_a_written_stream_is_read_back_at_any_chunk_size(items: list[Item], sizes: list[int], one_by_one: bool) -> None:
    writer = DIALECT.writer(make_request())
    batches = [[item] for item in items] if one_by_one else [items]
    data = b"".join([writer.write(batch) for batch in batches]) + writer.end()
    expected, received = collect(items), collect(read(data, sizes))
    expected.turn_parts = received.turn_parts = []  # calls are last in a stream, and a signature is a part of its own
    assert received == expected


@given(replies())
@no_deadline
def test_a_written_document_is_read_back(items: list[Item]) -> None:
    reply = collect(items)
    read_again = collect(read(DIALECT.write_reply(reply, make_request()), [50], DOCUMENT))
    reply.turn_parts = read_again.turn_parts = []  # reading marks a signature that arrived with an empty text
    assert read_again == reply


@given(replies(), st.data())
@no_deadline
def test_a_written_stream_that_is_cut_is_truncated_or_complete(items: list[Item], data: st.DataObject) -> None:
    stream = write(items)
    end = data.draw(st.integers(0, 2**16)) % len(stream)
    expected = collect(items)
    try:
        received = collect(read(stream[:end]))
    except TruncatedError:
        assert end < len(stream) - 2
    else:
        expected.turn_parts = received.turn_parts = []  # a signature is a part of its own
        assert received == expected


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (409, "ABORTED"), (500, "INTERNAL"), (501, "UNIMPLEMENTED")],
)
def test_an_error_has_the_code_of_its_status(status: int, code: str) -> None:
    written = json.loads(DIALECT.write_error(status_error(status, "no")).body)["error"]
    assert written["status"] == code
    alone = json.dumps({"error": {"status": code, "message": "no"}}).encode()
    with pytest.raises(StatusError) as caught:
        read(alone, head=DOCUMENT)
    assert caught.value.status == status


def test_a_call_without_an_id_gets_one() -> None:
    items: list[Item] = [ToolCall(0, "", "f", "{}"), ToolCall(1, "", "g", "{}"), Finish("tool_calls")]
    for data, head in ((write(items), STREAM), (DIALECT.write_reply(collect(items), make_request()), DOCUMENT)):
        calls = [json.loads(part) for part in re.findall(rb'"functionCall":(\{[^}]*\{\}[^}]*\})', data)]
        assert [call["name"] for call in calls] == ["f", "g"]
        assert all(len(call["id"]) > 10 and call["id"].startswith("call_") for call in calls)
        assert len(collect(read(data, head=head)).tool_calls) == 2
