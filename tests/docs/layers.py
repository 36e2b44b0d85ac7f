"""Draws docs/layers.svg from the imports of the source: `python -m tests.docs.layers > docs/layers.svg`.

An arrow that others already imply is left out: if `cli` imports `batch` and `batch` imports `server`, there is no arrow
from `cli` to `server`. What is left is the least that shows what each part rests on. Private modules are not drawn.
"""

from __future__ import annotations

from acytoo.svg import head
from tests.test_imports import LAYERS, SOURCE, files, imports_of, part_of

WIDTH, ROW, HEIGHT, MARGIN = 960, 52, 28, 20
PARTS = [[part for part in layer if not part.startswith("_")] for layer in LAYERS]
STYLE = (
    "<style>.b{fill:#f6f8fa;stroke:#8c959f}.a{fill:none;stroke:#0969da;stroke-opacity:.45}.n{text-anchor:middle}"
    ".l{stroke:#d0d7de;stroke-dasharray:2 4}"
    "@media(prefers-color-scheme:dark){.b{fill:#161b22;stroke:#6e7681}.a{stroke:#58a6ff}.l{stroke:#30363d}}</style>"
)

Graph = dict[str, set[str]]


def imports() -> Graph:
    """Return the parts that each part imports directly."""
    found: Graph = {part: set() for layer in PARTS for part in layer}
    for path in files():
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if part in found:
            found[part] |= {part_of(name) for name in imports_of(path) if name.startswith("acytoo.")} & found.keys()
    return found


def below(part: str, graph: Graph) -> set[str]:
    """Return all parts that a part rests on, itself only if it is in a circle."""
    seen: set[str] = set()
    waiting = list(graph[part] - {part})
    while waiting:
        found = waiting.pop()
        if found not in seen:
            seen.add(found)
            waiting += graph[found] - {found}
    return seen


def reduced(graph: Graph) -> Graph:
    """Return the graph without the imports that others imply, and without those inside of one layer."""
    layer_of = {part: number for number, layer in enumerate(PARTS) for part in layer}
    down = {part: {name for name in found if layer_of[name] < layer_of[part]} for part, found in graph.items()}
    return {
        part: {name for name in found if not any(name in below(other, down) for other in found - {name})}
        for part, found in down.items()
    }


def drawing() -> str:
    """Return the SVG document."""
    place: dict[str, tuple[float, float, float]] = {}
    height = MARGIN + ROW * len(PARTS)
    lines = []
    for number, layer in enumerate(reversed(PARTS)):
        widths = [len(part) * 7.5 + 24 for part in layer]
        left = gap = (WIDTH - sum(widths)) / (len(layer) + 1)
        top = MARGIN + number * ROW
        if len(layer) == 1:  # one above the other would hide the arrows
            left += ROW * (1 if number % 2 else -1)
        for part, width in zip(layer, widths, strict=True):
            place[part] = (left, top, width)
            left += width + gap
        lines.append(f'<line class="l" x1="0" y1="{top - 12}" x2="{WIDTH}" y2="{top - 12}"/>')
    for part, found in reduced(imports()).items():
        x1, y1 = place[part][0] + place[part][2] / 2, place[part][1] + HEIGHT
        for name in sorted(found):
            x2, y2 = place[name][0] + place[name][2] / 2, place[name][1]
            bend = (y2 - y1) / 2
            curve = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
            lines.append(f'<path class="a" d="{curve}"/>')
    for part, (x, y, width) in place.items():
        lines.append(f'<rect class="b" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="6"/>')
        lines.append(f'<text class="n" x="{x + width / 2:.0f}" y="{y + 18:.0f}">{part}</text>')
    label = "The parts of Acytoo in layers: each imports only parts below it"
    return head(WIDTH, height, label) + STYLE + "\n" + "\n".join(lines) + "\n</svg>\n"


if __name__ == "__main__":
    print(drawing(), end="")  # noqa: T201
