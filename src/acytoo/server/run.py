"""Run a server: bind, announce, serve until a signal, let running replies finish."""

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

_AT_ONCE = 0.001
"""Seconds that aiohttp waits for what is left once the grace is over: it takes 0 for no limit at all."""


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a fault is ours to see: broken HTTP is its sender's, who is told so, and leaving is anyone's right."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, web.RequestPayloadError, ClientConnectionResetError))


_LOG.addFilter(_is_ours)


class _AccessLog(AbstractAccessLogger):
    """A line for each request. A target's query is left out: it may be a key."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Client, request, status, bytes, seconds, and the client's name for itself."""
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
    """A running server and its URL; port 0 picks a free one. Raises UsageError where it cannot bind."""
    runner = web.AppRunner(
        make_app(config),
        handler_cancellation=True,
        shutdown_timeout=_AT_ONCE,
        keepalive_timeout=config.idle,
        logger=_LOG,
        access_log_class=_AccessLog,
        access_log=logging.getLogger("aiohttp.access") if access_log else None,
        auto_decompress=False,  # a coding is undone, or refused, where its dialect is known
    )
    await runner.setup()
    site = web.TCPSite(runner, config.host.removeprefix("[").removesuffix("]"), config.port)
    try:
        await site.start()
    except (OSError, UnicodeError, OverflowError) as error:  # the latter two are for names and numbers that are none
        await runner.cleanup()
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {config.host} port {config.port}: {reason}") from error
    host, port = runner.addresses[0][:2]
    return runner, f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _collect_less_often() -> None:
    """Keep what a process has at its start out of garbage collections, and collect when there may be some garbage.

    A reply leaves no reference cycles behind; with Python's thresholds, looking for them took a tenth of its time.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def serve(config: ServerConfig, announce: Callable[[str], None], *, access_log: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; running replies then have `config.grace` seconds, a second signal ends at once."""
    runner, url = await start(config, access_log=access_log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    announce(url)
    _collect_less_often()
    await stop.wait()
    stop.clear()
    ending = asyncio.ensure_future(runner.cleanup())
    again = asyncio.ensure_future(stop.wait())
    await asyncio.wait({ending, again}, return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    if not ending.done():
        ending.cancel()
    await asyncio.gather(ending, again, return_exceptions=True)
