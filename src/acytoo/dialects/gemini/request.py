"""Gemini's chat requests: the shared shape to a `generateContent` body, and back.

A received body may spell its own field names in `camelCase` or `snake_case`: the JSON mapping of protocol buffers
allows both, and the official SDKs use both. Names inside a schema, a call's arguments or a tool's result are data.

Both directions are in one file, although it is a long one, because they share its tables.

Source: Google's Gemini API reference (`GenerateContentRequest`, `GenerationConfig`, `Tool`, `ToolConfig`), "Gemini
thinking", "Thought signatures", "OpenAI compatibility" (the thinking tokens of an effort), and the `google-genai`
package.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from acytoo.dialects.base import Unsupported
from acytoo.dialects.custom_tools import as_functions
from acytoo.dialects.extra_fields import flatten_fields, merge_extra
from acytoo.dialects.fields import integer, invalid, object_or_empty, objects_in, optional_object
from acytoo.dialects.gemini.parts import (
    READ_FIELDS,
    SOURCE,
    Part,
    TurnReader,
    camel_case_fields,
    encode_call,
    encode_turn,
)
from acytoo.dialects.tool_calls import CallIds, arguments_object, arguments_text, is_invented
from acytoo.errors import ProtocolError, UsageError
from acytoo.messages import content_of, content_parts, content_text, parse_data_url, turn_parts
from acytoo.secret import show
from acytoo.types import (
    ChatMessage,
    ContentPart,
    FunctionDefinition,
    Item,
    JSONObject,
    ReasoningBlock,
    Request,
    ToolCall,
    ToolDefinition,
    TurnPart,
    collect,
    signature_of,
)

_CONFIG = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
"""Fields of `generationConfig`, and the shared shape's options."""

MEDIA_FIELDS = ("mimeType", "videoMetadata", "mediaResolution")
"""Fields of a user's media that stay on the part: the type of a file by its URI, and how the model sees it."""

FIELD_NAMES = {option: f"generationConfig.{field}" for field, option in _CONFIG.items()}
"""What this API calls the fields of the shared shape that errors about a request name."""

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""Thinking tokens for each effort. Gemini 2.5 has budgets instead of levels."""

_LEVELS = frozenset({"minimal", "low", "medium", "high", "xhigh"})

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
"""Tool choices, and the modes of `functionCallingConfig`."""

_FOREIGN_SIGNATURE = "skip_thought_signature_validator"
"""The signature that Gemini 3 accepts on a call made by another model; without one it answers 400.

