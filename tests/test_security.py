"""The threat model in the documents: every threat names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
ROWS = re.findall(r"^\| (?!threat |who |--- )(.+?) \|$", DOCUMENT.partition("\n## Callers\n")[2], re.MULTILINE)


def functions_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.partition(" | ")[0])
def test_every_threat_names_a_test_that_exists(row: str) -> None:
    _, _, test = row.split(" | ")
    path, _, name = test.strip("`").partition("::")
    assert name in functions_in(ROOT / path)


def test_the_tables_of_threats_are_found() -> None:
    assert len(ROWS) > 15
