"""Run the command, and map every way it can end to an exit code and at most one line on stderr."""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import NoReturn

import click

from acytoo.errors import AcytooError, NoTextError, TimedOutError, UnsupportedError, UsageError

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Every control character but tab and newline."""


def replace_controls(text: str) -> str:
    """Replace control characters with U+FFFD, so that text from a server cannot control the terminal.

    Tabs and newlines stay, carriage returns are removed.
    """
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r", ""))


def print_error(message: str) -> None:
    """Print an error on stderr. The message may contain text from a server."""
    click.echo(f"acytoo: {replace_controls(message)}", err=True)


def error_text(error: AcytooError) -> str:
    """Return the message of an error, with advice about the command's options in place of Python's arguments."""
    from acytoo.compat.legacy import LegacyArgumentError

    message = str(error)
    if isinstance(error, LegacyArgumentError):
        from acytoo.cli.options import flag_of

        return f"the provider {error.provider} cannot take {' and '.join(map(flag_of, error.names))}"
    if isinstance(error, UnsupportedError) and error.hint.startswith("leave it out"):
        return message.removesuffix(error.hint) + "leave it out, or add --drop-unsupported"
    if isinstance(error, NoTextError):
        return message.removesuffix(error.hint) + ": --json prints them"
    if isinstance(error, TimedOutError) and error.hint:
        return message.removesuffix(error.hint) + "; --timeout sets another limit"
    return message


def run(command: click.Command) -> NoReturn:
    """Run the command and exit with its exit code."""
    if sys.stdout is None:
        # The caller closed it (`>&-`). This stand-in fails when something is written, as a full disk does.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_, **__: print_error(str(message))
    try:
        code = command.main(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except UsageError as error:
        _exit(2, error_text(error))
    except AcytooError as error:
        _exit(1, error_text(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        _discard_output()
        sys.exit(141)
    except Exception as error:
        # Writing to a stream raises an OSError without a file name. Anything else is a bug of ours or of a plugin.
        if isinstance(error, OSError) and error.filename is None and error.strerror:
            _discard_output()
            _exit(1, f"cannot write to standard output: {error.strerror}")
        if os.environ.get("ACYTOO_TRACEBACK"):
            raise
        _exit(1, f"unexpected error {type(error).__name__}: {error} (ACYTOO_TRACEBACK=1 shows where)")


def _exit(code: int, message: str) -> NoReturn:
    sys.stdout.flush()
    print_error(message)
    sys.exit(code)


def _discard_output() -> None:
    """Send buffered output to the null device: Python flushes it at exit, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
