"""Files and images that become parts of a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acytoo.cli.options import as_text
from acytoo.cli.waiting import report_waiting
from acytoo.errors import UsageError

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
"""The first bytes of the image formats that vision models take; WebP is recognised by its container."""


def image_part(source: str) -> dict[str, Any]:
    """Return the content part for an image: a file as a data URL, a URL of the web unchanged.

    Raises:
        UsageError: The file cannot be read, or is not a PNG, JPEG, GIF or WebP image.
    """
    if source.startswith(("http://", "https://")):
        return {"type": "image_url", "image_url": {"url": source}}
    import base64

    data = _read(Path(source).expanduser())
    kind = next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        raise UsageError(f"{source} is not an image: expected PNG, JPEG, GIF or WebP")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}


def file_text(source: str) -> str:
    """Return the text of a file, fenced and under its name.

    Raises:
        UsageError: The file cannot be read, or is not UTF-8 text.
    """
    path = Path(source).expanduser()
    try:
        content = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        content = "\0"
    if "\0" in content:
        raise UsageError(f"{path} is not UTF-8 text: for an image, use -a")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))
    end = "" if content.endswith("\n") else "\n"
    return f"{as_text(path.name)}:\n\n{fence}\n{content}{end}{fence}"


def message_content(text: str, parts: Sequence[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the content of a message: one text if all parts are texts, as every API takes it, else a list of parts."""
    texts = [*([text] if text else []), *(part["text"] for part in parts if part["type"] == "text")]
    joined = "\n\n".join(texts)
    others = [part for part in parts if part["type"] != "text"]
    if not others:
        return joined
    return [*([{"type": "text", "text": joined}] if joined else []), *others]


_MAX_FILE = 32 * 1024 * 1024
"""Bytes of a file: the most that a service takes in a request (Anthropic's "Request size limits")."""


def _read(path: Path) -> bytes:
    """Return what a file has. A named pipe is one too: somebody has to write to it, perhaps after a long time."""
    try:
        with report_waiting(path), path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MAX_FILE:
        raise UsageError(
            f"{path} is larger than {_MAX_FILE // 2**20} MiB, the most that services take: send a part of it"
        )
    return data
