"""Async generators for people without a loop: a plain iterator that works wherever it is called."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class _LoopThread:
    """One event loop in a thread of its own, started at first use and ended at exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                started = threading.Event()
                self._thread = threading.Thread(
                    target=asyncio.run, args=(self._serve(started),), name="acytoo-blocking", daemon=True
                )
                self._thread.start()
                started.wait()
            assert self._loop is not None
            return self._loop

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        started.set()
        await self._stop.wait()

    @property
    def running(self) -> bool:
        """Whether there is a loop."""
        return self._loop is not None

    def end(self) -> None:
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(self._stop.set)
            thread.join(timeout=5)


_thread = _LoopThread()


def _after_fork() -> None:
    """A forked child has no such thread: it starts its own."""
    global _thread
    _thread = _LoopThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _thread.end())


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run in the background loop; works inside a running loop too."""
    future = asyncio.run_coroutine_threadsafe(work, _thread.loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def iterate(generator: AsyncGenerator[T, None]) -> Iterator[T]:
    """The generator's items one by one; leaving early closes it, and waits until it is closed.

    Where the loop has ended before (at the process's exit, or in a forked child), that has closed it already.
    """
    try:
        while True:
            try:
                yield run(_next(generator))
            except StopAsyncIteration:
                return
    finally:
        if _thread.running:
            run(generator.aclose())


async def _next(generator: AsyncGenerator[T, None]) -> T:
    return await anext(generator)
