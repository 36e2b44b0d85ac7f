"""The conversation of a coding agent: 120 messages with the files it has read, and 20 tools, together 136 kB."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from acytoo import dialects
from acytoo.dialects.base import Unsupported
from acytoo.http import Endpoint
from acytoo.types import Request

_TURNS, _TOOLS = 40, 20
_FILE = 'def greet(name: str) -> str:\n    return "Hello, " + name  # {}\n' * 30


def openai_body(model: str, prompt: str) -> dict[str, Any]:
    """Return the request in OpenAI's form; the prompt is its last message."""
    parameter = {"type": "string", "description": "The absolute path of the file, not a relative one."}
    parameters = {f"path_{number}": parameter for number in range(5)}
    schema = {"type": "object", "properties": parameters, "required": ["path_0"], "additionalProperties": False}
    description = "Read a file of the project, and return its lines with their numbers. " * 8
    functions = [
        {"name": f"read_{number}", "description": description, "parameters": schema} for number in range(_TOOLS)
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are a coding agent. " * 600}]
    for number in range(_TURNS):
        call_id, arguments = f"call_{number}", json.dumps({"path_0": f"/home/me/src/greet_{number}.py"})
        call = {"id": call_id, "type": "function", "function": {"name": "read_1", "arguments": arguments}}
        messages += [
            {"role": "user", "content": 'Mend the "greeting" in the next file.\n' * 4},
            {"role": "assistant", "content": "I will read the file first.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call_id, "content": _FILE},
        ]
    return {
        "model": model,
        "messages": [*messages, {"role": "user", "content": prompt}],
        "tools": [{"type": "function", "function": function} for function in functions],
    }


def anthropic_body(model: str, prompt: str) -> dict[str, Any]:
    """Return the same request in Anthropic's form."""
    request = msgspec.convert({**openai_body(model, prompt), "max_tokens": 1000}, Request)
    dialect = dialects.by_name("anthropic")
    encoded = dialect.encode_request(request, Endpoint("http://127.0.0.1"), Unsupported(dialect.name))
    body: dict[str, Any] = json.loads(encoded.body)
    return body
