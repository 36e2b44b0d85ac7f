"""OpenAI's two chat APIs."""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.openai import Variations


class OpenAI(AsyncGeneratorProvider):
    """OpenAI's Chat Completions API (source: its API reference)."""

    url = "https://api.openai.com/v1"
    model_prefixes = ("gpt-", "chatgpt", "o1", "o3", "o4", "codex")
    dialect = dialects.OpenAI(
        Variations(
            option_names={"max_tokens": "max_completion_tokens"},
            refused_options=frozenset({"top_k"}),
            custom_tools=True,
            developer_role=True,
        )
    )
    token_count_dialect = dialects.OpenAIResponses()
    env = {"url": ("OPENAI_BASE_URL",), "key": ("OPENAI_API_KEY",)}
    needs_auth = True
    needs_model = True


class OpenAIResponses(AsyncGeneratorProvider):
    """OpenAI's Responses API, which keeps the models' reasoning between turns (source: its API reference)."""

    name = "openai-responses"
    url = OpenAI.url
    dialect = dialects.OpenAIResponses()
    env = OpenAI.env
    needs_auth = True
    needs_model = True
