"""Several processes that serve one port, and a supervisor that keeps them running.

The problem: if all processes accept from one socket, the one that is awake gets nearly all connections. If each has a
socket of its own on the port (SO_REUSEPORT), the kernel spreads connections evenly, but resets those in the queue of a
process that ends. The strategy: the supervisor opens a socket for each worker's place and never closes it. A worker
that replaces another one accepts from the same queue, and while a place is empty another worker accepts for it. A
rolling restart starts a new worker, and lets the old one drain when the new one serves. Where SO_REUSEPORT does not
spread connections, all places have the same socket.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from acytoo.http import bracketed
from acytoo.server.listener import bind
from acytoo.server.notify import notify, notify_reloading, watchdog_interval
from acytoo.server.run import listening_errors
from acytoo.server.worker import LEND, READY, STOP_ALL, TAKE_BACK, VARIABLE

_LOG = logging.getLogger("acytoo.server")

_SPREADS_CONNECTIONS = sys.platform == "linux"
"""Whether SO_REUSEPORT spreads connections over all sockets of a port."""

_FIRST_PAUSE = 0.5
_LAST_PAUSE = 30.0
"""Seconds before a worker that has ended is started again: twice as long each time."""

_STABLE_AFTER = 60.0
"""Seconds after which a worker that ends is started again without having been counted as failing."""

_KILL_AFTER = 15.0
"""Seconds beyond the grace after which workers that have not ended are killed."""


_OWN_VARIABLES = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
"""The service manager waits for the supervisor."""


def own_command() -> list[str]:
    """Return the command that runs this process again."""
    return [sys.executable, *sys.orig_argv[1:]]


def supervise(
    host: str,
    port: int,
    workers: int,
    announce: Callable[[str], None],
    *,
    grace: float,
    can_reload: bool = False,
    on_exit: Callable[[int], None] = lambda pid: None,
    command: Sequence[str] = (),
) -> int:
    """Serve with several workers until SIGTERM or SIGINT, and return the exit code.

    Each worker runs `command`, by default that of this process, which has to end in `acytoo.server.run.serve`. SIGUSR2
    replaces the workers one after the other. SIGHUP is passed on if they `can_reload`, else it stops them. `on_exit` is
    called with the process id of each worker that has ended. Raises UsageError if it cannot listen.
    """
    supervisor = _Supervisor(command or own_command(), workers, grace, can_reload, on_exit)
    return asyncio.run(supervisor.run(host, port, announce))


class _Worker:
    """A worker process."""

    def __init__(self, process: asyncio.subprocess.Process, connection: socket.socket, watchdog: float | None) -> None:
        self.process = process
        self.is_ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """True once it serves, False if it has ended before."""
        self.is_draining = False
        self._connection = connection
        self._watchdog = watchdog
        self._loop = asyncio.get_running_loop()
        self.started_at = self.seen_at = self._loop.time()
        connection.setblocking(False)
        self._loop.add_reader(connection, self._on_readable)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    @property
    def is_serving(self) -> bool:
        """Whether it has begun to serve, and was not asked to drain."""
        return self.is_ready.done() and self.is_ready.result() and not self.is_draining

    def tell(self, action: bytes, place: int) -> None:
        """Send a message. One that does not read it gets no connections either way."""
        with suppress(OSError):
            self._connection.send(b"%b%d\n" % (action, place))

    def drain(self) -> None:
        """Let it finish: another one has taken its place."""
        self.is_draining = True
        self.send(signal.SIGUSR2)

    def kill_if_silent(self) -> None:
        """Kill it if it serves and its event loop has not turned for as long as the watchdog waits."""
        if self._watchdog is not None and self.is_ready.done() and self._loop.time() > self.seen_at + self._watchdog:
            _LOG.error("worker %s gives no sign of life: killing it", self.process.pid)
            self.send(signal.SIGKILL)

    def close(self) -> None:
        """Close the connection to a process that has ended."""
        self._loop.remove_reader(self._connection)
        self._connection.close()
        if not self.is_ready.done():
            self.is_ready.set_result(False)

    def _on_readable(self) -> None:
        try:
            data = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.seen_at = self._loop.time()
        if not data:
            self._loop.remove_reader(self._connection)
        elif READY in data and not self.is_ready.done():
            self.is_ready.set_result(True)


class _Supervisor:
    """The workers and what keeps them running."""

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        grace: float,
        can_reload: bool,
        on_exit: Callable[[int], None],
    ) -> None:
        self._command = command
        self._count = count
        self._grace = grace
        self._can_reload = can_reload
        self._on_exit = on_exit
        self._watchdog = watchdog_interval()
        self._sockets: list[list[socket.socket]] = []
        """The listening sockets of each place, or of all."""
        self._places: list[_Worker] = []
        """The workers that should be running."""
        self._lenders: dict[int, _Worker] = {}
        """The worker that accepts connections for a place while it is empty."""
        self._workers: set[_Worker] = set()
        """All that have not ended, also those that drain."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_rolling = False
        self._stopping = asyncio.Event()
        self._second_signal = asyncio.Event()

    async def run(self, host: str, port: int, announce: Callable[[str], None]) -> int:
        """Serve until a signal, and return the exit code."""
        with listening_errors(host, port):
            await self._bind(host.removeprefix("[").removesuffix("]"), port)
        for number, action in (
            (signal.SIGTERM, self._request_stop),
            (signal.SIGINT, self._request_stop),
            (signal.SIGHUP, self._reload if self._can_reload else self._request_stop),
            (signal.SIGUSR2, self._roll),
        ):
            asyncio.get_running_loop().add_signal_handler(number, action)
        try:
            first = await self._start(0)  # alone: its mistakes are reported once
            if not await self._wait_until_ready(first) and not self._stopping.is_set():
                return await first.process.wait() or 1
            if not self._stopping.is_set():
                self._places = [first, *[await self._start(place) for place in range(1, self._count)]]
                for place, worker in enumerate(self._places):
                    self._run(self._keep(place))
                    await self._wait_until_ready(worker)
            if not self._stopping.is_set():
                address, bound = self._sockets[0][0].getsockname()[:2]
                announce(f"http://{bracketed(address)}:{bound}")
                notify("READY=1")
            await self._watch_until_stopped()
        finally:
            await self._end()
        return 0

    async def _bind(self, host: str, port: int) -> None:
        """Open the listening sockets. Raises what `create_server` raises."""
        alone = await bind(host, port)  # fails if another program has the port, even one that would share it
        if not _SPREADS_CONNECTIONS:
            self._sockets = [alone]
            return
        bound = alone[0].getsockname()[1]
        for each in alone:
            each.close()
        for _ in range(self._count):
            self._sockets.append(await bind(host, bound, reuse_port=True))

    async def _start(self, place: int) -> _Worker:
        """Start a worker in a place. Raises OSError."""
        ours, theirs = socket.socketpair()
        groups = [[each.fileno() for each in sockets] for sockets in self._sockets]
        listening = [descriptor for group in groups for descriptor in group]
        interval = 0.0 if self._watchdog is None else self._watchdog / 4
        descriptors = ";".join([",".join(map(str, group)) for group in groups])
        value = f"{place % len(groups)}:{descriptors}:{theirs.fileno()}:{interval:g}"
        environment = {name: text for name, text in os.environ.items() if name not in _OWN_VARIABLES}
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env={**environment, VARIABLE: value},
                    pass_fds=[*listening, theirs.fileno()],
                    start_new_session=True,  # Ctrl-C in a terminal reaches it once: through the supervisor
                )
            except OSError:
                ours.close()
                raise
        worker = _Worker(process, ours, self._watchdog)
        self._workers.add(worker)
        self._run(self._wait(worker))
        worker.is_ready.add_done_callback(lambda _: self._lend())
        return worker

    async def _wait(self, worker: _Worker) -> None:
        """Note the end of a worker."""
        await worker.process.wait()
        worker.close()
        self._workers.discard(worker)
        self._lend()
        self._on_exit(worker.process.pid)

    def _lend(self) -> None:
        """Let workers accept connections for the places whose workers do not serve."""
        if len(self._sockets) == 1 or self._stopping.is_set():
            return
        serving = [worker for worker in self._places if worker in self._workers and worker.is_serving]
        for place, worker in enumerate(self._places):
            before = self._lenders.pop(place, None)
            if worker not in serving and serving:
                lender = before if before in serving else serving[place % len(serving)]
                self._lenders[place] = lender
                if lender is not before:
                    lender.tell(LEND, place)
            elif before is not None:
                before.tell(TAKE_BACK, place)

    async def _wait_until_ready(self, worker: _Worker) -> bool:
        """Return whether a worker serves. Return early if the supervisor is asked to stop."""
        stop = asyncio.create_task(self._stopping.wait())
        waiting: list[asyncio.Future[Any]] = [worker.is_ready, stop]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        return worker.is_ready.done() and worker.is_ready.result()

    async def _keep(self, place: int) -> None:
        """Start a worker whenever the one in a place has ended."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            worker = self._places[place]
            code = await worker.process.wait()
            if self._stopping.is_set() or worker is not self._places[place]:
                continue
            if asyncio.get_running_loop().time() > worker.started_at + _STABLE_AFTER:
                pause = _FIRST_PAUSE
            _LOG.error("worker %s has ended with %s: starting another in %g s", worker.process.pid, code, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)
            if not self._stopping.is_set() and worker is self._places[place]:
                try:
                    self._places[place] = await self._start(place)
                except OSError as error:
                    _LOG.error("cannot start a worker: %s", error)

    def _reload(self) -> None:
        notify_reloading()
        for worker in self._workers:
            if worker.is_ready.done():  # the others have not read the configuration yet
                worker.send(signal.SIGHUP)
        notify("READY=1")

    def _roll(self) -> None:
        if self._places and not self._is_rolling:
            self._is_rolling = True
            self._run(self._replace_all())

    async def _replace_all(self) -> None:
        """Replace the workers one after the other. Stop at one that cannot be replaced: it goes on."""
        try:
            for place in range(self._count):
                new = await self._start(place)
                if not await self._wait_until_ready(new):
                    if not self._stopping.is_set():
                        _LOG.error("a new worker does not start: the old ones go on")
                    return
                old, self._places[place] = self._places[place], new
                old.drain()
                self._lend()
        except OSError as error:
            _LOG.error("cannot start a worker: %s", error)
        finally:
            self._is_rolling = False

    async def _watch_until_stopped(self) -> None:
        """Wait for the signal to stop. Meanwhile kill workers that hang, and report to the service manager."""
        while not self._stopping.is_set():
            if self._watchdog is not None:
                notify("WATCHDOG=1")
                for worker in self._workers:
                    worker.kill_if_silent()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), None if self._watchdog is None else self._watchdog / 4)

    def _request_stop(self) -> None:
        (self._second_signal if self._stopping.is_set() else self._stopping).set()

    async def _end(self) -> None:
        """Let the workers finish. Another signal ends them at once."""
        notify("STOPPING=1")
        self._stopping.set()
        for worker in self._workers:
            if not worker.is_draining:  # those end already, and a signal would cut their replies
                worker.tell(STOP_ALL, 0)
                worker.send(signal.SIGTERM)
        if not await self._wait_for_all(self._grace + _KILL_AFTER):
            for number in (signal.SIGTERM, signal.SIGKILL):
                for worker in self._workers:
                    worker.send(number)
                await self._wait_for_all(_KILL_AFTER)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sockets in self._sockets:
            for each in sockets:
                each.close()

    async def _wait_for_all(self, seconds: float) -> bool:
        """Return whether all workers end in that time, and before a signal."""
        if not self._workers:
            return True
        ended = asyncio.gather(*[worker.process.wait() for worker in self._workers])
        signalled = asyncio.create_task(self._second_signal.wait())
        waiting: list[asyncio.Future[Any]] = [ended, signalled]
        timeout = seconds if seconds < math.inf else None
        await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        self._second_signal.clear()
        has_ended = ended.done()
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return has_ended

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
