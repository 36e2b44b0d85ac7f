"""Stream text from any chat API, serve every chat API, with a small language model built in."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from acytoo.base import AsyncGeneratorProvider as AsyncGeneratorProvider
    from acytoo.base import Check as Check
    from acytoo.errors import AcytooError as AcytooError
    from acytoo.providers.acytoo import Acytoo as Acytoo
    from acytoo.transport.options import Timeout as Timeout
    from acytoo.types import AsyncResult as AsyncResult
    from acytoo.types import Event as Event
    from acytoo.types import Messages as Messages
    from acytoo.types import Reply as Reply

_PUBLIC = {
    "Acytoo": "acytoo.providers.acytoo",
    "AcytooError": "acytoo.errors",
    "AsyncGeneratorProvider": "acytoo.base",
    "AsyncResult": "acytoo.types",
    "Check": "acytoo.base",
    "Event": "acytoo.types",
    "Messages": "acytoo.types",
    "Reply": "acytoo.types",
    "Timeout": "acytoo.transport.options",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> object:
    """Public names are imported when first used, so that `import acytoo` costs next to nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'acytoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
