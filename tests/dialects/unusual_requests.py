"""Requests with nearly everything that each API has, beside what recorded clients happen to send."""

from __future__ import annotations

from typing import Any

from acytoo.types import OPTIONS as SHARED_OPTIONS

_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
_IMAGE = "data:image/png;base64,iVBORw0KGgo="
_TEXT_FILE = "data:text/plain;base64,SGk="
_FUNCTION: dict[str, Any] = {"type": "function", "function": {"name": "f", "description": "F", "parameters": _SCHEMA}}

_SHARED_MESSAGES: list[dict[str, Any]] = [
    {"role": "developer", "content": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "user",
        "name": "Ann",
        "content": [
            {"type": "text", "text": "This?"},
            {"type": "image_url", "image_url": {"url": _IMAGE, "detail": "low"}},
            {"type": "image_url", "image_url": "https://h/a.png"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"filename": "a.txt", "file_data": _TEXT_FILE}},
            {"type": "file", "file": {"file_data": _TEXT_FILE}},
            {"type": "file", "file": {"file_id": "file-1"}},
        ],
    },
    {
        "role": "assistant",
        "content": "Hm",
        "reasoning": [{"text": "a", "signature": "c2ln", "source": "anthropic"}, {"data": "ZA==", "source": "x"}],
        "tool_calls": [
            {
                "id": "call-1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"x":"y"}'},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            },
            {"id": "call-2", "function": {"name": "f", "arguments": {"x": "y"}}},
        ],
        "turn_parts": [
            {"type": "reasoning", "index": 0},
            {"type": "text", "text": "Hm", "source": "openai", "fields": {"phase": "x"}},
            {"type": "tool_call", "index": 0},
            {"type": "opaque", "source": "gemini", "fields": {"executableCode": {"code": "1"}}},
            {"type": "reasoning", "index": 1},
            {"type": "tool_call", "index": 1},
        ],
    },
    {"role": "tool", "tool_call_id": "call-1", "content": [{"type": "text", "text": "z"}], "is_error": True},
    {"role": "tool", "tool_call_id": "call-2", "name": "f", "content": '{"z": 1}'},
    {
        "role": "assistant",
        "content": [{"type": "text", "text": "T"}, {"type": "refusal", "refusal": "No"}],
        "refusal": "No",
        "audio": {"id": "audio-1"},
        "function_call": {"name": "f", "arguments": "{}"},
        "reasoning_content": "m",
        "reasoning_details": [{"type": "reasoning.text", "text": "m", "signature": "s", "index": 0}],
    },
    {"role": "function", "name": "f", "content": "z"},
    {"role": "user", "content": "Well?"},
]

_OPENAI: dict[str, Any] = {
    "messages": _SHARED_MESSAGES,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "stop": ["x"],
    "seed": 7,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "tools": [_FUNCTION, {"type": "custom", "custom": {"name": "sh", "format": {"type": "text"}}}],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
    },
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA, "strict": True}},
    "reasoning_effort": "low",
    "logprobs": True,
    "top_logprobs": 3,
    "user": "someone",
    "n": 1,
    "modalities": ["text"],
    "logit_bias": {"50256": -100},
    "prediction": {"type": "content", "content": "x"},
    "metadata": {"a": "b"},
    "functions": [{"name": "f", "parameters": _SCHEMA}],
    "function_call": {"name": "f"},
}

_ANTHROPIC_SOURCES: list[dict[str, Any]] = [
    {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    {"type": "text", "media_type": "text/plain", "data": "Hi"},
    {"type": "url", "url": "https://h/a.pdf"},
    {"type": "file", "file_id": "file-1"},
    {"type": "content", "content": [{"type": "text", "text": "Hi"}]},
]

_ANTHROPIC: dict[str, Any] = {
    "max_tokens": 5000,
    "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "This?", "citations": [{"type": "char_location"}]},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                *[
                    {"type": "document", "source": source, "title": "T", "context": "C", "citations": {"enabled": True}}
                    for source in _ANTHROPIC_SOURCES
                ],
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "r"}]},
                {"type": "container_upload", "file_id": "file-1"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "m", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "ZA=="},
                {"type": "text", "text": "Hm"},
                {"type": "server_tool_use", "id": "srv-1", "name": "web_search", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "srv-1", "content": [{"type": "web_search_result"}]},
                {"type": "tool_use", "id": "call-1", "name": "f", "input": {"x": "y"}, "caller": {"type": "direct"}},
                {"type": "thinking", "thinking": "", "signature": ""},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call-1",
                    "is_error": False,
                    "content": [
                        {"type": "text", "text": "z"},
                        {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}},
                        {"type": "tool_reference", "tool_name": "f"},
                    ],
                }
            ],
        },
    ],
    "tools": [
        {"name": "f", "description": "F", "input_schema": _SCHEMA, "strict": True, "input_examples": [{"x": "y"}]},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "mcp_toolset", "mcp_server_name": "s"},
    ],
    "mcp_servers": [{"type": "url", "url": "https://h", "name": "s"}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "metadata": {"user_id": "someone", "more": 1},
    "stop_sequences": ["x"],
    "stream": True,
    "temperature": 1.0,
    "top_k": 5,
    "top_p": 0.5,
    "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": _SCHEMA}},
    "output_format": {"type": "json_schema", "schema": _SCHEMA},
    "betas": ["x-1"],
    "service_tier": "auto",
}

