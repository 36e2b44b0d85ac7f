"""Tool calls: arguments as text or as an object, calls of a reply that arrive in pieces, ids where an API has none."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from acytoo.dialects.json import UNDECODABLE, decoder, dumps, end_of_value, is_complete_json
from acytoo.dialects.server_side import new_id
from acytoo.errors import ProtocolError
from acytoo.types import ChatMessage, Finish, Item, JSONObject, ToolCall


def arguments_object(arguments: Any) -> JSONObject | None:
    """Return a call's arguments as an object, {} if there are none, None if they are not one JSON object.

    Arguments that were encoded twice are one too.
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if not arguments or not arguments.strip():
        return {}
    try:
        decoded: JSONObject = decoder(JSONObject).decode(arguments)
    except (*UNDECODABLE, UnicodeEncodeError):
        inner = _encoded_once(arguments)
        return None if inner is None else arguments_object(inner)
    return decoded


def _encoded_once(arguments: str) -> str | None:
    """Return the JSON text of an object that was encoded twice, None for any other text.

    Sources: vllm-project/vllm pull request 54964, livekit/agents pull request 5411.
    """
    if arguments.lstrip()[:1] != '"':
        return None
    try:
        inner: str = decoder(str).decode(arguments)
    except (*UNDECODABLE, UnicodeEncodeError):
        return None
    return inner if inner.lstrip()[:1] == "{" and arguments_object(inner) is not None else None


def _has_several_objects(arguments: str) -> bool:
    """Return whether a text is one JSON object after another: the arguments of calls that somebody has joined.

    Any other text that is not JSON is what the model has written.
    """
    text = arguments.lstrip()
    if text[:1] != "{":
        return False
    try:
        decoder(msgspec.Raw).decode(text)
        return False
    except (*UNDECODABLE, UnicodeEncodeError):
        pass
    end = end_of_value(text)
    return end > 0 and text[end:].lstrip()[:1] == "{"


def two_sets_of_arguments(name: str) -> ProtocolError:
    """Return the error for arguments of two calls that arrived as those of one: nobody knows which are meant."""
    return ProtocolError(f"the server sent two different sets of arguments for one call of {name!r}")


def parse_arguments(name: str, arguments: str, finish: Finish | None) -> JSONObject | None:
    """Return the arguments of a model's call as an object, None if the token limit cut them.

    Raises ProtocolError if they are not one JSON object for any other reason.
    """
    decoded = arguments_object(arguments)
    if decoded is None and (finish is None or finish.reason != "length"):
        raise ProtocolError(f"the model's arguments for {name!r} are not a JSON object")
    return decoded


ARGUMENT_FIELDS = ("arguments", "parameters", "input", "args")
"""What APIs and models call the arguments of a call. Some servers pass on the words of another."""


def arguments_in(*places: object) -> Any:
    """Return a call's arguments from the first of these that has any: text or JSON, None if none has the field."""
    values = [
        place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)
        for place in places
        for name in ARGUMENT_FIELDS
    ]
    given = [value for value in values if isinstance(value, str | dict | list)]
    return next((value for value in given if value), given[0] if given else None)


def arguments_text(arguments: Any) -> str:
    """Return a call's arguments as JSON text, whether they are text or an object. A lone surrogate becomes U+FFFD.

    Raises ProtocolError if they are nested too deeply.
    """
    if isinstance(arguments, str):
        return arguments
    try:
        return dumps(arguments or {}, surrogates="replace").decode()
    except RecursionError as error:
        raise ProtocolError("the arguments of a call are nested too deeply") from error


def result_content(content: Any) -> Any:
    """Return the content of a tool's result: text or parts unchanged, JSON text for any other value, "" for none.

    Tools return any value, and agents pass it on: NousResearch/hermes-agent pull request 81546, InsForge/InsForge#1787.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content):
        return content
    return dumps(content, surrogates="replace").decode()


def with_objects(calls: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return a turn's calls, each with arguments that are an object: text that is not one becomes its `INVALID_JSON`.

    A model has written it, or a limit has cut it, and an agent sends it back with the error that the tool has reported.
    Most APIs and servers refuse the conversation from then on: vllm-project/vllm#43995, MoonshotAI/kimi-cli pull
    request 2196, OpenHands/software-agent-sdk#2887. The name of the field is that of Pydantic AI.
    """
    if all(arguments_object(call["function"].get("arguments")) is not None for call in calls):
        return calls
    changed = []
    for call in calls:
        function = call["function"]
        if arguments_object(text := function.get("arguments")) is None:
            function = {**function, "arguments": dumps({"INVALID_JSON": text}, surrogates="replace").decode()}
        changed.append({**call, "function": function})
    return changed


