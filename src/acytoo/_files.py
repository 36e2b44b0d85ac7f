"""Files that only the user can read."""

from __future__ import annotations

import os
from pathlib import Path


def create_private(path: Path) -> None:
    """Create an empty file that only the user can read. One that exists stays as it is.

    SQLite gives the files beside a database the same permissions.

    Raises:
        OSError: The file cannot be created.
    """
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), 0o600))
