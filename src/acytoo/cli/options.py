"""Options that several commands share, and the provider they select."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from acytoo.cli.waiting import report_waiting
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider

F = TypeVar("F", bound=Callable[..., Any])


def _check_seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= 1e9:
        raise click.BadParameter("expected a number of seconds above 0")
    return value


def _refuse_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty value, such as that of an unset variable: the default would answer instead, or no proxy."""
    if value == "":
        what = "the PROVIDER or URL" if isinstance(parameter, click.Argument) else f"--{parameter.name}"
        raise UsageError(f"{what} is empty: give it a value, or leave it out")
    return value


address_argument = click.argument("address", required=False, metavar="[PROVIDER | URL]", callback=_refuse_empty)
"""The argument of commands that take a provider or the URL of a server in place of `-m` or `--url`."""


def warn_if_visible(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Warn, when the command has started, about a secret that other users can read in the list of processes."""
    name = parameter.name or ""
    if value and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        flag = f"--{name.replace('_', '-')}"
        context.meta.setdefault(_VISIBLE, []).append(flag)
    return value


_VISIBLE = "acytoo.visible_secrets"


def print_warnings() -> None:
    """Print the warnings about secrets among the current command's arguments."""
    for flag in click.get_current_context().meta.pop(_VISIBLE, []):
        click.echo(
            f"acytoo: other users of this machine can read {flag}: use {flag}-file, or an environment variable",
            err=True,
        )


def secret_options(flag: str, metavar: str, help: str, **attributes: Any) -> Callable[[F], F]:
    """Return a decorator that adds an option for a secret, and one for a file that contains it."""
    file_help = f"File with what {flag} takes; - is the first line of standard input."

    def add(command: F) -> F:
        command = click.option(f"{flag}-file", metavar="FILE", help=file_help)(command)
        return click.option(flag, metavar=metavar, help=help, callback=warn_if_visible, **attributes)(command)

    return add


def read_secret(flag: str, value: str | None, file: str | None) -> str | None:
    """Return the secret of an option or of its file, which `-` reads from a prompt or a pipe.

    Raises:
        UsageError: Both are set, or the file cannot be read or is empty.
    """
    if file is None:
        return value
    if (
        value is not None
        and click.get_current_context().get_parameter_source(_name(flag)) is ParameterSource.COMMANDLINE
    ):
        raise UsageError(f"the secret is set twice: use either {flag} or {flag}-file")
    if file == "-" and sys.stdin is not None and sys.stdin.isatty():
        secret: str = click.prompt(_name(flag).replace("_", " ").capitalize(), hide_input=True, err=True)
        return secret
    try:
        if file != "-":
            with report_waiting(Path(file)):
                data = Path(file).read_bytes()
        else:
            data = sys.stdin.buffer.readline() if sys.stdin is not None else b""
        text = data.decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {flag}-file {file}: {reason}") from None
    if not text:
        raise UsageError(f"{flag}-file {file} is empty")
    return text


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


_ENDPOINT_OPTIONS = (
    click.option(
        "-m",
        "--model",
        metavar="NAME",
        callback=_refuse_empty,
        help="PROVIDER[/MODEL], such as openai/gpt-5-mini, or several separated by '|', the next one if one fails; "
        "with --url, a model of that server.",
    ),
    click.option(
        "--url",
        metavar="URL",
        callback=_refuse_empty,
        help="Server URL; an Acytoo server unless -m names a provider.",
    ),
    secret_options("--key", "KEY", "API key. Prefer the provider's environment variable."),
    secret_options("--password", "TEXT", "Site password. Prefer ACYTOO_PASSWORD."),
    click.option(
        "--proxy",
        metavar="URL",
        callback=_refuse_empty,
        help="Proxy: http://, https://, socks4(a):// or socks5(h)://.",
    ),
    click.option(
        "--timeout",
        type=float,
        callback=_check_seconds,
        metavar="SECONDS",
        help="Timeout for each of: connecting, the first byte, a pause between bytes.",
    ),
)


def endpoint_options(command: F) -> F:
    """Add `--model`, `--url`, `--key`, `--password`, both also as `-file`, `--proxy` and `--timeout`."""
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
    key_file: str | None,
    password_file: str | None,
    needs_model: bool = True,
) -> AsyncGeneratorProvider:
    """Return the provider that the endpoint options select. Without `needs_model` it may lack the name of a model.

    If `model` is `PROVIDER[/MODEL]`, that is the provider, and if it is a URL, an Acytoo server. Otherwise `model` is
    passed on unchanged to the Acytoo server at `url`: model names may contain slashes. Without a URL, the provider is
    the built-in model with all options. Several of them, separated by `|`, are a route. Raises UsageError, in terms of
    the command's options.
    """
    print_warnings()
    key = read_secret("--key", key, key_file)
    password = read_secret("--password", password, password_file)
    settings = {"url": url, "key": key, "password": password, "proxy": proxy, "timeout": timeout}
    if model and "|" in model:
        return _route(model, settings)
    return _provider(model, settings, needs_model)


