"""The deployments of a LiteLLM config file: targets, and the upstreams and prices that they need."""

from __future__ import annotations

from typing import Any, NamedTuple

from acytoo.gateway.litellm.document import Document, as_dict, as_name, first, has_password, is_name, take
from acytoo.registry import provider_class
from acytoo.secret import is_secret_name

_PROVIDERS = {
    "anthropic": "anthropic", "azure": "azure", "cerebras": "cerebras", "custom_openai": "compatible",
    "deepinfra": "deepinfra", "deepseek": "deepseek", "fireworks_ai": "fireworks", "gemini": "gemini", "groq": "groq",
    "hosted_vllm": "vllm", "huggingface": "huggingface", "litellm_proxy": "compatible", "llamafile": "llamacpp",
    "lm_studio": "lmstudio", "mistral": "mistral", "moonshot": "moonshot", "nebius": "nebius", "nvidia_nim": "nvidia",
    "ollama": "ollama", "ollama_chat": "ollama", "openai": "openai", "openai_like": "compatible",
    "openrouter": "openrouter", "perplexity": "perplexity", "sambanova": "sambanova", "together_ai": "together",
    "vllm": "vllm", "xai": "xai",
}  # fmt: skip
"""Our provider for each of LiteLLM's that we have."""

_VARIABLES = {
    "azure": {"key": "AZURE_API_KEY", "url": "AZURE_API_BASE"},
    "fireworks": {"key": "FIREWORKS_AI_API_KEY"},
    "huggingface": {"key": "HUGGINGFACE_API_KEY"},
    "nvidia": {"key": "NVIDIA_NIM_API_KEY"},
    "perplexity": {"key": "PERPLEXITYAI_API_KEY"},
    "together": {"key": "TOGETHERAI_API_KEY"},
}
"""The variables that LiteLLM reads by default, if they are not those of our provider."""

_BARE_MODELS = {
    "gpt-": "openai",
    "chatgpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "claude-": "anthropic",
}
"""How the models begin that LiteLLM knows without a provider."""

_RESPONSES = "responses/"
"""What a model begins with that is asked for by the Responses API."""

_CHAT_MODES = ("chat", "completion", "responses", None)

_PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
}

_DESCRIPTIONS = frozenset(
    {"id", "mode", "base_model", "description", "max_tokens", "max_input_tokens", "max_output_tokens"}
)
"""Fields of `model_info` that change nothing, as those that begin with `supports_` do."""

_NO_KEYS = ("", "none", "null", "empty", "no-key", "not-needed")


_OPTIONS = frozenset(
    {"temperature", "max_tokens", "max_completion_tokens", "top_p", "seed", "stop", "n", "presence_penalty",
     "frequency_penalty", "reasoning_effort", "thinking", "response_format", "tools", "extra_body"}
)  # fmt: skip


class Deployment(NamedTuple):
    """A target, and what the choice among several depends on."""

    address: str
    order: int | None
    weight: float | None
    limit: int | None