def increment(before: str, complete: str) -> str:
    """Return what a text adds to the one before it. Raises ProtocolError if it does not begin with that."""
    if not complete.startswith(before):
        raise ProtocolError(
            "a piece of the reply does not begin with the text before it: the server sends increments; "
            "leave out cumulative_texts=True"
        )
    return complete[len(before) :]


def is_invented(call_id: object) -> bool:
    """Return whether an id is one that `ReceivedCalls` has given to a call without an id."""
    return isinstance(call_id, str) and _INVENTED.fullmatch(call_id) is not None


_INVENTED = re.compile("call_[0-9a-f]{24}")
"""What `new_id` returns. OpenAI's ids are as long, but have other letters too."""


def with_unique_ids(messages: Sequence[ChatMessage], encode: Callable[[str], str] = str) -> Sequence[ChatMessage]:
    """Return the messages with another id for each call whose id an earlier one has, for APIs that refuse those.

    Some models number the calls of each turn from 0 (Kimi K3: fw-ai/fireconnect#16). `encode` returns an id as the
    API has it. A result belongs to the last call with its id, or to the next one of several in one turn.
    """
    for message in messages:  # the generator of any() costs as much as the rest of a short request
        if "tool_calls" in message or "tool_call_id" in message:
            break
    else:
        return messages
    known: dict[str, int] = {}
    pending: dict[str, list[str]] = {}  # the new ids of the calls of the last turn
    changed = [*messages]
    last_role = ""
    for index, message in enumerate(messages):
        if message["role"] == "assistant" != last_role:
            pending = {}
        last_role = message["role"]
        if calls := message.get("tool_calls"):
            ids: list[str] = []
            for call in calls:
                call_id = call.get("id") or ""
                ids.append(_unused(encode(call_id), known) if call_id else "")
                pending.setdefault(call_id, []).append(ids[-1])
            renamed: Any = [{**call, "id": new} if new else call for call, new in zip(calls, ids, strict=True)]
            changed[index] = {**message, "tool_calls": renamed}
        elif call_id := message.get("tool_call_id") or "":
            ids = pending.get(call_id) or [encode(call_id)]
            changed[index] = {**message, "tool_call_id": ids.pop(0) if len(ids) > 1 else ids[0]}
    return changed


def _unused(call_id: str, known: dict[str, int]) -> str:
    """Return the id, or one that begins with it if it is known. `known` has the last number after each id."""
    unused = call_id
    while unused in known:
        known[call_id] += 1
        unused = f"{call_id}_{known[call_id]}"
    known[unused] = 1
    return unused


class CallIds:
    """Call ids of one conversation, for APIs that have none: the same ids each time the conversation is decoded.

    Some of the calls may have ids of their own (`own_ids`), and no new one is equal to any of those.
    """

    def __init__(self, own_ids: Iterable[object] = ()) -> None:
        self._known_ids = {own_id for own_id in own_ids if isinstance(own_id, str)}
        self._open = _OpenCalls()
        self._open_without_id = _OpenCalls()
        self._by_id: dict[str, list[int]] = {}
        self._count = 0

    def for_call(self, name: str, own_id: str | None = "") -> str:
        """Return the id of the next call: its own, else a new one."""
        while not own_id and f"call_{self._count}" in self._known_ids:
            self._count += 1
        number = self._count
        self._count += 1
        call_id: Any = own_id or f"call_{number}"
        self._open.add(number, name, call_id)
        if not own_id:
            self._open_without_id.add(number, name, call_id)
        if isinstance(call_id, str):  # the messages' own check refuses any other
            self._known_ids.add(call_id)
            self._by_id.setdefault(call_id, []).append(number)
        return call_id  # type: ignore[no-any-return]

    def for_result(self, name: Any = "", own_id: Any = "") -> str:
        """Return the id of a result's call: its own, else that of the oldest open call, preferring this name.

        An id that no call has is that of one whose client has lost it: LiteLLM sends a reply's ids to Ollama with the
        results only.
        """
        if own_id and (not isinstance(own_id, str) or own_id in self._known_ids or not self._open_without_id):
            for number in self._by_id.pop(own_id, ()) if isinstance(own_id, str) else ():
                self._open.discard(number)
                self._open_without_id.discard(number)
            return own_id  # type: ignore[no-any-return]
        if not self._open:
            self.for_call(name or "")
        number, call_id = (self._open_without_id if own_id else self._open).oldest(name)
        self._open.discard(number)
        self._open_without_id.discard(number)
        return call_id


