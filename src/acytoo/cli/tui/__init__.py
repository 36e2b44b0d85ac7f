"""The conversation with the extra `tui`: an editor for messages, and Markdown that is rendered as it arrives."""

from __future__ import annotations

from acytoo.cli.tui.screen import RichScreen

__all__ = ["RichScreen"]
