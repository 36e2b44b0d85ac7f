"""The shape of every dialect's package: the same files, and the same name for the same job."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import acytoo.dialects

PACKAGES = sorted(path.parent for path in Path(acytoo.dialects.__file__).parent.glob("*/__init__.py"))
FILES = {"__init__.py", "request.py", "reader.py", "writer.py"}
ADDITIONAL_FILES = {
    "anthropic": {"batches.py"},
    "gemini": {"parts.py", "partial.py"},
    "openai": {"batches.py", "foreign.py", "models.py", "own_fields.py", "plain.py", "quotas.py", "strict_writers.py"},
    "openai_responses": {"tools.py", "memory.py"},
}
"""Files that a dialect has besides. The docstring of each gives the reason."""

NAMES = {
    "request": {"encode_request", "decode_request"},
    "reader": {"StreamReader"},
    "writer": {"StreamWriter", "error_document"},
}
ABSENT = {"openai": {"error_document"}, "openai_responses": {"error_document"}}
"""Names that a dialect does without: both APIs' document is `openai_error`, which other dialects use too."""


def test_there_are_six_dialects() -> None:
    assert [path.name for path in PACKAGES] == [
        "acytoo",
        "anthropic",
        "gemini",
        "ollama",
        "openai",
        "openai_responses",
    ]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_dialect_has_the_same_files(package: Path) -> None:
    assert {path.name for path in package.glob("*.py")} == FILES | ADDITIONAL_FILES.get(package.name, set())


@pytest.mark.parametrize("module", NAMES)
@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_same_job_has_the_same_name_in_every_dialect(package: Path, module: str) -> None:
    name = f"acytoo.dialects.{package.name}.{module}"
    defined = {key for key, value in vars(importlib.import_module(name)).items() if _module_of(value) == name}
    assert defined >= NAMES[module] - ABSENT.get(package.name, set())


def _module_of(value: object) -> str | None:
    return getattr(value, "__module__", None)
