"""Async generators for people without a loop: a plain iterator that works wherever it is called."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from acytoo.errors import UsageError

T = TypeVar("T")


class _LoopThread:
    """One event loop in a thread of its own, started at first use and ended at exit."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # whoever starts it may be interrupted by what needs it as well
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop. Raises OSError or RuntimeError where the system has no descriptors or threads left for one."""
        with self._lock:
            if self._loop is None:
                self._stop = asyncio.Event()
                started: Future[asyncio.AbstractEventLoop] = Future()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._stop, started), name="acytoo-blocking", daemon=True
                )
                self._thread.start()
                self._loop = started.result()
            return self._loop

    def _serve(self, stop: asyncio.Event, started: Future[asyncio.AbstractEventLoop]) -> None:
        try:
            with asyncio.Runner() as runner:
                started.set_result(runner.get_loop())
                try:
                    runner.run(_until(stop))
                finally:
                    self._loop = None
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    def is_current(self) -> bool:
        """Whether this is the loop's own thread, which must never wait for the loop."""
        return threading.current_thread() is self._thread

    def runs(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this is the loop that runs now."""
        return loop is self._loop

    def end(self) -> None:
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(self._stop.set)
            thread.join(timeout=5)


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


_thread = _LoopThread()


def _after_fork() -> None:
    """A forked child has no such thread: it starts its own."""
    global _thread
    _thread = _LoopThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _thread.end())


def run(work: Callable[[], Awaitable[T]]) -> T:
    """What the work results in, done in the background loop; works inside a running loop too."""
    if _thread.is_current():
        raise UsageError("a plain iterator cannot be read in the loop that fills it: use the async generator there")
    loop = _thread.loop()
    future = asyncio.run_coroutine_threadsafe(_contained(work), loop)
    try:
        result = future.result()
    except BaseException:
        future.cancel()
        raise
    if isinstance(result, _Exit):
        raise result.error
    return result


class _Exit:
    """SystemExit or KeyboardInterrupt raised by what ran in the loop: its caller's, not the loop's."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _contained(work: Callable[[], Awaitable[T]]) -> T | _Exit:
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt) as error:
        return _Exit(error)


class SyncIterator(Iterator[T]):
    """The generator's items one by one; `close`, an error or an interrupt closes it, and waits until it is closed.

    One that is dropped half-read is closed by its loop, as every async generator is, and nobody waits: it may be the
    garbage collector that drops it, in any thread and at any time.
    """

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator
        self._loop: asyncio.AbstractEventLoop | None = None
        self._step: asyncio.Task[Any] | None = None

    def __next__(self) -> T:
        try:
            return run(self._next)
        except StopAsyncIteration:
            raise StopIteration from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it. Where its loop has ended before, at the process's exit or in a forked child, that has closed it."""
        if self._loop is None or not _thread.runs(self._loop):
            return
        if _thread.is_current():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        else:
            run(self._close)

    async def _next(self) -> T:
        self._loop = asyncio.get_running_loop()
        self._step = asyncio.current_task()
        try:
            return await anext(self._generator)
        finally:
            self._step = None

    async def _close(self) -> None:
        """A step that was interrupted takes a while to end; only then can the generator be closed."""
        if self._step is not None:
            await asyncio.wait({self._step})
        await self._generator.aclose()
