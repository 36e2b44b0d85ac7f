"""The providers: one short file each, nothing else to edit. Importing any of them makes `embedded://` known."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable

from acytoo.http import Endpoint
from acytoo.settings import register_scheme


async def _open_embedded(endpoint: Endpoint) -> Endpoint:
    """Return the HTTP endpoint of the embedded server.

    `acytoo.embedded` is imported by name and on use, because it is built on the providers.
    """
    open_endpoint: Callable[[Endpoint], Awaitable[Endpoint]] = importlib.import_module("acytoo.embedded").open_endpoint
    return await open_endpoint(endpoint)


# pyproject.toml offers it as an entry point too, for code that imports no provider of ours. Registering it here saves
# reading the metadata of every installed package, and works in a checkout that was never installed.
register_scheme("embedded", _open_embedded)
