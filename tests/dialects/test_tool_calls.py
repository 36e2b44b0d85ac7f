"""The shared parts for tool calls: arguments as an object."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from acytoo.dialects.tool_calls import arguments_object


@pytest.mark.parametrize(
    ("arguments", "decoded"),
    [
        ('{"x": 1}', {"x": 1}),
        ({"x": 1}, {"x": 1}),
        (MappingProxyType({"x": 1}), {"x": 1}),
        (None, {}),
        (" ", {}),
        ("[1]", None),
        ("{", None),
        ('{"x": "\ud83d"}', None),
    ],
)
def test_arguments_are_an_object_whether_they_are_text_or_a_mapping(arguments: Any, decoded: object) -> None:
    assert arguments_object(arguments) == decoded
