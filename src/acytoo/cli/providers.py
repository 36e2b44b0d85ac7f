"""`acytoo providers`: who can be called, and whether a key is there; `acytoo keys`: keys in the system's keyring."""

from __future__ import annotations

import asyncio
import sys

import click

from acytoo.base_provider import AsyncGeneratorProvider, Check
from acytoo.errors import AcytooError, UsageError
from acytoo.registry import provider_class
from acytoo.registry import providers as known_providers

_HELP = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_HELP)
@click.argument("names", nargs=-1)
@click.option("--check", "really", is_flag=True, help="Ask each that has a key, or needs none, for a few tokens.")
def providers(names: tuple[str, ...], really: bool) -> None:
    """List the providers, or those NAMED: their API, whether a key is there, their URL.

    \b
    Examples:
      acytoo providers
      acytoo providers --check openai/gpt-5-mini ollama/llama3.2
    """
    chosen = {name: _class_of(name) for name in names} or known_providers()
    width = max(len(name) for name in chosen)
    results = asyncio.run(_checked(chosen)) if really else {}
    for name, cls in chosen.items():
        dialect = cls.dialect.name if cls.dialect is not None else "its own"
        line = f"{name:{width}}  {dialect:16}  {_key_state(cls):30}  {cls.url}"
        click.echo(f"{line}  {_told(results[name])}" if name in results else line.rstrip())
    if any(not result for result in results.values() if isinstance(result, Check)):
        sys.exit(1)


def _class_of(name: str) -> type[AsyncGeneratorProvider]:
    return provider_class(name.partition("/")[0])


def _key_state(cls: type[AsyncGeneratorProvider]) -> str:
    if not cls.needs_auth:
        return "needs no key"
    variable = next(iter(cls.env.get("key", ())), "")
    return "key found" if cls.own_key() else f"no key ({variable})"


async def _checked(chosen: dict[str, type[AsyncGeneratorProvider]]) -> dict[str, Check | str]:
    names = list(chosen)
    found = await asyncio.gather(*[_check_one(name, chosen[name]) for name in names])
    return dict(zip(names, found, strict=True))


async def _check_one(name: str, cls: type[AsyncGeneratorProvider]) -> Check | str:
    if cls.needs_auth and not cls.own_key():
        return "not asked: no key"
    model = name.partition("/")[2]
    if cls.needs_model and not model:
        return f"not asked: name a model, {name}/MODEL"
    try:
        return await cls(model=model or None).check()
    except AcytooError as error:
        return Check(False, error=error)


def _told(result: Check | str) -> str:
    if isinstance(result, str):
        return result
    return f"works, first text after {result.first_s:.2f} s" if result.ok else f"fails: {result.error}"


@click.group(context_settings=_HELP)
def keys() -> None:
    """Keep keys in the system's keyring, for providers whose environment variable is not set.

    \b
    Examples:
      acytoo keys set openai             asks for the key
      pass show openai | acytoo keys set openai
      acytoo keys remove openai
    """


@keys.command("set")
@click.argument("provider")
def set_(provider: str) -> None:
    """Keep a key for PROVIDER; it is asked for, or read from a pipe."""
    from acytoo.keys import store_key

    name = _class_of(provider).address_name()
    key = click.prompt("Key", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    if not key.strip():
        raise UsageError("the key is empty")
    store_key(name, key.strip())
    click.echo(f"kept a key for {name}", err=True)


@keys.command("remove")
@click.argument("provider")
def remove(provider: str) -> None:
    """Forget the key of PROVIDER."""
    from acytoo.keys import remove_key

    name = _class_of(provider).address_name()
    remove_key(name)
    click.echo(f"removed the key of {name}", err=True)
