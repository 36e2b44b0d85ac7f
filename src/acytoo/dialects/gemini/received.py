"""Gemini's requests as a server receives them: to the shared shape, in either spelling of its field names.

Source: as for `gemini_request`; that both `camelCase` and `snake_case` are taken is protocol buffers' JSON mapping.
"""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.extra_fields import keep_nested
from acytoo.dialects.fields import invalid
from acytoo.dialects.gemini.parts import Part, TurnReader
from acytoo.dialects.gemini.request import BUDGETS, CONFIG, FOREIGN_SIGNATURE, LEVELS
from acytoo.dialects.tool_calls import CallIds
from acytoo.messages import parts_of
from acytoo.types import Item, JSONObject, collect


def shared_body(given: dict[str, Any]) -> dict[str, Any]:
    """A received body with the shared shape's names. Raises RequestError (400) for what has the wrong shape."""
    body = _object(given, "the body")
    for field in ("model", "stream", "messages"):
        body.pop(field, None)
    instruction, contents = body.pop("systemInstruction", None), body.pop("contents", None)
    tools, tool_config = body.pop("tools", None), body.pop("toolConfig", None)
    config = _object(body.pop("generationConfig", None), "generationConfig")
    shared = body
    shared["messages"] = _messages(instruction, contents)
    _add_config(shared, config)
    _add_tools(shared, tools)
    if tool_config:
        _add_tool_config(shared, _object(tool_config, "toolConfig"))
    return shared


def _object(value: Any, where: str) -> dict[str, Any]:
    """The object with its own field names in camel case; what is inside them is left alone."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"{where} must be an object")
    return {_camel(name): inner for name, inner in value.items()}


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise invalid(f"{where} must be a list")
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join([word[:1].upper() + word[1:] for word in rest])


# Contents.


def _messages(instruction: Any, contents: Any) -> list[dict[str, Any]]:
    ids = CallIds()
    messages: list[dict[str, Any]] = []
    if isinstance(instruction, str):
        messages.append({"role": "system", "content": instruction})
    elif instruction is not None:
        parts = _list(_object(instruction, "systemInstruction").get("parts"), "systemInstruction.parts")
        for given in parts:
            text = _object(given, "a part of systemInstruction").get("text")
            messages.append({"role": "system", "content": text if isinstance(text, str) else ""})
    for index, one in enumerate(_list(contents, "contents")):
        where = f"contents[{index}]"
        content = _object(one, where)
        found = [_object(part, f"{where}.parts") for part in _list(content.get("parts"), f"{where}.parts")]
        if content.get("role") == "model":
            messages.append(_turn(found, ids, where))
        else:
            messages += _asked(found, ids, where)
    if not messages:
        raise invalid("contents is missing")
    return messages


def _turn(parts: list[dict[str, Any]], ids: CallIds, where: str) -> dict[str, Any]:
    """A model's turn, read as a reply's parts are; a stand-in for a foreign call's signature is none.

    A part that no other API lets a model say is kept under its field's name: they refuse it by that name.
    """
    turn = TurnReader(ids.called)
    items: list[Item] = []
    others: list[dict[str, Any]] = []
    for given in parts:
        if own := [field for field, value in given.items() if value is not None and field not in _TOLD]:
            others.append({**given, "type": min(own)})
        if isinstance(given.get("functionCall"), dict):
            given = {**given, "functionCall": _object(given["functionCall"], where)}
        if given.get("thoughtSignature") == FOREIGN_SIGNATURE:
            del given["thoughtSignature"]
        try:
            turn.read(msgspec.convert(given, Part), items)
        except msgspec.ValidationError as error:
            raise invalid(f"{where} has a part that is not what this endpoint takes: {error}") from error
    message = collect(items).message
    fields: JSONObject = {**message}
    return fields | {"content": [*parts_of(message["content"]), *others]} if others else fields


_TOLD = frozenset(
    {"text", "thought", "thoughtSignature", "functionCall", "partMetadata", "mediaResolution", "videoMetadata"}
)
"""Fields of a model's part that are read; what has another one (an image, code) is a part named by it."""


def _asked(parts: list[dict[str, Any]], ids: CallIds, where: str) -> list[dict[str, Any]]:
    """A user's content: its tool results as messages of their own, then what is left of it."""
    results = []
    asked = []
    for part in parts:
        if "functionResponse" in part:
            results.append(_result(_object(part["functionResponse"], f"{where}.functionResponse"), ids, where))
        else:
            asked.append(_user_part(part, where))
    if not asked:
        return results or [{"role": "user", "content": ""}]
    if len(asked) == 1 and asked[0]["type"] == "text":
        return [*results, {"role": "user", "content": asked[0]["text"]}]
    return [*results, {"role": "user", "content": asked}]


def _result(result: dict[str, Any], ids: CallIds, where: str) -> dict[str, Any]:
    """A tool's result: the text of `output` or `error` where that is all it has, else the response as JSON text."""
    name = result.get("name") if isinstance(result.get("name"), str) else ""
    given = result.get("id") if isinstance(result.get("id"), str) else ""
    response = result.get("response")
    words = list(response.items()) if isinstance(response, dict) else []
    if len(words) == 1 and words[0][0] in ("output", "error") and isinstance(words[0][1], str):
        text = words[0][1]
    else:
        text = msgspec.json.encode(response).decode()
    message: dict[str, Any] = {"role": "tool", "tool_call_id": ids.answered(name, given), "content": text}
    if name:
        message["name"] = name
    if isinstance(response, dict) and "error" in response and "output" not in response:
        message["is_error"] = True
    if media := _list(result.get("parts"), f"{where}.functionResponse.parts"):
        message["content"] = [{"type": "text", "text": text}] if text else []
        message["content"] += [_user_part(_object(part, where), where) for part in media]
    return message


