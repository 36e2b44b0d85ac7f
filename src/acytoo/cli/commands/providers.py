"""`acytoo providers`: list the providers, and test them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from acytoo.cli.exit_codes import error_text, replace_controls
from acytoo.cli.options import lacks_url

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider, Check


@click.command
@click.argument("names", nargs=-1, metavar="[NAME[/MODEL]]...")
@click.option("--check", "test", is_flag=True, help="Request a few tokens from each provider that is ready to use.")
def providers(names: tuple[str, ...], test: bool) -> None:
    """List the providers and whether their keys are set.

    The columns are name, API, key and URL. With --check, exits with 1 if a provider fails.

    \b
    Examples:
      acytoo providers
      acytoo providers --check openai/gpt-5-mini ollama/llama3.2
    """
    import asyncio

    from acytoo import registry

    classes = {name: registry.provider_class(name.partition("/")[0]) for name in names} or registry.providers()
    width = max(len(name) for name in classes)
    results = asyncio.run(_check_all(classes)) if test else {}
    for name, cls in classes.items():
        dialect = cls.dialect.name if cls.dialect is not None else "its own"
        line = f"{name:{width}}  {dialect:16}  {_key_state(cls):30}  {cls.url}"
        click.echo(f"{line}  {_result_text(results[name])}" if name in results else line.rstrip())
    if any(not (isinstance(result, str) or result.ok) for result in results.values()):
        sys.exit(1)


def _key_state(cls: type[AsyncGeneratorProvider]) -> str:
    if not cls.needs_auth:
        return "needs no key"
    return "key set" if cls.own_key() else f"no key ({cls.variable('key')})"


async def _check_all(classes: dict[str, type[AsyncGeneratorProvider]]) -> dict[str, Check | str]:
    import asyncio

    results = await asyncio.gather(*(_check(name, cls) for name, cls in classes.items()))
    return dict(zip(classes, results, strict=True))


async def _check(name: str, cls: type[AsyncGeneratorProvider]) -> Check | str:
    """Return the result of the test, or the reason why it was skipped."""
    from acytoo.base_provider import Check
    from acytoo.errors import AcytooError

    if cls.needs_auth and not cls.own_key():
        return "skipped: no key"
    if lacks_url(cls):
        return f"skipped: no URL ({cls.variable('url')})"
    model = name.partition("/")[2]
    if cls.needs_model and not model:
        return f"skipped: no model, use {name}/MODEL"
    try:
        return await cls(model=model or None).check()
    except AcytooError as error:
        return Check(False, error=error)


def _result_text(result: Check | str) -> str:
    if isinstance(result, str):
        return result
    if result.error is not None:
        return replace_controls(f"failed: {error_text(result.error)}")
    return f"ok, first text after {result.first_s:.2f} s"