class Deployments:
    """The deployments by the name that clients ask for (`groups`), and our tables of upstreams and prices."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.upstreams: dict[str, dict[str, Any]] = {}
        self._bases: dict[str, str] = {}
        """The name of each upstream without the number that it may have."""
        self.prices: dict[str, dict[str, float]] = {}
        self._timeout = first(
            take(document.router, "timeout", int, float), take(document.litellm, "request_timeout", int, float)
        )
        strategy = take(document.router, "routing_strategy", str) or "simple-shuffle"
        if strategy != "simple-shuffle":
            document.leave_out(
                f"router_settings.routing_strategy: {strategy}", "balance = true goes by weight and load"
            )
        self._enforces_limits = strategy.startswith("usage-based")
        for check in take(document.router, "optional_pre_call_checks", list) or ():
            if check == "enforce_model_rate_limits":
                self._enforces_limits = True
            else:
                document.leave_out(f"router_settings.optional_pre_call_checks: {check}")
        self.groups = self._groups()

    def _groups(self) -> dict[str, list[Deployment]]:
        """Return the deployments by the name that clients ask for."""
        groups: dict[str, list[Deployment]] = {}
        entries: list[tuple[str, dict[str, Any], str]] = []
        for number, entry in enumerate(self._document.entries):
            name = entry.get("model_name") if isinstance(entry, dict) else None
            where = f"model_list[{number}]"
            if isinstance(name, str) and isinstance(entry.get("litellm_params"), dict):
                entries.append((name, entry, f"{where} ({name})"))
            else:
                self._document.leave_out(where, "it has no model_name or no litellm_params")
        # Those with wildcards first: clients ask for their upstreams by name.
        for name, entry, where in sorted(entries, key=lambda each: "*" not in each[0]):
            deployment = self._deployment(name, dict(entry), where)
            if deployment is not None:
                groups.setdefault(name, []).append(deployment)
        return groups

    def _deployment(self, name: str, entry: dict[str, Any], where: str) -> Deployment | None:
        params = dict(entry.pop("litellm_params"))
        info = dict(take(entry, "model_info", dict) or {})
        del entry["model_name"]
        credential = params.get("litellm_credential_name")
        if isinstance(credential, str) and credential in self._document.credentials:
            del params["litellm_credential_name"]
            params = {**self._document.credentials[credential], **params}
        if info.get("mode") not in _CHAT_MODES:
            self._document.leave_out(where, f"mode {info['mode']}: only chat is served")
            return None
        provider, model = _provider_of(params)
        if not provider:
            self._document.leave_out(where, f"no provider for {model!r}{_advice(model, params)}")
            return None
        if "*" in name or "*" in model:
            self._wildcard(name, provider, model, params, where)
            return None
        limits = {"requests_per_minute": take(params, "rpm", int), "tokens_per_minute": take(params, "tpm", int)}
        upstream = self._upstream(provider, model, params, limits, where)
        address = f"{upstream}/{model}"
        self._add_price(address, params, info, where)
        weight = first(take(params, "weight", int, float), *limits.values())
        deployment = Deployment(address, take(params, "order", int), weight, take(params, "max_parallel_requests", int))
        for field in params:
            self._document.leave_out(
                f"{where}: {field}", "a target has no default options" if field in _OPTIONS else ""
            )
        for field in [*entry, *info]:
            if field not in _DESCRIPTIONS and not str(field).startswith("supports_"):
                self._document.leave_out(f"{where}: {field}")
        return deployment

    def _wildcard(self, name: str, provider: str, model: str, params: dict[str, Any], where: str) -> None:
        """Add an upstream, whose models clients can ask for as `UPSTREAM/MODEL`."""
        prefix = name.removesuffix("/*")
        if model != "*" or "*" in prefix or not is_name(prefix) or prefix in self.upstreams:
            self._document.leave_out(where, "only PROVIDER/* has an equivalent: ask for UPSTREAM/MODEL")
            return
        upstream = self._upstream(provider, "*", params, {}, where, name=prefix)
        if upstream != prefix:
            self._document.leave_out(where, f"clients have to ask for {upstream}/MODEL")
        for field in params:
            self._document.leave_out(f"{where}: {field}")

    def _upstream(
        self, provider: str, model: str, params: dict[str, Any], limits: dict[str, Any], where: str, name: str = ""
    ) -> str:
        """Return the name of the upstream with a deployment's settings, which are taken from its parameters."""
        table: dict[str, Any] = {"provider": provider}
        base = name or provider
        url = first(take(params, "api_base", str), take(params, "base_url", str))
        if url:
            table["url"] = self._document.reference(url, f"{base}_url", where, is_secret=has_password(url))
        key = take(params, "api_key", str)
        if key is not None and not (key.lower() in _NO_KEYS and not provider_class(provider).needs_auth):
            table["key"] = self._document.reference(key, f"{base}_key", where, is_secret=True)
        for field, variable in _VARIABLES.get(provider, {}).items():
            table.setdefault(field, f"env:{variable}")
        timeout = first(take(params, "timeout", int, float), self._timeout)
        if timeout is not None and timeout > 0:
            table["timeout"] = {"first_byte": timeout, "idle": timeout}
        headers = {**(take(params, "headers", dict) or {}), **(take(params, "extra_headers", dict) or {})}
        if organization := take(params, "organization", str):
            headers["OpenAI-Organization"] = organization
        if headers:
            table["extra_headers"] = {
                header: self._document.reference(
                    str(value), f"{base}_{header}", where, is_secret=is_secret_name(header)
                )
                for header, value in headers.items()
            }
        if take(params, "drop_params", bool):
            table["drop_unsupported"] = True
        if provider == "azure" and take(params, "api_version", str):
            self._document.leave_out(f"{where}: api_version", "Azure's v1 API has none")
        numbers = {limit: value for limit, value in limits.items() if value is not None and value > 0}
        if self._enforces_limits and numbers:
            table |= numbers
            base = f"{base}-{as_name(model).replace(':', '-')}"  # the limits are those of one model
        elif numbers:
            self._document.leave_out(
                f"{where}: rpm, tpm", "they were weights, not limits: set requests_per_minute if needed"
            )
        return self._named(base, table)

    def _named(self, base: str, table: dict[str, Any]) -> str:
        """Return the name of an upstream with these settings, an old one or a new one."""
        for name, other in self.upstreams.items():
            if other == table and self._bases[name] == base:
                return name
        taken = {name.casefold() for name in self.upstreams} | {
            str(as_dict(entry).get("model_name")).casefold() for entry in self._document.entries
        }
        name, number = base, 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        self.upstreams[name], self._bases[name] = table, base
        return name

    def _add_price(self, address: str, params: dict[str, Any], info: dict[str, Any], where: str) -> None:
        prices = {
            name: first(take(params, field, int, float), take(info, field, int, float))
            for name, field in _PRICES.items()
        }
        known = {name: _per_million(price) for name, price in prices.items() if price is not None and price >= 0}
        if "input" in known and "output" in known:
            self.prices[address] = known
        elif known:
            self._document.leave_out(f"{where}: {', '.join(known)}", "a price needs both input and output")


