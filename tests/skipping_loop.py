"""An event loop whose clock a test puts forward.

With it a test of a timeout waits for nothing and does not depend on the speed of the machine: all limits are far longer
than the test takes, and expire because the test skips so many seconds at the right moment.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")
Test = Callable[P, Coroutine[Any, Any, None]]


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward."""

    _skipped = 0.0

    def time(self) -> float:
        return super().time() + self._skipped

    def skip(self, seconds: float) -> None:
        """Put the clock forward."""
        self._skipped += seconds


def skip(seconds: float) -> None:
    """Put the clock of the running SkippingLoop forward."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    loop.skip(seconds)


def in_skipping_loop(test: Test[P]) -> Callable[P, None]:
    """Run a test in a SkippingLoop of its own."""
    return _run_in(SkippingLoop, test)


class StoppedLoop(SkippingLoop):
    """A SkippingLoop whose clock does not go on by itself: for limits of few seconds, and moments that are exact."""

    def time(self) -> float:
        return 1000.0 + self._skipped


def in_stopped_loop(test: Test[P]) -> Callable[P, None]:
    """Run a test in a StoppedLoop of its own. It must not wait for a timer, but skip."""
    return _run_in(StoppedLoop, test)


def _run_in(kind: type[SkippingLoop], test: Test[P]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=kind) as runner:
            runner.run(test(*args, **kwargs))

    return run
