"""Extra body fields inside nested objects, kept in `Request.extra` under a path like `options.num_ctx`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acytoo.types import JSONObject


def flatten_fields(extra: JSONObject, parent: str, fields: Mapping[str, Any]) -> None:
    """Add the fields of a nested object to `extra` under their paths."""
    for name, value in fields.items():
        extra[f"{parent}.{name}"] = value


def merge_extra(body: JSONObject, extra: Mapping[str, Any], parents: frozenset[str] = frozenset()) -> None:
    """Merge extra fields into a body. They replace its fields; of an object only the fields that both have.

    A name like `options.num_ctx` is a path if `options` is one of `parents`.
    """
    copies: dict[str, JSONObject] = {}
    for name, value in extra.items():
        parent, dot, field = name.partition(".")
        if dot and parent in parents:
            if parent not in copies or body.get(parent) is not copies[parent]:
                body[parent] = copies[parent] = {**body.get(parent, {})}
            copies[parent][field] = value
        elif isinstance(value, dict) and isinstance(body.get(name), dict):
            body[name] = {**body[name], **value}
        else:
            body[name] = value
