"""Stream text from any chat API, serve every chat API, with a small language model built in."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider as AsyncGeneratorProvider
    from acytoo.base_provider import Check as Check
    from acytoo.errors import AcytooError as AcytooError
    from acytoo.errors import AuthenticationError as AuthenticationError
    from acytoo.errors import EmbeddedError as EmbeddedError
    from acytoo.errors import MissingExtraError as MissingExtraError
    from acytoo.errors import NotFoundError as NotFoundError
    from acytoo.errors import ProtocolError as ProtocolError
    from acytoo.errors import ProxyError as ProxyError
    from acytoo.errors import RateLimitError as RateLimitError
    from acytoo.errors import RedirectError as RedirectError
    from acytoo.errors import ReplyError as ReplyError
    from acytoo.errors import RequestError as RequestError
    from acytoo.errors import ServerError as ServerError
    from acytoo.errors import StatusError as StatusError
    from acytoo.errors import TimedOutError as TimedOutError
    from acytoo.errors import TLSError as TLSError
    from acytoo.errors import TruncatedError as TruncatedError
    from acytoo.errors import UnreachableError as UnreachableError
    from acytoo.errors import UnsupportedError as UnsupportedError
    from acytoo.errors import UsageError as UsageError
    from acytoo.providers.acytoo import Acytoo as Acytoo
    from acytoo.registry import provider as provider
    from acytoo.transport.config import Timeout as Timeout
    from acytoo.types import AsyncResult as AsyncResult
    from acytoo.types import Event as Event
    from acytoo.types import Finish as Finish
    from acytoo.types import Item as Item
    from acytoo.types import Logprobs as Logprobs
    from acytoo.types import Messages as Messages
    from acytoo.types import Reasoning as Reasoning
    from acytoo.types import Refusal as Refusal
    from acytoo.types import Reply as Reply
    from acytoo.types import Start as Start
    from acytoo.types import ToolCall as ToolCall
    from acytoo.types import Usage as Usage

_PUBLIC = {
    "Acytoo": "acytoo.providers.acytoo",
    "AcytooError": "acytoo.errors",
    "AsyncGeneratorProvider": "acytoo.base_provider",
    "AsyncResult": "acytoo.types",
    "AuthenticationError": "acytoo.errors",
    "Check": "acytoo.base_provider",
    "EmbeddedError": "acytoo.errors",
    "Event": "acytoo.types",
    "Finish": "acytoo.types",
    "Item": "acytoo.types",
    "Logprobs": "acytoo.types",
    "Messages": "acytoo.types",
    "MissingExtraError": "acytoo.errors",
    "NotFoundError": "acytoo.errors",
    "ProtocolError": "acytoo.errors",
    "ProxyError": "acytoo.errors",
    "RateLimitError": "acytoo.errors",
    "Reasoning": "acytoo.types",
    "RedirectError": "acytoo.errors",
    "Refusal": "acytoo.types",
    "Reply": "acytoo.types",
    "ReplyError": "acytoo.errors",
    "RequestError": "acytoo.errors",
    "ServerError": "acytoo.errors",
    "Start": "acytoo.types",
    "StatusError": "acytoo.errors",
    "TLSError": "acytoo.errors",
    "TimedOutError": "acytoo.errors",
    "Timeout": "acytoo.transport.config",
    "ToolCall": "acytoo.types",
    "TruncatedError": "acytoo.errors",
    "UnreachableError": "acytoo.errors",
    "UnsupportedError": "acytoo.errors",
    "Usage": "acytoo.types",
    "UsageError": "acytoo.errors",
    "provider": "acytoo.registry",
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
