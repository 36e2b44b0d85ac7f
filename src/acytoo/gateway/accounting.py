"""What an attempt counts: tokens and money, as the upstream reported them or estimated.

The rules, of which docs/billing.md has every case: what the upstream reports counts. If a reply was cut, or the server
reports no usage, what is known of it is estimated: the request's length and the length of the part received. Nothing
counts for a request that no upstream received, or that was refused with an error status.
"""

from __future__ import annotations

from acytoo.dialects import by_name
from acytoo.dialects.json import dumps
from acytoo.errors import StatusError, TimedOutError
from acytoo.observation import Observation
from acytoo.types import ChatMessages, Request, Usage

BYTES_PER_TOKEN = 4
"""Of a text, on average over languages and models: of English more, of other scripts fewer."""

_IMAGE_TOKENS = 1000
"""Of an image or another attachment. Services count from 85 (low detail) to several thousand."""

DEFAULT_OUTPUT = 1024
"""Tokens that are reserved for the reply to a request without `max_tokens`."""

_MOST_OUTPUT = 2**53
"""Tokens that are reserved at most: a larger number is beyond every limit, and beyond what a float or Redis has."""


def tokens_of(observation: Observation, request: Request, size: int) -> tuple[Usage, bool]:
    """Return the tokens of an attempt that has ended, and whether some of them are estimated.

    `size` is the length of the client's body, for a request that was not decoded.
    """
    received, error = observation.received, observation.error
    usage = received.usage
    has_ended = observation.outcome == "complete" or received.finish is not None
    if usage is not None and has_ended and not received.is_partial and (usage.input_tokens or usage.output_tokens):
        return usage, False
    if not _is_counted(observation):
        return Usage(), False
    if usage is None:
        usage = Usage()
    output = -(-received.size // BYTES_PER_TOKEN)
    if isinstance(error, StatusError) and not output and not usage.output_tokens:
        return Usage(), False  # the upstream reported in its stream that it will not answer
    return Usage(
        usage.input_tokens or estimate_input(request, size),
        max(usage.output_tokens, output),
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        usage.cache_write_1h_tokens,
        usage.other_counts,
    ), True


def _is_counted(observation: Observation) -> bool:
    """Return whether the upstream has, or may have, worked on the request."""
    if not observation.is_sent:
        return False
    if observation.status:
        return 200 <= observation.status < 300
    error = observation.error  # before the head: who waits no longer does not know what the upstream does
    return error is None or isinstance(error, TimedOutError)


def outcome_of(observation: Observation, cancelled: str) -> str:
    """Return how an attempt ended, in one word for the ledger; `cancelled` is the word for one that was given up."""
    outcome = observation.outcome
    if outcome == "complete":
        finish = observation.received.finish
        return "complete" if finish is None else _UNFINISHED.get(finish.reason, "complete")
    if outcome == "error":
        return type(observation.error).__name__ if observation.error is not None else "ServerError"
    return cancelled


_UNFINISHED = {"length": "incomplete", "content_filter": "content_filter"}
"""How a complete reply that is not all the model had to say ended, by its finish reason."""


def estimate_output(request: Request) -> int:
    """Return how many tokens to reserve for the reply, or for all replies that the request asks for.

    A negative `max_tokens` must not give room to other requests. Some servers take it for no limit.
    """
    most = request.max_tokens
    if most is None or most <= 0:
        most = DEFAULT_OUTPUT
    if request.extra and request.extra_for:
        most *= by_name(request.extra_for).replies_in(request.extra)
    return min(most, _MOST_OUTPUT)


def estimate_input(request: Request, size: int) -> int:
    """Return about how many tokens a request has."""
    if not request.messages:
        return size // BYTES_PER_TOKEN
    size, attachments = _measure(request.messages)
    if request.tools:
        size += _json_size(request.tools)
    return size // BYTES_PER_TOKEN + attachments * _IMAGE_TOKENS + len(request.messages) * 4


def _measure(messages: ChatMessages) -> tuple[int, int]:
    """Return the bytes of the texts and calls in messages, and the number of their attachments."""
    size, attachments = 0, 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            size += _text_size(content)
        elif isinstance(content, list):
            for part in content:
                if part.get("type") in ("text", "refusal"):
                    text = part.get("text") or part.get("refusal")
                    size += _text_size(text) if isinstance(text, str) else 0
                else:
                    attachments += 1
        for field in ("tool_calls", "reasoning"):
            if field in message:
                size += _json_size(message[field])
    return size, attachments


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _json_size(value: object) -> int:
    """Return the bytes of a value as JSON, which models get too."""
    return len(dumps(value, surrogates="replace"))