Source: the questions in "Thought signatures".
"""

_REQUIRES_SIGNATURES = re.compile(r"(models/)?gemini-[3-9]")
_USES_BUDGETS = re.compile(r"(models/)?gemini-2\.5")

_PARENTS = frozenset({"generationConfig", "toolConfig"})
"""The nested objects in which extra fields may be."""


# Encode: the shared shape to Gemini's body.


def encode_request(request: Request, extra: JSONObject, unsupported: Unsupported, *, call_ids: bool) -> JSONObject:
    """Return the body for a request. Calls `unsupported` for whatever the API cannot express.

    The API has one system instruction, so all system messages move there, wherever they are. `call_ids`: whether the
    server accepts ids of calls.
    """
    if request.tools:
        request = as_functions(request, unsupported)
    instruction, contents = _encode_messages(request, unsupported, call_ids)
    if not contents:
        raise UsageError("Gemini needs a message that is not a system message")
    body: JSONObject = {"contents": contents}
    if instruction:
        body["systemInstruction"] = {"parts": instruction}
    tools: list[JSONObject] = []
    if functions := _encode_tools(request, unsupported):
        tools.append({"functionDeclarations": functions})
    tools += [{name.removeprefix("tools."): value} for name, value in extra.items() if name.startswith("tools.")]
    if tools:
        body["tools"] = tools
    none_left = bool(request.tools) and not tools  # a choice of no tools is refused
    if (
        request.tool_choice is not None
        and not none_left
        and (calling := _encode_tool_choice(request.tool_choice, unsupported))
    ):
        body["toolConfig"] = {"functionCallingConfig": calling}
    if request.parallel_tool_calls is False:
        unsupported.preference("parallel_tool_calls=False")
    if config := _encode_config(request, unsupported):
        body["generationConfig"] = config
    # `alt` belongs to the URL, which shows whether to stream.
    merge_extra(body, {k: v for k, v in extra.items() if k != "alt" and not k.startswith("tools.")}, _PARENTS)
    return body


def _encode_messages(
    request: Request, unsupported: Unsupported, call_ids: bool
) -> tuple[list[JSONObject], list[JSONObject]]:
    """Return the (parts of the system instruction, contents).

    Consecutive messages of one role become one content: the API refuses a call in a model's second content, and wants
    the results of parallel calls together. Results are a content of their own.
    """
    instruction: list[JSONObject] = []
    contents: list[JSONObject] = []
    names: dict[str, str] = {}
    foreign_signature = _FOREIGN_SIGNATURE if _REQUIRES_SIGNATURES.match(request.model) else ""
    last_role = ""
    for index, message in enumerate(_in_order_of_calls(request.messages)):
        role = message["role"]
        if message.get("name") and role != "tool":
            unsupported.preference("the name of a message's author")
        if role in ("system", "developer"):
            instruction.append({"text": content_text(message.get("content"), unsupported)})
            continue
        if role == "tool":
            parts = [_encode_result(message, names, unsupported)]
        elif role == "assistant":
            parts = _encode_turn(message, names, f"messages[{index}]", foreign_signature, unsupported)
        else:
            content = content_parts(message.get("content"))
            parts = [encoded for part in content if (encoded := _encode_user_part(part, unsupported))]
            parts = parts or [{"text": ""}]
        if role in ("tool", "assistant"):
            _remove_ids(parts, only_invented=call_ids)
        if role == last_role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": "model" if role == "assistant" else "user", "parts": parts})
        last_role = role
    return instruction, contents


def _in_order_of_calls(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the messages with the results of a turn in the order of its calls, which matches those without ids."""
    ordered: list[ChatMessage] = []
    numbers: dict[str | None, int] = {}
    for role, run in itertools.groupby(messages, key=lambda message: message["role"]):
        neighbours = list(run)
        if role == "assistant":
            calls = [call for message in neighbours for call in message.get("tool_calls") or ()]
            numbers = {call.get("id"): number for number, call in enumerate(calls)}
        elif role == "tool":
            neighbours.sort(key=lambda message: numbers.get(message["tool_call_id"], len(numbers)))
        ordered += neighbours
    return ordered


def _remove_ids(parts: list[JSONObject], only_invented: bool) -> None:
    """Remove the ids of calls and of their results, or only those that the server did not send."""
    for part in parts:
        for field in ("functionCall", "functionResponse"):
            call = object_or_empty(part.get(field))
            if "id" in call and (not only_invented or is_invented(call["id"])):
                part[field] = {name: value for name, value in call.items() if name != "id"}


def _encode_turn(
    message: ChatMessage, names: dict[str, str], where: str, foreign_signature: str, unsupported: Unsupported
) -> list[JSONObject]:
    """Return the parts of a model's turn. Only Gemini's own reasoning can be sent back to it.

    `names` maps the ids of the calls so far to their functions' names.
    """
    calls = message.get("tool_calls") or ()

    def encode_call_number(number: int) -> JSONObject:
        call = calls[number]
        function = call["function"]
        arguments = arguments_object(function.get("arguments"))
        if arguments is None:
            raise UsageError(f"{where}.tool_calls[{number}] has arguments that are not a JSON object")
        names[call.get("id") or ""] = function["name"]
        signed = signature_of(call)
        # Of parallel calls, only the first is signed.
        return encode_call(call, arguments, signed[0] if signed else "" if number else foreign_signature)

    def with_text(part: TurnPart) -> TurnPart:
        if part["type"] != "content":
            return part
        if part.get("source") == SOURCE and part.get("fields"):
            return {**part, "type": "opaque"}
        text = content_text(content_of(part, message), unsupported)
        return {**part, "type": "text", "text": text} if "index" in part else {**part, "text": text or refusal}

    refusal = message.get("refusal") or ""
    own = [block if block.get("source") == SOURCE else ReasoningBlock() for block in message.get("reasoning") or ()]
    parts = encode_turn([with_text(part) for part in turn_parts(message)], own, encode_call_number)
    return parts or [{"text": ""}]


