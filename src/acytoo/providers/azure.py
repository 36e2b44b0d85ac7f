"""Azure OpenAI's v1 API."""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.openai import Variations


class Azure(AsyncGeneratorProvider):
    """Azure OpenAI's v1 API (source: Microsoft's documentation). The model is the name of a deployment."""

    url = ""
    dialect = dialects.OpenAI(
        Variations(
            path="/openai/v1/chat/completions",
            key_header="api-key",
            option_names={"max_tokens": "max_completion_tokens"},
            refused_options=frozenset({"top_k"}),
            custom_tools=True,
            developer_role=True,
        )
    )
    env = {"url": ("AZURE_OPENAI_ENDPOINT",), "key": ("AZURE_OPENAI_API_KEY",)}
    needs_auth = True
    needs_model = True
    label = "Azure OpenAI"
