"""Shared parts of the plots that commands draw: SVG that reads well on a light and on a dark page, also as PNG."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path

from acytoo.errors import AcytooError, MissingExtraError, UsageError

_FONT = "system-ui,sans-serif"

STYLE = (
    f"<style>text{{font:12px {_FONT};fill:#24292f}}"
    ".t{font-weight:600;font-size:14px}"
    ".g{stroke:#d0d7de}.m{fill:#656d76}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.g{stroke:#30363d}"
    ".m{fill:#8b949e}svg{background:#0d1117}}</style>"
)
"""Classes: `t` is a title, `m` a label of an axis, `g` a line of the grid."""

_PNG_FONTS = "Arial,Helvetica,'DejaVu Sans','Liberation Sans','Noto Sans','Open Sans',Ubuntu,Cantarell,FreeSans,Roboto"
"""For resvg, which takes `sans-serif` for Arial, whatever is installed, and leaves out text that has no font."""

_PNG_ZOOM = 2
"""Pixels for each unit of an SVG."""

COLOURS = ("#1a7f37", "#0969da", "#bf8700", "#cf222e", "#8250df", "#1b7c83", "#8c959f")


def head(width: int, height: int, label: str) -> str:
    """Return the beginning of an image. The label is for screen readers, and escaped already."""
    size = f"0 0 {width} {height}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" aria-label="{label}">{STYLE}'


def grid(left: int, top: int, width: int, height: int, highest: float) -> list[str]:
    """Return the lines of a scale from 0 to `highest`, with their labels to the left."""
    out = []
    for part in range(5):
        y = top + height * (4 - part) / 4
        out.append(f'<line class="g" x1="{left}" y1="{y:.1f}" x2="{left + width}" y2="{y:.1f}"/>')
        out.append(f'<text class="m" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{highest * part / 4:g}</text>')
    return out


def round_up(value: float) -> float:
    """Return the next number from 1, 2, 4, 5 or 8 times a power of ten: a quarter of it is a short number too."""
    if value <= 0:
        return 1.0
    power: float = 10 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 4, 5, 8) if step * power >= value), 10 * power)


def image_writer(path: Path) -> Callable[[str], None]:
    """Return a function that writes an SVG document to the file: as it is, or drawn as PNG if its name ends so.

    Call it before the work whose result is drawn. Raises UsageError for another name, AcytooError for a folder that
    does not exist, and for PNG MissingExtraError without the extra `png` and AcytooError without a font. The function
    raises AcytooError if the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise UsageError(f"cannot draw {path}: expected a name that ends in .svg or .png")
    if not path.parent.is_dir():
        raise AcytooError(f"cannot write {path}: {os.strerror(errno.ENOENT)}")
    encode = _png_encoder() if suffix == ".png" else str.encode

    def write(document: str) -> None:
        try:
            path.write_bytes(encode(document))
        except OSError as error:
            raise AcytooError(f"cannot write {path}: {error.strerror}") from None

    return write


def _png_encoder() -> Callable[[str], bytes]:
    try:
        import resvg_py
    except ImportError as error:
        raise MissingExtraError("a plot as PNG", "png") from error

    def encode(document: str) -> bytes:
        svg = document.replace(_FONT, _PNG_FONTS)
        return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=_PNG_ZOOM, background="white"))

    image = head(20, 20, "")
    if encode(f'{image}<text y="15">x</text></svg>') == encode(f"{image}</svg>"):
        raise AcytooError("a PNG would have no text: install a font, such as fonts-dejavu-core, or write an SVG")
    return encode