def _encode_result(message: ChatMessage, names: Mapping[str, str], unsupported: Unsupported) -> JSONObject:
    """Return the part of a tool's result. Media are beside its text, in `parts`."""
    call_id = message["tool_call_id"]
    name = names.get(call_id) or message.get("name")
    if not name:
        unsupported(f"the result of a call that is not in the messages ({call_id!r})")
    content = content_parts(message.get("content"))
    result: JSONObject = {"id": call_id, "name": name or call_id}
    field = "error" if message.get("is_error") else "output"
    result["response"] = {field: "".join([part["text"] for part in content if part["type"] == "text"])}
    media = [part for part in content if part["type"] != "text"]
    if parts := [encoded for part in media if (encoded := _encode_user_part(part, unsupported))]:
        result["parts"] = parts
    return {"functionResponse": result}


def _encode_user_part(part: Mapping[str, Any], unsupported: Unsupported) -> JSONObject | None:
    encoded = _encode_plain_part(part, unsupported)
    if encoded is not None and not part.keys().isdisjoint(MEDIA_FIELDS):
        if "mimeType" in part and "fileData" in encoded:
            encoded["fileData"] = {**encoded["fileData"], "mimeType": part["mimeType"]}
        encoded |= {field: part[field] for field in MEDIA_FIELDS if field != "mimeType" and field in part}
    return encoded


def _encode_plain_part(part: Mapping[str, Any], unsupported: Unsupported) -> JSONObject | None:
    kind = part["type"]
    value = part.get(kind)
    if kind == "text":
        return {"text": part["text"]}
    if kind == "image_url":
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(url, str) and url:
            return _encode_url(url)
    elif kind == "input_audio" and isinstance(value, dict) and isinstance(value.get("format"), str | None):
        return {"inlineData": {"mimeType": f"audio/{value.get('format') or 'wav'}", "data": value.get("data")}}
    elif kind == "file" and isinstance(value, dict):
        if isinstance(value.get("file_data"), str) and value["file_data"].startswith("data:"):
            return _encode_url(value["file_data"])
        if isinstance(value.get("file_url"), str):
            return _encode_url(value["file_url"])
        if isinstance(value.get("file_id"), str):
            return {"fileData": {"fileUri": value["file_id"]}}
    unsupported(f"{kind} content")
    return None


def _encode_url(url: str) -> JSONObject:
    """Return the part of a `data:` URL, or of a URL that Gemini fetches; the type is guessed by the extension."""
    if media := parse_data_url(url):
        return {"inlineData": {"mimeType": media[0], "data": media[1]}}
    media_type = _MEDIA_TYPES.get(url.partition("?")[0].rpartition(".")[2].lower())
    return {"fileData": {"mimeType": media_type, "fileUri": url} if media_type else {"fileUri": url}}


_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
    "pdf": "application/pdf",
}


def plain_parts(part: ContentPart) -> list[ContentPart] | None:
    """Return a file by its URL for a PDF that anyone can fetch. The API has one field for such URLs and its own ids."""
    file = part.get("file") if part["type"] == "file" else None
    url = file.get("file_id") if isinstance(file, dict) else None
    if not isinstance(url, str) or not url.startswith("https://"):
        return None
    return [{"type": "file", "file": {"file_url": url}}] if url.partition("?")[0].lower().endswith(".pdf") else None


def _encode_tools(request: Request, unsupported: Unsupported) -> list[JSONObject]:
    """Return the function declarations."""
    declarations = []
    for tool in request.tools or ():
        if tool.get("type", "function") != "function":
            unsupported(f"the tool type {tool['type']!r}")
            continue
        function = tool["function"]
        declaration: JSONObject = {field: function[field] for field in ("name", "description") if function.get(field)}
        if function.get("parameters"):
            declaration["parametersJsonSchema"] = function["parameters"]
        declarations.append(declaration)
    return declarations


