"""Synchronous iteration over async generators, wherever it is needed: in a script, a thread, a running loop, Jupyter.

The problem: the caller may be in a running event loop, which cannot be entered a second time, and HTTP connections
belong to one loop.

The strategy: one background thread runs one event loop for the whole process. Each step of an iterator is submitted to
it, and the calling thread waits. Connections are pooled in that loop, so calls share them.

The cost: two thread switches for each text.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from acytoo._process import LoopThread, in_forked_child
from acytoo.errors import UsageError

T = TypeVar("T")


def _new_thread() -> LoopThread:
    return LoopThread("acytoo-sync")


_thread = _new_thread()
_lock = threading.RLock()  # re-entrant: a signal handler may interrupt a start and need the loop itself


@in_forked_child
def _after_fork() -> None:
    global _thread, _lock
    _thread = _new_thread()
    _lock = threading.RLock()


def _background_loop() -> asyncio.AbstractEventLoop:
    """Return the running background loop. Raises OSError or RuntimeError without descriptors or threads for one."""
    with _lock:
        if _thread.loop is None:
            _thread.start()
        assert _thread.loop is not None
        return _thread.loop


@atexit.register
def _stop() -> None:
    with _lock:
        _thread.stop(timeout=5)


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function in the background loop and return its result.

    Raises UsageError in the background loop's own thread, which would wait for itself.
    """
    if _thread.is_current():
        raise UsageError(
            "a synchronous iterator cannot be read in the event loop that runs it: use the async generator there"
        )
    future = asyncio.run_coroutine_threadsafe(_contained(work), _background_loop())
    try:
        result = future.result()
    except BaseException:
        future.cancel()
        raise
    if isinstance(result, _Exit):
        raise result.error
    return result


class _Exit:
    """A SystemExit or KeyboardInterrupt raised by the work, to be raised in the caller's thread.

    Raised inside the loop, it would end the loop, and with it every other reply.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _contained(work: Callable[[], Awaitable[T]]) -> T | _Exit:
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt) as error:
        return _Exit(error)


class SyncIterator(Iterator[T]):
    """The items of an async generator.

    `close`, an error and an interrupt close the generator and wait until it is closed. An iterator that is dropped
    half-read is closed by its loop, as every async generator is, and nobody waits: the garbage collector may drop it in
    any thread (the loop's own too) and while any lock is held, so waiting could be a deadlock.
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
        """Close the generator. If its loop has ended (at exit, or in a forked child), that has closed it already."""
        if self._loop is None or self._loop is not _thread.loop:
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
        # An interrupted step takes a while to end; a running generator cannot be closed.
        if self._step is not None:
            await asyncio.wait({self._step})
        await self._generator.aclose()
