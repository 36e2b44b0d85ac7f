"""Gemini's requests: the shared shape to its body, and back.

Source: Google's Gemini API reference (`GenerateContentRequest`, `GenerationConfig`, `Tool`, `ToolConfig`), "Gemini
thinking", "Thought signatures", "OpenAI compatibility" (what an effort is in tokens), and the `google-genai` package.
"""

from __future__ import annotations

import re
from typing import Any

from acytoo.dialects.base import Unsupported
from acytoo.dialects.extra_fields import put_extra
from acytoo.dialects.gemini.parts import call_part, said_parts
from acytoo.dialects.tool_calls import arguments_object
from acytoo.errors import UsageError
from acytoo.messages import data_url, parts_of, text_of
from acytoo.types import ChatMessage, JSONObject, Request, signature_of

CONFIG = {
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

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""Thinking tokens that stand for an effort at Gemini 2.5, which has no levels."""

LEVELS = frozenset({"minimal", "low", "medium", "high", "xhigh"})

FOREIGN_SIGNATURE = "skip_thought_signature_validator"
"""What Gemini 3 wants on a call that it did not make itself. Source: the questions in "Thought signatures"."""

_SIGNATURES_WANTED = re.compile(r"(models/)?gemini-[3-9]")
_BUDGETS_WANTED = re.compile(r"(models/)?gemini-2\.5")
_PARENTS = frozenset({"generationConfig", "toolConfig"})


def sent_body(request: Request, extra: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The body that asks for a reply; system messages, wherever they stand, become the one instruction it has."""
    system, contents = _contents(request, unsupported)
    if not contents:
        raise UsageError("Gemini needs a message that is not a system one")
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    tools = [{"functionDeclarations": declared}] if (declared := _declarations(request, unsupported)) else []
    tools += [{name[6:]: value} for name, value in extra.items() if name.startswith("tools.")]
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None and (calling := _calling(request.tool_choice, unsupported)):
        body["toolConfig"] = {"functionCallingConfig": calling}
    if request.parallel_tool_calls is False:
        unsupported("parallel_tool_calls=False")
    if config := _config(request, unsupported):
        body["generationConfig"] = config
    put_extra(body, {k: v for k, v in extra.items() if k != "alt" and not k.startswith("tools.")}, _PARENTS)
    return body


def _contents(request: Request, unsupported: Unsupported) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The (parts of the system instruction, contents); results that follow each other are one content."""
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    foreign = FOREIGN_SIGNATURE if _SIGNATURES_WANTED.match(request.model) else ""
    answering = False
    for index, message in enumerate(request.messages):
        role = message["role"]
        if message.get("name") and role != "tool":
            unsupported("the name of a message's author")
        if role in ("system", "developer"):
            system.append({"text": text_of(message.get("content"), unsupported)})
            continue
        if role == "tool":
            result = _result(message, names, unsupported)
            if answering:
                contents[-1]["parts"].append(result)
            else:
                contents.append({"role": "user", "parts": [result]})
        elif role == "assistant":
            contents.append(
                {"role": "model", "parts": _turn(message, names, f"messages[{index}]", foreign, unsupported)}
            )
        else:
            parts = [part for given in parts_of(message.get("content")) if (part := _user_part(given, unsupported))]
            contents.append({"role": "user", "parts": parts or [{"text": ""}]})
        answering = role == "tool"
    return system, contents


def _turn(
    message: ChatMessage, names: dict[str, str], where: str, foreign: str, unsupported: Unsupported
) -> list[dict[str, Any]]:
    """A model's turn; reasoning that is not Gemini's own cannot be sent back to it."""
    text = text_of(message.get("content"), unsupported) or message.get("refusal") or ""
    parts = said_parts(text, [block for block in message.get("reasoning") or () if block.get("source") == "gemini"])
    for number, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        arguments = arguments_object(function.get("arguments"))
        if arguments is None:
            raise UsageError(f"{where}.tool_calls[{number}] has arguments that are not a JSON object")
        names[call.get("id") or ""] = function["name"]
        signed = signature_of(call)
        parts.append(call_part(call, arguments, signed[0] if signed else "" if number else foreign))
    return parts or [{"text": ""}]


def _result(message: ChatMessage, names: dict[str, str], unsupported: Unsupported) -> dict[str, Any]:
    """A tool's result; its media go beside its text."""
    call_id = message["tool_call_id"]
    name = names.get(call_id) or message.get("name")
    if not name:
        unsupported(f"the result of a call that is not in the messages ({call_id!r})")
    given = parts_of(message.get("content"))
    result: dict[str, Any] = {"id": call_id, "name": name or call_id}
    word = "error" if message.get("is_error") else "output"
    result["response"] = {word: "".join([part["text"] for part in given if part["type"] == "text"])}
    if media := [part for one in given if one["type"] != "text" and (part := _user_part(one, unsupported))]:
        result["parts"] = media
    return {"functionResponse": result}


def _user_part(part: Any, unsupported: Unsupported) -> dict[str, Any] | None:
    kind = part["type"]
    value = part.get(kind)
    if kind == "text":
        return {"text": part["text"]}
    if kind == "image_url":
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(url, str) and url:
            return _media(url)
    elif kind == "input_audio" and isinstance(value, dict):
        return {"inlineData": {"mimeType": f"audio/{value.get('format') or 'wav'}", "data": value.get("data")}}
    elif kind == "file" and isinstance(value, dict):
        if isinstance(value.get("file_data"), str) and value["file_data"].startswith("data:"):
            return _media(value["file_data"])
        if isinstance(value.get("file_id"), str):
            return {"fileData": {"fileUri": value["file_id"]}}
    unsupported(f"{kind} content")
    return None


def _media(url: str) -> dict[str, Any]:
    if found := data_url(url):
        return {"inlineData": {"mimeType": found[0], "data": found[1]}}
    kind = _KINDS.get(url.partition("?")[0].rpartition(".")[2].lower())
    return {"fileData": {"mimeType": kind, "fileUri": url} if kind else {"fileUri": url}}


_KINDS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
    "pdf": "application/pdf",
}


