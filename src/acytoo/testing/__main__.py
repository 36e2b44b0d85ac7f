"""`python -m acytoo.testing MODULE:PROVIDER`: what a provider lacks; `--faults` writes the fault table for the docs."""

from __future__ import annotations

import sys

import click

from acytoo.errors import UsageError
from acytoo.testing.conformance.markdown import faults_page
from acytoo.testing.conformance.report import lines, named, subject_of


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("address", required=False, metavar="[MODULE:NAME]")
@click.option("--dialect", default="", metavar="NAME", help="The API it speaks, where it does not say so itself.")
@click.option("--only", multiple=True, metavar="TEXT", help="Only rows with this in their name; may be repeated.")
@click.option("--patience", default=3.0, show_default=True, help="Seconds after which an attempt counts as hung.")
@click.option("--crowd", default=100, show_default=True, help="How many replies are asked for at once.")
@click.option("--failures", is_flag=True, help="Leave out what passes.")
@click.option("--faults", is_flag=True, help="Write the fault table as Markdown, and end.")
@click.pass_context
def conform(
    context: click.Context,
    address: str | None,
    dialect: str,
    only: tuple[str, ...],
    patience: float,
    crowd: int,
    failures: bool,
    faults: bool,
) -> None:
    """Hold a provider, or a test class of the kit's, against the whole contract; exit with 1 where it lacks something.

    \b
    Examples:
      python -m acytoo.testing acytoo:Acytoo
      python -m acytoo.testing mine.provider:Mine --dialect openai --failures
    """
    if faults:
        click.echo(faults_page(), nl=False)
        return
    if address is None:
        raise click.UsageError("name a provider, like acytoo:Acytoo")
    try:
        subject = subject_of(named(address), dialect, patience_s=patience, crowd=crowd)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    tried = failed = 0
    for line in lines(subject, only):
        tried += 1
        failed += bool(line.complaints)
        if line.complaints or not failures:
            click.echo(str(line))
    click.echo(f"{subject.name}, {subject.dialect.name}: {tried - failed} of {tried} rows hold")
    context.exit(1 if failed or not tried else 0)


if __name__ == "__main__":
    sys.path.insert(0, "")
    conform(prog_name="python -m acytoo.testing")
