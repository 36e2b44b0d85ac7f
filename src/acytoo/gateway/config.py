"""The config file of a gateway: TOML, decoded strictly.

`load` finds everything that the file alone can show to be wrong. What depends on the environment, such as a missing
variable, is found by `create_backends`.
"""

from __future__ import annotations

import inspect
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from acytoo.errors import UsageError
from acytoo.gateway.source import Source, decode
from acytoo.gateway.toml_lines import lines_of
from acytoo.settings import MAX_REPLY, without_frames

MOST = 2**53
"""Counters are numbers in Lua too, which are exact up to here."""

Count: TypeAlias = Annotated[int, Meta(ge=1, le=MOST)]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=MOST)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e9)]
Dollars: TypeAlias = Annotated[float, Meta(gt=0, le=1e6)]
Price: TypeAlias = Annotated[float, Meta(ge=0, le=1e6)]
Hash: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": "^sha256:[0-9a-f]{64}$"})]
OnFailure: TypeAlias = Literal["open", "closed"]
"""Whether a request that cannot be counted is let through."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class Limits(Table, frozen=True):
    """The limits of a key or an upstream; None is no limit. Days and months are UTC's, budgets US dollars."""

    requests_per_minute: Count | None = None
    requests_per_day: Count | None = None
    tokens_per_minute: Count | None = None
    tokens_per_day: Count | None = None
    concurrent: Count | None = None
    budget_per_day: Dollars | None = None
    budget_per_month: Dollars | None = None

    @property
    def has_any(self) -> bool:
        """Whether there is a limit."""
        return any(getattr(self, name) is not None for name in Limits.__struct_fields__)

    @property
    def has_budget(self) -> bool:
        """Whether money is limited."""
        return self.budget_per_day is not None or self.budget_per_month is not None


