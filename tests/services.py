"""Real servers that the gateway uses, each a process of its own on a loopback port: Redis or Valkey, and PostgreSQL.

They come from Debian's packages. Without them a test is skipped; in CI it fails.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

IS_CI = bool(os.environ.get("CI") or os.environ.get("ACYTOO_CI"))
"""Read at import: a fixture of all tests removes the variable."""

LIMIT = 120.0
"""Seconds in which a server has to answer; far more than it needs."""


def missing(what: str, package: str) -> None:
    """Skip the test, or fail it in CI."""
    reason = f"this test needs {what}: apt-get install {package}"
    if IS_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def reserve_port() -> socket.socket:
    """Return a socket bound to a port of 127.0.0.1, which nobody is given meanwhile, and everybody may ask for.

    As long as it does not listen, others can, with the option that every server sets.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


def wait_until(condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the condition holds. Fail the test if that takes too long, or the process ends."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        if process is not None and process.poll() is not None:
            pytest.fail(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {LIMIT:g} s")
        time.sleep(0.01)


class Service:
    """A server process at 127.0.0.1:`port` that keeps its files in `folder`; it can be killed and started again."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reservation = reserve_port()
        self.port: int = self._reservation.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and return once it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, user=self._user()
            )
        wait_until(self._answers, f"{self.name} does not answer, see {self.folder}/log", self._process)

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let the process shut down."""
        self._end(signal.SIGINT)

    def close(self) -> None:
        """End the process if it runs, and leave the port to others."""
        self.kill()
        self._reservation.close()

    def pause(self) -> None:
        """Let the process answer nothing until `resume`; connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(LIMIT)
            self._process = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _user(self) -> int | None:
        return None


class Redis(Service):
    """Redis or Valkey; what it holds survives `kill` if it `is_persistent`."""

    name = "Redis"
    password = "redis-password-of-the-tests"

    def __init__(self, folder: Path, *, is_persistent: bool = False) -> None:
        super().__init__(folder)
        self._is_persistent = is_persistent
        self.options: tuple[str, ...] = ()
        """More options of its command line."""

    @property
    def url(self) -> str:
        """The URL, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            missing("Redis or Valkey", "redis-server")
        assert program is not None
        return [
            *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", self.password),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "yes" if self._is_persistent else "no"),
            *("--appendfsync", "always", "--rdbcompression", "no", "--repl-diskless-sync-delay", "0"),
            *self.options,
        ]

    def save(self) -> None:
        """Write a snapshot, which is what Redis has again after it was killed, unless it is persistent."""
        assert self._reply_to("SAVE") == b"+OK\r\n"

    def follow(self, other: Redis) -> None:
        """Become a replica of another server, and return once it has all data of it."""
        self.configure("masterauth", other.password)
        assert self._reply_to(f"REPLICAOF 127.0.0.1 {other.port}") == b"+OK\r\n"
        other.wait_for_replica()

    def configure(self, name: str, value: str) -> None:
        """Change an option while the server runs or loads its data."""
        assert self._reply_to(f"CONFIG SET {name} {value}") == b"+OK\r\n"

    def lead(self) -> None:
        """Be no replica any more."""
        assert self._reply_to("REPLICAOF NO ONE") == b"+OK\r\n"

    def wait_for_replica(self) -> None:
        """Return once a replica has all data."""
        wait_until(lambda: self._reply_to("SET waiting 1", "WAIT 1 1000") == b":1\r\n", "the replica has not all data")

    def wait_until_loading(self) -> None:
        """Return once it answers that it loads its data."""

        def is_loading() -> bool:
            try:
                return self._reply_to("PING").startswith(b"-LOADING")
            except OSError:
                return False

        wait_until(is_loading, "it does not load its data")

    def _answers(self) -> bool:
        try:
            return self._reply_to("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def _reply_to(self, *commands: str) -> bytes:
        """Return the first line of what Redis replies to the last command."""
        lines = "".join(f"{command}\r\n" for command in (f"AUTH {self.password}", *commands))
        with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT) as connection:
            connection.sendall(lines.encode())
            with connection.makefile("rb") as replies:
                for _ in commands:
                    replies.readline()
                return replies.readline()


class Postgres(Service):
    """PostgreSQL with a superuser `acytoo`, who has a password."""

    name = "PostgreSQL"
    user = "acytoo"
    password = "postgres-password-of-the-tests"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._numbers = count(1)
        self._data = folder / "data"
        password = folder / "password"
        password.write_text(self.password)
        if self._user() is not None:
            for path in (folder, password):
                shutil.chown(path, "postgres")
        options = ["-U", self.user, "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [self._program("initdb"), "-D", str(self._data), *options],
            check=True,
            capture_output=True,
            cwd=folder,
            user=self._user(),
        )

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, with the password."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.query(f"CREATE DATABASE {name}")
        return self.url(name)

    def query(self, sql: str, database: str = "postgres") -> str:
        """Return what `psql` prints for a statement: a line per row, `|` between the columns."""
        return self._psql(sql, database).stdout.decode().strip()

    def _psql(self, sql: str, database: str = "postgres", *, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        command = [self._program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url(database)]
        return subprocess.run(command, check=check, capture_output=True, timeout=LIMIT)

    def _command(self) -> list[str]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
            "fsync=off",
        ]
        return [self._program("postgres"), "-D", str(self._data), *[part for each in settings for part in ("-c", each)]]

    def _answers(self) -> bool:
        return self._psql("SELECT 1", check=False).returncode == 0

    def _user(self) -> int | None:
        """Return the account to run as: PostgreSQL refuses to run as root."""
        if os.geteuid():
            return None
        try:
            return pwd.getpwnam("postgres").pw_uid
        except KeyError:
            missing("the account postgres", "postgresql")
            raise

    @staticmethod
    def _program(name: str) -> str:
        found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
        program = str(found[-1]) if found else shutil.which(name)
        if program is None:
            missing("PostgreSQL", "postgresql")
        assert program is not None
        return program


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that the account postgres can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="acytoo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _running(service: Service) -> Iterator[Service]:
    try:
        service.start()
        yield service
    finally:
        service.close()


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    """An empty Redis of the test's own."""
    with _folder() as folder:
        server = Redis(folder)
        with _running(server):
            yield server


@pytest.fixture
def persistent_redis_server() -> Iterator[Redis]:
    """An empty Redis of the test's own that keeps what it holds when it is killed."""
    with _folder() as folder:
        server = Redis(folder, is_persistent=True)
        with _running(server):
            yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL for all tests; each takes a `new_database`. A test that kills it starts it again."""
    with _folder() as folder:
        server = Postgres(folder)
        with _running(server):
            yield server
