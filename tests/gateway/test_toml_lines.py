"""Where the values of a TOML file are."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, strategies

from acytoo.gateway.toml_lines import KeyPath, lines_of, span_of_table
from acytoo.gateway.toml_writer import write_table


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("# b = 1\n\n[t]\n  # x\nb = 2 # c\nc = 3", ("t", "c"), 6),
        ("[a.\"b.c\".'d']\nx = 1", ("a", "b.c", "d", "x"), 2),
        ("[ a . b ]\nx . y = 1", ("a", "b", "x", "y"), 2),
        ('"\\u0062" = 1\n', ("b",), 1),
        ('a = """\nb = 1\n"""\nb = 2', ("b",), 4),
        ("a = '''\nb = 1\n'''\nb = 2", ("b",), 4),
        ('a = """x\\"""" \nb = 1', ("b",), 2),
        ('a = """x"""""\nb = 1', ("b",), 2),
        ("a = '''x'''''\nb = 1", ("b",), 2),
        ('a = ""\nb = 1', ("b",), 2),
        ("a = [\n1, # ]\n'2]',\n[3,\n4],]\nb = 1", ("a", 2, 1), 5),
        ("a = [\n1, # ]\n'2]',\n[3,\n4],]\nb = 1", ("b",), 6),
        ("a = [{x = 1},\n {x = 2, y = {z = 1}}]", ("a", 1, "y", "z"), 2),
        ("a = 1979-05-27T07:32:00Z\r\nb = -inf\r\nc = 1_0.5e+3\r\nd = 0", ("d",), 4),
        ("[[a]]\nx = 1\n[[a]]\nx = 2\n[a.b]\ny = 3", ("a", 1, "x"), 4),
        ("a.b = 1\na.c = 2", ("a",), 1),
        ("a = true", ("a",), 1),
    ],
)
def test_every_key_and_element_has_its_line(text: str, path: KeyPath, line: int) -> None:
    tomllib.loads(text)
    assert lines_of(text)[path] == line


def test_a_table_ends_with_its_last_value() -> None:
    text = "x = 1\n[a] # c\ny = [\n1] # d\n# e\n[b]\n"
    assert span_of_table(text, ("a",)) == (text.index("[a]"), text.index("# e"))
    assert span_of_table(text, ("b",)) == (text.index("[b]"), len(text))
    assert span_of_table(text, ("x",)) is None


TEXTS = strategies.text(strategies.characters(exclude_categories=["Cs"]))
VALUES = strategies.recursive(
    strategies.booleans() | strategies.integers(-(2**63), 2**63 - 1) | TEXTS | strategies.dates()
    | strategies.floats(allow_nan=False),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(TEXTS, inner),
    max_leaves=10,
)  # fmt: skip


@given(strategies.dictionaries(TEXTS, VALUES))
def test_a_written_table_is_read_unchanged_and_all_its_keys_are_found(fields: dict[str, Any]) -> None:
    text = write_table(("table", "a.b"), fields)
    assert tomllib.loads(text) == {"table": {"a.b": fields}}
    lines = lines_of(text)
    assert [lines["table", "a.b", name] for name in fields] == list(range(2, 2 + len(fields)))