def _user_part(part: dict[str, Any], where: str) -> dict[str, Any]:
    """A part of the shared shape; one it has no name for is named by its field: other APIs refuse it by that name."""
    if isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    blob, file = _object(part.get("inlineData"), where), _object(part.get("fileData"), where)
    kind, data = blob.get("mimeType") or file.get("mimeType") or "", blob.get("data")
    if isinstance(kind, str) and isinstance(data, str):
        url = f"data:{kind};base64,{data}"
        if kind.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": url}}
        if kind in ("audio/wav", "audio/mp3"):
            return {"type": "input_audio", "input_audio": {"data": data, "format": kind[6:]}}
        return {"type": "file", "file": {"file_data": url}}
    if isinstance(kind, str) and isinstance(file.get("fileUri"), str):
        if kind.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": file["fileUri"]}}
        return {"type": "file", "file": {"file_id": file["fileUri"]}}
    if not part:
        raise invalid(f"{where} has a part with nothing in it")
    return {"type": min(part), **part}


# Options.


def _add_config(shared: dict[str, Any], config: dict[str, Any]) -> None:
    """The options of `generationConfig`; what the shared shape has no name for is kept under its path."""
    for field, option in CONFIG.items():
        if (value := config.pop(field, None)) is not None:
            shared[option] = value
    if config.get("candidateCount") == 1:
        del config["candidateCount"]
    kind = config.pop("responseMimeType", None)
    schema, own = config.pop("responseJsonSchema", None), config.pop("responseSchema", None)
    if schema is None and own is not None:
        schema = _json_schema(own)
    if schema is not None:
        shared["response_format"] = {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
    elif kind == "application/json":
        shared["response_format"] = {"type": "json_object"}
    elif kind not in (None, "text/plain"):
        config["responseMimeType"] = kind
    thinking = _object(config.pop("thinkingConfig", None), "thinkingConfig")
    effort = _effort(thinking)
    if effort is not None:
        shared["reasoning_effort"] = effort
    elif thinking:
        config["thinkingConfig"] = thinking
    keep_nested(shared, "generationConfig", config)


def _effort(thinking: dict[str, Any]) -> str | None:
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if isinstance(level, str):
        return level.lower() if level.lower() in LEVELS else None
    if not isinstance(budget, int) or budget < 0:
        return None
    if budget == 0:
        return "none"
    return next((effort for effort in ("low", "medium") if budget <= BUDGETS[effort]), "high")


def _add_tools(shared: dict[str, Any], tools: Any) -> None:
    """Functions become tools; the API's own tools are kept under their names."""
    functions = []
    for index, given in enumerate(_list(tools, "tools")):
        tool = _object(given, f"tools[{index}]")
        functions += _list(tool.pop("functionDeclarations", None), f"tools[{index}].functionDeclarations")
        keep_nested(shared, "tools", tool)
    if functions:
        shared["tools"] = [{"type": "function", "function": _function(function)} for function in functions]


def _function(given: Any) -> dict[str, Any]:
    declared = _object(given, "a function declaration")
    if not isinstance(declared.get("name"), str):
        raise invalid("a function declaration has no name")
    function = {field: declared[field] for field in ("name", "description") if declared.get(field)}
    if declared.get("parametersJsonSchema") is not None:
        function["parameters"] = declared["parametersJsonSchema"]
    elif declared.get("parameters") is not None:
        function["parameters"] = _json_schema(declared["parameters"])
    return function


def _add_tool_config(shared: dict[str, Any], config: dict[str, Any]) -> None:
    calling = _object(config.pop("functionCallingConfig", None), "functionCallingConfig")
    mode = str(calling.get("mode") or "AUTO").upper()
    allowed = [str(name) for name in _list(calling.get("allowedFunctionNames"), "allowedFunctionNames")]
    if mode == "ANY" and len(allowed) == 1:
        shared["tool_choice"] = {"type": "function", "function": {"name": allowed[0]}}
    elif mode == "ANY" and allowed:
        tools = [{"type": "function", "function": {"name": name}} for name in allowed]
        shared["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    elif calling:
        shared["tool_choice"] = {"ANY": "required", "NONE": "none"}.get(mode, "auto")
    keep_nested(shared, "toolConfig", config)


_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def _json_schema(given: Any) -> Any:
    """A schema in Gemini's own form (OpenAPI 3.0 with types in capitals, counts as text) as JSON Schema."""
    if not isinstance(given, dict):
        return given
    schema: dict[str, Any] = {}
    for name, value in _object(given, "a schema").items():
        if name == "type" and isinstance(value, str):
            schema["type"] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            schema["properties"] = {key: _json_schema(inner) for key, inner in value.items()}
        elif name in ("items", "additionalProperties"):
            schema[name] = _json_schema(value)
        elif name in ("anyOf", "prefixItems") and isinstance(value, list):
            schema[name] = [_json_schema(inner) for inner in value]
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            schema[name] = int(value)
        elif name not in ("nullable", "propertyOrdering"):
            schema[name] = value
    if given.get("nullable") and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema
