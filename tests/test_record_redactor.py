"""A backend's secrets are replaced in streams that pass through, also if they are in several records."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.record_redactor import RecordRedactor
from acytoo.redactor import Redactor, Searches
from acytoo.secret import Secret

KEY = "sk-proj-0123456789abcdefghij/KLMNOP"


def record(text: str, **fields: object) -> bytes:
    return b"data: " + json.dumps({"id": "id-1", "delta": {"text": text, **fields}}).encode() + b"\n\n"


def passed(*chunks: bytes, secrets: tuple[str, ...] = (KEY,)) -> list[bytes]:
    redactor = RecordRedactor(Redactor(Searches(map(Secret, secrets))), "sse")
    return [*[redactor.redact(chunk) for chunk in chunks], redactor.flush()]


def text_in(data: bytes) -> str:
    lines = [line.removeprefix(b"data: ") for line in data.splitlines() if line.startswith(b"data: ")]
    return "".join([json.loads(line)["delta"]["text"] for line in lines])


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(places)]


@given(
    st.sampled_from(["", "it is ", "sk-", "sk-p", "s"]),
    st.sampled_from(["", ".", " sk-proj", KEY]),
    st.lists(st.integers(0, 400), max_size=12),
    st.integers(1, 5),
)
def test_a_secret_in_any_pieces_is_replaced(before: str, after: str, cuts: list[int], size: int) -> None:
    text = before + KEY + after
    records = [record(piece) for piece in pieces_of(text, cuts)]
    shown = text_in(b"".join(passed(*[b"".join(records[at : at + size]) for at in range(0, len(records), size)])))
    # Up to three characters may have left before a secret was noticed.
    assert re.sub(r"(sk-|sk|s)+(?=\*\*\*)", "", shown) == re.sub("(sk-|sk|s)+$", "", before) + "***" + after.replace(
        KEY, "***"
    )


@given(
    st.lists(st.sampled_from(["sk", "-", "proj", "sk-pr", "s", "k", " the", "-proj-0", "\u00e9", '"sk']), max_size=12)
)
def test_records_without_half_of_a_secret_leave_unchanged(texts: list[str]) -> None:
    records = [record(text) for text in texts]
    assert b"".join(passed(*records)) == b"".join(records)


def test_a_record_waits_only_while_its_text_may_be_a_part_of_a_secret() -> None:
    hello, begun, other = record("Hello"), record("my sk-pr"), record("etty")
    assert passed(hello, begun, other) == [hello, b"", begun + other, b""]
    assert passed(hello, begun) == [hello, b"", begun]


def test_a_piece_is_replaced_in_each_field_that_repeats_it() -> None:
    pieces = [KEY[at : at + 3] for at in range(0, len(KEY), 3)]
    shown = b"".join(passed(*[record(piece, details=[{"text": piece}]) for piece in pieces]))
    assert text_in(shown) == "***"
    assert re.findall(rb'"details": \[{"text": "(.+?)"', shown) == [b"***"]


def test_comments_between_its_records_do_not_hide_a_secret() -> None:
    records = [record(KEY[:9]), b": keep-alive\n\n", record(KEY[9:20]), record(KEY[20:])]
    assert text_in(b"".join(passed(*records))) == "***"


OTHERS: dict[str, bytes | None] = {
    "another choice": record("other", index=1),
    "the same text in another choice": None,
    "another field": b'data: {"id": "id-1", "delta": {"thought": "Hm"}}\n\n',
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_records_of_another_text_do_not_hide_a_secret(other: str, size: int) -> None:
    records = []
    for at in range(0, len(KEY), size):
        piece = KEY[at : at + size]
        records += [record(piece, index=0), OTHERS[other] or record(piece, index=1)]
    shown = b"".join(passed(*records))
    first = b"".join([line for line in shown.splitlines(keepends=True) if b'"index": 0' in line])
    assert text_in(first) == "***"
    second = b"".join([line for line in shown.splitlines(keepends=True) if b'"index": 0' not in line])
    if OTHERS[other] is None:
        assert text_in(second) == "***"
    else:
        assert second.replace(b"\n", b"") == (OTHERS[other] or b"").replace(b"\n", b"") * (len(records) // 2)


def test_records_of_another_text_wait_for_few_others() -> None:
    begun = record("my sk-pr", index=0)
    others = [record(f"other {number}", index=1) for number in range(20)]
    shown = passed(begun, *others)
    assert shown[:8] == [b""] * 8
    assert shown[8:] == [begun + b"".join(others[:8]), *others[8:], b""]


@pytest.mark.parametrize("secrets", [(KEY, "AIza0123456789abcdefghijklmnop"), ("a" * 40,)])
def test_each_of_several_secrets_is_replaced(secrets: tuple[str, ...]) -> None:
    for secret in secrets:
        records = [record(secret[at : at + 2]) for at in range(0, len(secret), 2)]
        assert set(text_in(b"".join(passed(*records, record("!"), secrets=secrets)))) == {"*", "!"}


def test_without_secrets_nothing_waits() -> None:
    assert passed(record("sk-pr"), secrets=()) == [record("sk-pr"), b""]


@pytest.mark.parametrize("other", [record("", padding="x" * 1000), b": keep-alive\n\n" * 100])
def test_records_without_a_text_do_not_wait_forever(other: bytes) -> None:
    shown = passed(record("sk-pr"), *[other] * 500)
    assert shown[0] == b""
    assert b"".join(shown[:300]).startswith(record("sk-pr") + other)


def test_large_records_of_another_text_do_not_wait() -> None:
    large = record("x" * 300_000, index=1)
    assert passed(record("sk-pr", index=0), large) == [b"", record("sk-pr", index=0) + large, b""]


def test_a_comment_before_the_data_of_a_record_does_not_hide_a_secret() -> None:
    records = [b": keep-alive\n" + record(KEY[at : at + 5]) for at in range(0, len(KEY), 5)]
    assert text_in(b"".join(passed(*records))) == "***"


FLOODS = {
    "the same piece": b'{"a": [' + b'"sk-p",' * 500_000 + b'"roj"]}',
    "texts that end with a beginning": b'{"a": [' + b'"a sk-p",' * 500_000 + b'""]}',
    "beginnings in one string": b'{"a": "' + b"sk-p" * 500_000 + b'"}',
    "quotes in a string that does not end": b'{"a": "sk-p", "b": "' + b'\\"' * 500_000,
    "a backslash at the end of a line": b'{"a": "sk-p", "b": "' + b'\\"' * 500_000 + b'\\\n"}',
}
"""Records that a quadratic search would take minutes for."""


@pytest.mark.parametrize("name", FLOODS)
def test_records_that_begin_like_a_secret_many_times_leave_unchanged(name: str) -> None:
    flood = b"data: " + FLOODS[name] + b"\n\n"
    assert b"".join(passed(flood, record("!"))) == flood + record("!")


def test_a_secret_is_replaced_in_each_of_many_fields() -> None:
    pieces = (KEY[:9].encode(), KEY[9:].encode())
    flood = [b'data: {"a": [' + b", ".join([b'"%b"' % piece] * 500) + b"]}\n\n" for piece in pieces]
    assert b"".join(passed(*flood)).count(b'"***"') == 500
