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

_OTHER_NAMES = {
    **dict.fromkeys(("function_call", "tool_use"), "tool_calls"),
    **dict.fromkeys(("eos", "eos_token", "stop_sequence", "stop_str", "end_turn", "end", "normal"), "stop"),
    **dict.fromkeys(("COMPLETE", "STOP"), "stop"),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "MAX_TOKENS", "model_length"), "length"),
    **dict.fromkeys(("sensitive", "refusal", "SAFETY", "RECITATION"), "content_filter"),
}
"""Names that compatible servers have for those reasons.

Sources: the API references of Together (`eos`), Hugging Face TGI (`eos_token`, `stop_sequence`), Mistral
(`model_length`), Zhipu (`sensitive`), Cohere (`COMPLETE`), Baidu (`normal`); earendil-works/pi#2106 (`end`); gateways
pass on the names of the API behind them, in replies of any other.
"""

ENDS = FINISH_REASONS | _OTHER_NAMES.keys()
"""Finish reasons of any API that are the end of a reply."""


def shared_reason(reason: str) -> str:
    """Return the shared shape's name of a reason that has another in some API or at some server, else the reason."""
    return _OTHER_NAMES.get(reason, reason)


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

    It is if the reason is one of `ends`. Of the others, those that report a failure are not, nor is one after which
    there is no content. `field` is the field that has the reason, `message` the server's explanation.
    """
    if reason in ends or (has_content and not re.search(_FAILURE, reason, re.IGNORECASE)):
        return
    explanation = f": {message}" if message else "" if has_content else " and no content"
    raise status_error(None, f"the server ended the reply with the {field} {reason!r}{explanation}", code=reason)


_CALL_REASONS = frozenset({"tool_calls", "tool_use", "function_call"})


def check_call(field: str, reason: str, has_call: bool) -> None:
    """Raise ProtocolError if a reply ended in order to call a tool, and has no call.

    Its text is not the answer then: a server or a gateway has lost the call, or the model has failed to write one.
    Sources: vllm-project/vllm issue 53255, earendil-works/pi issue 9681, labring/FastGPT issue 7339.
    """
    if reason in _CALL_REASONS and not has_call:
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


_UNFINISHED = frozenset({"pause_turn", "incomplete", "max_messages", "steered"})
"""Reasons of one API why a reply ended early. For the others, it is as if it had reached the limit of its length."""


def nearest_reason(finish: Finish, known: Container[str]) -> str:
    """Return the finish reason if it is one of those that an API's clients know, else the nearest of the shared shape.

    Typed clients refuse a complete reply for a reason that they do not know.
    """
    if finish.reason in known:
        return finish.reason
    return "length" if finish.reason in _UNFINISHED else "stop"