def select_address(address: str | None, endpoint: dict[str, Any]) -> None:
    """Use the argument of a command, the URL of a server or PROVIDER[/MODEL], in place of `--url` or `-m`."""
    from acytoo.registry import is_known

    if not address:
        return
    name = "model" if is_known(address.partition("/")[0]) else "url"
    if endpoint[name]:
        what, flag = ("provider", "-m") if name == "model" else ("URL", "--url")
        raise UsageError(f"the {what} is set twice: use either {what.upper()} or {flag}")
    endpoint[name] = address


def _route(model: str, settings: dict[str, Any]) -> AsyncGeneratorProvider:
    """Return the route to several targets, separated by `|`."""
    from acytoo.routing.addresses import mask_targets, route_to

    for name in ("url", "key", "password"):
        if settings[name]:
            hint = "name it in -m" if name == "url" else "set the environment variable of each target's provider"
            raise UsageError(f"{_FLAGS[name]} cannot be used with several targets: {hint}")
    return route_to(model, lambda part: _provider(part, dict(settings)), f"-m {mask_targets(model)!r}")


def _provider(model: str | None, settings: dict[str, Any], needs_model: bool = True) -> AsyncGeneratorProvider:
    if model and "://" in model:
        if settings["url"]:
            raise UsageError("the URL is set twice: use either -m or --url")
        model, settings["url"] = None, model
    if model:
        from acytoo.registry import is_known

        name, _, rest = model.partition("/")
        if is_known(name):
            return _named_provider(name, rest, settings, needs_model)
    return _acytoo_provider(model, settings)


def _named_provider(name: str, model: str, settings: dict[str, Any], needs_model: bool) -> AsyncGeneratorProvider:
    from acytoo.providers.embedded import Embedded
    from acytoo.registry import provider_class

    cls = provider_class(name)
    if not settings["url"] and lacks_url(cls):
        raise UsageError(f"{name} needs a URL: use --url, or set {cls.variable('url')}")
    check_base_url(cls, settings["url"] or cls.environment("url"))
    provider = cls(model=model or None, **settings)
    if needs_model and cls.needs_model and not provider.model:
        raise UsageError(f"{name} needs a model: use -m {name}/MODEL")
    if cls.needs_auth and not provider.has_key:
        raise UsageError(
            f"{name} needs a key: set {cls.variable('key')}, use --key, or run: acytoo credentials set {name}"
        )
    if cls is Embedded and provider.url == Embedded.url:
        _check_built_in(provider.model)
    return provider


def lacks_url(cls: type[AsyncGeneratorProvider]) -> bool:
    """Return whether a provider has no URL of its own and none in the environment. A legacy one needs none."""
    return cls.dialect is not None and not (cls.url or cls.environment("url"))


def check_base_url(cls: type[AsyncGeneratorProvider], url: str) -> None:
    """Raise UsageError for the URL of an API's requests, and for an OpenAI-compatible server as an Acytoo server."""
    if cls.dialect is None:
        return
    from acytoo.secret import mask_url

    base = url.rstrip("/")
    for route in cls.dialect.routes:
        tail = route.removeprefix("/v1")
        if base.endswith(tail):
            raise UsageError(f"invalid URL {mask_url(url)!r}: leave out {tail}, which is added to it")
    if cls.dialect.name == "acytoo" and base.endswith(("/v1", "/chat/completions")):
        raise UsageError(
            f"{mask_url(url)} is probably an OpenAI-compatible server: use the provider compatible/MODEL with "
            f"{mask_url(base.removesuffix('/chat/completions'))} as its URL (--url or COMPATIBLE_URL)"
        )