def _encode_tool_choice(choice: str | JSONObject, unsupported: Unsupported) -> JSONObject | None:
    """Return `functionCallingConfig`: its mode, and the functions allowed."""
    if isinstance(choice, str):
        if choice in _MODES:
            return {"mode": _MODES[choice]}
    elif choice.get("type") == "function":
        return {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}
    elif choice.get("type") == "allowed_tools" and choice["allowed_tools"].get("mode") == "required":
        tools = choice["allowed_tools"]["tools"]
        if all(tool.get("type") == "function" for tool in tools):
            return {"mode": "ANY", "allowedFunctionNames": [tool["function"]["name"] for tool in tools]}
    unsupported(f"tool_choice={show(choice)}")
    return None


def _encode_config(request: Request, unsupported: Unsupported) -> JSONObject:
    """Return `generationConfig`."""
    config: JSONObject = {
        field: value for field, option in _CONFIG.items() if (value := getattr(request, option)) is not None
    }
    response_format = request.response_format or {}
    kind = response_format.get("type", "text")
    if kind in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
        if schema := (response_format.get("json_schema") or {}).get("schema"):
            config["responseJsonSchema"] = schema
    elif kind != "text":
        unsupported(f"response_format {kind!r}")
    effort = request.reasoning_effort
    if effort is not None and (thinking := _encode_effort(effort, request.model, unsupported)):
        config["thinkingConfig"] = thinking
    return config


def _encode_effort(effort: str, model: str, unsupported: Unsupported) -> JSONObject | None:
    """Return `thinkingConfig`, with "high" for an effort of other APIs above it that the model does not have."""
    if effort == "none":
        return {"thinkingBudget": 0}
    uses_budgets = _USES_BUDGETS.match(model)
    if effort not in (_BUDGETS if uses_budgets else _LEVELS):
        if effort not in ("xhigh", "max"):
            unsupported(f"reasoning_effort={effort!r}")
            return None
        unsupported.preference(f"reasoning_effort={effort!r}")
        effort = "high"
    size = {"thinkingBudget": _BUDGETS[effort]} if uses_budgets else {"thinkingLevel": effort.upper()}
    return {**size, "includeThoughts": True}


# Decode: Gemini's body to the shared shape.


def decode_request(body: JSONObject) -> JSONObject:
    """Return a received body with the shared shape's field names.

    Raises RequestError (400) if a field has the wrong shape.
    """
    shared = _camel_case_object(body, "the body")
    instruction, contents = shared.pop("systemInstruction", None), shared.pop("contents", None)
    tools, tool_config = shared.pop("tools", None), shared.pop("toolConfig", None)
    config = _camel_case_object(shared.pop("generationConfig", None), "generationConfig")
    shared["messages"] = _decode_messages(instruction, contents)
    _decode_config(config, shared)
    _decode_tools(tools, shared)
    if tool_config:
        _decode_tool_config(_camel_case_object(tool_config, "toolConfig"), shared)
    return shared


def _camel_case_object(value: object, where: str) -> JSONObject:
    """Return an optional object with its own field names in camel case. The objects inside it are left alone."""
    return camel_case_fields(optional_object(value, where))


