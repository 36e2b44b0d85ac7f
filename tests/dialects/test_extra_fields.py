"""Extra body fields: merged into a body, and kept under a path if they are inside an object."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.dialects.extra_fields import flatten_fields, merge_extra


@pytest.mark.parametrize(
    ("body", "extra", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"y": 2, "z": 2}}, {"a": {"x": 1, "y": 2, "z": 2}}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        ({}, {"options.num_ctx": 5}, {"options": {"num_ctx": 5}}),
        ({"options": {"seed": 1}}, {"options.num_ctx": 5}, {"options": {"seed": 1, "num_ctx": 5}}),
        ({}, {"other.num_ctx": 5}, {"other.num_ctx": 5}),
    ],
)
def test_extra_fields_are_merged_into_a_body(body: dict[str, Any], extra: dict[str, Any], merged: object) -> None:
    merge_extra(body, extra, frozenset({"options"}))
    assert body == merged


def test_nested_fields_are_merged_back_to_where_they_were() -> None:
    options = {"num_ctx": 5, "x.y": {"z": 1}}
    extra: dict[str, Any] = {}
    flatten_fields(extra, "options", options)
    assert extra == {"options.num_ctx": 5, "options.x.y": {"z": 1}}
    body: dict[str, Any] = {}
    merge_extra(body, extra, frozenset({"options"}))
    assert body == {"options": options}


def test_merging_does_not_change_the_objects_of_the_caller() -> None:
    options = {"seed": 1}
    merge_extra({"options": options}, {"options.num_ctx": 5, "options": {"x": 1}}, frozenset({"options"}))
    assert options == {"seed": 1}
