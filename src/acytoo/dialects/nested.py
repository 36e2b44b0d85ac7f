"""Body fields inside an API's own nested objects, kept in `Request.extra` under a path like `options.num_ctx`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def keep_nested(extra: dict[str, Any], parent: str, fields: Mapping[str, Any]) -> None:
    """Note the fields of a nested object under their paths."""
    for name, value in fields.items():
        extra[f"{parent}.{name}"] = value


def put_extra(body: dict[str, Any], extra: Mapping[str, Any], parents: frozenset[str]) -> None:
    """Add extra fields to a body where they belong; what the body already says stays.

    A path is followed where its first name is one of `parents`; an object given whole is merged into the body's.
    """
    for name, value in extra.items():
        parent, dot, field = name.partition(".")
        if dot and parent in parents:
            body.setdefault(parent, {}).setdefault(field, value)
        elif isinstance(value, dict) and isinstance(body.get(name), dict):
            body[name] = {**value, **body[name]}
        else:
            body.setdefault(name, value)
