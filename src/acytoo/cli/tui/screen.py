"""Read messages with prompt_toolkit and show replies as Markdown with rich."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

import click

from acytoo.cli.conversation import ListModels
from acytoo.cli.exit_codes import replace_controls
from acytoo.cli.output import call_lines, texts_of
from acytoo.cli.terminal import WaitingSign, marked_pastes, silent_keyboard
from acytoo.cli.tui.editor import Editor
from acytoo.cli.tui.markdown import MarkdownView
from acytoo.types import Item

FRAME_S = 0.05
"""Seconds between two updates of the screen."""


class RichScreen:
    """An editor with history and completion; replies are Markdown."""

    hint = "Alt+Enter, or \\ at the end of a line, begins another line."

    def __init__(self) -> None:
        self._editor = Editor()

    def read(self, runner: asyncio.Runner, draft: str, list_models: ListModels) -> str:
        """Read a message. The editor begins with the draft.

        Raises:
            EOFError: Ctrl-D was pressed.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        return runner.run(self._editor.read(draft, list_models))

    async def show(self, stream: AsyncGenerator[Item, None], items: list[Item]) -> None:
        """Render a reply as it arrives, and append its items to `items`."""
        view, waiting = MarkdownView(), WaitingSign()
        loop = asyncio.get_running_loop()
        frame: asyncio.TimerHandle | None = None
        drawn = 0.0

        def draw() -> None:
            nonlocal frame, drawn
            frame, drawn = None, loop.time()
            view.draw()

        def add(feed: Callable[[str], None], text: str) -> None:
            nonlocal frame
            waiting.clear()
            feed(replace_controls(text))
            if frame is None:
                frame = loop.call_at(max(loop.time(), drawn + FRAME_S), draw)

        with silent_keyboard(), marked_pastes():
            try:
                async with aclosing(texts_of(stream, items, partial(add, view.think))) as texts:
                    async for text in texts:
                        add(view.feed, text)
            finally:
                waiting.clear()
                if frame is not None:
                    frame.cancel()
                view.finish()
        for line in call_lines(items):
            click.echo(replace_controls(line))
