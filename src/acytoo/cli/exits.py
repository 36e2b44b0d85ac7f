"""How the command ends: exit codes and messages as a Unix user expects them."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from acytoo.errors import AcytooError, UsageError


def run(command: click.Command) -> NoReturn:
    """Run the command, end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command.main(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except UsageError as error:
        _say(str(error), 2)
    except AcytooError as error:
        _say(str(error), 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _say(message: str, code: int) -> NoReturn:
    sys.stdout.flush()
    click.echo(f"acytoo: {message}", err=True)
    sys.exit(code)