def _optional_list(value: object, where: str) -> list[Any]:
    """Return an optional list. A single object stands for a list of it, as in the JSON of some clients."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise invalid(f"{where} must be a list")
    return value


def _decode_messages(instruction: object, contents: object) -> list[ChatMessage]:
    ids = CallIds(_own_call_ids(contents))
    messages: list[ChatMessage] = []
    if isinstance(instruction, str):
        messages.append({"role": "system", "content": instruction})
    elif instruction is not None:
        parts = _camel_case_object(instruction, "systemInstruction").get("parts")
        for part in _optional_list(parts, "systemInstruction.parts"):
            text = _camel_case_object(part, "a part of systemInstruction").get("text")
            messages.append({"role": "system", "content": text if isinstance(text, str) else ""})
    turn: list[JSONObject] = []  # the parts of the model's contents so far: clients record each chunk as one of its own
    turn_where = ""
    for index, value in enumerate(_optional_list(contents, "contents")):
        where = f"contents[{index}]"
        content = _camel_case_object(value, where)
        parts = [
            _camel_case_object(p, f"{where}.parts") for p in _optional_list(content.get("parts"), f"{where}.parts")
        ]
        if content.get("role") == "model":
            turn_where = turn_where or where
            turn += parts
            continue
        if turn_where:
            messages.append(_decode_turn(turn, ids, turn_where))
            turn, turn_where = [], ""
        messages += _decode_user_content(parts, ids, where)
    if turn_where:
        messages.append(_decode_turn(turn, ids, turn_where))
    if not messages:
        raise invalid("contents is missing")
    return messages


def _own_call_ids(contents: object) -> list[object]:
    """Return the ids that the clients gave to calls."""
    lists = [content.get("parts") for content in objects_in(_optional_list(contents, "contents"))]
    parts = [part for parts in lists for part in objects_in(_optional_list(parts, "parts"))]
    calls = [part.get("functionCall") or part.get("function_call") for part in parts]
    return [call.get("id") for call in calls if isinstance(call, dict)]


def _decode_turn(parts: list[JSONObject], ids: CallIds, where: str) -> ChatMessage:
    """Return a model's turn, read as a reply's parts are.

    A part that no other API has in a model's turn (an image, code) is kept under its field's name, by which the other
    APIs refuse it. `turn_parts` keep its place, and all of it for this API.
    """
    numbers = itertools.count()

    def decode_call(call_id: str, name: str, arguments: object, signature: tuple[str, str] | None) -> list[Item]:
        signed = signature or ("", "")
        return [ToolCall(next(numbers), ids.for_call(name, call_id), name, arguments_text(arguments), *signed)]

    turn = TurnReader(decode_call)
    items: list[Item] = []
    for part in parts:
        own: JSONObject = {}
        if _own_field(part):
            if part.get("text") is None and part.get("functionCall") is None:
                turn.read_opaque(part, items)
                continue
            own = {name: value for name, value in part.items() if name not in READ_FIELDS}
        if isinstance(part.get("functionCall"), dict):
            part = {**part, "functionCall": _camel_case_object(part["functionCall"], where)}
        if part.get("thoughtSignature") == _FOREIGN_SIGNATURE:  # a placeholder, which means nothing to other APIs
            part = {**part, "thoughtSignature": None}
        try:
            turn.read(msgspec.convert(part, Part), items)
        except msgspec.ValidationError as error:
            raise invalid(f"{where} has a part with a wrong type: {error}") from error
        except ProtocolError as error:
            raise invalid(f"{where}: {error}") from error
        if own:
            turn.read_opaque(own, items)
    try:
        turn.close(items)
    except ProtocolError as error:
        raise invalid(f"{where}: {error}") from error
    message: ChatMessage = collect(items).message
    if any(part["type"] == "opaque" for part in message.get("turn_parts", ())):
        _move_to_content(message)
    return message


def _own_field(part: JSONObject) -> str:
    """Return the name of a field that no other API has in a model's turn, "" if there is none."""
    return min((field for field, value in part.items() if value is not None and field not in READ_FIELDS), default="")


def _move_to_content(message: ChatMessage) -> None:
    """Make a list of the content, with the texts and the opaque parts of the turn."""
    content: list[Any] = []
    turn: list[TurnPart] = []
    for part in message["turn_parts"]:
        if part["type"] in ("text", "opaque"):
            own = part.get("fields", {})
            text = {"type": "text", "text": part.get("text", "")}
            content.append(text if part["type"] == "text" else {**own, "type": _own_field(own)})
            place = TurnPart(type="content", index=len(content) - 1)
            if "source" in part:
                place["source"], place["fields"] = part["source"], own
            part = place
        turn.append(part)
    message["content"], message["turn_parts"] = content, turn


def _decode_user_content(parts: list[JSONObject], ids: CallIds, where: str) -> list[ChatMessage]:
    """Return the messages of a user's content: one for each tool result, then one for the other parts."""
    results: list[ChatMessage] = []
    content: list[ContentPart] = []
    for part in parts:
        if "functionResponse" in part:
            result = _camel_case_object(part["functionResponse"], f"{where}.functionResponse")
            results.append(_decode_result(result, ids, where))
        else:
            content.append(_decode_user_part(part, where))
    if not content:
        return results or [{"role": "user", "content": ""}]
    if len(content) == 1 and content[0]["type"] == "text":
        return [*results, {"role": "user", "content": content[0]["text"]}]
    return [*results, {"role": "user", "content": content}]


