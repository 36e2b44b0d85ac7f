"""Types that every part shares: messages, requests, events and replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from sys import getsizeof
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, Required, TypeAlias, TypedDict, TypeVar

import msgspec

from acytoo.errors import ReplyTooLargeError

Message: TypeAlias = Mapping[str, Any]
"""One chat message in OpenAI's shape: `role`, `content`, and the fields of the role. See `ChatMessage`."""

Messages: TypeAlias = Sequence[Message]

AsyncResult: TypeAlias = AsyncGenerator[str, None]
"""Non-empty texts that concatenate to the complete reply."""


JSONObject: TypeAlias = dict[str, Any]
"""A decoded JSON object. Its fields are an API's own and are checked where they are read."""


class FunctionCall(TypedDict):
    """The function of a tool call; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCallDict(TypedDict):
    """A tool call of an assistant message, in OpenAI's chat shape."""

    id: str
    type: NotRequired[str]
    function: FunctionCall
    extra_content: NotRequired[JSONObject]


class ReasoningBlock(TypedDict, total=False):
    """A reasoning block of an assistant message; `signature`, `data` and `id` are for the service `source` only."""

    text: str
    signature: str
    data: str
    id: str
    source: str


class TurnPart(TypedDict, total=False):
    """One part of an assistant's turn, where the order or what an API has of its own would be lost otherwise.

    `type` is "text" with its `text`, "reasoning" with its `index` in the message's `reasoning`, "tool_call" with its
    `index` in `tool_calls`, "content" with its `index` in a `content` that is a list, or "opaque". `fields` are what
    only the service named `source` knows of the part, all of it if the part is opaque.
    """

    type: Required[str]
    text: str
    index: int
    source: str
    fields: JSONObject


class ContentPart(TypedDict, total=False):
    """One part of a message's content, in OpenAI's chat shape; each type has the field named after it."""

    type: Required[str]
    text: str
    refusal: str
    image_url: JSONObject
    input_audio: JSONObject
    file: JSONObject


class ChatMessage(TypedDict, total=False):
    """One message in the shared shape: OpenAI's chat shape with `reasoning`, `turn_parts` and `is_error`.

    `turn_parts` has the parts of an assistant's turn in their order. A message needs it only if the other fields do not
    express the turn completely; if it no longer fits them, because the message was edited, it is ignored.
    """

    role: Required[str]
    content: str | list[ContentPart] | None
    name: str
    tool_calls: list[ToolCallDict]
    tool_call_id: str
    reasoning: list[ReasoningBlock]
    turn_parts: list[TurnPart]
    refusal: str | None
    is_error: bool
    """Whether a tool's result reports a failure."""
    audio: JSONObject
    annotations: list[JSONObject]


class FunctionDefinition(TypedDict, total=False):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: Required[str]
    description: str | None
    parameters: JSONObject | None
    strict: bool | None


class ToolDefinition(TypedDict, total=False):
    """A tool; one that is not a function is an API's own."""

    type: Required[str]
    function: FunctionDefinition


if TYPE_CHECKING:
    ChatMessages: TypeAlias = list[ChatMessage]
    Tools: TypeAlias = list[ToolDefinition]
else:  # msgspec would drop the fields that a TypedDict does not name; they belong to the APIs and are kept
    ChatMessages = Tools = list[JSONObject]


T_co = TypeVar("T_co", covariant=True)


class Closable(Protocol[T_co]):
    """An async iterator that can be closed before its end, as an async generator can."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """Return the iterator itself."""

    def __anext__(self) -> Awaitable[T_co]:
        """Return the next value, or raise StopAsyncIteration."""

    def aclose(self) -> Awaitable[None]:
        """End the iteration and release its resources."""


class Event(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """A part of a reply other than its text. It encodes to JSON with a `type`."""


class Start(Event, frozen=True, tag="start"):
    """The reply's identity as the server sent it; `created` is in seconds since 1970."""

    id: str = ""
    model: str = ""
    created: int = 0


class Reasoning(Event, frozen=True, tag="reasoning"):
    """A piece of reasoning block number `index`: text, or the opaque fields that sending it back needs.

    `signature`, `data` and `id` have a meaning only for the service named `source`: an API and a host, like
    `anthropic/api.anthropic.com`, or the API alone if the host is not known.
    """

    text: str = ""
    index: int = 0
    signature: str = ""
    data: str = ""
    id: str = ""
    source: str = ""