_GEMINI_SCHEMA: dict[str, Any] = {
    "type": "OBJECT",
    "nullable": True,
    "propertyOrdering": ["x"],
    "properties": {"x": {"type": "ARRAY", "items": {"type": "STRING", "enum": ["a"]}, "minItems": "1"}},
    "anyOf": [{"type": "NULL"}],
    "required": ["x"],
}

_GEMINI: dict[str, Any] = {
    "systemInstruction": {"role": "system", "parts": [{"text": "Be kind."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "This?"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                {"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://h/a.pdf"}},
                {"executableCode": {"language": "PYTHON", "code": "1"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "m", "thought": True, "thoughtSignature": "c2ln"},
                {"text": "Hm", "thoughtSignature": "c2ln", "partMetadata": {"a": 1}},
                {"functionCall": {"id": "call-1", "name": "f", "args": {"x": "y"}}, "thoughtSignature": "c2ln"},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "call-1",
                        "name": "f",
                        "response": {"output": "z"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}],
                    }
                },
                {"functionResponse": {"name": "f", "response": {"error": {"code": 5}}}},
            ],
        },
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": "f", "description": "F", "parameters": _GEMINI_SCHEMA, "behavior": "BLOCKING"},
                {"name": "g", "parametersJsonSchema": _SCHEMA},
            ]
        },
        {"googleSearch": {}},
    ],
    "toolConfig": {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
        "retrievalConfig": {"languageCode": "de"},
    },
    "generationConfig": {
        "temperature": 0.5,
        "topP": 0.5,
        "topK": 5,
        "candidateCount": 1,
        "maxOutputTokens": 5,
        "stopSequences": ["x"],
        "seed": 7,
        "presencePenalty": 0.5,
        "frequencyPenalty": 0.5,
        "responseMimeType": "application/json",
        "responseSchema": _GEMINI_SCHEMA,
        "responseJsonSchema": _SCHEMA,
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True, "thinkingLevel": "LOW"},
        "responseLogprobs": True,
        "logprobs": 3,
        "responseModalities": ["TEXT"],
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
    "cachedContent": "cachedContents/1",
    "labels": {"a": "b"},
}

_OLLAMA: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "This?", "images": ["iVBORw0KGgo="]},
        {
            "role": "assistant",
            "content": "Hm",
            "thinking": "m",
            "tool_calls": [{"id": "call-1", "function": {"index": 0, "name": "f", "arguments": {"x": "y"}}}],
        },
        {"role": "tool", "content": "z", "tool_name": "f", "tool_call_id": "call-1"},
    ],
    "tools": [_FUNCTION],
    "format": _SCHEMA,
    "think": "low",
    "stream": True,
    "keep_alive": "5m",
    "logprobs": True,
    "top_logprobs": 3,
    "options": {
        "temperature": 0.5,
        "top_k": 5,
        "top_p": 0.5,
        "num_predict": 5,
        "stop": ["x"],
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "num_ctx": 4096,
    },
}

_OLLAMA_GENERATE: dict[str, Any] = {
    "prompt": "Hi",
    "suffix": "",
    "system": "Be kind.",
    "template": "",
    "context": [1, 2],
    "raw": False,
    "images": ["iVBORw0KGgo="],
    "format": "json",
    "think": True,
    "stream": False,
    "options": {"num_predict": 5},
}

