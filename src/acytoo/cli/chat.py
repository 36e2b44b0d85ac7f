"""`acytoo chat`: one prompt, or a conversation."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from typing import Any

import click

from acytoo.cli.options import endpoint_options, provider_of, request_options
from acytoo.cli.output import print_json, print_text
from acytoo.errors import UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("prompt", nargs=-1)
@click.option("-s", "--system", metavar="TEXT", help="Instructions for the model, before the conversation.")
@click.option("-t", "--temperature", type=float, metavar="NUMBER", help="How freely it answers: 0 is not at all.")
@click.option("-o", "--option", "pairs", multiple=True, metavar="NAME=VALUE", help="Any request option: -o seed=7")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
@endpoint_options
def chat(
    prompt: tuple[str, ...],
    system: str | None,
    temperature: float | None,
    pairs: tuple[str, ...],
    as_json: bool,
    **endpoint: Any,
) -> None:
    """Stream the reply to PROMPT and to what is piped in; without either, hold a conversation.

    \b
    Examples:
      acytoo "Hello, how are you?"
      acytoo chat -s "Answer in French." "Good morning"
      git diff | acytoo "Write a commit message for:"
      acytoo chat --url http://localhost:8000 --password secret
      acytoo --json -o seed=7 -m openai/gpt-5-mini "A number?" | jq .
    """
    options = request_options(pairs)
    if temperature is not None:
        options["temperature"] = temperature
    provider = provider_of(**endpoint)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    text = _with_pipe(" ".join(prompt) if prompt else None)
    if text is None:
        from acytoo.cli.conversation import Conversation

        Conversation(provider, messages, options).run()
        return
    if not text.strip():
        raise UsageError("the prompt is empty")
    messages.append({"role": "user", "content": text})
    if as_json:
        asyncio.run(print_json(provider.stream(messages, **options)))
    else:
        asyncio.run(print_text(provider.create_async_generator(provider.model, messages, **options), []))


def _with_pipe(prompt: str | None) -> str | None:
    """The prompt with what is piped in after it; None where there is neither."""
    if sys.stdin is None:
        return prompt or ""
    if sys.stdin.isatty():
        return prompt
    if prompt and not _is_pipe_or_file(sys.stdin.fileno()):
        return prompt
    piped = sys.stdin.buffer.read().decode("utf-8", "replace").strip("\n")
    return f"{prompt}\n\n{piped}" if prompt and piped else prompt or piped


def _is_pipe_or_file(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
