"""Conversations in JSON files: an object with `model` and `messages`, in OpenAI's chat shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from acytoo.errors import UsageError
from acytoo.messages import check_messages


def save(path: Path, messages: list[dict[str, Any]], model: str) -> None:
    """Write a conversation. A file that is not a conversation is never overwritten.

    Raises:
        UsageError: The file exists and has other content, or it cannot be written.
    """
    if path.exists():
        try:
            load(path)
        except UsageError:
            raise UsageError(f"{path} exists and is not a saved conversation: choose another name") from None
    document = msgspec.json.format(msgspec.json.encode({"model": model, "messages": messages}))
    try:
        path.write_bytes(document + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def load(path: Path) -> list[dict[str, Any]]:
    """Read the messages of a conversation.

    Raises:
        UsageError: The file cannot be read, or is not a conversation.
    """
    try:
        document = msgspec.json.decode(path.read_bytes())
        messages = document["messages"]
        check_messages(messages)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, KeyError, TypeError, UsageError):
        raise UsageError(f"{path} is not a saved conversation: expected a JSON object with messages") from None
    return [dict(message) for message in messages]