class _OpenCalls:
    """Calls without a result so far: their numbers, names and ids."""

    def __init__(self) -> None:
        # Not a dict, in which finding the first of the rest takes as long as all that were removed before it.
        self._ids: OrderedDict[int, str] = OrderedDict()
        self._by_name: dict[str | None, deque[int]] = {}

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._ids)

    def add(self, number: int, name: str, call_id: str) -> None:
        """Add a call."""
        self._ids[number] = call_id
        self._by_name.setdefault(name, deque()).append(number)

    def discard(self, number: int) -> None:
        """Remove a call if it is among them."""
        self._ids.pop(number, None)

    def oldest(self, name: Any) -> tuple[int, str]:
        """Return the number and the id of the oldest call of this name, else of the oldest."""
        named = self._by_name.get(name, deque()) if isinstance(name, str) else deque()
        while named and named[0] not in self._ids:
            named.popleft()
        number = named[0] if named else next(iter(self._ids))
        return number, self._ids[number]


class ArgumentPieces(list[str]):
    """The pieces of a call's arguments so far, which know whether they are a complete JSON object.

    Only the pieces that are new since the last question are looked at, and the object is parsed once, where its last
    bracket closes, or the quote around it. So a question for each piece costs no more than the pieces.
    """

    __slots__ = ("_depth", "_in_string", "_is_closed", "_is_escaped", "_object", "_seen")

    def __init__(self, pieces: Iterable[str] = ()) -> None:
        super().__init__(pieces)
        self._seen = self._depth = 0
        self._in_string = self._is_escaped = self._is_closed = False
        self._object: JSONObject | None = None

    @property
    def text(self) -> str:
        """Return the arguments so far."""
        return "".join(self)

    @property
    def object(self) -> JSONObject | None:
        """Return the arguments if they are a complete object, else None."""
        while self._seen < len(self):
            self._seen += 1
            self._look_at(self[self._seen - 1])
        return self._object

    @property
    def is_complete(self) -> bool:
        """Whether the arguments so far are a complete object."""
        return bool(self) and self[-1].rstrip().endswith("}") and self.object is not None

    @property
    def is_open(self) -> bool:
        """Whether they begin an object, and its last bracket is missing."""
        is_cut = self.object is None and not self._is_closed and (self._depth > 0 or self._in_string)
        return is_cut and self.text.lstrip()[:1] == "{"

    def _look_at(self, piece: str) -> None:
        rest = piece
        if not self._is_closed:
            end = self._find_end(piece)
            if end < 0:
                return
            self._is_closed = True
            rest = piece[end:]
            self._object = arguments_object("".join(self[: self._seen - 1]) + piece[:end])
        if rest.strip():
            self._object = None

    def _find_end(self, piece: str) -> int:
        """Return the place after the last bracket or quote, -1 if it is not in this piece."""
        start, self._is_escaped = int(self._is_escaped and bool(piece)), self._is_escaped and not piece
        for match in _STRUCTURE.finditer(piece, start):
            token = match[0]
            if token[0] == "\\":
                self._is_escaped = token == "\\"
            elif token == '"':
                self._in_string = not self._in_string
                if not (self._in_string or self._depth):  # an object that was encoded twice
                    return match.end()
            elif not self._in_string:
                self._depth += 1 if token in "{[" else -1
                if self._depth <= 0:
                    return match.end()
        return -1


_STRUCTURE = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


class ReceivedCall:
    """One call of a reply that is being read."""

    __slots__ = ("attached", "fragments", "id", "is_begun", "is_empty", "is_quoted", "name", "number", "received_id",
                 "signature", "source")  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.id = ""
        self.received_id = ""
        self.name = ""
        self.signature = self.source = ""
        self.attached: list[Item] = []
        """Items about the call that follow its first piece."""
        self.fragments = ArgumentPieces()
        """The arguments so far, without those that mean that there are none (yet)."""
        self.is_begun = False
        """Whether the first piece, which has the id and the name, was emitted."""
        self.is_empty = False
        """Whether the call came with empty arguments, which are not emitted yet because others may follow."""
        self.is_quoted = False
        """Whether the arguments are a JSON text that is not emitted yet, because it may have an object in it."""

    @property
    def arguments(self) -> str:
        """Return the arguments so far."""
        return self.fragments.text

    @property
    def is_complete(self) -> bool:
        """Whether the arguments so far are a complete JSON object, or the text of one."""
        return self.fragments.is_complete or (self.is_quoted and self.fragments.object is not None)

    @property
    def is_partial(self) -> bool:
        """Whether there are arguments so far that are not complete."""
        return bool(self.fragments) and not self.is_complete


