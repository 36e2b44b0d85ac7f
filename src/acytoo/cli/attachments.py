"""Files and images that become parts of a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def text_with_files(text: str, files: Sequence[Path]) -> str:
    """Return the text followed by each file, fenced and under its name.

    Raises:
        UsageError: A file cannot be read, or is not UTF-8 text.
    """
    parts = [text] if text else []
    for path in files:
        try:
            content = _read(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(f"{path} is not UTF-8 text: for an image, use -a") from None
        longest = max(map(len, re.findall("`+", content)), default=0)
        fence = "`" * max(3, longest + 1)
        end = "" if content.endswith("\n") else "\n"
        parts.append(f"{path.name}:\n\n{fence}\n{content}{end}{fence}")
    return "\n\n".join(parts)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
