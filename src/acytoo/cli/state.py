"""The folder for what the command remembers: typed messages and, if turned on, conversations."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from acytoo._files import create_private
from acytoo.errors import UsageError

CONVERSATIONS = "conversations.db"
"""The file of recorded conversations. It exists if recording was ever turned on."""


def state_dir() -> Path:
    """Return `$ACYTOO_STATE`, or `acytoo` in the platform's folder for state. It may not exist.

    Raises:
        UsageError: There is no home directory.
    """
    if own := os.environ.get("ACYTOO_STATE"):
        return Path(own)
    if sys.platform == "win32":
        variable, default = "LOCALAPPDATA", "AppData/Local"
    elif sys.platform == "darwin":
        variable, default = "", "Library/Application Support"
    else:
        variable, default = "XDG_STATE_HOME", ".local/state"
    base = Path(os.environ.get(variable, ""))  # the XDG specification has a relative path ignored
    if not base.is_absolute():
        try:
            base = Path.home() / default
        except RuntimeError:
            raise UsageError("no home directory: set HOME, or ACYTOO_STATE to a folder") from None
    return base / "acytoo"


def private_file(name: str) -> Path:
    """Create a file in the state folder that only the user can read, if it does not exist, and return its path.

    Raises:
        OSError: The file cannot be created.
    """
    path = state_dir() / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_private(path)
    return path


def has_conversations() -> bool:
    """Return whether the file of recorded conversations exists. Without a home directory, it does not."""
    try:
        return (state_dir() / CONVERSATIONS).exists()
    except (OSError, UsageError):
        return False
