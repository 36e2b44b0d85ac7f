"""`acytoo completion`: print the script that lets a shell complete our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      acytoo completion bash >> ~/.bashrc
      acytoo completion zsh >> ~/.zshrc
      acytoo completion fish > ~/.config/fish/completions/acytoo.fish
    """
    from acytoo.cli import cli

    completion_class = get_completion_class(shell)
    assert completion_class is not None
    click.echo(completion_class(cli, {}, "acytoo", "_ACYTOO_COMPLETE").source())
