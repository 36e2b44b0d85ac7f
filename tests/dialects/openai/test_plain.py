"""Options and files of compatible services' clients, in the form that other APIs understand."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.types import Request
from tests.dialects.openai.helpers import DIALECT, HELLO

SCHEMA: dict[str, Any] = {"type": "object"}
FORMAT = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}

OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # The options and the extra fields of a request, and those that it has then.
    "any": ({"tool_choice": "any"}, {"a": 1}, {"tool_choice": "required"}, {"a": 1}),
    "random_seed": ({}, {"random_seed": 5, "a": 1}, {"seed": 5}, {"a": 1}),
    "random_seed beside seed": ({"seed": 3}, {"random_seed": 5, "a": 1}, {"seed": 3}, {"a": 1}),
    "random_seed that is no number": ({}, {"random_seed": "5"}, {"seed": None}, {"random_seed": "5"}),
    "the default effort": ({"reasoning_effort": "default"}, {"a": 1}, {"reasoning_effort": None}, {"a": 1}),
    "reasoning.effort": ({}, {"reasoning": {"effort": "low"}, "a": 1}, {"reasoning_effort": "low"}, {"a": 1}),
    "reasoning without an effort": (
        {},
        {"reasoning": {"effort": None}, "a": 1},
        {"reasoning_effort": None},
        {"reasoning": {"effort": None}, "a": 1},
    ),
    "reasoning beside an effort": (
        {"reasoning_effort": "high"},
        {"reasoning": {"effort": "low"}},
        {"reasoning_effort": "high"},
        {"reasoning": {"effort": "low"}},
    ),
    "guided_json": ({}, {"guided_json": SCHEMA, "a": 1}, {"response_format": FORMAT}, {"a": 1}),
    "guided_json that is text": ({}, {"guided_json": "{}"}, {"response_format": None}, {"guided_json": "{}"}),
    "structured_outputs": (
        {},
        {"structured_outputs": {"json": SCHEMA}, "a": 1},
        {"response_format": FORMAT},
        {"a": 1},
    ),
    "more structured_outputs": (
        {},
        {"structured_outputs": {"json": SCHEMA, "regex": "a"}},
        {"response_format": None},
        {"structured_outputs": {"json": SCHEMA, "regex": "a"}},
    ),
    "a schema beside a format": (
        {"response_format": {"type": "json_object"}},
        {"guided_json": SCHEMA},
        {"response_format": {"type": "json_object"}},
        {"guided_json": SCHEMA},
    ),
}


@pytest.mark.parametrize(("options", "extra", "expected", "left"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_of_a_compatible_service_has_openais_name(
    options: dict[str, Any], extra: dict[str, Any], expected: dict[str, Any], left: dict[str, Any]
) -> None:
    request = Request(HELLO, "m", **options, extra=extra)
    plain = DIALECT.plain_options(request)
    assert ({name: getattr(plain, name) for name in expected}, plain.extra) == (expected, left)
    assert {name: getattr(request, name) for name in options} == options
    assert request.extra is extra


def test_a_request_of_openais_own_clients_is_not_copied() -> None:
    request = Request(HELLO, "m", temperature=0.5, reasoning_effort="low", tool_choice="auto", extra={"a": 1})
    assert DIALECT.plain_options(request) is request


@pytest.mark.parametrize(
    ("part", "plain"),
    [
        (
            {"type": "document_url", "document_url": "data:application/pdf;base64,AA", "document_name": "a.pdf"},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
        ),
        (
            {"type": "document_url", "document_url": "data:application/pdf;base64,AA"},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}},
        ),
        (
            {"type": "document_url", "document_url": "https://h/a", "document_name": "a"},
            {"type": "file", "file": {"file_url": "https://h/a"}},
        ),
        (
            {"type": "document_url", "document_url": "https://h/a.gif"},
            {"type": "image_url", "image_url": {"url": "https://h/a.gif"}},
        ),
        ({"type": "document_url", "document_url": 5}, None),
        ({"type": "document_url"}, None),
    ],
    ids=range(6),
)
def test_a_document_of_mistrals_clients_is_a_file(part: Any, plain: Any) -> None:
    assert DIALECT.plain_parts(part) == (None if plain is None else [plain])
