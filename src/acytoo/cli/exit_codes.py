"""How the command ends: exit codes and messages as a Unix user expects them."""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import NoReturn

import click

from acytoo.errors import AcytooError, UsageError

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text as a terminal may have it: a tab and a line's end are all it is told to do."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r", ""))


def complain(message: str) -> None:
    """Tell on stderr what went wrong; the words may be a server's."""
    click.echo(f"acytoo: {printable(message)}", err=True)


def run(command: click.Command) -> NoReturn:
    """Run the command, end the process with its exit code."""
    if sys.stdout is None:  # closed by who called: like a full disk, it is told when something is written
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_, **__: complain(str(message))
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
        _drop_output()
        sys.exit(141)
    except OSError as error:
        if error.filename is not None:
            raise
        _drop_output()
        _say(f"standard output cannot be written: {error.strerror}", 1)


def _say(message: str, code: int) -> NoReturn:
    sys.stdout.flush()
    complain(message)
    sys.exit(code)


def _drop_output() -> None:
    """What is still to be written is not tried again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
