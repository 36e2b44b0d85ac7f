"""Run a server: bind, announce the URL, serve until a signal, let running replies finish."""

from __future__ import annotations

import asyncio
import codecs
import gc
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

from acytoo.errors import UsageError
from acytoo.http import bracketed
from acytoo.server.app import Application
from acytoo.server.config import ServerConfig
from acytoo.server.extension import Extension
from acytoo.server.http_server import HTTPServer
from acytoo.server.notify import Watchdog, notify
from acytoo.server.worker import SupervisorConnection

_LOG = logging.getLogger("acytoo.server")


async def start(
    config: ServerConfig,
    *,
    access_log: bool = False,
    application: Application | None = None,
    sockets: Sequence[socket.socket] = (),
) -> tuple[HTTPServer, str]:
    """Return a running server and its URL; port 0 picks a free port. Raises UsageError if it cannot listen.

    `sockets` listen already, and other processes accept from them too.
    """
    _import_what_requests_need()
    server = HTTPServer((application or Application(config)).answer, config, access_log=access_log)
    with listening_errors(config.host, config.port):
        if sockets:
            host, port = server.listen_on(sockets)
        else:
            host, port = await server.listen(config.host.removeprefix("[").removesuffix("]"), config.port)
    return server, f"http://{bracketed(host)}:{port}"


@contextmanager
def listening_errors(host: str, port: int) -> Iterator[None]:
    """Raise UsageError for an address that cannot be listened on."""
    try:
        yield
    except (OSError, UnicodeError, OverflowError) as error:  # the latter two: invalid names and port numbers
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host} port {port}: {reason}") from error


_IMPORTED_ON_USE = ("difflib", "hashlib", "ssl", "compression.zstd", "zstandard", "python_socks.async_.asyncio")
"""Modules that some requests need, as far as they are installed."""

_CODECS = ("utf-16", "utf-16-le", "utf-16-be")
"""Those of lone surrogates and of some error bodies."""


def _import_what_requests_need() -> None:
    """Import now what is otherwise imported on use: without free file descriptors nothing can be imported."""
    for module in _IMPORTED_ON_USE:
        with suppress(ImportError):
            importlib.import_module(module)
    for name in _CODECS:
        codecs.lookup(name)


def _collect_garbage_less_often() -> None:
    """Exclude the objects that exist at the start from garbage collection, and raise the thresholds.

    A reply leaves no reference cycles. With Python's thresholds, looking for them took a tenth of a reply's time.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


def loop_factory() -> LoopFactory:
    """Return what creates an event loop: of uvloop if it is installed (the extra `serve`), else of asyncio."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop
    factory: LoopFactory = new_event_loop
    return factory


def run(
    config: ServerConfig,
    announce: Callable[[str], None],
    new_loop: LoopFactory,
    *,
    access_log: bool = False,
    extension: Extension | None = None,
) -> None:
    """Serve until a signal."""
    application = Application(config, routes=extension.routes()) if extension is not None else None
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(config, announce, access_log=access_log, application=application, extension=extension))


async def serve(
    config: ServerConfig,
    announce: Callable[[str], None],
    *,
    access_log: bool = False,
    application: Application | None = None,
    extension: Extension | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Running replies then have `config.grace` seconds to finish; a second signal ends them at once. Before that, new
    requests are accepted for `config.shutdown_delay` seconds, or until a signal. SIGUSR2 lets a worker drain: another
    one takes its place, and is not missed. A server without workers goes on.
    """
    supervisor = SupervisorConnection.from_environment()
    sockets = supervisor.sockets if supervisor is not None else ()
    server, url = await start(config, access_log=access_log, application=application, sockets=sockets)
    stop = asyncio.Event()
    is_replaced = False

    def replace() -> None:
        nonlocal is_replaced
        is_replaced = True
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    if extension is not None:
        extension.start(url)
    watchdog = Watchdog()
    if supervisor is None:
        _handle_other_signals(loop, stop)
        announce(url)
        notify("READY=1")
        watchdog.start()
    else:
        loop.add_signal_handler(signal.SIGUSR2, replace)
        assert server.listener is not None
        supervisor.start(server.listener, stop.set)
    _collect_garbage_less_often()
    try:
        await stop.wait()
        notify("STOPPING=1")
        if extension is not None:
            extension.stop()
        if not is_replaced and config.shutdown_delay:
            server.is_stopping = True
            stop.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), config.shutdown_delay)
        stop.clear()
        closing = asyncio.ensure_future(_drain_and_close(server) if is_replaced else server.close())
        second_signal = asyncio.ensure_future(stop.wait())
        await asyncio.wait({closing, second_signal}, return_when=asyncio.FIRST_COMPLETED)
        second_signal.cancel()
        if not closing.done():
            closing.cancel()
        await asyncio.gather(closing, second_signal, return_exceptions=True)
    finally:
        watchdog.stop()
        if extension is not None:
            await extension.close()
        if supervisor is not None:
            supervisor.close()


def _handle_other_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Handle the signals for workers in a server that has none: by default they would end it in the middle of replies.

    SIGHUP is left to who reads a file again, and ignored as `nohup` wants it.
    """
    if sys.platform == "win32":
        return
    message = "SIGUSR2 has no effect: a rolling restart needs several workers, such as workers = 2"
    with suppress(NotImplementedError):  # the event loop of another library
        loop.add_signal_handler(signal.SIGUSR2, _LOG.warning, message)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            loop.add_signal_handler(signal.SIGHUP, stop.set)


async def _drain_and_close(server: HTTPServer) -> None:
    await server.drain()
    await server.close()
