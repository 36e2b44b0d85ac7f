"""`acytoo credentials`: store API keys and other secrets in the system keyring."""

from __future__ import annotations

import sys

import click

from acytoo.errors import UsageError


@click.group
def credentials() -> None:
    """Store API keys and other secrets in the system keyring.

    The key of a provider is used if the provider's environment variable is not set. A secret with another name is for
    the config file of a server, as keyring:NAME.

    \b
    Examples:
      acytoo credentials set openai             prompts for the key
      pass show openai | acytoo credentials set openai
      acytoo credentials set team-redis         for counters = "keyring:team-redis"
      acytoo credentials remove openai
    """


@credentials.command("set")
@click.argument("name")
def set_(name: str) -> None:
    """Store the secret NAME, such as a provider's key, read from a prompt or a pipe."""
    from acytoo.credentials import store_key
    from acytoo.registry import suggest

    name, is_provider = _name(name)
    secret = _read_secret()
    if not secret:
        raise UsageError("the secret is empty")
    store_key(name, secret)
    if is_provider:
        click.echo(f"stored the key of {name}", err=True)
    else:
        similar = suggest(name)
        hint = f"; for a provider's key, did you mean {similar!r}?" if similar else ""
        click.echo(f"stored {name}, for keyring:{name} in a config file: no provider has this name{hint}", err=True)


@credentials.command
@click.argument("name")
def remove(name: str) -> None:
    """Remove the stored secret NAME."""
    from acytoo.credentials import remove_key

    name, _ = _name(name)
    remove_key(name)
    click.echo(f"removed {name}", err=True)


def _read_secret() -> str:
    """Return the secret from a prompt or a pipe, "" if standard input is closed. Raises UsageError."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        typed: str = click.prompt("Secret", hide_input=True)
        return typed.strip()
    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError:
        raise UsageError("the secret is not UTF-8 text") from None


def _name(text: str) -> tuple[str, bool]:
    """Return the name under which a secret is stored, and whether it is a provider's. Raises UsageError."""
    from acytoo.registry import provider_class

    text = text.strip()
    if not text or not text.isprintable():
        raise UsageError(f"invalid name {text!r}: expected a provider or a name of your own, such as team-redis")
    try:
        return provider_class(text.partition("/")[0]).address_name(), True
    except UsageError:
        return text.lower(), False
