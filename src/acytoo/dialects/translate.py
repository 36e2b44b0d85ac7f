"""Requests from one API to another: strip what only the source API understands."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.base import Dialect
from acytoo.types import Request


def translate(request: Request, source: Dialect) -> Request:
    """The request for an API of another dialect: without the source's own fields, and its word for its user.

    What is not harmless of them stays in `extra`, so that it is refused by name. `user` is an opaque label, often
    long (Claude Code's), for the service whose user it is.
    """
    found = dict(request.extra)
    if source.vendor_fields:
        messages = _without(source.vendor_fields, request.messages, found)
        tools = _without(source.vendor_fields, request.tools or [], found)
        request = msgspec.structs.replace(request, messages=messages, tools=tools or None)
    if not found and request.user is None:
        return request
    extra = {
        name: value
        for name, value in found.items()
        if name not in source.ignorable_fields and value is not None and value not in source.no_op_values.get(name, ())
    }
    return msgspec.structs.replace(request, extra=extra, user=None)


def _without(fields: frozenset[str], given: list[Any], found: dict[str, Any]) -> list[Any]:
    """The objects, and those in their lists (parts, calls), without the fields, which are noted in `found`."""
    plain = []
    for one in given:
        if isinstance(one, dict):
            found |= {name: one[name] for name in one.keys() & fields}
            one = {
                name: _without(fields, value, found) if isinstance(value, list) else value
                for name, value in one.items()
                if name not in fields
            }
        plain.append(one)
    return plain
