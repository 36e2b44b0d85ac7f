"""OpenAI-compatible services, one row each: base URL, key variable, differences.

Sources: each service's own documentation of its OpenAI-compatible endpoint.
"""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.openai import Variations


def _row(
    class_name: str,
    url: str,
    key: str = "",
    *,
    label: str = "",
    variations: Variations = Variations(),
    url_variable: str = "",
    needs_model: bool = True,
    model_prefixes: tuple[str, ...] = (),
) -> type[AsyncGeneratorProvider]:
    """Return a provider class. Without a key variable the service needs no key."""
    env = {"key": (key,)} if key else {}
    if url_variable:
        env["url"] = (url_variable,)
    body = {
        "__module__": __name__,
        "__doc__": f"{label or class_name}, OpenAI-compatible.",
        "url": url,
        "dialect": dialects.OpenAI(variations),
        "env": env,
        "needs_auth": bool(key),
        "needs_model": needs_model,
        "label": label or class_name,
        "model_prefixes": model_prefixes,
    }
    return type(class_name, (AsyncGeneratorProvider,), body)


_COMPLETION_TOKENS = Variations(option_names={"max_tokens": "max_completion_tokens"})
_LOCAL = Variations(one_system_message=True)
"""Servers that render the model's own chat template: many accept one system message, at the start."""

_REASONING = Variations(reasoning_field="reasoning_content", calls_need_reasoning=True)
"""Their thinking models refuse a turn with calls and without `reasoning_content`.

Sources: "Thinking mode" in DeepSeek's documentation, "Use the thinking model" in Moonshot's.
"""

_GROQ = Variations(
    option_names={"max_tokens": "max_completion_tokens"},
    refused_options=frozenset({"top_k", "logprobs", "top_logprobs"}),
    strict_messages=True,
)
"""Source: "Currently unsupported OpenAI features" in Groq's documentation."""

_MISTRAL = Variations(
    stream_usage=False,
    refused_options=frozenset({"top_k", "logprobs", "top_logprobs", "user"}),
    option_names={"seed": "random_seed"},
    call_id_length=9,
    media_in_results=True,
    strict_messages=True,
)
"""It answers 422 for every field that it does not know, and 400 for ids that are not nine letters and digits.

It refuses a user message after a tool's result too, but its results may have images. Source: Mistral's API reference.
"""

_OPENROUTER = Variations(reasoning_field="reasoning")
_PERPLEXITY = Variations(stream_usage=False, alternating_roles=True)
"""It answers 400 unless user and assistant alternate after the system messages (perplexityai/api-discussion#265)."""

# Hosted.
Cerebras = _row("Cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", variations=_COMPLETION_TOKENS)
DeepInfra = _row("DeepInfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY")
DeepSeek = _row("DeepSeek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", variations=_REASONING)
Fireworks = _row("Fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY")
Groq = _row("Groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", variations=_GROQ)
HuggingFace = _row("HuggingFace", "https://router.huggingface.co/v1", "HF_TOKEN", label="Hugging Face")
Mistral = _row(
    "Mistral",
    "https://api.mistral.ai/v1",
    "MISTRAL_API_KEY",
    variations=_MISTRAL,
    model_prefixes=("magistral", "ministral", "codestral", "devstral", "pixtral"),
)
Moonshot = _row(
    "Moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", variations=_REASONING, model_prefixes=("kimi",)
)
Nebius = _row("Nebius", "https://api.studio.nebius.com/v1", "NEBIUS_API_KEY")
Nvidia = _row("Nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", label="NVIDIA NIM")
OpenRouter = _row("OpenRouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", variations=_OPENROUTER)
Perplexity = _row(
    "Perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", variations=_PERPLEXITY, model_prefixes=("sonar",)
)
SambaNova = _row("SambaNova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY")
Together = _row("Together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", label="Together AI")
XAI = _row(
    "XAI", "https://api.x.ai/v1", "XAI_API_KEY", label="xAI", variations=_COMPLETION_TOKENS, model_prefixes=("grok",)
)

# On your own machine.
LlamaCpp = _row("LlamaCpp", "http://127.0.0.1:8080/v1", label="llama.cpp", variations=_LOCAL, needs_model=False)
LMStudio = _row("LMStudio", "http://127.0.0.1:1234/v1", label="LM Studio", variations=_LOCAL, needs_model=False)
VLLM = _row("VLLM", "http://127.0.0.1:8000/v1", label="vLLM", variations=_LOCAL)

# Any other.
Compatible = _row("Compatible", "", label="any OpenAI-compatible URL", url_variable="COMPATIBLE_URL", needs_model=False)
