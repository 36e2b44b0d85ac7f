"""Body fields inside an API's own nested objects, kept in `Request.extra` under a path like `options.num_ctx`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def keep_nested(extra: dict[str, Any], parent: str, fields: Mapping[str, Any]) -> None:
    """Note the fields of a nested object under their paths."""
    for name, value in fields.items():
        extra[f"{parent}.{name}"] = value


def put_extra(body: dict[str, Any], extra: Mapping[str, Any], parents: frozenset[str] = frozenset()) -> None:
    """Put extra fields into a body where they belong: they replace what it says, an object only the fields it names.

    A path is followed where its first name is one of `parents`.
    """
    for name, value in extra.items():
        parent, dot, field = name.partition(".")
        if dot and parent in parents:
            body[parent] = {**body.get(parent, {}), field: value}
        elif isinstance(value, dict) and isinstance(body.get(name), dict):
            body[name] = {**body[name], **value}
        else:
            body[name] = value
