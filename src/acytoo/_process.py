"""What belongs to a process: event loops in threads of their own, and what has to happen in a forked child."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext, suppress


class LoopThread:
    """An event loop in a thread of its own, inside an asynchronous context manager (`lifespan`).

    `start` returns once the lifespan has been entered, `stop` once it has been left and the loop is closed. A daemon
    thread does not keep the process alive.
    """

    def __init__(
        self,
        name: str,
        lifespan: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
        *,
        daemon: bool = True,
    ) -> None:
        self._name = name
        self._lifespan = lifespan
        self._daemon = daemon
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop while it runs the lifespan, else None."""

    def start(self) -> None:
        """Start the thread. Raises what entering the lifespan raises, and OSError or RuntimeError without a loop."""
        started: Future[None] = Future()
        thread = threading.Thread(target=self._run, args=(started,), name=self._name, daemon=self._daemon)
        self._thread = thread
        thread.start()
        started.result()

    def stop(self, timeout: float | None = None) -> None:
        """Leave the lifespan and wait for the thread to end, at most `timeout` seconds. It may have ended already."""
        thread, loop = self._thread, self.loop
        self._thread = self.loop = None
        if thread is not None and loop is not None and thread.is_alive():
            loop.call_soon_threadsafe(self._stop.set)
            thread.join(timeout)

    def is_current(self) -> bool:
        """Return whether the caller runs in this thread, which must never wait for its own loop."""
        return threading.current_thread() is self._thread

    def _run(self, started: Future[None]) -> None:
        try:
            # Creating a Runner's loop fails if the process has no file descriptors left.
            runner = asyncio.Runner()
            try:
                runner.run(self._live(started))
            finally:
                # Python 3.12 ends the loop's executor from a new thread, which it refuses to start at exit. The loop
                # is closed nevertheless.
                with suppress(RuntimeError):
                    runner.close()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _live(self, started: Future[None]) -> None:
        self._stop = asyncio.Event()
        try:
            async with self._lifespan():
                self.loop = asyncio.get_running_loop()
                started.set_result(None)
                await self._stop.wait()
        finally:
            self.loop = None  # before the loop is closed, so that nobody submits work to it any more


def in_forked_child(function: Callable[[], None]) -> Callable[[], None]:
    """Register a function to be called in every forked child, if this system can fork. A decorator.

    Threads do not survive a fork, and a lock held by one of them stays locked, so whatever is kept for the whole
    process has to be replaced there.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


def leak(value: object) -> None:
    """Keep an object until the process exits, without ever calling its destructor.

    For objects that would wait for threads when they are destroyed, such as the parent's in a forked child.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def unleak(value: object) -> None:
    """Undo `leak`."""
    import ctypes

    ctypes.pythonapi.Py_DecRef(ctypes.py_object(value))