def _acytoo_provider(model: str | None, settings: dict[str, Any]) -> AsyncGeneratorProvider:
    """Return an Acytoo server or, if the URL is that of an embedded model, that model with all its options."""
    from acytoo.providers.acytoo import Acytoo
    from acytoo.providers.embedded import Embedded

    url = settings["url"] or Acytoo.environment("url") or Acytoo.url
    if not url.startswith("embedded://"):
        if model and "/" in model and not settings["url"]:
            raise _unknown_model(model)
        check_base_url(Acytoo, url)
        return Acytoo(model=model, **settings)
    if url == Acytoo.url:
        _check_built_in(model or Acytoo.environment("model"))
    return Embedded(model=model, **{**settings, "url": url})


def _check_built_in(model: str) -> None:
    """Raise UsageError for the name of another model. The library ignores the name, as a server may do."""
    from acytoo.embedded.weights import KNOWN

    if model and model not in KNOWN:
        raise _unknown_model(model)


def _unknown_model(model: str) -> UsageError:
    from acytoo.embedded.weights import KNOWN
    from acytoo.registry import suggest

    similar = next((name for name in KNOWN if name.startswith(model.lower())), "") or suggest(model)
    hint = (
        f"did you mean -m {similar}?" if similar else "expected PROVIDER/MODEL; `acytoo providers` lists the providers"
    )
    return UsageError(f"unknown model {model!r}: {hint}")


_FLAGS = {
    "model": "-m",
    "url": "--url",
    "base_url": "--url",
    "key": "--key",
    "api_key": "--key",
    "password": "--password",
    "proxy": "--proxy",
    "timeout": "--timeout",
}
"""The options of the command by the names of the arguments that they set."""


def flag_of(name: str) -> str:
    """Return the option of the command that sets an argument of the library."""
    return _FLAGS.get(name, f"-o {name}")


def parse_request_options(pairs: tuple[str, ...], provider: AsyncGeneratorProvider, flag: str = "-o") -> dict[str, Any]:
    """Parse the NAME=VALUE pairs of a flag. A value that is valid JSON is decoded, any other is text.

    Raises:
        UsageError: A pair is malformed, or the provider has no such option. A legacy provider checks its own.
    """
    import msgspec

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UsageError(f"invalid option {flag} {pair}: expected NAME=VALUE, such as {flag} max_tokens=100")
        try:
            options[name] = msgspec.json.decode(value.encode("utf-8", "surrogateescape"))
        except (msgspec.DecodeError, RecursionError):
            options[name] = as_text(value)
        _check_option(name, options[name], provider.is_legacy, flag)
    return options


def as_text(argument: str) -> str:
    """Return an argument or a typed line with U+FFFD for bytes that are not UTF-8, as piped text has it."""
    import re

    return re.sub("[\ud800-\udfff]", "\ufffd", argument)


def _check_option(name: str, value: object, takes_any: bool, flag: str) -> None:
    from acytoo.settings import NAMES
    from acytoo.types import OPTIONS

    if name in _FLAGS:
        raise UsageError(f"invalid option {flag} {name}=…: use {_FLAGS[name]}")
    if name == "messages":
        raise UsageError(f"invalid option {flag} messages=…: the prompt is an argument, the system prompt is -s")
    if name == "extra_body":
        if not isinstance(value, dict):
            example = f"""{flag} extra_body='{{"min_p": 0.1}}'"""
            raise UsageError(f"invalid option {flag} extra_body: expected a JSON object, such as {example}")
        for field in value.keys() & {"messages", *_FLAGS}:
            raise UsageError(f"invalid option {flag} extra_body: it must not contain {field!r}")
    elif not takes_any and name not in OPTIONS | NAMES:
        import difflib

        similar = difflib.get_close_matches(name, sorted(OPTIONS | NAMES), 1)
        field = f"""for a field of the API itself, use {flag} extra_body='{{"{name}": …}}'"""
        raise UsageError(f"unknown option {flag} {name}: {f'did you mean {similar[0]!r}?' if similar else field}")
