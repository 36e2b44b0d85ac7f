"""Measure an endpoint: how soon and how fast it answers, against the number of requests at the same time."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import AcytooError
from acytoo.types import Reasoning, Refusal, ToolCall, Usage

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
"""The quantiles that are shown."""

_CONTENT = (str, Reasoning, ToolCall, Refusal)


class Sample(msgspec.Struct):
    """One reply: seconds until its first content and until its end, the pauses between pieces, and its tokens.

    `is_estimated`: whether the server reported no usage, so that the pieces were counted instead.
    """

    first: float = 0.0
    seconds: float = 0.0
    gaps: list[float] = []
    tokens: int = 0
    is_estimated: bool = False
    error: AcytooError | None = None


class Level(msgspec.Struct):
    """What was measured with so many requests at the same time."""

    concurrency: int
    seconds: float
    samples: list[Sample]

    @property
    def complete(self) -> list[Sample]:
        """The replies that were complete."""
        return [sample for sample in self.samples if sample.error is None]

    @property
    def errors(self) -> dict[str, int]:
        """How many of the others failed with each class of error, the most frequent first."""
        classes = [type(sample.error).__name__ for sample in self.samples if sample.error is not None]
        return dict(Counter(classes).most_common())

    def first(self, share: float) -> float:
        """Return the seconds to the first content that a share of the replies needed at most; nan without any."""
        return quantile([sample.first for sample in self.complete], share)

    def gap(self, share: float) -> float:
        """Return the same of the pauses between two pieces."""
        return quantile([gap for sample in self.complete for gap in sample.gaps], share)

    @property
    def tokens_per_second(self) -> float:
        """The tokens of all replies, for each second."""
        return sum(sample.tokens for sample in self.complete) / self.seconds if self.seconds else 0.0

    def speed(self, share: float) -> float:
        """Return how many tokens a second one reply has after its first content."""
        speeds = [
            (sample.tokens - 1) / (sample.seconds - sample.first)
            for sample in self.complete
            if sample.tokens > 1 and sample.seconds > sample.first
        ]
        return quantile(speeds, share)

    def document(self) -> dict[str, object]:
        """Return the figures as data, in seconds."""
        return {
            "concurrency": self.concurrency,
            "requests": len(self.samples),
            "errors": len(self.samples) - len(self.complete),
            "errors_by_class": self.errors,
            "seconds": self.seconds,
            "first_content": {name: _number(self.first(share)) for name, share in SHARES.items()},
            "between_pieces": {name: _number(self.gap(share)) for name, share in SHARES.items()},
            "tokens": sum(sample.tokens for sample in self.complete),
            "tokens_estimated": any(sample.is_estimated for sample in self.complete),
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_second_of_one": _number(self.speed(0.5)),
        }


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that a share of the values does not exceed; nan of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


async def measure(
    provider: AsyncGeneratorProvider,
    *,
    prompt: str,
    concurrency: int,
    requests: int,
    options: Mapping[str, Any],
    on_reply: Callable[[Sample], None] = lambda sample: None,
) -> Level:
    """Send requests, so many at the same time, and return what was measured. Errors are in the samples."""
    numbers = iter(range(requests))  # shared by all workers
    samples: list[Sample] = []

    async def work() -> None:
        for _ in numbers:
            sample = await _one(provider, _unique(prompt), options)
            samples.append(sample)
            on_reply(sample)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, requests)):
            group.create_task(work())
    return Level(concurrency, time.perf_counter() - started, samples)


def _unique(prompt: str) -> str:
    """Return a prompt that nobody has sent before: with a cached prefix, the first content comes sooner."""
    return f"[{secrets.token_hex(4)}] {prompt}"


async def _one(provider: AsyncGeneratorProvider, prompt: str, options: Mapping[str, Any]) -> Sample:
    sample = Sample()
    pieces = 0
    started = last = time.perf_counter()
    try:
        stream = provider.stream([{"role": "user", "content": prompt}], **options)
        async with aclosing(stream):
            async for item in stream:
                now = time.perf_counter()
                if isinstance(item, Usage):
                    sample.tokens = item.output_tokens
                elif isinstance(item, _CONTENT):
                    pieces += 1
                    if pieces == 1:
                        sample.first = now - started
                    else:
                        sample.gaps.append(now - last)
                    last = now
    except AcytooError as error:
        sample.error = error
    sample.seconds = time.perf_counter() - started
    if not sample.tokens:
        sample.tokens, sample.is_estimated = pieces, True
    return sample


def levels_of(text: str) -> Iterator[int]:
    """Yield the numbers of a list such as `1,4,16`. Raises ValueError."""
    for part in text.split(","):
        number = int(part)
        if number < 1:
            raise ValueError(part)
        yield number
