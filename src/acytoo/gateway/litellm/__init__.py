"""LiteLLM's config file as one of ours (source: its documentation, "Config.yaml" and "All settings").

The problem: its settings are many and grow weekly, and one that is silently lost is worse than none. The strategy:
whatever is understood is taken from the document, and all that is left in the end is reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from acytoo.errors import UsageError
from acytoo.gateway.config import parse
from acytoo.gateway.litellm.deployments import Deployments
from acytoo.gateway.litellm.document import Document, has_password, take
from acytoo.gateway.litellm.models import Models
from acytoo.gateway.toml_writer import write_table


class Imported(NamedTuple):
    """Our config file, and what of the other one is not in it or has to be done by hand."""

    text: str
    left_out: list[str]


def import_litellm(text: str, path: Path) -> Imported:
    """Return LiteLLM's config in our format. Raises UsageError if it has no model that we can serve."""
    document = Document(text, path)
    deployments = Deployments(document)
    models = Models(document, deployments)
    server, storage = _server(document), _storage(document)
    document.leave_out_rest()
    if not deployments.upstreams:
        reasons = "".join([f"\n- {line}" for line in document.left_out])
        raise UsageError(f"{path}: none of its models can be served:{reasons}")
    tables = [
        *([write_table(("server",), server)] if server else []),
        *([write_table(("storage",), storage)] if storage else []),
        *[write_table(("upstreams", name), table) for name, table in deployments.upstreams.items()],
        *[write_table(("models", name), table) for name, table in models.tables.items()],
        *[write_table(("prices", name), table) for name, table in deployments.prices.items()],
    ]
    result = "\n".join(tables)
    try:
        parse(result, Path("the result"))
    except UsageError as error:
        raise UsageError(f"{path} cannot be imported: {error}") from None
    return Imported(result, document.left_out)


def _server(document: Document) -> dict[str, Any]:
    server: dict[str, Any] = {}
    if master := take(document.general, "master_key", str):
        server["admin_key"] = document.reference(master, "admin_key", "general_settings.master_key", is_secret=True)
        document.leave_out(
            "general_settings.master_key", "it only reads metrics and usage now: make keys with acytoo keys new"
        )
    if take(document.litellm, "drop_params", bool):
        server["drop_unsupported"] = True
    return server


def _storage(document: Document) -> dict[str, Any]:
    storage: dict[str, Any] = {}
    database = take(document.general, "database_url", str) or ""
    if database.startswith(("os.environ/", "postgres")):
        is_secret = has_password(database)
        storage["ledger"] = document.reference(database, "database_url", "general_settings.database_url", is_secret)
        document.leave_out("the keys in the database", "make new ones with acytoo keys new")
    elif database:
        document.leave_out("general_settings.database_url")
    if url := take(document.router, "redis_url", str):
        is_secret = has_password(url)
        storage["counters"] = document.reference(url, "redis_url", "router_settings.redis_url", is_secret)
    elif host := take(document.router, "redis_host", str):
        password, port = (
            document.router.pop("redis_password", None),
            take(document.router, "redis_port", int, str) or 6379,
        )
        if password or "os.environ/" in f"{host}{port}":
            storage["counters"] = "env:REDIS_URL"
            document.leave_out(
                "router_settings.redis_host", "put redis://:PASSWORD@HOST:PORT into the variable REDIS_URL"
            )
        else:
            storage["counters"] = f"redis://{host}:{port}"
    return storage
