"""An upstream for batches: it echoes prompts, counts them, and answers some of them with what a test wants."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from acytoo import Finish, Usage, dialects
from acytoo.testing import FakeEndpoint, ReceivedRequest, ScriptedResponse, reply
from tests.processes import ACYTOO

Answer = Callable[[str, int], ScriptedResponse | None]
"""Returns the response to a prompt that is received for the nth time (1 is the first), or None for an echo."""


class Upstream(FakeEndpoint):
    """An OpenAI-compatible server that replies `re: PROMPT`, 2 tokens in and 3 out."""

    def __init__(self, answer: Answer = lambda prompt, count: None) -> None:
        super().__init__(dialects.OpenAI(), self._respond)
        self._answer = answer
        self.counts: Counter[str] = Counter()
        """How often each prompt was received."""

    def _respond(self, received: ReceivedRequest) -> ScriptedResponse:
        prompt = received.json["messages"][-1]["content"]
        self.counts[prompt] += 1
        usage = Usage(input_tokens=2, output_tokens=3)
        return self._answer(prompt, self.counts[prompt]) or reply("re: ", prompt, Finish("stop"), usage)

    def command(self, input: Path | str, output: Path, *options: str) -> list[str]:
        """Return the command that runs a batch against this server."""
        model = ["-m", "compatible/m", "--url", self.url]
        return [ACYTOO, "batch", str(input), "-o", str(output), *model, *options]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_prompts(path: Path, count: int) -> Path:
    """Write rows with the prompts p1, p2 and so on."""
    return write_rows(path, ({"prompt": f"p{number}"} for number in range(1, count + 1)))


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, decoded."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]
