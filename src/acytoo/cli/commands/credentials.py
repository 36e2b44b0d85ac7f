"""`acytoo credentials`: store API keys in the system keyring."""

from __future__ import annotations

import sys

import click

from acytoo.errors import UsageError


@click.group
def credentials() -> None:
    """Store API keys in the system keyring.

    A stored key is used if the provider's environment variable is not set.

    \b
    Examples:
      acytoo credentials set openai             prompts for the key
      pass show openai | acytoo credentials set openai
      acytoo credentials remove openai
    """


@credentials.command("set")
@click.argument("provider")
def set_(provider: str) -> None:
    """Store the key of PROVIDER, read from a prompt or a pipe."""
    from acytoo.credentials import store_key

    name = _provider_name(provider)
    key = click.prompt("Key", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    if not key.strip():
        raise UsageError("the key is empty")
    store_key(name, key.strip())
    click.echo(f"stored the key of {name}", err=True)


@credentials.command
@click.argument("provider")
def remove(provider: str) -> None:
    """Remove the stored key of PROVIDER."""
    from acytoo.credentials import remove_key

    name = _provider_name(provider)
    remove_key(name)
    click.echo(f"removed the key of {name}", err=True)


def _provider_name(address: str) -> str:
    from acytoo.registry import provider_class

    return provider_class(address.partition("/")[0]).address_name()