class ToolCall(Event, frozen=True, tag="tool_call"):
    """A piece of tool call number `index`; `arguments` is a fragment of JSON text.

    The first piece of a call carries `id` and `name`; the fragments of one call concatenate.
    `signature` is opaque and has a meaning only for the dialect named `source`.
    """

    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""
    source: str = ""


class OpaquePart(Event, frozen=True, tag="opaque_part"):
    """What only the service named `source` knows of a part of the reply; it goes back there with the turn.

    `part` is "text" for the text since the last part, which it ends, "reasoning" or "tool_call" for the one of that
    `index`, or "" for a part that no other event expresses.
    """

    source: str = ""
    fields: JSONObject = {}
    part: str = ""
    index: int = 0


class Refusal(Event, frozen=True, tag="refusal"):
    """A piece of the model's explanation of why it refuses to answer."""

    text: str = ""


class Logprobs(Event, frozen=True, tag="logprobs"):
    """Log-probabilities of the preceding text, one entry per token, in OpenAI's chat shape."""

    tokens: list[JSONObject] = []


class Usage(Event, frozen=True, tag="usage"):
    """Token counts of the request and its reply. A later event replaces an earlier one.

    `input_tokens` includes cached and cache-written tokens, `output_tokens` includes reasoning. `cache_write_1h_tokens`
    are those of the cache-written tokens that are kept for an hour, which some services charge more for. `other_counts`
    has what services charge otherwise for, if they report it: parts of these numbers such as `input_audio_tokens` and
    `output_image_tokens`, and `web_searches`. Its names are those of genai-prices.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    other_counts: dict[str, int] = {}


class Finish(Event, frozen=True, tag="finish"):
    """The reason why the reply ended: `stop`, `length`, `tool_calls`, `content_filter`, or the server's own value.

    `stop_sequence` is the sequence that matched, if the API reports it. `raw` is the server's value if it differs.
    """

    reason: str = "stop"
    stop_sequence: str = ""
    raw: str = ""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request that a route sent.

    `outcome` is "answered", "cancelled" or the class of the error, `seconds` the time until the first content or the
    error, which `error` describes.
    """

    target: str
    outcome: str
    seconds: float
    error: str = ""


class Attempts(Event, frozen=True, tag="attempts"):
    """The attempts of a route before the first content, the one that answered last."""

    attempts: list[Attempt] = []


Item: TypeAlias = str | Event
"""A text or an event: what `stream()` yields."""


class Request(msgspec.Struct, omit_defaults=True):
    """A chat request in the shared shape, which has OpenAI's chat names. Each dialect translates it.

    `None` means not set. `extra` holds body fields outside the shared shape. They are sent only to an endpoint of the
    dialect named `extra_for`; "" means any, for fields that the user passed as `extra_body`.
    """

    messages: ChatMessages
    model: str = ""
    stream: bool = True
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: Tools | None = None
    tool_choice: str | JSONObject | None = None
    parallel_tool_calls: bool | None = None
    response_format: JSONObject | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    extra: JSONObject = {}
    extra_for: str = ""


def has_content(items: list[Item]) -> bool:
    """Return whether there is text, reasoning, a tool call or a refusal among items."""
    # By class, because `isinstance` with a class of msgspec's takes 1,000 instructions. Only texts may be subclasses.
    return str in map(type, items) or any(type(item) in _CONTENT or isinstance(item, str) for item in items)


_CONTENT = frozenset({Reasoning, ToolCall, Refusal})


OPTIONS: frozenset[str] = frozenset(Request.__struct_fields__) - {
    "messages",
    "model",
    "stream",
    "extra",
    "extra_for",
}
"""Names of the request options of the shared shape. `Dialect.options` has those that an API can express."""


