"""Messages are validated before anything is sent, and the caller's own are not modified."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest

from acytoo.errors import UsageError
from acytoo.messages import check_messages, content_parts, content_text, parse_data_url

USER = {"role": "user", "content": "Hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

WRONG: list[tuple[Any, str]] = [
    ("text", "messages must be a list"),
    (b"text", "messages must be a list"),
    (USER, "messages must be a list"),
    (None, "messages must be a list"),
    (3, "messages must be a list"),
    ({"role"}, "messages must be a list"),
    ([], "messages is empty"),
    ((), "messages is empty"),
    (["text"], r"messages\[0\] must be a dict"),
    ([USER, None], r"messages\[1\] must be a dict"),
    ([{}], r"messages\[0\] has the role None"),
    ([{"content": "x"}], r"messages\[0\] has the role None"),
    ([{"role": "robot", "content": "x"}], r"messages\[0\] has the role 'robot'"),
    ([{"role": ["user"], "content": "x"}], r"messages\[0\] has the role \['user'\]"),
    ([{"role": "user"}], r"messages\[0\] \(user\) has no content"),
    ([{"role": "user", "content": None}], r"messages\[0\] \(user\) has no content"),
    ([{"role": "assistant", "content": None}], r"messages\[0\] \(assistant\) has no content"),
    ([{"role": "user", "content": 3}], r"messages\[0\] has content of type int"),
    ([{"role": "user", "content": b"x"}], r"messages\[0\] has content of type bytes"),
    ([{"role": "user", "content": {"text": "x"}}], r"messages\[0\] has content of type dict"),
    ([{"role": "user", "content": ["x"]}], r"messages\[0\].content\[0\] must be a part"),
    ([{"role": "user", "content": [{"text": "x"}]}], r"messages\[0\].content\[0\] must be a part"),
    ([{"role": "user", "content": [{"type": "text"}]}], r"messages\[0\].content\[0\] is a text part without text"),
    ([{"role": "tool", "content": "x"}], r"messages\[0\] \(tool\) has no tool_call_id"),
    ([{"role": "assistant", "content": "", "tool_calls": ["x"]}], r"messages\[0\].tool_calls\[0\] must be like"),
    ([{"role": "assistant", "content": "", "tool_calls": [{}]}], r"messages\[0\].tool_calls\[0\] must be like"),
    ([{"role": "assistant", "content": "", "tool_calls": "x"}], r"messages\[0\].tool_calls must be a list"),
    ([{"role": "assistant", "content": "", "tool_calls": 3}], r"messages\[0\].tool_calls must be a list"),
]


@pytest.mark.parametrize(("messages", "error"), WRONG)
def test_an_invalid_message_is_refused_with_its_index_and_the_reason(messages: Any, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        check_messages(messages)


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        (USER,),
        [MappingProxyType(USER)],
        [{"role": "system", "content": "Be brief."}, USER],
        [{"role": "developer", "content": "Be brief."}, USER],
        [{"role": "user", "content": ""}],
        [{**USER, "createdAt": 3, "name": "me"}],
        [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        [{"role": "user", "content": ({"type": "image_url", "image_url": {"url": "data:,"}},)}],
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [{"role": "assistant", "tool_calls": (CALL,)}],
        [{"role": "assistant", "content": None, "refusal": "No."}],
        [{"role": "tool", "content": "4", "tool_call_id": "c1"}],
    ],
)
def test_messages_of_every_known_shape_are_accepted_unchanged(messages: Any) -> None:
    assert check_messages(messages) == [dict(message) for message in messages]


def test_the_callers_list_is_not_the_returned_one() -> None:
    messages = [copy.deepcopy(USER)]
    copied = check_messages(messages)
    copied.append({"role": "assistant", "content": "x"})
    assert messages == [USER]


def test_text_is_one_part_and_empty_content_has_no_parts() -> None:
    assert content_parts("Hello") == [{"type": "text", "text": "Hello"}]
    assert content_parts("") == []
    assert content_parts(None) == []
    assert content_parts([{"type": "x"}]) == [{"type": "x"}]


def test_the_text_of_parts_is_joined_and_other_parts_are_reported() -> None:
    unsupported: list[str] = []
    content: list[Any] = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "b"},
    ]
    assert content_text(content, unsupported.append) == "ab"
    assert unsupported == ["image_url content"]
    assert content_text(None, unsupported.append) == ""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("data:;base64,AAAA", ("application/octet-stream", "AAAA")),
        ("data:text/plain;charset=utf-8;base64,AAAA", ("text/plain;charset=utf-8", "AAAA")),
        ("https://example.org/x.png", None),
    ],
)
def test_a_data_url_is_parsed_into_media_type_and_data(url: str, expected: tuple[str, str] | None) -> None:
    assert parse_data_url(url) == expected


@pytest.mark.parametrize("url", ["data:image/png,raw", "data:image/png;base64", "data:"])
def test_a_data_url_that_is_not_base64_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base64"):
        parse_data_url(url)
