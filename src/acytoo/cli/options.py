"""Options that several commands share, and the provider they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_ENDPOINT = (
    click.option(
        "-m",
        "--model",
        metavar="NAME",
        help="PROVIDER[/MODEL] like openai/gpt-5-mini, or a model of the Acytoo server.",
    ),
    click.option("--url", metavar="URL", help="The server to talk to; without -m PROVIDER/… an Acytoo server."),
    click.option("--key", metavar="KEY", help="Your key there (better: its environment variable)."),
    click.option("--password", metavar="TEXT", help="The site's password (better: ACYTOO_PASSWORD)."),
    click.option("--proxy", metavar="URL", help="http://, https://, socks4(a):// or socks5(h):// proxy."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Longest wait for connection, first byte, or more."),
)


def endpoint_options(command: F) -> F:
    """Add `--model`, `--url`, `--key`, `--password`, `--proxy` and `--timeout`."""
    for option in reversed(_ENDPOINT):
        command = option(command)
    return command


def provider_of(
    model: str | None,
    url: str | None,
    key: str | None,
    password: str | None,
    proxy: str | None,
    timeout: float | None,
) -> AsyncGeneratorProvider:
    """The provider that the options mean: `PROVIDER[/MODEL]` by name, else Acytoo with the model as it is."""
    settings = {"url": url, "key": key, "password": password, "proxy": proxy, "timeout": timeout}
    from acytoo.providers.acytoo import Acytoo

    if model:
        from acytoo.registry import provider, providers

        named = model.partition("/")[0].lower() in providers()
        if named or ("/" in model and url is None):
            return provider(model, **settings)
    return Acytoo(model=model, **settings)  # type: ignore[arg-type]


def request_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`-o NAME=VALUE` pairs as options; a value that is JSON is read as such. Raises UsageError."""
    import msgspec

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"-o {pair}: write NAME=VALUE, like -o max_tokens=100")
        try:
            options[name.replace("-", "_")] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            options[name.replace("-", "_")] = value
    return options
