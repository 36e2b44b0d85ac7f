"""`acytoo chat`: reply to one prompt, or hold a conversation."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import click

from acytoo.cli.exit_codes import print_error
from acytoo.cli.options import as_text, endpoint_options, parse_request_options, provider_from_options
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from acytoo.cli.conversation import Screen
    from acytoo.cli.conversation_log import Recorder
    from acytoo.types import Item


@click.command
@click.argument("prompt", nargs=-1)
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Append a text file to the prompt.")
@click.option("-a", "--attach", "images", multiple=True, metavar="IMAGE", help="Attach an image, a file or a URL.")
@click.option("-c", "--continue", "continues", is_flag=True, help="Continue the last conversation (see `acytoo logs`).")
@click.option("-s", "--system", metavar="TEXT", help="System prompt.")
@click.option("-t", "--temperature", type=float, metavar="NUMBER", help="Sampling temperature (0 = deterministic).")
@click.option("-o", "--option", "pairs", multiple=True, metavar="NAME=VALUE", help="Request option, such as seed=7.")
@click.option("--drop-unsupported", is_flag=True, help="Drop options that the API does not have, instead of an error.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
@endpoint_options
def chat(
    prompt: tuple[str, ...],
    files: tuple[str, ...],
    images: tuple[str, ...],
    continues: bool,
    system: str | None,
    temperature: float | None,
    pairs: tuple[str, ...],
    drop_unsupported: bool,
    as_json: bool,
    **endpoint: Any,
) -> None:
    """Stream the reply to a prompt, or hold a conversation.

    Piped text is appended to PROMPT. Without a prompt and a pipe, start a conversation.

    \b
    Examples:
      acytoo "Hello, how are you?"
      acytoo chat -s "Answer in French." "Good morning"
      git diff | acytoo "Write a commit message for:"
      acytoo -f report.md -a chart.png "Does the chart show what the report says?"
      acytoo chat --url http://localhost:8000 --password-file password.txt
      acytoo --json -o seed=7 -m openai/gpt-5-mini "A number?" | jq .
    """
    from acytoo.cli.attachments import file_text, image_part, message_content

    parts = [{"type": "text", "text": file_text(file)} for file in dict.fromkeys(files)]
    parts += [image_part(image) for image in dict.fromkeys(images)]
    recorder, messages = _recorder(continues, endpoint)
    provider = provider_from_options(**endpoint)
    options = parse_request_options(pairs, provider)
    if temperature is not None:
        options["temperature"] = temperature
    if drop_unsupported:
        options["drop_unsupported"] = True
    if provider.url.startswith("embedded://"):
        from acytoo.embedded import engine

        engine.use_idle_processors()
    if system:
        others = [message for message in messages if message["role"] != "system"]
        messages = [{"role": "system", "content": as_text(system)}, *others]
    text = _append_piped_text(as_text(" ".join(prompt)) if prompt else None)
    if text is None:
        from acytoo.cli.conversation import Conversation

        Conversation(
            provider,
            messages,
            options,
            provider_for=lambda address: provider_from_options(**settings_for_model(address, endpoint)),
            model=endpoint["model"] or "",
            recorder=recorder,
            attachments=parts,
        ).run(_open_screen())
        return
    if not text.strip() and not parts:
        raise UsageError("the prompt is empty")
    messages.append({"role": "user", "content": message_content(text, parts)})
    stream = provider.stream(messages, **options)
    _print_reply(stream, as_json, messages, recorder, endpoint["model"] or "")


def _print_reply(
    stream: AsyncGenerator[Item, None],
    as_json: bool,
    messages: list[dict[str, Any]],
    recorder: Recorder | None,
    model: str,
) -> None:
    """Print the reply, and record it, also a part of it."""
    import asyncio

    from acytoo.cli.output import print_ending, print_json, print_text, reply_text

    items: list[Item] = []
    try:
        asyncio.run((print_json if as_json else print_text)(stream, items))
        if not as_json:
            print_ending(items)
    finally:
        if recorder is not None and (reply := reply_text(items)):
            recorder.record(model, [*messages, {"role": "assistant", "content": reply}])


def _recorder(continues: bool, endpoint: dict[str, Any]) -> tuple[Recorder | None, list[dict[str, Any]]]:
    """Return the recorder, None if recording is off, and the messages so far.

    A conversation continues with its own model, unless another one or a URL is set.
    """
    from acytoo.cli.state import has_conversations

    if not continues and not has_conversations():
        return None, []
    from acytoo.cli.conversation_log import ConversationLog, Recorder

    log = ConversationLog()
    number: int | None = None
    messages: list[dict[str, Any]] = []
    if continues:
        number, model, messages = log.read()
        if not endpoint["model"] and not endpoint["url"]:
            endpoint["model"] = model or None
    try:
        is_on = log.is_on
    except UsageError as error:
        print_error(f"the conversation is not recorded: {error}")
        is_on = False
    return Recorder(log, number) if is_on else None, messages


def settings_for_model(address: str, endpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the endpoint options for another model. Another provider must not receive the URL, key and password."""
    from acytoo.cli.conversation import provider_of

    if provider_of(address) in ("", provider_of(endpoint["model"] or "")):
        return {**endpoint, "model": address}
    return {**dict.fromkeys(endpoint), "proxy": endpoint["proxy"], "timeout": endpoint["timeout"], "model": address}


def _open_screen() -> Screen:
    """Return the screen of the extra `tui` if it is installed and the terminal can show it, else the plain one."""
    from acytoo.cli.plain import PlainScreen
    from acytoo.cli.terminal import can_move_cursor

    if not can_move_cursor():
        return PlainScreen()
    try:
        from acytoo.cli.tui import RichScreen
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("acytoo"):
            raise
        return PlainScreen()
    return RichScreen()


def _append_piped_text(prompt: str | None) -> str | None:
    """Return the prompt followed by the text piped to standard input, or None if there is neither."""
    if sys.stdin is None:
        return prompt or ""
    if sys.stdin.isatty():
        return prompt
    # With a prompt, read only what was surely meant as input: an inherited socket or device may never end.
    if prompt and not _is_pipe_or_file(sys.stdin.fileno()):
        return prompt
    _report_waiting(sys.stdin.fileno())
    piped = sys.stdin.buffer.read().decode("utf-8", "replace").strip("\n")
    return f"{prompt}\n\n{piped}" if prompt and piped else prompt or piped


def _report_waiting(descriptor: int) -> None:
    """Say on stderr that a pipe is waited for, if nothing has arrived from it after two seconds."""
    if sys.platform == "win32" or stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    import select

    if not select.select([descriptor], [], [], 2.0)[0]:
        click.echo("acytoo: waiting for the piped text to end (</dev/null means none)", err=True)


def _is_pipe_or_file(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