def _decode_result(result: JSONObject, ids: CallIds, where: str) -> ChatMessage:
    """Return the message of a tool's result.

    Its content is the text of `output` or `error` if the response has only that, else the response as JSON text.
    """
    name = result.get("name") if isinstance(result.get("name"), str) else ""
    call_id = result.get("id") if isinstance(result.get("id"), str) else ""
    response = result.get("response")
    fields = list(response.items()) if isinstance(response, dict) else []
    if len(fields) == 1 and fields[0][0] in ("output", "error") and isinstance(fields[0][1], str):
        text = fields[0][1]
    elif isinstance(response, str | None):
        text = response or ""
    else:
        text = msgspec.json.encode(response).decode()
    message: ChatMessage = {"role": "tool", "tool_call_id": ids.for_result(name, call_id), "content": text}
    if name:
        message["name"] = name
    if isinstance(response, dict) and "error" in response and "output" not in response:
        message["is_error"] = True
    if media := _optional_list(result.get("parts"), f"{where}.functionResponse.parts"):
        content: list[ContentPart] = [{"type": "text", "text": text}] if text else []
        content += [_decode_user_part(_camel_case_object(part, where), where) for part in media]
        message["content"] = content
    return message


def _decode_user_part(part: JSONObject, where: str) -> ContentPart:
    """Return a part of the shared shape, with the fields that only this API has for media."""
    decoded = _decode_plain_part(part, where)
    fields = {field: part[field] for field in MEDIA_FIELDS if part.get(field) is not None}
    file = _camel_case_object(part.get("fileData"), where)
    if isinstance(file.get("mimeType"), str) and decoded["type"] in ("image_url", "file"):
        fields["mimeType"] = file["mimeType"]
    return cast(ContentPart, {**decoded, **fields}) if fields else decoded


def _decode_plain_part(part: JSONObject, where: str) -> ContentPart:
    """Return a part of the shared shape.

    One that the shared shape has no type for takes its field's name as type. The other APIs refuse it by that name.
    """
    if isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    blob = _camel_case_object(part.get("inlineData"), where)
    file = _camel_case_object(part.get("fileData"), where)
    media_type, data = blob.get("mimeType") or file.get("mimeType") or "", blob.get("data")
    if isinstance(media_type, str) and isinstance(data, str):
        url = f"data:{media_type};base64,{data}"
        if media_type.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": url}}
        if media_type in ("audio/wav", "audio/mp3"):  # the formats that OpenAI's shape has
            return {"type": "input_audio", "input_audio": {"data": data, "format": media_type.removeprefix("audio/")}}
        return {"type": "file", "file": {"file_data": url}}
    if isinstance(media_type, str) and isinstance(file.get("fileUri"), str):
        if media_type.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": file["fileUri"]}}
        return {"type": "file", "file": {"file_id": file["fileUri"]}}
    if not part:
        raise invalid(f"{where} has an empty part")
    return {**part, "type": min(part)}  # type: ignore[typeddict-item]  # a part of no known type


