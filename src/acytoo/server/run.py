"""Run a server: bind, announce the URL, serve until a signal, let running replies finish."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable

from aiohttp import ClientConnectionResetError, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http import HttpProcessingError

from acytoo.errors import UsageError
from acytoo.server.app import make_app
from acytoo.server.config import ServerConfig

_LOG = logging.getLogger("acytoo.server")

_SHUTDOWN_TIMEOUT = 0.001
"""Seconds that aiohttp waits for connections after the grace period, which the application has waited itself.

It cannot be 0, which aiohttp takes for no limit at all.
"""


def _is_server_error(record: logging.LogRecord) -> bool:
    """Return whether a log record reports an error of the server.

    Broken HTTP is the client's error, and the client receives a response about it. A disconnect is no error.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, web.RequestPayloadError, ClientConnectionResetError))


class _AccessLogger(AbstractAccessLogger):
    """A logger of one line per request. The query is left out: it may hold a key."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log client address, request line, status, bytes, seconds and user agent."""
        self.logger.info(
            '%s "%s %s" %s %s %.3f "%s"',
            request.remote,
            request.method,
            request.rel_url.raw_path,
            response.status,
            response.body_length,
            time,
            request.headers.get("user-agent", "-"),
        )


async def start(config: ServerConfig, *, access_log: bool = False) -> tuple[web.AppRunner, str]:
    """Return a running server and its URL; port 0 picks a free port. Raises UsageError if it cannot listen."""
    _LOG.addFilter(_is_server_error)  # adding it again has no effect
    runner = web.AppRunner(
        make_app(config),
        handler_cancellation=True,
        shutdown_timeout=_SHUTDOWN_TIMEOUT,
        keepalive_timeout=config.idle,
        logger=_LOG,
        access_log_class=_AccessLogger,
        access_log=logging.getLogger("aiohttp.access") if access_log else None,
        auto_decompress=False,  # `read_body` decompresses, so that errors are reported in the client's API
    )
    await runner.setup()
    site = web.TCPSite(runner, config.host.removeprefix("[").removesuffix("]"), config.port)
    try:
        await site.start()
    except (OSError, UnicodeError, OverflowError) as error:  # the latter two: invalid names and port numbers
        await runner.cleanup()
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {config.host} port {config.port}: {reason}") from error
    host, port = runner.addresses[0][:2]
    return runner, f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _collect_garbage_less_often() -> None:
    """Exclude the objects that exist at the start from garbage collection, and raise the thresholds.

    A reply leaves no reference cycles. With Python's thresholds, looking for them took a tenth of a reply's time.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def serve(config: ServerConfig, announce: Callable[[str], None], *, access_log: bool = False) -> None:
    """Serve until SIGTERM or SIGINT.

    Running replies then have `config.grace` seconds to finish; a second signal ends them at once.
    """
    runner, url = await start(config, access_log=access_log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    announce(url)
    _collect_garbage_less_often()
    await stop.wait()
    stop.clear()
    cleanup = asyncio.ensure_future(runner.cleanup())
    second_signal = asyncio.ensure_future(stop.wait())
    await asyncio.wait({cleanup, second_signal}, return_when=asyncio.FIRST_COMPLETED)
    second_signal.cancel()
    if not cleanup.done():
        cleanup.cancel()
    await asyncio.gather(cleanup, second_signal, return_exceptions=True)
