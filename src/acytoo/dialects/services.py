"""Which service a part of a reply comes from, so that what only that service knows is sent to no other.

Signatures and encrypted reasoning are refused by any service but the one that made them, even by one of the same API.
Dialects know no addresses: the `source` that they give to such parts, and accept, is the API's name alone. The client
adds the host to what it receives, and removes it from what it sends to that host. The parts of another host keep
theirs, and no dialect takes them for its own.

A part without a host was received from a client of our server. It may go to any service of its API.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from acytoo.types import Item, OpaquePart, Reasoning, Request


@functools.lru_cache(maxsize=256)
def service_at(api: str, url: str) -> str:
    """Return the `source` of the parts that an API's server at a URL sends, like `anthropic/api.anthropic.com`."""
    host = re.match(r"[^/]*//(?:[^/?#]*@)?([^/?#]+)", url)
    return f"{api}/{host[1].lower()}" if host else api


@functools.lru_cache(maxsize=256)
def is_host_of(url: str, host: str) -> bool:
    """Return whether a URL is one of this host or of a part of its domain. Any is one of the host ""."""
    if not host:
        return True
    found = urlsplit(url).hostname or ""
    return found == host or found.endswith(f".{host}")


def api_of(source: str) -> str:
    """Return the API of a `source`, with which writers compare their own."""
    return source.partition("/")[0]


def without_hosts(parts: Sequence[Any]) -> list[Any]:
    """Return reasoning blocks or parts of a turn with the API alone as their `source`, for a server's document."""
    return [{**part, "source": api_of(part["source"])} if "source" in part else part for part in parts]


_WITH_SOURCE = frozenset({Reasoning, OpaquePart})


def with_service(items: list[Item], api: str, service: str) -> list[Item]:
    """Return received items with the service as the `source` of the parts that are the API's own."""
    if _WITH_SOURCE.isdisjoint(map(type, items)):
        return items
    # `isinstance` takes five times as long for classes with a metaclass, and most items are texts.
    return [
        msgspec.structs.replace(item, source=service)
        if (type(item) is Reasoning or type(item) is OpaquePart) and item.source == api
        else item
        for item in items
    ]


def for_service(request: Request, api: str, service: str) -> Request:
    """Return the request with the API's name as the `source` of the parts that this service sent."""
    for message in request.messages:  # the generator of any() costs as much as the rest of a short request
        if "reasoning" in message or "turn_parts" in message:
            break
    else:
        return request
    messages: list[Any] = [
        {
            **message,
            **{
                field: [{**part, "source": api} if part.get("source") == service else part for part in message[field]]
                for field in ("reasoning", "turn_parts")
                if message.get(field)
            },
        }
        for message in request.messages
    ]
    return msgspec.structs.replace(request, messages=messages)
