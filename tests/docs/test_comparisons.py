"""docs/comparisons.md: the figures in it are those that were measured."""

from __future__ import annotations

import re
from pathlib import Path

from acytoo.registry import providers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "comparisons.md").read_text()
SCOREBOARD = (ROOT / "bench" / "logs" / "scoreboard.md").read_text()


def cells(row: str) -> list[str]:
    """Return the cells of a table's row, without emphasis."""
    return [cell.strip(" *") for cell in row.strip("|").split("|")]


def test_the_wrong_answers_are_those_of_the_scoreboard() -> None:
    header, *_ = re.findall(r"^\| fault .*\|$", SCOREBOARD, re.MULTILINE)
    measured = [
        dict(zip(cells(header), cells(row), strict=True))
        for row in re.findall(r"^\| \*\*wrong\*\* .*\|$", SCOREBOARD, re.MULTILINE)
    ]
    names = ["acytoo", "openai", "litellm", "any-llm-sdk", "g4f", "langchain-openai"]
    shown = [cells(row)[1:] for row in re.findall(r"^\| .*, wrong \|.*\|$", PAGE, re.MULTILINE)]
    assert shown == [[row[name] for name in names] for row in measured]


def test_the_number_of_faults_is_that_of_the_scoreboard() -> None:
    table = SCOREBOARD.split("## ")[1]
    rows = [cells(row)[0] for row in re.findall(r"^\| \w.*\|$", table, re.MULTILINE)][1:]
    harmless = {"none", "one byte at a time", "gzip"}
    assert harmless <= set(rows)
    assert f"in {len(rows)} ways, {len(rows) - len(harmless)} of them faults" in PAGE


def test_the_versions_and_the_day_are_those_of_the_scoreboard() -> None:
    [day] = re.findall(r"^Measured (\S+) ", SCOREBOARD, re.MULTILINE)
    assert f"Measured on {day}" in PAGE
    for name, library in (("openai", "openai"), ("LiteLLM", "litellm[proxy]"), ("gpt4free", "g4f[api]")):
        [version] = re.findall(rf"`{re.escape(library)}==([\d.]+)`", SCOREBOARD)
        assert re.search(rf"{name}\s{re.escape(version)}", PAGE)


def test_the_number_of_providers_is_right() -> None:
    assert re.search(rf"Acytoo has {len(providers())}\sproviders", PAGE)
