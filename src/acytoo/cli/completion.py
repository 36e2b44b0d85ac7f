"""`acytoo completion`: the script that teaches a shell to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Examples:
      acytoo completion bash >> ~/.bashrc
      acytoo completion zsh >> ~/.zshrc
      acytoo completion fish > ~/.config/fish/completions/acytoo.fish
    """
    from acytoo.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "acytoo", "_ACYTOO_COMPLETE").source())
