"""Plots as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from acytoo.errors import AcytooError
from acytoo.svg import head, image_writer
from tests.services import missing


def test_the_text_of_a_plot_is_in_its_png(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra png")
    image = head(100, 40, "a plot")
    try:
        image_writer(tmp_path / "text.png")(f'{image}<text x="5" y="20">Hello</text></svg>')
        image_writer(tmp_path / "empty.png")(f"{image}</svg>")
    except AcytooError:
        missing("a font", "fonts-dejavu-core")
    assert (tmp_path / "text.png").read_bytes() != (tmp_path / "empty.png").read_bytes()
