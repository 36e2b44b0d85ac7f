"""Ctrl-C ends a command that starts, whatever Python runs at that moment."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.processes import run, script

LOST = """
import os, signal, sys, time, weakref
from acytoo.cli.interrupts import kept_interrupts

class Thing:
    pass

def press(_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
        time.sleep(0.01)

sys.unraisablehook = lambda lost: print("lost", lost.exc_type.__name__)

def start():
    thing = Thing()
    reference = weakref.ref(thing, press)
    del thing
    print("started")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_an_interrupt_that_is_lost_in_a_callback_is_raised_at_the_end() -> None:
    done = run(script(LOST + "with kept_interrupts():\n    start()\nprint('goes on')"))
    assert (done.returncode, done.stdout) == (-signal.SIGINT, b"lost KeyboardInterrupt\nstarted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_after_the_start_ctrl_c_is_pythons_own_again() -> None:
    code = "with kept_interrupts():\n    pass\nprint(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert run(script(LOST + code)).stdout == b"True\n"