def _declarations(request: Request, unsupported: Unsupported) -> list[dict[str, Any]]:
    declared = []
    for tool in request.tools or ():
        if tool.get("type", "function") != "function":
            unsupported(f"the tool type {tool['type']!r}")
            continue
        function = tool["function"]
        declaration: JSONObject = {field: function[field] for field in ("name", "description") if function.get(field)}
        if function.get("parameters"):
            declaration["parametersJsonSchema"] = function["parameters"]
        declared.append(declaration)
    return declared


def _calling(choice: Any, unsupported: Unsupported) -> dict[str, Any] | None:
    """`functionCallingConfig`: its mode, and the functions allowed."""
    if isinstance(choice, str):
        if choice in _MODES:
            return {"mode": _MODES[choice]}
    elif choice.get("type") == "function":
        return {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}
    elif choice.get("type") == "allowed_tools" and choice["allowed_tools"].get("mode") == "required":
        tools = choice["allowed_tools"]["tools"]
        if all(tool.get("type") == "function" for tool in tools):
            return {"mode": "ANY", "allowedFunctionNames": [tool["function"]["name"] for tool in tools]}
    unsupported(f"tool_choice={choice!r}")
    return None


_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def _config(request: Request, unsupported: Unsupported) -> dict[str, Any]:
    config = {field: value for field, option in CONFIG.items() if (value := getattr(request, option)) is not None}
    wanted = request.response_format or {}
    kind = wanted.get("type", "text")
    if kind in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
        if schema := (wanted.get("json_schema") or {}).get("schema"):
            config["responseJsonSchema"] = schema
    elif kind != "text":
        unsupported(f"response_format {kind!r}")
    effort = request.reasoning_effort
    if effort is None:
        return config
    budgets = _BUDGETS_WANTED.match(request.model)
    if effort == "none":
        config["thinkingConfig"] = {"thinkingBudget": 0}
    elif budgets and effort in BUDGETS:
        config["thinkingConfig"] = {"thinkingBudget": BUDGETS[effort], "includeThoughts": True}
    elif not budgets and effort in LEVELS:
        config["thinkingConfig"] = {"thinkingLevel": effort.upper(), "includeThoughts": True}
    else:
        unsupported(f"reasoning_effort={effort!r}")
    return config
