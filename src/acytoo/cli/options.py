"""Options that several commands share, and the provider they select."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider

F = TypeVar("F", bound=Callable[..., Any])

_ENDPOINT_OPTIONS = (
    click.option(
        "-m",
        "--model",
        metavar="NAME",
        help="PROVIDER[/MODEL], such as openai/gpt-5-mini, or a model of an Acytoo server.",
    ),
    click.option("--url", metavar="URL", help="Server URL; an Acytoo server unless -m names a provider."),
    click.option("--key", metavar="KEY", help="API key. Prefer the provider's environment variable."),
    click.option("--password", metavar="TEXT", help="Site password. Prefer ACYTOO_PASSWORD."),
    click.option("--proxy", metavar="URL", help="Proxy: http://, https://, socks4(a):// or socks5(h)://."),
    click.option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="Timeout for each of: connecting, the first byte, a pause between bytes.",
    ),
)


def endpoint_options(command: F) -> F:
    """Add `--model`, `--url`, `--key`, `--password`, `--proxy` and `--timeout`."""
    for option in reversed(_ENDPOINT_OPTIONS):
        command = option(command)
    return command


def provider_from_options(
    model: str | None,
    url: str | None,
    key: str | None,
    password: str | None,
    proxy: str | None,
    timeout: float | None,
) -> AsyncGeneratorProvider:
    """Return the provider that the endpoint options select.

    If `model` is `PROVIDER[/MODEL]`, that is the provider. Otherwise it is Acytoo, and `model` is passed on unchanged:
    model names may contain slashes.
    """
    settings = {"url": url, "key": key, "password": password, "proxy": proxy, "timeout": timeout}
    from acytoo.providers.acytoo import Acytoo

    if model:
        from acytoo.registry import provider, providers

        is_provider = model.partition("/")[0].lower() in providers()
        if is_provider or ("/" in model and url is None):
            return provider(model, **settings)
    return Acytoo(model=model, **settings)  # type: ignore[arg-type]


def parse_request_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Parse `-o NAME=VALUE` pairs. A value that is valid JSON is decoded, any other is text.

    Raises:
        UsageError: A pair has no name or no `=`.
    """
    import msgspec

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"invalid option -o {pair}: expected NAME=VALUE, such as -o max_tokens=100")
        try:
            options[name.replace("-", "_")] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            options[name.replace("-", "_")] = value
    return options