class Reply(msgspec.Struct, omit_defaults=True):
    """A complete reply.

    `tool_calls` are in OpenAI's chat shape, `reasoning` has blocks with `text` and the opaque fields of `Reasoning`.
    `turn_parts` is empty unless the other fields do not express the turn completely. `attempts` are those of a route.
    """

    text: str = ""
    tool_calls: list[ToolCallDict] = []
    reasoning: list[ReasoningBlock] = []
    refusal: str = ""
    logprobs: list[JSONObject] = []
    usage: Usage | None = None
    finish: Finish | None = None
    id: str = ""
    model: str = ""
    created: int = 0
    turn_parts: list[TurnPart] = []
    attempts: list[Attempt] = []

    @property
    def finish_reason(self) -> str | None:
        """Return the reason of `finish`, None if the API has none."""
        return self.finish.reason if self.finish else None

    @property
    def message(self) -> Any:  # a ChatMessage; a list of `{"role": "user", "content": "Hello"}` would not take one
        """Return the reply as an assistant message: append it to `messages` and send it to any API."""
        message: ChatMessage = {"role": "assistant", "content": self.text or None}
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        if self.reasoning:
            message["reasoning"] = self.reasoning
        if self.turn_parts:
            message["turn_parts"] = self.turn_parts
        if self.refusal:
            message["refusal"] = self.refusal
        if message["content"] is None and not self.tool_calls:
            message["content"] = ""
        return message

    def items(self) -> list[Item]:
        """Return the items that `collect` would make this reply of."""
        items: list[Item] = []
        if self.id or self.model or self.created:
            items.append(Start(self.id, self.model, self.created))
        has_text = False
        for part in self.turn_parts or plain_turn(self.text, len(self.reasoning), len(self.tool_calls)):
            kind, index = part["type"], part.get("index", 0)
            if kind == "reasoning":
                items.append(Reasoning(index=index, **self.reasoning[index]))
            elif kind == "tool_call":
                call = self.tool_calls[index]
                function, signed = call["function"], signature_of(call) or ("", "")
                items.append(ToolCall(index, call["id"], function["name"], function["arguments"], *signed))
            elif kind == "text" and part["text"]:
                items.append(part["text"])
                if not has_text:
                    items += self._beside_text()
                has_text = True
            if "source" in part:
                opaque = "" if kind == "opaque" else kind
                items.append(OpaquePart(part["source"], part.get("fields", {}), opaque, index))
        if not has_text:
            items += self._beside_text()
        if self.usage:
            items.append(self.usage)
        if self.finish:
            items.append(self.finish)
        return items

    def _beside_text(self) -> list[Item]:
        items: list[Item] = [Logprobs(self.logprobs)] if self.logprobs else []
        return [*items, Refusal(self.refusal)] if self.refusal else items


