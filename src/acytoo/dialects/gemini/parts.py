"""The parts of a model's turn: text, thoughts, calls and their signatures.

This file is apart because three others share it: a reply's parts (reader.py, writer.py) have the same shape as those of
the model's turns in a request (request.py).

Field names are in `camelCase`, but the JSON mapping of protocol buffers also allows `snake_case`. A reply in snake case
is rare, and looking for its names in every record would cost time. So the structs have some of these names as fields
that must be null (`snake_case`): the typed decoder refuses a record with one, and the lenient one knows both names.

Source: Google's Gemini API reference (`Content`, `Part`, `FinishReason`) and "Thought signatures".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from acytoo.dialects.fields import objects_in
from acytoo.dialects.gemini.partial import PartialCall
from acytoo.dialects.json import dumps
from acytoo.dialects.lenient import NEEDED
from acytoo.dialects.tool_calls import arguments_in
from acytoo.types import Item, JSONObject, OpaquePart, Reasoning, ReasoningBlock, ToolCallDict, TurnPart

SOURCE = "gemini"
"""The `source` of what only this API knows of a turn."""

READ_FIELDS = frozenset(
    {"text", "thought", "thoughtSignature", "functionCall", "partMetadata", "mediaResolution", "videoMetadata"}
)
"""Fields of a model's part that other APIs can express or do without. A part with another is an `OpaquePart`."""


SOURCE_FIELDS = frozenset({"groundingMetadata", "citationMetadata", "urlContextMetadata"})
"""Fields of a candidate with what its content is based on. They are one `OpaquePart`, and no part of a turn."""


def camel_case(name: str) -> str:
    """Return a field's name in camel case, whichever case it is in."""
    if name.startswith("_"):  # `_responseJsonSchema`
        return name
    first, *rest = name.split("_")
    return first + "".join([word[:1].upper() + word[1:] for word in rest])


def camel_case_fields(fields: JSONObject) -> JSONObject:
    """Return an object with its own field names in camel case. The objects inside it are left alone."""
    return {camel_case(name): value for name, value in fields.items()}


def snake_case(name: str) -> Any:
    """Return a struct's field for this name, which has to be null or absent. The lenient decoder reads its value.

    A record in snake case must have one of these fields, but need not have more: every field makes decoding slower.
    """
    return msgspec.field(default=None, name=name)


class FunctionCall(msgspec.Struct, rename="camel", gc=False):
    """A call. Not every model gives it an id."""

    id: str | None = None
    name: Annotated[str | None, NEEDED] = None
    args: Any = None  # an object, but some servers send JSON text
    arguments: Any = None  # these three: see `arguments_in`
    parameters: Any = None
    input: Any = None
    partial_args: Any = None  # a list of objects
    will_continue: bool | None = None


class Part(msgspec.Struct, rename="camel", gc=False):
    """The fields of a part that become items. Code execution and inline images have no item."""

    text: Annotated[str | None, NEEDED] = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: Annotated[FunctionCall | None, NEEDED] = None
    snake_thought_signature: None = snake_case("thought_signature")
    snake_function_call: None = snake_case("function_call")


DecodeCall: TypeAlias = Callable[[str, str, object, tuple[str, str] | None], list[Item]]
"""Returns the items of a call, given its id ("" if it came with none), its name, its arguments, and its signature."""


class TurnReader:
    """A reader of the parts of one turn.

    Consecutive thoughts are one reasoning block, and a signature ends a block. The signature of the answer's text
    becomes a block of its own, without text. An `OpaquePart` keeps a text before the signed text apart from it, and
    marks a signature that arrived with an empty text: the API wants both back as they were.
    """

    def __init__(self, decode_call: DecodeCall) -> None:
        self._decode_call = decode_call
        self._block = 0
        self._block_is_open = False
        self._text_is_open = False
        self._partial: PartialCall | None = None

    def read(self, part: Part, items: list[Item]) -> None:
        """Append the part's items."""
        signature = part.thought_signature or ""
        if part.function_call is not None and (part.text or part.thought):  # a part has one of them, but for proxies
            self.read(Part(part.text, part.thought), items)
        elif part.thought:
            self._text_is_open = False
            if part.text or signature:
                self._block_is_open = True
                items.append(Reasoning(part.text or "", self._block, signature, source=SOURCE))
            if signature:
                self._close_block()
            return
        self._close_block()
        if part.function_call is not None:
            self._text_is_open = False
            call = part.function_call
            if call.will_continue or call.partial_args or self._partial is not None:
                self._read_piece(call, signature, items)
            else:
                signed = (signature, SOURCE) if signature else None
                items += self._decode_call(call.id or "", call.name or "", call.args or arguments_in(call), signed)
            return
        if signature and part.text and self._text_is_open:
            items.append(OpaquePart(SOURCE, part="text"))
        if part.text:
            self._text_is_open = True
            items.append(part.text)
        if signature:
            self._text_is_open = False
            items.append(Reasoning("", self._block, signature, source=SOURCE))
            if not part.text:
                items.append(OpaquePart(SOURCE, part="reasoning", index=self._block))
            self._block += 1

    def read_opaque(self, part: JSONObject, items: list[Item]) -> None:
        """Append a part that no other API has (code, an image)."""
        self._close_block()
        self._text_is_open = False
        items.append(OpaquePart(SOURCE, part))

    def close(self, items: list[Item], is_cut: bool = False) -> None:
        """Append the call whose last piece is missing, with incomplete arguments if the token limit cut them.

        Raises ProtocolError if a piece of its arguments cannot be placed.
        """
        call, self._partial = self._partial, None
        if call is not None:
            arguments: object = call.arguments()
            if is_cut:
                arguments = dumps(arguments, surrogates="replace").decode().removesuffix("}")
            signed = (call.signature, SOURCE) if call.signature else None
            items += self._decode_call(call.id, call.name, arguments, signed)

    @property
    def partial_call(self) -> str:
        """Return the name of the call whose last piece is missing, "" if there is none."""
        return self._partial.name if self._partial is not None else ""

    def _read_piece(self, call: FunctionCall, signature: str, items: list[Item]) -> None:
        """Read a piece of a call, or the complete call after one that has no last piece."""
        if call.name:
            self.close(items)
        if self._partial is None:
            if not call.will_continue and not call.partial_args:
                signed = (signature, SOURCE) if signature else None
                items += self._decode_call(call.id or "", call.name or "", call.args or arguments_in(call), signed)
                return
            self._partial = PartialCall(call.id or "", call.name or "")
        self._partial.signature = self._partial.signature or signature
        self._partial.pieces += map(camel_case_fields, objects_in(call.partial_args))
        if not call.will_continue:
            self.close(items)

    def _close_block(self) -> None:
        if self._block_is_open:
            self._block_is_open = False
            self._block += 1


