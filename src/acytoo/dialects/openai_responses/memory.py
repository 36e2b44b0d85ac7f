"""What a server remembers of its replies, for requests that refer to them: `item_reference`, `previous_response_id`.

By default this API stores replies, and clients rely on it: the AI SDK sends references instead of the items. A server
here watches the bytes of its replies, whether they pass through or are translated, and keeps their items while there is
room. It costs a search in each chunk, and decoding the last event of a reply. A reply to `store: false` is not kept.

A reference must never find another conversation. So what is kept belongs to the secrets of the caller, ids that could
be guessed or repeat are not kept, and an id with two meanings has none.

Source: OpenAI's API reference ("Conversation state"), and the requests of the AI SDK 6 and 7.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from acytoo.dialects.base import Memory, Turn
from acytoo.dialects.fields import objects_in
from acytoo.dialects.json import UNDECODABLE, decoder
from acytoo.dialects.openai_responses.request import NAME, decode_request
from acytoo.dialects.server_side import request_from_body, secrets_in
from acytoo.http import ServerRequest
from acytoo.types import Item, JSONObject, Request, Start
from acytoo.wire.sse import SSEDecoder

MAX_SIZE = 32 * 1024 * 1024
"""Bytes of items that a server keeps, and as many of requests and replies. The oldest make room for new ones."""

_MIN_ID = 20
"""The shortest id that is kept. Some servers count their replies, or number them at random below a thousand."""

_ENDS = (b"response.completed", b"response.incomplete", b"response.output_item.done")
"""What an event has in its bytes that completes an item or a reply. A text may have it too, which does no harm."""


class _Fields(msgspec.Struct):
    """The fields of a request that decide how its reply is kept."""

    input: msgspec.Raw = msgspec.Raw(b"[]")
    store: Any = None
    previous_response_id: Any = None


class _KeptResponse(msgspec.Struct):
    """A request's own input, its reply, the response that it continues, and the backend that stores it too."""

    input: msgspec.Raw
    output: list[JSONObject]
    previous: str | None = None
    stored_by: int = 0


