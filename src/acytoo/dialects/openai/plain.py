"""What compatible services have that this API has by another name: requests of their clients for other APIs.

Source: the API references of Mistral, OpenRouter and Groq, and vLLM's documentation ("Structured Outputs").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from acytoo.dialects.fields import object_or_empty
from acytoo.types import ContentPart, JSONObject, Request


def plain_parts(part: ContentPart) -> list[ContentPart] | None:
    """Return an image or a file for a file that has a URL as its data, or for a document.

    OpenRouter's clients send the former, Mistral's the latter.
    """
    file: Any = part.get("file")
    if part["type"] == "document_url":
        file = {"file_data": part.get("document_url"), "filename": part.get("document_name")}
        if not file["filename"]:
            del file["filename"]
    url = file.get("file_data") if isinstance(file, Mapping) else None
    if not isinstance(url, str):
        return None
    if not url.startswith(("https://", "http://")):
        return [{"type": "file", "file": file}] if part["type"] == "document_url" else None
    if url.partition("?")[0].lower().endswith(_IMAGE_ENDINGS):
        return [{"type": "image_url", "image_url": {"url": url}}]
    return [{"type": "file", "file": {"file_url": url}}]


def plain_options(request: Request) -> Request:
    """Return the request with OpenAI's options in place of those that compatible services call otherwise.

    They are Mistral's choice `any` and `random_seed`, OpenRouter's `reasoning.effort`, Groq's effort `default` and
    vLLM's JSON schemas. Of two that differ, OpenAI's own is kept.
    """
    changes: JSONObject = {}
    extra = request.extra
    if request.tool_choice == "any":
        changes["tool_choice"] = "required"
    if type(extra.get("random_seed")) is int:
        extra = _without(extra, "random_seed")
        if request.seed is None:
            changes["seed"] = request.extra["random_seed"]
    if request.reasoning_effort == "default":
        changes["reasoning_effort"] = None
    elif request.reasoning_effort is None:
        reasoning = object_or_empty(extra.get("reasoning"))
        if isinstance(reasoning.get("effort"), str):
            changes["reasoning_effort"] = reasoning["effort"]
            rest = {name: value for name, value in reasoning.items() if value and name not in ("effort", "enabled")}
            extra = {**extra, "reasoning": rest} if rest else _without(extra, "reasoning")
    if request.response_format is None:
        for field, schema in (
            ("guided_json", extra.get("guided_json")),
            ("structured_outputs", _only_schema(extra.get("structured_outputs"))),
        ):
            if isinstance(schema, dict):
                extra = _without(extra, field)
                schema_format = {"name": "reply", "schema": schema}
                changes["response_format"] = {"type": "json_schema", "json_schema": schema_format}
    return (
        msgspec.structs.replace(request, **changes, extra=extra) if changes or extra is not request.extra else request
    )


def _without(fields: JSONObject, name: str) -> JSONObject:
    return {other: value for other, value in fields.items() if other != name}


def _only_schema(constraints: Any) -> Any:
    """Return the JSON schema of vLLM's `structured_outputs` if they demand nothing else."""
    return constraints["json"] if isinstance(constraints, dict) and constraints.keys() == {"json"} else None


_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".webp")
