"""Render Markdown into the terminal while it arrives.

Finished blocks are written once and belong to the terminal's scrollback: they can be selected and scrolled as any other
text. Only the lines of the unfinished block are written again, at most a few, and of those only the ones that changed.
"""

from __future__ import annotations

import sys
import time
from typing import Any, ClassVar

from rich.console import Console
from rich.markdown import Heading, Markdown
from rich.segment import Segment, Segments
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from acytoo.cli.exit_codes import replace_controls
from acytoo.cli.terminal import height, width
from acytoo.cli.tui.blocks import Block, BlockSplitter, parser

LIVE_LINES = 8
"""Lines of the unfinished block that are shown, if the terminal has more.

A longer block is shown completely when it is finished.
"""

THEME = "ansi_dark"
"""Colours of the terminal's own palette, without a background."""

STYLES = Theme({"markdown.code": "cyan", "markdown.code_block": "none"})
"""Styles other than rich's: code has no background."""


class _Heading(Heading):  # type: ignore[misc]
    """A heading at the left."""

    LEVEL_ALIGN: ClassVar[dict[str, Any]] = {}


def _image_text(description: str, url: str) -> str:
    """Return what is shown in place of an image, with its URL as that of a link. One with the image itself is cut."""
    if url.startswith("data:"):
        url = f"{url.partition(',')[0]},…"
    return f"{description} ({url})".lstrip()


class MarkdownView:
    """Shows one reply: `feed` it text and `draw` from time to time, then `finish`."""

    def __init__(self) -> None:
        self._splitter = BlockSplitter()
        self._finished: list[Block] = []
        self._live: list[str] = []
        self._is_empty = True
        self._thought = ""
        """The end of the reasoning, while no text has come."""
        self._thinking_since: float | None = None
        self._console: Any = Console(file=sys.stdout, highlight=False, width=width() - 1, theme=STYLES)

    def think(self, text: str) -> None:
        """Add reasoning, which must have no control characters. Before the text, its last lines are shown."""
        if self._thinking_since is None:
            self._thinking_since = time.monotonic()
        if self._is_empty:
            self._thought = (self._thought + text)[-LIVE_LINES * self._console.width :]

    def feed(self, text: str) -> None:
        """Add text, which must have no control characters."""
        self._end_thinking()
        self._finished += self._splitter.feed(text)

    def draw(self) -> None:
        """Write the finished blocks, and the end of the unfinished one."""
        self._console.width = width() - 1
        finished = self._take_finished()
        rest = self._splitter.rest
        live: list[str] = []
        if rest.source.strip():
            live = self._spaced(rest, self._render(rest, is_live=True))
        elif self._is_empty and self._thought.strip():
            live = self._dim(self._thought.strip("\n"))
        live = live[-min(LIVE_LINES, height() - 1) :]
        self._write(finished, live)

    def finish(self) -> None:
        """Write all that is left, complete."""
        self._end_thinking()
        self._finished += self._splitter.flush()
        self._console.width = width() - 1
        self._write(self._take_finished(), [])

    def _end_thinking(self) -> None:
        """Leave a line in the place of the reasoning."""
        if self._thinking_since is None or not self._is_empty:
            return
        seconds = time.monotonic() - self._thinking_since
        self._write(self._dim(f"(thought for {seconds:.0f} s; /reasoning shows it)"), [])
        self._is_empty = False

    def _dim(self, text: str) -> list[str]:
        return self._encode(self._console.render_lines(Text(text, style="dim"), pad=False))

    def _take_finished(self) -> list[str]:
        lines: list[str] = []
        blocks, self._finished = self._finished, []
        for place, block in enumerate(blocks):
            following = blocks[place + 1] if place + 1 < len(blocks) else None
            if block.is_code and following is not None and following.is_code and following.continues:
                continue  # the last of several lines of one code block has all of them
            if block.is_code:
                start = block.start
                while place > 0 and blocks[place].is_code and blocks[place].continues:
                    place -= 1
                    start = blocks[place].start
                block = block._replace(start=start, continues=start > 0)
            lines += self._spaced(block, self._render(block))
            self._is_empty = False
        return lines

    def _spaced(self, block: Block, lines: list[str]) -> list[str]:
        return lines if self._is_empty or block.continues else ["", *lines]

    def _render(self, block: Block, is_live: bool = False) -> list[str]:
        if block.is_code:
            return self._render_code(block, is_live)
        markdown = Markdown("", code_theme=THEME, hyperlinks=False)
        markdown.elements = {**Markdown.elements, "heading_open": _Heading}
        markdown.parsed = parser().parse(block.source)
        for token in markdown.parsed:
            for child in token.children or ():
                if child.type == "softbreak":  # models rarely wrap lines: a newline in a reply is meant
                    child.type = "hardbreak"
                elif child.type == "image":  # rich moves images to the beginning, without their URLs
                    child.type, child.content = "text", _image_text(child.content, str(child.attrGet("src")))
        lines = self._encode(self._console.render_lines(markdown, pad=False))
        while lines and not lines[0]:
            del lines[0]
        while lines and not lines[-1]:
            del lines[-1]
        return lines

    def _render_code(self, block: Block, is_live: bool) -> list[str]:
        """Return the new lines of a code block. Only live ones are cut: the others are copied as they are."""
        language = (block.language.split() or [""])[0]
        syntax = Syntax("", language or "text", theme=THEME, background_color="default", tab_size=0)
        count = block.source.count("\n") + (not block.source.endswith("\n"))
        texts = syntax.highlight(block.source).split("\n", allow_blank=True)[block.start : count]
        if is_live:
            for text in texts:
                text.expand_tabs(8)  # rich counts a tab as one column
        lines = [list(text.render(self._console)) for text in texts]
        if is_live:
            lines = [Segment.adjust_line_length(line, self._console.width, pad=False) for line in lines]
        return self._encode(lines)

    def _encode(self, lines: list[list[Any]]) -> list[str]:
        """Return lines with the escape sequences of their styles, and none of their text."""
        encoded = []
        for line in lines:
            clean = [
                Segment(replace_controls(text).replace("\n", ""), style) for text, style, control in line if not control
            ]
            while clean and clean[-1].text.endswith(" ") and not (clean[-1].style and clean[-1].style.bgcolor):
                last = clean.pop()
                if text := last.text.rstrip(" "):
                    clean.append(Segment(text, last.style))
            with self._console.capture() as capture:
                self._console.print(Segments(clean), end="", soft_wrap=True)
            encoded.append(capture.get())
        return encoded

    def _write(self, finished: list[str], live: list[str]) -> None:
        """Replace the live lines by the finished ones and new live ones, in one write.

        The cursor stays at the end of the last live line, or at the beginning of a line if there are none.
        """
        lines = finished + live
        if lines == self._live == live:
            return
        same = 0
        while same < min(len(finished), len(self._live)) and finished[same] == self._live[same]:
            same += 1
        up = f"\x1b[{len(self._live) - 1}A" if len(self._live) > 1 else ""
        begin = up + "\r" if self._live else ""
        text = "".join(f"{line}\x1b[K\n" for line in lines[same:])
        sys.stdout.write(begin + "\n" * same + (text.removesuffix("\n") if live else text) + "\x1b[J")
        sys.stdout.flush()
        self._live = live
