"""Split Markdown that arrives in pieces into finished blocks.

A renderer needs complete blocks, but a reply ends long after its first one. A block is finished when another begins
after it, so complete lines are parsed as they arrive, and everything before the last block is emitted. Code and lists
may be long: code is emitted line by line, a list item by item. The cost is a parse of the unfinished block per line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

LONGEST_BLOCK = 200
"""Lines after which a block is emitted before its end, because each line costs a parse of all of them."""


class Block(NamedTuple):
    """A finished piece of Markdown, or lines of code.

    If `is_code`, `source` is the text of one code block so far, of which the lines from `start` are new, and
    `language` is its info string. `continues` is set if no empty line separates it from the previous one.
    """

    source: str
    continues: bool = False
    is_code: bool = False
    language: str = ""
    start: int = 0


class BlockSplitter:
    """Splits a stream of Markdown. `rest` is the unfinished part."""

    def __init__(self) -> None:
        self._parser = parser().disable("inline")  # blocks are enough
        self._lines: list[str] = []
        """The complete lines of the unfinished block."""
        self._partial = ""
        self._fence: _Fence | None = None
        self._is_in_list = False
        """Whether items of the unfinished list were emitted."""

    @property
    def rest(self) -> Block:
        """The unfinished block with the incomplete line."""
        if self._fence is not None:
            return self._fence.block(self._partial)
        return Block("".join(self._lines) + self._partial, self._is_in_list)

    def feed(self, text: str) -> list[Block]:
        """Return the blocks that the text finishes."""
        lines = (self._partial + text).split("\n")
        self._partial = lines.pop()
        blocks: list[Block] = []
        for line in lines:
            self._add_line(line + "\n", blocks)
        return blocks

    def flush(self) -> list[Block]:
        """Return the last block, at the end of the reply."""
        blocks: list[Block] = []
        if self._partial:
            line, self._partial = self._partial, ""
            self._add_line(line, blocks)
        if self._fence is None and "".join(self._lines).strip():
            blocks.append(self.rest)
        self._lines, self._fence = [], None
        return blocks

    def _add_line(self, line: str, blocks: list[Block]) -> None:
        if self._fence is not None:
            if self._fence.is_end(line):
                self._fence = None
            else:
                blocks.append(self._fence.add(line))
            return
        self._lines.append(line)
        tops = [token for token in self._parser.parse("".join(self._lines)) if token.level == 0 and token.map]
        while len(tops) > 1:
            self._emit(tops[1].map[0], blocks)
            tops = [token for token in self._parser.parse("".join(self._lines)) if token.level == 0 and token.map]
        if not tops:
            return
        last: Token = tops[0]
        if last.type == "fence" and last.markup:
            self._lines = []
            self._fence = _Fence(last.markup, last.info.strip(), _indent(line))
        elif last.type in ("bullet_list_open", "ordered_list_open"):
            self._emit_items(blocks)
        elif len(self._lines) >= LONGEST_BLOCK:
            self._emit(len(self._lines), blocks)

    def _emit(self, count: int, blocks: list[Block]) -> None:
        """Emit the first lines as a block."""
        blocks.append(Block("".join(self._lines[:count]).strip("\n"), self._is_in_list))
        self._is_in_list = False
        del self._lines[:count]

    def _emit_items(self, blocks: list[Block]) -> None:
        """Emit the items of an unfinished list, except the last."""
        tokens = self._parser.parse("".join(self._lines))
        starts = [token.map[0] for token in tokens if token.type == "list_item_open" and token.level == 1]
        if len(starts) > 1:
            self._emit(starts[-1], blocks)
            self._is_in_list = True


class _Fence:
    """An open code block."""

    def __init__(self, markup: str, language: str, indent: int) -> None:
        self._end = re.compile(rf" {{0,3}}{re.escape(markup[0])}{{{len(markup)},}}[ \t]*\n?")
        self._indent = re.compile(f" {{0,{indent}}}")
        self._language = language
        self._lines: list[str] = []

    def is_end(self, line: str) -> bool:
        return self._end.fullmatch(line) is not None

    def add(self, line: str) -> Block:
        self._lines.append(self._indent.sub("", line, count=1))
        return self._block(len(self._lines) - 1)

    def block(self, partial: str) -> Block:
        self._lines.append(partial)
        block = self._block(len(self._lines) - 1)
        self._lines.pop()
        return block

    def _block(self, start: int) -> Block:
        return Block("".join(self._lines), start > 0, True, self._language, start)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def parser() -> MarkdownIt:
    """Return a parser of GitHub's Markdown in which HTML is shown as it is."""
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
