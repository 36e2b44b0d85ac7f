"""The language of the source and the documents: plain English, the field's terms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IDIOMS = re.compile(
    r"(?<!there )\b(?:is|are) (?-i:none)\b|in good order|\banew\b|\bfor ever\b|\bmakers' (?:own )?(?:clients|SDKs)"
    r"|in the older style|\bhalf a character|\bhalves\b|\btold\b|\btells?\b(?! whether)"
    r"|\bwhat (?:came|is here|was asked)\b"
    r"|\bno (?:JSON|HTTP|page|text)\b(?= (?:is|are)\b)",
    re.IGNORECASE,
)
"""Phrases that a native reader would stop at. Add one when a review finds it."""

ALLOWED = ("tests/test_style.py", "tests/dialects/recordings")


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the (line, text) of docstrings, comments and messages of a Python file, or the lines of a document."""
    source = path.read_text()
    if path.suffix == ".md":
        yield from enumerate(source.splitlines(), 1)
        return
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("#"):
            yield number, line
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def files() -> list[Path]:
    found = [path for folder in ("src", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]
    documents = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
    return [path for path in found + documents if not str(path.relative_to(ROOT)).startswith(ALLOWED)]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_has_an_idiom_that_readers_stop_at(path: Path) -> None:
    found = [f"{line}: {match.group()}" for line, text in prose_of(path) for match in [IDIOMS.search(text)] if match]
    assert not found