class _Store:
    """Encoded values by owner and id, up to a total size. An id that was given to two values has none."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._values: OrderedDict[tuple[bytes, str], bytes | None] = OrderedDict()

    def add(self, owner: bytes, id_: object, value: bytes) -> None:
        """Keep a value, and forget the oldest ones if there are too many."""
        if not isinstance(id_, str) or len(id_) < _MIN_ID:
            return
        key = owner, id_
        if key not in self._values:
            self._values[key] = value
            self._size += len(value) + len(id_)
        elif (known := self._values[key]) != value and known is not None:
            self._values[key] = None
            self._size -= len(known)
        while self._size > self._max_size:
            (_, old_id), old = self._values.popitem(last=False)
            self._size -= len(old or b"") + len(old_id)

    def get(self, owner: bytes, id_: object) -> bytes | None:
        """Return a value, None if it is not known or not the only one."""
        return self._values.get((owner, id_)) if isinstance(id_, str) else None


class ResponsesMemory(Memory):
    """The items and the responses that a server has given out, as long as there is room for them."""

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self.items = _Store(max_size)
        self.responses = _Store(max_size)

    def turn(self, request: ServerRequest) -> Turn:
        """Return a request with the items that it refers to, and what remembers the reply to it."""
        return _ResponsesTurn(request, self)


class _ResponsesTurn(Turn):
    def __init__(self, request: ServerRequest, memory: ResponsesMemory) -> None:
        secrets = "\0".join([secret.reveal() for secret in secrets_in(request)])
        self._owner = hashlib.sha256(secrets.encode("utf-8", "surrogateescape")).digest()
        self._memory = memory
        self._done: dict[str, JSONObject] = {}
        super().__init__(self._with_items(request) if b"item_reference" in request.body else request)

    def _with_items(self, request: ServerRequest) -> ServerRequest:
        """Return the request with known items in place of references. An unknown one stays: a backend may know it."""
        body = _decode_object(request.body)
        items = body.get("input")
        if not isinstance(items, list):
            return request
        body["input"] = [self._item(item) for item in items]
        return msgspec.structs.replace(request, body=msgspec.json.encode(body))

    def _item(self, item: object) -> object:
        if not isinstance(item, dict) or item.get("type") != "item_reference":
            return item
        known = self._memory.items.get(self._owner, item.get("id"))
        return item if known is None else msgspec.Raw(known)

    def has_history(self, backend: int) -> bool:
        """Return whether that backend stores the previous response, or this server does not know who does."""
        if b"previous_response_id" not in self.request.body:
            return True
        previous = _decode_object(self.request.body).get("previous_response_id")
        known = self._memory.responses.get(self._owner, previous)
        return known is None or msgspec.json.decode(known, type=_KeptResponse).stored_by == backend

    def with_history(self, request: Request) -> Request:
        """Return the request with the items of the responses before it, unchanged if one of them is not known."""
        previous = request.extra.get("previous_response_id")
        if previous is None:
            return request
        turns: list[list[object]] = []
        seen = set()
        while previous is not None:
            known = self._memory.responses.get(self._owner, previous)
            if known is None or previous in seen:
                return request
            seen.add(previous)
            kept = msgspec.json.decode(known, type=_KeptResponse)
            turns.append([*_as_items(decoder(Any).decode(kept.input)), *kept.output])
            previous = kept.previous
        body = _decode_object(self.request.body)
        del body["previous_response_id"]
        history = [item for turn in reversed(turns) for item in turn]
        complete = decode_request({**body, "input": [*history, *_as_items(body.get("input"))]})
        return msgspec.structs.replace(request_from_body(complete, NAME), model=request.model)

    def without_id(self, items: list[Item]) -> list[Item]:
        """Return the items without the backend's id, so that the writer gives the reply one that can be kept.

        A backend's may be too short (Ollama's `chatcmpl-123`), or given out before: a cached reply repeats its id.
        """
        if not any(type(item) is Start for item in items):
            return items
        return [msgspec.structs.replace(item, id="") if isinstance(item, Start) else item for item in items]

    def watch(self, data: bytes) -> bytes:
        """Return the data, which are a document or complete events, after remembering what they complete."""
        if data.startswith(b"{"):
            self._remember(_decode_object(data))
        elif any(end in data for end in _ENDS):
            for record in SSEDecoder().feed(data):
                self._read_event(_decode_object(record))
        return data

    def _read_event(self, event: JSONObject) -> None:
        if event.get("type") == "response.output_item.done":
            item = event.get("item")
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                self._done[item["id"]] = item
        elif event.get("type") in ("response.completed", "response.incomplete"):
            response = event.get("response")
            if isinstance(response, dict):
                self._remember(response)

    def _remember(self, response: JSONObject) -> None:
        """Keep a complete response and its items. Some servers leave them out of the last event."""
        try:
            fields = msgspec.json.decode(self.request.body, type=_Fields)
        except UNDECODABLE:
            return
        if fields.store is False or response.get("status") not in ("completed", "incomplete"):
            return
        output = objects_in(response.get("output")) or list(self._done.values())
        for item in output:
            self._memory.items.add(self._owner, item.get("id"), msgspec.json.encode(item))
        previous = fields.previous_response_id
        kept = _KeptResponse(fields.input, output, previous if isinstance(previous, str) else None, self.stored_by)
        self._memory.responses.add(self._owner, response.get("id"), msgspec.json.encode(kept))


def _as_items(value: object) -> list[object]:
    """Return the items of an `input`, which may be text."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return value if isinstance(value, list) else []


def _decode_object(data: bytes) -> JSONObject:
    """Return a JSON object, {} for anything else."""
    try:
        decoded: JSONObject = decoder(JSONObject).decode(data)
    except UNDECODABLE:
        return {}
    return decoded
