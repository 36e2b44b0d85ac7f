"""`acytoo logs`: record conversations in a local file, list, search and show them."""

from __future__ import annotations

import time
from typing import Any

import click

from acytoo.cli.exit_codes import replace_controls


class _LogsGroup(click.Group):
    """Its commands by name; any other first argument is a query for `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and (not args or args[0] not in (*self.commands, "--help", "-h")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_LogsGroup)
def logs() -> None:
    """List, search and show recorded conversations.

    Nothing is recorded until you turn it on.

    \b
    Examples:
      acytoo logs on
      acytoo logs                list the latest conversations
      acytoo logs river delta    list those with both words
      acytoo logs show 12
      acytoo -c "And in short?"  continue the last one
    """


@logs.command("list")
@click.argument("query", nargs=-1)
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of conversations.")
def list_command(query: tuple[str, ...], limit: int) -> None:
    """List conversations, the newest first. With a QUERY, those with a message that has all its words."""
    from acytoo.cli.conversation_log import ConversationLog
    from acytoo.cli.terminal import width

    log = ConversationLog()
    found = log.search(" ".join(query), limit)
    for conversation in found:
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(conversation.updated))
        text = " ".join(conversation.text.split())
        line = f"{conversation.id:5}  {date}  {conversation.model or 'built-in'}  {text}"
        click.echo(replace_controls(line)[: max(60, width() - 1)])
    if not found:
        hint = "" if log.is_on else "; `acytoo logs on` records new ones"
        click.echo(f"acytoo: no conversations found{hint}", err=True)


@logs.command()
@click.argument("number", metavar="ID", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print JSON that /load of a conversation reads.")
def show(number: int, as_json: bool) -> None:
    """Print a conversation."""
    from acytoo.cli.conversation_log import ConversationLog

    _, model, messages = ConversationLog().read(number)
    if as_json:
        import json

        click.echo(json.dumps({"model": model, "messages": messages}, indent=2))
        return
    for message in messages:
        click.echo(f"{message['role']}:\n{replace_controls(_text(message['content']))}\n")


@logs.command()
@click.argument("number", metavar="ID", type=int)
def delete(number: int) -> None:
    """Delete a conversation."""
    from acytoo.cli.conversation_log import ConversationLog

    ConversationLog().delete(number)


@logs.command()
def on() -> None:
    """Record conversations from now on."""
    from acytoo.cli.conversation_log import ConversationLog

    log = ConversationLog()
    log.turn(True)
    click.echo(f"conversations are recorded in {log.path}", err=True)


@logs.command()
def off() -> None:
    """Record no more conversations. The recorded ones stay."""
    from acytoo.cli.conversation_log import ConversationLog

    ConversationLog().turn(False)
    click.echo("conversations are not recorded", err=True)


@logs.command()
def path() -> None:
    """Print the path of the file."""
    from acytoo.cli.conversation_log import ConversationLog

    click.echo(ConversationLog().path)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or f"({part['type']})" for part in content)