class ReceivedCalls:
    """The tool calls of a reply that is being read.

    The problem: servers send the id or the name of a call late or twice, one id for two calls, `{}` before the
    arguments, and no arguments at all. The strategy: what leaves here are calls that can be made. The first piece of
    each has its name and an id that no other call has, and the arguments are never empty. A call is held back until
    its id and name are known, and while its arguments are `{}` or may have been encoded twice; `close` emits whatever
    is still missing.
    Sources: unslothai/unsloth issue 10275 (`{}` before fragments), vllm-project/vllm issue 19419 (no arguments).
    """

    def __init__(self, is_cumulative: bool = False, names_in_pieces: bool = False) -> None:
        """`is_cumulative`: whether each piece of a call has all its arguments so far.

        `names_in_pieces`: whether a name may arrive in pieces, so that a call is held back until its arguments begin.
        """
        self._is_cumulative = is_cumulative
        self._names_in_pieces = names_in_pieces
        self._calls: list[ReceivedCall] = []
        self._unfinished: list[ReceivedCall] = []  # those that `close` has not emitted completely
        self._by_id: dict[str, ReceivedCall] = {}
        self._next_repeated: ReceivedCall | None = None  # after a complete call that was repeated
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        """Whether the reply has a call."""
        return any(call.is_begun for call in self._calls)

    @property
    def is_cut(self) -> bool:
        """Whether a call's arguments so far are not complete, so that its end is missing. `{}` that is held back is."""
        return any(
            not (call.is_empty or is_complete_json(call.arguments.encode("utf-8", "replace"))) for call in self._calls
        )

    @property
    def open_name(self) -> str:
        """Return the name of a call whose arguments have no end, "" if all have one."""
        return next((call.name for call in self._calls if call.fragments.is_open), "")

    @property
    def last(self) -> ReceivedCall | None:
        """Return the call that was opened last."""
        return self._calls[-1] if self._calls else None

    def by_id(self, call_id: str) -> ReceivedCall | None:
        """Return the last call that the server gave this id."""
        return self._by_id.get(call_id)

    def at(self, number: int) -> ReceivedCall | None:
        """Return the call at this place in the order of appearance."""
        return self._calls[number] if number < len(self._calls) else None

    def open(self) -> ReceivedCall:
        """Return a new call."""
        call = ReceivedCall(len(self._calls))
        self._calls.append(call)
        self._unfinished.append(call)
        return call

    def add(
        self,
        call: ReceivedCall,
        call_id: str = "",
        name: str = "",
        arguments: object = None,
        signature: tuple[str, str] | None = None,
    ) -> list[Item]:
        """Return the items for another piece of a call. Text arguments are a fragment, all others are complete.

        Raises ProtocolError if other arguments follow complete ones.
        """
        if call_id and not call.is_begun and not call.received_id:
            self._identify(call, call_id)
        if name and name != call.name:
            call.name = self._joined_name(call, name)
        signed = signature or ("", "")
        if signature:
            call.signature, call.source = signature
        fragment = self._new_fragment(call, "" if arguments is None else arguments_text(arguments))
        if fragment:
            call.is_quoted = call.is_quoted or (not call.fragments and fragment.lstrip()[:1] == '"')
            call.fragments.append(fragment)
        if call.is_begun and call.is_quoted:
            fragment = ""
        if call.is_begun:
            items: list[Item] = [ToolCall(call.number, "", "", fragment, *signed)] if fragment or signature else []
            return items + self._attached(call)
        call.is_empty = not call.fragments and arguments not in (None, "")
        is_held = call.is_empty or call.is_quoted or (self._names_in_pieces and not call.fragments)
        return self._begin(call) if call.id and call.name and not is_held else []

    def add_complete(
        self, call_id: str, name: str, arguments: object, signature: tuple[str, str] | None = None
    ) -> list[Item]:
        """Return the items for a complete call: none if it is repeated, unless its signature is new.

        Without ids, a call is repeated only if it is signed now and was not before, and so are those that follow it in
        the same order. Source: NousResearch/hermes-agent pull request 102809.
        """
        text = arguments_text(arguments) if arguments is not None else ""

        def is_same(known: ReceivedCall | None) -> bool:
            return known is not None and known.name == name and (known.arguments or "{}") == (text or "{}")

        if call_id:
            known = self.by_id(call_id)
        elif signature:
            known = next(
                (one for one in self._calls if not one.received_id and not one.signature and is_same(one)), None
            )
        else:
            known = self._next_repeated
        if known is not None and is_same(known):
            self._next_repeated = None if call_id else self.at(known.number + 1)
            return self.add(known, signature=signature) if signature and not known.signature else []
        self._next_repeated = None
        call = self.open()
        self.add(call, "", name, arguments, signature)
        if call_id:
            self._identify(call, call_id)
        return self.end(call)

    def end(self, call: ReceivedCall) -> list[Item]:
        """Return whatever of a call has not been emitted: its first piece, or `{}` if it has no arguments.

        Raises ProtocolError if it has arguments and no name, or those of several calls. A call with neither is dropped.
        """
        if call.fragments and _has_several_objects(call.arguments):
            raise two_sets_of_arguments(call.name)
        quoted = call.arguments if call.is_quoted else ""
        if quoted:
            call.is_quoted = False
            call.fragments = ArgumentPieces([_encoded_once(quoted) or quoted])
        if call.is_begun:
            if call.fragments:
                return [ToolCall(call.number, arguments=call.arguments)] if quoted else []
            call.fragments.append("{}")
            return [ToolCall(call.number, arguments="{}")]
        if not call.name:
            if call.fragments:
                raise ProtocolError("the server sent a tool call without a name")
            call.is_empty = True  # it is not cut
            return []
        call.id = call.id or self._unique("")
        if not call.fragments:
            call.fragments.append("{}")
        return self._begin(call)

    def drop(self, call: ReceivedCall) -> None:
        """Forget a call of which nothing was emitted: it is another one under other identifiers."""
        call.is_empty = True  # it is not cut
        self._unfinished.remove(call)

    def begin(self, call: ReceivedCall) -> list[Item]:
        """Return the first piece of a call that was held back before its arguments, if it has an id and a name."""
        is_held = call.id and call.name and not (call.is_begun or call.fragments or call.is_empty)
        return self._begin(call) if is_held else []

    def begin_last(self) -> list[Item]:
        """Return the first piece of the last call if it has an id and a name: it comes before that of the next call."""
        call = self.last
        if call is None or not (call.id and call.name) or call.is_begun:
            return []
        if call.is_quoted:
            return self.end(call) if call.is_complete else []
        return self._begin(call)

    def close(self) -> list[Item]:
        """Return whatever has not been emitted, at the end of the reply. Raises as `end`."""
        items = [item for call in self._unfinished for item in self.end(call)]
        self._unfinished = [call for call in self._unfinished if not call.is_begun]
        return items

    def _joined_name(self, call: ReceivedCall, piece: str) -> str:
        """Return a call's name with another piece, which may begin with all of it so far."""
        if call.name and (call.is_begun or not self._names_in_pieces):
            return call.name
        return piece if piece.startswith(call.name) else call.name + piece

    def _identify(self, call: ReceivedCall, call_id: str) -> None:
        call.received_id, call.id = call_id, self._unique(call_id)
        self._by_id[call_id] = call

    def _begin(self, call: ReceivedCall) -> list[Item]:
        call.is_begun = True
        first = ToolCall(call.number, call.id, call.name, call.arguments, call.signature, call.source)
        return [first, *self._attached(call)]

    def _attached(self, call: ReceivedCall) -> list[Item]:
        attached, call.attached = call.attached, []
        return attached

    def _new_fragment(self, call: ReceivedCall, text: str) -> str:
        """Return what a piece adds to the arguments: "" for no arguments, and for a repetition of all of them."""
        if not call.fragments:
            return "" if not text or text.strip() in (("null",) if call.is_begun else ("null", "{}")) else text
        if self._is_cumulative and text:
            return increment(call.arguments, text)
        if text.lstrip()[:1] == "{" and call.is_complete:
            if arguments_object(text) not in ({}, call.fragments.object):
                raise two_sets_of_arguments(call.name)
            return ""
        return text

    def _unique(self, call_id: str) -> str:
        """Return the id, or a new one if it is empty or another call of the reply has it."""
        if not call_id or call_id in self._ids:
            call_id = new_id("call_")
        self._ids.add(call_id)
        return call_id