class ServerTable(Table, frozen=True):
    """Where the server listens, and its own limits: those of `ServerConfig`, which explains them."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    workers: Count = 1
    admin_key: str = ""
    drop_unsupported: bool = False
    shutdown_delay: Seconds = 0.0
    grace: Seconds = 30.0
    max_body: Size = 32 * 1024 * 1024
    max_bodies: Size = 512 * 1024 * 1024
    max_reply: Size = MAX_REPLY
    max_connections: Count = 10_000
    idle: Seconds = 75.0
    receive: Seconds = 120.0
    unread: Seconds = 300.0
    ping_after: Seconds = 5.0
    first_ping_after: Seconds = 15.0


class StorageTable(Table, frozen=True):
    """Where counters, ledger and cache are kept, and what happens to requests while the counters cannot be reached.

    `counters`: `memory`, or a URL of Redis or Valkey. `ledger`: `sqlite:PATH`, a URL of PostgreSQL, or `none`.
    `retention_days`: for how many days the ledger's rows are kept, by default forever; those that budgets need are
    always kept. `cache`, for the models that have one: `memory`, `sqlite:PATH` or a URL of Redis. Instead of a URL with
    a password: `env:NAME`. `on_failure` is for requests and tokens, `budgets_on_failure` for money. `cache_bytes` and
    `cache_entries` limit the cache; one in Redis is limited by Redis's own `maxmemory`. `files`: the folder of
    `/v1/files` and `/v1/batches`; without it there are neither.
    """

    counters: str = "memory"
    ledger: str = "sqlite:acytoo.db"
    retention_days: Count | None = None
    on_failure: OnFailure = "open"
    budgets_on_failure: OnFailure = "closed"
    cache: str = "memory"
    cache_bytes: Size = 64 * 1024 * 1024
    cache_entries: Count = 10_000
    files: str = ""


class Upstream(Limits, frozen=True):
    """A service that answers requests: a provider with its settings, and limits for all requests to it.

    `provider`: by default the table's name. `key`, `password` and the values of secret headers are references, such as
    `env:OPENAI_API_KEY`. `model`: the one to ask for if a request names only the upstream.
    """

    provider: str = ""
    url: str = ""
    key: str = ""
    password: str = ""
    model: str = ""
    proxy: str = ""
    timeout: Seconds | dict[str, Seconds] | None = None
    ca: str = ""
    trust_env: bool = False
    extra_headers: dict[str, str] = {}
    drop_unsupported: bool | None = None
    max_reply: Size | None = None


class TargetConfig(Table, frozen=True):
    """A target of a model, with the settings of a `Target`, which explains them.

    `to`: `UPSTREAM/MODEL`, `UPSTREAM` or another model of the file.
    """

    to: str
    weight: Annotated[float, Meta(ge=1e-6, le=1e6)] = 1.0
    limit: Count | None = None
    queue: Annotated[int, Meta(ge=0, le=MOST)] = 1000
    failures: Count = 5
    pause: Annotated[float, Meta(gt=0, le=1e9)] = 10.0


class Model(Table, frozen=True):
    """A name that clients ask for, and the targets behind it, with the settings of a `Route`, which explains them.

    `balance`: spread the requests by weight, instead of asking the first target that works. `next_on`: names of error
    classes. `cache`: seconds for which the reply to an identical request is kept; 0 is no cache.
    """

    targets: Annotated[tuple[str | TargetConfig, ...], Meta(min_length=1)]
    balance: bool = False
    attempts: Count | None = None
    deadline: Annotated[float, Meta(gt=0, le=1e9)] = 1800.0
    max_wait: Seconds = 30.0
    next_on: tuple[str, ...] | None = None
    affinity: Seconds = 300.0
    hedge: bool = False
    cache: Seconds = 0.0

    @property
    def target_configs(self) -> list[TargetConfig]:
        """All targets, those without settings too."""
        return [TargetConfig(to=target) if isinstance(target, str) else target for target in self.targets]


class KeyConfig(Limits, frozen=True, kw_only=True):
    """A client's key: the hash of its secret, what it may ask for and how much.

    `models`: patterns of the names it may ask for. `expires`: the last day, in UTC, on which it is valid. `disabled`:
    refuse it until this is false again. `previous_hash`: of the secret that it had before, which is valid until
    `previous_expires` too.
    """

    hash: Hash
    previous_hash: Hash | None = None
    previous_expires: date | None = None
    disabled: bool = False
    models: tuple[str, ...] = ("*",)
    expires: date | None = None
    max_body: Size | None = None


class PriceConfig(Table, frozen=True):
    """What a target costs, in US dollars per million tokens.

    `cached` and `cache_write` are by default `input`. `cache_write_1h`, for what is kept for an hour, is by default
    `cache_write`.
    """

    input: Price
    output: Price
    cached: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None


class MetricsTable(Table, frozen=True):
    """Prometheus metrics."""

    enabled: bool = True


class TracingTable(Table, frozen=True):
    """OpenTelemetry traces and metrics. `endpoint`: the URL of an OTLP collector; without it there are none.

    `headers` go with each export; secret ones are references. `sample`: the share of the requests that are traced.
    """

    endpoint: str = ""
    headers: dict[str, str] = {}
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0


class LogTable(Table, frozen=True):
    """The log. `requests`: where a line of JSON for each request goes: `stderr`, `stdout` or `file:PATH`."""

    requests: str = ""


class Tables(Table, frozen=True, kw_only=True):
    """What a config file contains."""

    server: ServerTable = ServerTable()
    storage: StorageTable = StorageTable()
    upstreams: dict[str, Upstream]
    models: dict[str, Model] = {}
    keys: dict[str, KeyConfig] = {}
    prices: dict[str, PriceConfig] = {}
    metrics: MetricsTable = MetricsTable()
    tracing: TracingTable = TracingTable()
    log: LogTable = LogTable()


class GatewayConfig(Tables, frozen=True):
    """A config file that has been read and checked. `source` knows the lines, for errors that are found later."""

    source: Source

    def place(self, *path: str | int) -> str:
        """Return the place of a value for an error message, such as `acytoo.toml:12`."""
        return self.source.place(path)


_TABLES: dict[str, type[Table]] = {
    "server": ServerTable,
    "storage": StorageTable,
    "metrics": MetricsTable,
    "tracing": TracingTable,
    "log": LogTable,
}
_TABLES_OF_TABLES: dict[str, type[Table]] = {
    "upstreams": Upstream,
    "models": Model,
    "keys": KeyConfig,
    "prices": PriceConfig,
}


def load(path: Path) -> GatewayConfig:
    """Read and check a config file. Raises UsageError with the file, the line and what was probably meant."""
    return without_frames(_load, path)


def _load(path: Path) -> GatewayConfig:
    return parse(decode_text(read_file(path), path), path)


def read_file(path: Path) -> bytes:
    """Return the bytes of a file. Raises UsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def decode_text(data: bytes, path: Path) -> str:
    """Return the text of a config file's bytes. Raises UsageError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: the file is not UTF-8 text") from None


def parse_document(text: str, path: Path) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises UsageError."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Source(path, {}).syntax_error(error, text) from None


def parse(text: str, path: Path) -> GatewayConfig:
    """Return the config in the text of a file; relative paths in it start at the file's folder. Raises as `load`."""
    from acytoo.gateway.checks import check

    document = parse_document(text, path)
    source = Source(path, lines_of(text))
    source.check_names(document, [*_TABLES, *_TABLES_OF_TABLES], ())
    document = {"storage": {}, **document}
    if isinstance(document["storage"], dict):
        document["storage"] = {"ledger": StorageTable().ledger, **document["storage"]}  # its path is relative too
    document = _with_absolute_paths(document, path.absolute().parent)
    tables: dict[str, Any] = {}
    for name, cls in _TABLES.items():
        tables[name] = decode(cls, document.get(name, {}), (name,), source)
    for name, cls in _TABLES_OF_TABLES.items():
        entries = source.as_table(document.get(name, {}), (name,))
        tables[name] = {key: decode(cls, entry, (name, key), source) for key, entry in entries.items()}
    config = GatewayConfig(source=source, **tables)
    check(config)
    return config


def _with_absolute_paths(value: Any, folder: Path) -> Any:
    """Return a value of the file in which `file:PATH` and `sqlite:PATH` are absolute."""
    if isinstance(value, dict):
        return {name: _with_absolute_paths(entry, folder) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_absolute_paths(entry, folder) for entry in value]
    if isinstance(value, str) and value.startswith(("file:", "sqlite:")):
        kind, _, path = value.partition(":")
        return f"{kind}:{folder / path.strip()}" if path.strip() else value
    return value


def schema() -> dict[str, Any]:
    """Return the JSON schema of a config file."""
    tables = msgspec.json.schema(Tables)
    for table in tables["$defs"].values():
        if "description" in table:  # a docstring, which only Python 3.13 and later store without its indentation
            table["description"] = inspect.cleandoc(table["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The config file of acytoo serve",
        **tables,
    }