_RESPONSES: dict[str, Any] = {
    "instructions": "Be kind.",
    "input": [
        {"role": "developer", "content": "Be brief."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "This?"},
                {"type": "input_image", "image_url": _IMAGE, "detail": "low"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "filename": "a.txt", "file_data": _TEXT_FILE},
                {"type": "input_file", "file_url": "https://h/a.pdf"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "m"}],
            "content": [{"type": "reasoning_text", "text": "m"}],
            "encrypted_content": "acytoo:eyJzb3VyY2UiOiJhbnRocm9waWMiLCJzaWduYXR1cmUiOiJzIn0=",
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "phase": "commentary",
            "content": [
                {"type": "output_text", "text": "Hm", "annotations": [{"type": "url_citation"}], "logprobs": []},
                {"type": "refusal", "refusal": "No"},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call-1", "name": "f", "arguments": "{}", "namespace": "n"},
        {"type": "function_call_output", "call_id": "call-1", "output": [{"type": "input_text", "text": "z"}]},
        {"type": "custom_tool_call", "call_id": "call-2", "name": "sh", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "call-2", "output": "z"},
        {"type": "tool_search_call", "call_id": "call-3", "execution": "client", "arguments": {"query": "q"}},
        {
            "type": "tool_search_output",
            "call_id": "call-3",
            "execution": "client",
            "tools": [{"type": "function", "name": "h", "parameters": _SCHEMA}],
        },
        {"type": "additional_tools", "tools": [{"type": "function", "name": "k"}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "item_reference", "id": "msg_0123456789abcdef0123"},
    ],
    "tools": [
        {"type": "function", "name": "f", "description": "F", "parameters": _SCHEMA, "strict": True},
        {"type": "custom", "name": "sh", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {
            "type": "namespace",
            "name": "n",
            "description": "N",
            "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA}],
        },
        {"type": "tool_search", "execution": "client", "description": "S", "parameters": _SCHEMA},
        {"type": "web_search", "filters": {"allowed_domains": ["h"]}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": _SCHEMA, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    "temperature": 0.5,
    "top_p": 0.5,
    "top_logprobs": 3,
    "max_output_tokens": 50,
    "store": False,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "truncation": "auto",
    "user": "someone",
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
}

_ACYTOO: dict[str, Any] = {
    "key": "",
    "password": "",
    "temperature": 0.5,
    "messages": [
        {"id": "1", "createdAt": "2023-09-01", "role": "user", "content": "Hi", "metadata": {"a": 1}},
        {
            "role": "assistant",
            "content": "",
            "parts": [
                {"type": "step-start"},
                {"type": "reasoning", "text": "m", "providerMetadata": {"a": {"b": "c"}}},
                {"type": "text", "text": "Hm"},
                {"type": "tool-f", "toolCallId": "call-1", "state": "output-available", "input": {}, "output": "z"},
            ],
        },
        {
            "role": "user",
            "content": "This?",
            "parts": [
                {"type": "text", "text": "This?"},
                {"type": "file", "mediaType": "image/png", "url": _IMAGE, "filename": "a.png"},
            ],
            "experimental_attachments": [{"name": "a", "contentType": "image/png", "url": _IMAGE}],
        },
    ],
}

UNUSUAL_REQUESTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("openai", "", _OPENAI),
    ("openai", "/v1/completions", {"prompt": ["Hi"], "suffix": "x", "echo": False, "best_of": 1, "logprobs": 3}),
    ("anthropic", "", _ANTHROPIC),
    ("gemini", "", _GEMINI),
    ("gemini", ":countTokens", {"generateContentRequest": {"model": "models/m-1", **_GEMINI}}),
    ("ollama", "", _OLLAMA),
    ("ollama", "/api/generate", _OLLAMA_GENERATE),
    ("openai-responses", "", _RESPONSES),
    ("acytoo", "", _ACYTOO),
    ("acytoo", "", {"messages": _SHARED_MESSAGES}),
)
"""The API, the path (or how it ends) if it is not the first of its routes, and the body of each request."""

MESSAGES = [message for message in _SHARED_MESSAGES if message["role"] != "function"]
"""Messages with nearly everything that the shared shape has."""

OPTIONS: dict[str, Any] = {option: _OPENAI[option] for option in sorted(SHARED_OPTIONS & _OPENAI.keys())} | {
    "extra_body": {
        "betas": ["x"],
        "generationConfig": {"a": 1},
        "include": ["x"],
        "options": {"num_ctx": 1},
        "reasoning": {"effort": "low"},
        "thinking": {"type": "x"},
        "tools": [{"type": "web_search"}],
    }
}
"""Options of a call, all of them."""