class ReplySize:
    """The memory that a reply takes while it is collected, against a limit in bytes."""

    __slots__ = ("_begun", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._begun: set[tuple[type, int]] = set()

    def add(self, items: Iterable[Item | bytes]) -> None:
        """Count items, or pieces of a document. Raises ReplyTooLargeError above the limit."""
        size = self._size
        for item in items:
            if type(item) is str:  # as nearly all items of a stream are
                size += getsizeof(item) + _OVERHEAD
                continue
            size += size_of(item)
            if type(item) is ToolCall or type(item) is Reasoning:
                key = (type(item), item.index)
                if key not in self._begun:
                    self._begun.add(key)
                    size += _BLOCK
        self._size = size
        if size > self._limit:
            raise ReplyTooLargeError(self._limit)


def size_of(item: Item | bytes) -> int:
    """Return about how many bytes an item takes in memory."""
    size = getsizeof(item) + _OVERHEAD
    if isinstance(item, (str, bytes)):
        return size
    values = filter(None, msgspec.structs.astuple(item))
    return size + sum(map(getsizeof if type(item) in _FLAT else _size_of_value, values))


def _size_of_value(value: object) -> int:
    """Return how many bytes a decoded JSON value takes, without recursion because it may be deep."""
    size, left = 0, [value]
    while left:
        value = left.pop()
        size += getsizeof(value)
        if isinstance(value, dict):
            left += value
            left += value.values()
        elif isinstance(value, list):
            left += value
    return size


_OVERHEAD = 16
"""Bytes that an item takes in lists of items, as they grow."""

_FLAT = frozenset({Start, Reasoning, ToolCall, Refusal, Usage, Finish})
"""Events of which no field has a list or an object."""

_BLOCK = 1200
"""Bytes that another call or block takes in a Reply, and while it is collected: five dicts and lists."""


def plain_turn(text: str, blocks: int, calls: int) -> list[TurnPart]:
    """Return the parts of a turn without `turn_parts`: its reasoning blocks, its text, its calls."""
    parts: list[TurnPart] = [{"type": "reasoning", "index": index} for index in range(blocks)]
    if text:
        parts.append({"type": "text", "text": text})
    return [*parts, *[TurnPart(type="tool_call", index=index) for index in range(calls)]]


def signature_of(call: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the (signature, source) of a tool call of the shared shape, or None if it has none.

    The shared shape keeps it in `extra_content.google.thought_signature`, as Google's OpenAI-compatible API does, so
    that a caller may send a reply's message to that API as it is. It is here and not in `dialects/gemini`, because
    `collect` and three dialects need it. Source: "Thought signatures" in Google's Gemini API documentation.
    """
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return (signature, "gemini") if signature and isinstance(signature, str) else None


def signature_content(signature: str) -> JSONObject:
    """Return the `extra_content` of a tool call in which `signature_of` finds the signature."""
    return {"google": {"thought_signature": signature}}


def collect(items: Iterable[Item]) -> Reply:
    """Collect the items of one reply. The pieces of one block or call concatenate."""
    segments: list[list[str]] = []
    segment: list[str] | None = None  # of the open text part
    turn: list[TurnPart] = []
    parts: dict[tuple[str, int], TurnPart] = {}  # by type and number
    refusals: list[str] = []
    blocks: dict[int, ReasoningBlock] = {}
    calls: dict[int, ToolCallDict] = {}
    fragments: dict[int, list[str]] = {}
    thoughts: dict[int, list[str]] = {}
    reply = Reply(logprobs=[])
    for item in items:  # `isinstance` takes five times as long for the classes of events
        if isinstance(item, str):
            if segment is None:
                segment = []
                segments.append(segment)
                turn.append({"type": "text"})
            segment.append(item)
        elif type(item) is Start:
            reply.id, reply.model, reply.created = item.id, item.model, item.created
        elif type(item) is Usage:
            reply.usage = item
        elif type(item) is Finish:
            reply.finish = item
        elif type(item) is Reasoning:
            block = blocks.get(item.index)
            if block is None:
                segment = None
                block = blocks[item.index] = {}
                thoughts[item.index] = []
                parts["reasoning", item.index] = TurnPart(type="reasoning", index=item.index)
                turn.append(parts["reasoning", item.index])
            thoughts[item.index].append(item.text)
            for field in ("signature", "data", "id", "source"):
                if value := getattr(item, field):
                    block[field] = value
        elif type(item) is ToolCall:
            call = calls.get(item.index)
            if call is None:
                segment = None
                call = calls[item.index] = {
                    "id": "",
                    "type": "function",
                    "function": {"name": "", "arguments": ""},
                }
                fragments[item.index] = []
                parts["tool_call", item.index] = TurnPart(type="tool_call", index=item.index)
                turn.append(parts["tool_call", item.index])
            call["id"] = item.id or call["id"]
            call["function"]["name"] = item.name or call["function"]["name"]
            fragments[item.index].append(item.arguments)
            if item.signature:
                call["extra_content"] = signature_content(item.signature)
        elif type(item) is OpaquePart:
            part = turn[-1] if item.part == "text" and segment is not None else parts.get((item.part, item.index))
            if part is None:
                part = {"type": item.part or "opaque"}
                turn.append(part)
                if item.part == "text":
                    segments.append([])
            part["source"], part["fields"] = item.source, item.fields
            if item.part in ("", "text"):
                segment = None
        elif type(item) is Refusal:
            refusals.append(item.text)
        elif type(item) is Logprobs:
            reply.logprobs.extend(item.tokens)
        elif type(item) is Attempts:
            reply.attempts = item.attempts
    texts = ["".join(segment) for segment in segments]
    reply.text = "".join(texts)
    reply.refusal = "".join(refusals)
    if not turn or turn == [{"type": "text"}]:  # as nearly all are
        return reply
    for index, block in blocks.items():
        text = "".join(thoughts[index])
        if text:
            block["text"] = text
    for index, call in calls.items():
        arguments = "".join(fragments[index])
        # A complete reply's call without arguments has an empty object; one that was cut may have had some.
        call["function"]["arguments"] = "{}" if reply.finish and not arguments.strip() else arguments
    reply.reasoning = [block for _, block in sorted(blocks.items())]
    reply.tool_calls = [call for _, call in sorted(calls.items())]
    if len(turn) > 1 or "source" in turn[0]:
        reply.turn_parts = _complete_parts(turn, texts, sorted(blocks), sorted(calls))
        if reply.turn_parts == plain_turn(reply.text, len(blocks), len(calls)):
            reply.turn_parts = []
    return reply


def _complete_parts(turn: list[TurnPart], texts: list[str], blocks: list[int], calls: list[int]) -> list[TurnPart]:
    """Return the parts of a turn with their texts, and with the places of blocks and calls instead of their numbers."""
    remaining = iter(texts)
    places = {
        "reasoning": {number: place for place, number in enumerate(blocks)},
        "tool_call": {number: place for place, number in enumerate(calls)},
    }
    for part in turn:
        if part["type"] == "text":
            part["text"] = next(remaining)
        elif part["type"] in places:
            part["index"] = places[part["type"]][part["index"]]
    return turn
