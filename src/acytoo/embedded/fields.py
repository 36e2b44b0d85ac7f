"""The engine's own body fields: which ones a request may set, and to what.

The problem: llama.cpp trusts its callers. `repeat_last_n` of two billion allocates 8 GB, and `grammar_triggers`
compiles any regular expression. A server for strangers cannot pass on whatever a request contains.

The strategy: allow fields by name, numbers within a range, and lists up to a length. Leave out fields that neither
llama.cpp nor OpenAI's API knows, which llama.cpp would ignore: then no field of a later version arrives unchecked. The
caller learns of it: such a field of `extra_body` is refused, one of a client's body is in the header with what was
dropped.

Source: `tools/server/server-schema.cpp` of llama.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from acytoo.errors import UsageError
from acytoo.types import JSONObject

CONTEXT_TOKENS = 8192
"""The tokens of a prompt and its reply."""

_MAX_BIASED = 100
"""Characters of a text whose tokens have a bias."""

_RANGES: dict[str, tuple[float, float]] = {
    "n": (1, 4),
    "n_predict": (-1, CONTEXT_TOKENS),
    "max_completion_tokens": (-1, 2**31 - 1),
    "n_keep": (-1, CONTEXT_TOKENS),
    "t_max_predict_ms": (-1, 3_600_000),
    "n_probs": (0, 20),
    "min_keep": (0, 1000),
    "min_p": (0, 1),
    "top_n_sigma": (-1, 100),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "typical_p": (0, 1),
    "dynatemp_range": (0, 10),
    "dynatemp_exponent": (0, 10),
    "repeat_last_n": (0, CONTEXT_TOKENS),
    "repeat_penalty": (0, 10),
    "dry_multiplier": (0, 100),
    "dry_base": (0, 100),
    "dry_allowed_length": (0, CONTEXT_TOKENS),
    "dry_penalty_last_n": (0, CONTEXT_TOKENS),
    "mirostat": (0, 2),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 10),
    "adaptive_target": (-1, 1),
    "adaptive_decay": (0, 0.99),
    "reasoning_budget_tokens": (-1, CONTEXT_TOKENS),
    "thinking_budget_tokens": (-1, CONTEXT_TOKENS),
}

_SWITCHES = frozenset(
    {
        *("cache_prompt", "ignore_eos", "timings_per_token", "return_progress", "return_tokens", "post_sampling_probs"),
    }
)

_REFUSED = frozenset(
    {
        *("grammar_lazy", "grammar_triggers", "grammar_type", "preserved_tokens", "chat_format", "chat_parser"),
        *("generation_prompt", "continue_final_message", "lora", "id_slot", "n_cmpl", "n_cache_reuse", "n_discard"),
        *("n_indent", "response_fields", "sse_ping_interval", "backend_sampling", "verbose", "reasoning_control"),
        *("reasoning_budget_start_tag", "reasoning_budget_end_tag", "reasoning_budget_end_tags"),
        *("reasoning_budget_message", "prompt", "input_prefix", "input_suffix", "input_extra"),
    }
)
"""Fields that llama.cpp knows, and that a request must not set."""

_WITHOUT_EFFECT = frozenset(
    {
        *("metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("verbosity", "modalities", "prediction", "web_search_options"),
    }
)
"""Fields of OpenAI's API that llama.cpp ignores. A body that has them can be passed on unchanged."""

_TEMPLATE_NAMES = frozenset({"messages", "tools", "functions", "add_generation_prompt", "bos_token", "eos_token"})
"""What a chat template gets from the request itself."""


def check_fields(extra: JSONObject) -> JSONObject:
    """Return the fields that the engine may see, the same object if these are all of them.

    Raises:
        UsageError: A field has a value that the engine must not see, or the engine has it for other purposes.
    """
    for name, value in extra.items():
        if name in _RANGES:
            _check_number(name, value)
        elif name in _SWITCHES:
            if not (value is None or isinstance(value, bool)):
                raise UsageError(f"invalid {name}: expected true or false")
        elif name in _CHECKS:
            _CHECKS[name](name, value)
        elif name in _REFUSED or name.startswith("speculative."):
            raise UsageError(f"the embedded model does not take the field {name!r}: leave it out")
    unknown = unknown_fields(extra)
    return {name: value for name, value in extra.items() if name not in unknown} if unknown else extra


def unknown_fields(extra: JSONObject) -> list[str]:
    """Return the names of the fields that neither the engine nor OpenAI's API knows."""
    return [name for name in extra if not _is_known(name)]


def _is_known(name: str) -> bool:
    return name in _RANGES or name in _SWITCHES or name in _CHECKS or name in _WITHOUT_EFFECT


def check_list(name: str, values: object, most: int, longest: int) -> None:
    """Raise UsageError unless the values are at most `most` texts of at most `longest` characters."""
    texts = [values] if isinstance(values, str) else values
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"invalid {name}: expected a list of texts")
    if len(texts) > most or any(len(text) > longest for text in texts):
        raise UsageError(f"invalid {name}: the embedded model takes at most {most} texts of {longest} characters")


def check_number(name: str, value: object, least: float, most: float) -> None:
    """Raise UsageError unless the value is a number in the range, or None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and least <= value <= most):  # type: ignore[operator]
        raise UsageError(f"invalid {name}: expected a number from {least:g} to {most:g}")


def _check_number(name: str, value: object) -> None:
    check_number(name, value, *_RANGES[name])


def _check_samplers(name: str, value: object) -> None:
    check_list(name, value, 20, 40)


def _check_template_arguments(name: str, value: object) -> None:
    """Allow plain values: a template may loop over anything else, and must not lose the messages."""
    plain = value if isinstance(value, Mapping) else None
    if plain is None or len(plain) > 20 or not all(_is_plain(item) for item in plain.values()):
        raise UsageError(f"invalid {name}: expected an object of at most 20 short texts, numbers and booleans")
    if names := sorted(_TEMPLATE_NAMES & plain.keys()):
        raise UsageError(f"invalid {name}: it must not contain {names[0]!r}")


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 1000)


def _check_text(name: str, value: object) -> None:
    if not (value is None or (isinstance(value, str) and len(value) <= 100)):
        raise UsageError(f"invalid {name}: expected a short text")


def _check_object(name: str, value: object) -> None:
    if not (value is None or isinstance(value, Mapping)):
        raise UsageError(f"invalid {name}: expected an object")


def _check_biases(name: str, value: object) -> None:
    """Allow biases of tokens and of short texts: the time to split a text into tokens grows with its square."""
    pairs = [*value.items()] if isinstance(value, Mapping) else value
    if pairs is None:
        return
    if not isinstance(pairs, list) or len(pairs) > 1024:
        raise UsageError(f"invalid {name}: the embedded model takes at most 1,024 biases")
    for pair in pairs:
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], (int, str))):
            raise UsageError(f"invalid {name}: expected a number for each token, such as {{'1024': -100}}")
        token, bias = pair
        if isinstance(token, str) and len(token) > _MAX_BIASED:
            raise UsageError(f"invalid {name}: the embedded model takes texts of at most {_MAX_BIASED} characters")
        if bias is not False:
            check_number(name, bias, -math.inf, math.inf)


def _check_later(name: str, value: object) -> None:
    """Accept the value: `constrain` checks it."""


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "samplers": _check_samplers,
    "dry_sequence_breakers": _check_samplers,
    "chat_template_kwargs": _check_template_arguments,
    "reasoning_format": _check_text,
    "stream_options": _check_object,
    "logit_bias": _check_biases,
    "grammar": _check_later,
    "json_schema": _check_later,
}
