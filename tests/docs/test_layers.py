"""docs/layers.svg is drawn from the code, and docs/inside.md explains every part in it."""

from __future__ import annotations

import re

from tests.docs import layers
from tests.test_imports import SOURCE

DOCS = SOURCE.parents[1] / "docs"


def test_the_drawing_is_that_of_the_code() -> None:
    assert (DOCS / "layers.svg").read_text() == layers.drawing(), "run: python -m tests.docs.layers > docs/layers.svg"


def test_an_import_that_others_imply_is_not_drawn() -> None:
    drawn = layers.reduced(layers.imports())
    assert "server" in layers.imports()["cli"]
    assert "server" not in drawn["cli"]
    assert {"server", "dialects", "errors"} <= layers.below("cli", drawn)


def test_the_page_explains_every_part() -> None:
    table = re.findall(r"^\| (`.*?) \|", (DOCS / "inside.md").read_text(), re.MULTILINE)
    named = [name for row in table for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(part for layer in layers.PARTS for part in layer)
