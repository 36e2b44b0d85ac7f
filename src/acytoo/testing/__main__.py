"""`python -m acytoo.testing MODULE:PROVIDER`: report how a provider violates the contract.

`python -m acytoo.testing server URL` reports how a server reacts to hostile requests.
"""

from __future__ import annotations

import asyncio
import sys

import click

from acytoo.errors import UsageError
from acytoo.testing.conformance.report import import_object, run, subject_of


def _print_faults(context: click.Context, option: click.Parameter, value: bool) -> None:
    """Print docs/faults.md and exit. Its generator is only in a source checkout."""
    if not value:
        return
    try:
        from acytoo.testing.conformance.markdown import faults_page
    except ImportError as error:
        raise click.UsageError("--faults needs a source checkout: the wheel has no docs") from error
    click.echo(faults_page(), nl=False)
    context.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("address", metavar="MODULE:NAME")
@click.option("--dialect", default="", metavar="NAME", help="API of a provider that has no dialect of its own.")
@click.option("--only", multiple=True, metavar="TEXT", help="Only scenarios with this text in their name. Repeatable.")
@click.option("--patience", default=3.0, show_default=True, help="Seconds after which a call counts as hung.")
@click.option("--crowd", default=100, show_default=True, help="Number of concurrent calls.")
@click.option("--failures", is_flag=True, help="Do not print the scenarios that pass.")
@click.option(
    "--faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_faults,
    help="Print the fault table as Markdown and exit.",
)
@click.pass_context
def conform(
    context: click.Context,
    address: str,
    dialect: str,
    only: tuple[str, ...],
    patience: float,
    crowd: int,
    failures: bool,
) -> None:
    """Run the conformance scenarios on a provider, or on a subclass of ProviderConformance.

    Exits with 1 if a scenario fails.

    \b
    Examples:
      python -m acytoo.testing acytoo:Acytoo
      python -m acytoo.testing mine.provider:Mine --dialect openai --failures
      python -m acytoo.testing server http://127.0.0.1:8000   (see server --help)
    """
    try:
        subject = subject_of(import_object(address), dialect, patience_s=patience, crowd=crowd)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    total = failed = 0
    for result in run(subject, only):
        total += 1
        failed += bool(result.violations)
        if result.violations or not failures:
            click.echo(str(result))
    click.echo(f"{subject.name}, {subject.dialect.name}: {total - failed} of {total} scenarios passed")
    context.exit(1 if failed or not total else 0)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("url", metavar="URL")
@click.option(
    "--password",
    default="",
    envvar="ACYTOO_PASSWORD",
    show_envvar=True,
    help="The server's password. Prefer the variable.",
)
@click.option("--only", multiple=True, metavar="TEXT", help="Only rows with this text in their name. Repeatable.")
@click.option("--patience", default=10.0, show_default=True, help="Seconds after which something counts as hung.")
@click.option("--failures", is_flag=True, help="Do not print the rows that pass.")
@click.pass_context
def server(
    context: click.Context, url: str, password: str, only: tuple[str, ...], patience: float, failures: bool
) -> None:
    """Send hostile requests to a running Acytoo server, and report what it does not withstand.

    Use it on servers of your own. It sends up to a gigabyte, guesses passwords, and asks no backend for anything.
    Exits with 1 if a row fails.

    \b
    Examples:
      python -m acytoo.testing server http://127.0.0.1:8000
      ACYTOO_PASSWORD=secret python -m acytoo.testing server https://chat.example/api --failures
    """
    from acytoo.testing.hostile.rows import try_rows
    from acytoo.testing.hostile.site import Site

    try:
        site = Site.at(url, password, patience)
    except UsageError as error:
        raise click.UsageError(str(error)) from error

    async def report() -> tuple[int, int]:
        total = failed = 0
        async for result in try_rows(site, only):
            total += 1
            failed += bool(result.violation)
            if result.violation or not failures:
                click.echo(str(result))
        return total, failed

    total, failed = asyncio.run(report())
    click.echo(f"{site.host}: {total - failed} of {total} rows passed")
    context.exit(1 if failed or not total else 0)


def main(arguments: list[str]) -> None:
    """Run the command that the first argument names, by default the report on a provider."""
    if arguments[:1] == ["server"]:
        server(arguments[1:], prog_name="python -m acytoo.testing server")
    conform(arguments, prog_name="python -m acytoo.testing")


if __name__ == "__main__":
    sys.path.insert(0, "")
    main(sys.argv[1:])
