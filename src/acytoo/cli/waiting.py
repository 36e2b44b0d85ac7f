"""A notice while a file is waited for: a named pipe has nothing until somebody writes to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

_QUIET_SECONDS = 2.0
"""How long a file is waited for without a notice."""


@contextmanager
def report_waiting(path: Path) -> Iterator[None]:
    """Say on stderr that a file is waited for, if it is not a regular one and reading it takes two seconds."""
    notice = threading.Timer(_QUIET_SECONDS, click.echo, [f"acytoo: waiting for {path} to end"], {"err": True})
    notice.daemon = True
    try:
        if not path.is_file():
            notice.start()
        yield
    finally:
        notice.cancel()
