"""Reasons why a reply ended: whether one of them is the end of a complete reply.

Each API's reader has a table of the reasons that are an end. Servers that are compatible with it have reasons of their
own, and some of those report a failure: the text before them is not a reply.
"""

from __future__ import annotations

import re
from collections.abc import Container

from acytoo.errors import ProtocolError, status_error
from acytoo.types import Finish, Item

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
"""Finish reasons of the shared shape, which has the names of OpenAI's API. Others are kept as `raw` too."""

_NAMES = {
    **{reason: reason for reason in FINISH_REASONS},
    **dict.fromkeys(("function_call", "tool_call", "tool_use"), "tool_calls"),
    **dict.fromkeys(("eos", "eos_token", "stop_sequence", "stop_str", "end_turn", "end", "normal", "complete"), "stop"),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit"), "length"),
    **dict.fromkeys(("time_limit", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("sensitive", "refusal", "safety", "recitation", "blocklist", "spii"), "content_filter"),
    **dict.fromkeys(("prohibited_content", "language", "model_armor"), "content_filter"),
    **dict.fromkeys(("image_safety", "image_prohibited_content", "image_recitation"), "content_filter"),
    **dict.fromkeys(("content_filtered", "guardrail_intervened"), "content_filter"),
}
"""Names that APIs and compatible servers have for those reasons, in lower case.

Sources: the API references of Together (`eos`), Hugging Face TGI (`eos_token`, `stop_sequence`), Mistral
(`model_length`), Zhipu (`sensitive`, `model_context_window_exceeded`), Cohere (`COMPLETE`), Baidu (`normal`), IBM's
watsonx (`time_limit`), Amazon Bedrock's Converse (`content_filtered`, `guardrail_intervened`); earendil-works/pi#2106
(`end`), HKUDS/Vibe-Trading pull request 308 (Gemini's names at its compatible endpoint); gateways pass on the names of
the API behind them, in replies of any other.
"""


def shared_reason(reason: str) -> str:
    """Return the shared shape's name of a reason that has another in some API or at some server, else the reason.

    Gemini's compatible endpoint puts its own name after the shared one: `content_filter: RECITATION`. Others have the
    name of an enumeration before it: `FinishReason.MAX_TOKENS` (langgenius/dify#8550), `FINISH_REASON_STOP`.
    """
    if reason in FINISH_REASONS:
        return reason
    name = reason.partition(":")[0].lower().rpartition(".")[2].removeprefix("finish_reason_")
    return _NAMES.get(name, reason)


def narrower_reason(reason: str, native: object) -> str:
    """Return a gateway's `stop`, or the reason of the API behind it if that one is a limit, a filter or a failure."""
    if not isinstance(native, str):
        return reason
    is_other = shared_reason(native) in ("length", "content_filter") or re.search(_FAILURE, native, re.IGNORECASE)
    return native if is_other else reason


_FAILURE = (
    "abort|cancel|closed|crash|disconnect|error|evict|exception|fail|fault|insufficient|interrupt|invalid|kill|lost|malformed"
    "|missing|out_of_memory|overload|preempt|reject|shutdown|terminated|time_?d?_?out|too_many|unavailable|unexpected"
)
"""What is in the name of a reason that reports a failure.

Sources: vLLM and SGLang (`abort`, vllm-project/vllm#57082), DeepSeek (`insufficient_system_resource`), Zhipu
(`network_error`), OpenRouter (`error`), Gemini (`MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL`,
`TOO_MANY_TOOL_CALLS`, `MISSING_THOUGHT_SIGNATURE`), Amazon Bedrock (`malformed_model_output`).
"""


def check_finish(field: str, reason: str, ends: Container[str], has_content: bool, message: str = "") -> None:
    """Raise ServerError if a reply that ended for this reason is not complete.

    It is if the reason is one of `ends`, or another name of one of the shared shape. Of the others, those that report
    a failure are not, nor is one after which there is no content. `field` is the field that has the reason, `message`
    the server's explanation.
    """
    if reason in ends or shared_reason(reason) in FINISH_REASONS:
        return
    if has_content and not re.search(_FAILURE, reason, re.IGNORECASE):
        return
    explanation = f": {message}" if message else "" if has_content else " and no content"
    raise status_error(None, f"the server ended the reply with the {field} {reason!r}{explanation}", code=reason)


def check_call(field: str, reason: str, has_call: bool) -> None:
    """Raise ProtocolError if a reply ended in order to call a tool, and has no call.

    Its text is not the answer then: a server or a gateway has lost the call, or the model has failed to write one.
    Sources: vllm-project/vllm issue 53255, earendil-works/pi issue 9681, labring/FastGPT issue 7339.
    """
    if shared_reason(reason) == "tool_calls" and not has_call:
        raise ProtocolError(f"the server ended the reply with the {field} {reason!r}, but it has sent no tool call")


def append_finish(finish: Finish, before: Finish | None, items: list[Item]) -> Finish:
    """Append a finish reason, and return the one of the reply. After one with that, only one that differs is new.

    Some servers send `stop` in each record of a stream, and only the last one has the reason: the end of the tokens, or
    a call (Chevey339/kelivo#1003, 0xPlaygrounds/rig#2328).
    """
    if before is not None and (before.reason != "stop" or finish.reason == "stop"):
        return before
    items.append(finish)
    return finish


_UNFINISHED = frozenset({"pause_turn", "incomplete", "max_messages", "steered", "repetition"})
"""Reasons of one API, or of vLLM (`repetition`), why a reply ended early.

For the others, it is as if it had reached the limit of its length.
"""


def nearest_reason(finish: Finish, known: Container[str]) -> str:
    """Return the finish reason if it is one of those that an API's clients know, else the nearest of the shared shape.

    Typed clients refuse a complete reply for a reason that they do not know.
    """
    if finish.reason in known:
        return finish.reason
    return "length" if finish.reason in _UNFINISHED else "stop"
