"""Tables of a config file as TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any


def write_table(path: tuple[str, ...], fields: Mapping[str, Any]) -> str:
    """Return a table with its header. Values are str, int, float, bool, date, and lists and dicts of them."""
    lines = [
        f"[{'.'.join(map(_key, path))}]",
        *[f"{_key(name)} = {write_value(value)}" for name, value in fields.items()],
    ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _string(name)


def write_value(value: Any) -> str:
    """Return a value: a str, int, float, bool, date, or a list or dict of them."""
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join([f"{_key(name)} = {write_value(entry)}" for name, entry in value.items()]) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write_value, value))}]"
    return value.isoformat() if isinstance(value, date) else repr(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON escapes as TOML does, but for DEL