def _provider_of(params: dict[str, Any]) -> tuple[str, str]:
    """Return our provider and its model, taken from a deployment's parameters; "" if there is none."""
    model = str(params.pop("model", ""))
    prefix, slash, rest = model.partition("/")
    custom = take(params, "custom_llm_provider", str) or ""
    if custom:
        provider, rest = _PROVIDERS.get(custom, ""), model.removeprefix(f"{custom}/")
    elif slash:
        provider = _PROVIDERS.get(prefix, "")
    else:
        provider, rest = next((name for start, name in _BARE_MODELS.items() if model.startswith(start)), ""), model
    if provider in ("openai", "azure") and rest.startswith(_RESPONSES):
        return ("openai-responses", rest.removeprefix(_RESPONSES)) if provider == "openai" else ("", model)
    url = str(first(params.get("api_base"), params.get("base_url")) or "")
    if url and ((provider == "openai" and "//api.openai.com" not in url) or provider == "huggingface"):
        provider = "compatible"
    return (provider, rest) if provider and rest else ("", model)


def _advice(model: str, params: dict[str, Any]) -> str:
    """Return what to do about a model for which there is no provider."""
    if model.startswith("os.environ/"):
        return ": write the name that is in this variable"
    if params.get("api_base") or params.get("base_url"):
        return f": if its API is that of OpenAI, write openai/{model.partition('/')[2] or model}"
    return ""


def _per_million(price: float) -> float:
    dollars = round(price * 1e6, 6)
    return int(dollars) if dollars == int(dollars) else dollars