def _decode_config(config: JSONObject, shared: JSONObject) -> None:
    """Add the options of `generationConfig`. Those that the shared shape does not have are kept under their path."""
    for field, option in _CONFIG.items():
        if (value := config.pop(field, None)) is not None:
            shared[option] = integer(value)  # Google's SDK for Python sends `"topK": 40.0`
    if config.get("candidateCount") == 1:
        del config["candidateCount"]
    media_type = config.pop("responseMimeType", None)
    schema, gemini_schema = config.pop("responseJsonSchema", None), config.pop("responseSchema", None)
    if (documented := config.pop("_responseJsonSchema", None)) is not None:  # its name in the API reference
        schema = documented
    if schema is None and gemini_schema is not None:
        schema = _decode_schema(gemini_schema)
    if schema is not None:
        shared["response_format"] = {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
    elif media_type == "application/json":
        shared["response_format"] = {"type": "json_object"}
    if media_type not in (None, "text/plain", "application/json"):  # `text/x.enum`: the reply is not JSON
        config["responseMimeType"] = media_type
    thinking = _camel_case_object(config.pop("thinkingConfig", None), "thinkingConfig")
    effort = _decode_effort(thinking)
    if effort is not None:
        shared["reasoning_effort"] = effort
    elif thinking:
        config["thinkingConfig"] = thinking
    flatten_fields(shared, "generationConfig", config)


def _decode_effort(thinking: JSONObject) -> str | None:
    """Return the effort of a `thinkingConfig`, None for an automatic or unknown one."""
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if isinstance(level, str):
        return level.lower() if level.lower() in _LEVELS else None
    if not isinstance(budget, int) or budget < 0:  # -1: the model decides
        return None
    if budget == 0:
        return "none"
    return next((effort for effort in ("low", "medium") if budget <= _BUDGETS[effort]), "high")


def _decode_tools(tools: object, shared: JSONObject) -> None:
    """Add the declared functions as tools. The API's own tools (`googleSearch`) are kept under their path."""
    functions: list[object] = []
    for index, value in enumerate(_optional_list(tools, "tools")):
        tool = _camel_case_object(value, f"tools[{index}]")
        functions += _optional_list(tool.pop("functionDeclarations", None), f"tools[{index}].functionDeclarations")
        flatten_fields(shared, "tools", tool)
    if functions:
        shared["tools"] = [_decode_function(function) for function in functions]


def _decode_function(value: object) -> ToolDefinition:
    declaration = _camel_case_object(value, "a function declaration")
    if not declaration.get("name") or not isinstance(declaration["name"], str):
        raise invalid("a function declaration has no name")
    function: FunctionDefinition = {"name": declaration["name"]}
    if declaration.get("description"):
        function["description"] = declaration["description"]
    if declaration.get("parametersJsonSchema") is not None:
        function["parameters"] = declaration["parametersJsonSchema"]
    elif declaration.get("parameters") is not None:
        function["parameters"] = _decode_schema(declaration["parameters"])
    return {"type": "function", "function": function}


def _decode_tool_config(config: JSONObject, shared: JSONObject) -> None:
    """Add the tool choice. What the shared shape does not have is kept under its path."""
    calling = _camel_case_object(config.pop("functionCallingConfig", None), "functionCallingConfig")
    mode = str(calling.get("mode") or "AUTO").upper()
    allowed = [str(name) for name in _optional_list(calling.get("allowedFunctionNames"), "allowedFunctionNames")]
    if mode == "ANY" and len(allowed) == 1:
        shared["tool_choice"] = {"type": "function", "function": {"name": allowed[0]}}
    elif mode == "ANY" and allowed:
        tools = [{"type": "function", "function": {"name": name}} for name in allowed]
        shared["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    elif calling:
        choices = {mode: choice for choice, mode in _MODES.items()}
        shared["tool_choice"] = choices.get(mode, "auto")
    flatten_fields(shared, "toolConfig", config)


_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def _decode_schema(value: Any) -> Any:
    """Return a schema in Gemini's own form as JSON Schema.

    That form is OpenAPI 3.0 with types in capitals, and with counts as text (the JSON mapping of a 64-bit integer).
    """
    if not isinstance(value, dict):
        return value
    schema: JSONObject = {}
    for name, inner in _camel_case_object(value, "a schema").items():
        if name == "type" and isinstance(inner, str):
            schema["type"] = inner.lower()
        elif name == "properties" and isinstance(inner, dict):
            schema["properties"] = {key: _decode_schema(property_) for key, property_ in inner.items()}
        elif name in ("items", "additionalProperties"):
            schema[name] = _decode_schema(inner)
        elif name in ("anyOf", "prefixItems") and isinstance(inner, list):
            schema[name] = [_decode_schema(element) for element in inner]
        elif name in _COUNTS and isinstance(inner, str) and inner.isdecimal():
            schema[name] = int(inner)
        elif name not in ("nullable", "propertyOrdering"):
            schema[name] = inner
    if value.get("nullable"):
        _allow_null(schema)
    return schema


def _allow_null(schema: JSONObject) -> None:
    """Make a schema accept null. JSON Schema has no `nullable`: each keyword that restricts the type must allow it."""
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