def encode_text(text: str, signature: str = "", *, thought: bool = False) -> JSONObject:
    """Return a text part, with its signature if it has one."""
    part: JSONObject = {"text": text}
    if thought:
        part["thought"] = True
    if signature:
        part["thoughtSignature"] = signature
    return part


def encode_call(call: ToolCallDict, arguments: JSONObject, signature: str = "") -> JSONObject:
    """Return the part of a tool call with these arguments."""
    fields: JSONObject = {"name": call["function"]["name"], "args": arguments}
    if call.get("id"):
        fields["id"] = call["id"]
    return {"functionCall": fields, "thoughtSignature": signature} if signature else {"functionCall": fields}


def encode_turn(
    turn: Sequence[TurnPart],
    blocks: Sequence[ReasoningBlock],
    encode_call_number: Callable[[int], JSONObject | None],
) -> list[JSONObject]:
    """Return the parts of a turn in their order. A "content" part has its text here too.

    A block without text holds the signature of the text before it, or after it in a message without `turn_parts`.
    """
    parts: list[JSONObject] = []
    unsigned: JSONObject | None = None  # the text part that a signature after it belongs to
    for turn_part in _signature_after_content(turn, blocks):
        kind, index = turn_part["type"], turn_part.get("index", 0)
        part: JSONObject | None = None
        if kind == "reasoning":
            signature, thought = signature_of_block(blocks[index]), blocks[index].get("text")
            if signature and not thought and unsigned is not None and "source" not in turn_part:
                unsigned["thoughtSignature"] = signature
            elif thought or signature:
                part = encode_text(thought or "", signature, thought=bool(thought))
            unsigned = None
        elif kind == "tool_call":
            part = encode_call_number(index)
            unsigned = None
        elif kind in ("text", "content"):
            own = turn_part.get("text", "")
            part = encode_text(own) if own else None
            unsigned = part if "source" not in turn_part else None
        elif turn_part.get("source") == SOURCE:
            fields = turn_part.get("fields", {})
            if fields and fields.keys() <= SOURCE_FIELDS:
                continue
            part = {**fields}
            unsigned = None
        if part is not None:
            parts.append(part)
    return parts


def _signature_after_content(turn: Sequence[TurnPart], blocks: Sequence[ReasoningBlock]) -> Sequence[TurnPart]:
    """Return the parts with the last block that has only a signature after a "content" part."""
    content = next((i for i, part in enumerate(turn) if part["type"] == "content"), None)
    if content is None:
        return turn
    for i in range(content - 1, -1, -1):
        block = blocks[turn[i].get("index", 0)]
        if signature_of_block(block) and not block.get("text"):
            return [*turn[:i], *turn[i + 1 : content + 1], turn[i], *turn[content + 1 :]]
    return turn


def signature_of_block(block: ReasoningBlock) -> str:
    """Return the signature of a reasoning block, "" if it has none or another API made it."""
    return block.get("signature") or "" if block.get("source") == SOURCE else ""


FILTERED = (
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR", "ESCALATION"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "JAILBREAK"),
)
"""Finish and block reasons that mean that content was filtered."""

OTHER = (
    *("OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "NO_IMAGE"),
    *("IMAGE_OTHER", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "CONTINUATION", "PUP_LIMITED_DISABLED"),
)
"""Finish reasons that the shared shape has no equivalent for."""

FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(FILTERED, "content_filter")}
"""Finish reasons, and the shared shape's. Those in `OTHER` keep their name.

In the other direction, the first name that maps to a shared reason is its default.
"""
