"""Stream text from any chat API, serve every chat API, with a small language model built in."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from acytoo._version import __version__ as __version__

_MODULES = {
    "acytoo.base_provider": "AsyncGeneratorProvider Check",
    "acytoo.errors": """
        AcytooError AuthenticationError EmbeddedError InvalidReplyError MissingExtraError
        NoTextError NotFoundError OutputError ProtocolError
        ProxyError RateLimitError RedirectError ReplyError ReplyTooLargeError RequestError ServerError StatusError
        TimedOutError TLSError ToolCallsError TruncatedError UnreachableError UnsupportedError UsageError
    """,
    "acytoo.providers.acytoo": "Acytoo",
    "acytoo.routing.addresses": "provider",
    "acytoo.routing.route": "Route",
    "acytoo.routing.target": "Target",
    "acytoo.transport.config": "Timeout",
    "acytoo.types": """
        AsyncResult Attempt Attempts Event Finish Item Logprobs Messages OpaquePart Reasoning Refusal Reply Start
        ToolCall Usage
    """,
}
"""The public names of each module. They are imported on first use, so that `import acytoo` costs next to nothing."""

_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [*_MODULE_OF, "__version__"]

if TYPE_CHECKING:  # type checkers cannot follow the table; tests/test_imports.py compares the two
    from acytoo.base_provider import AsyncGeneratorProvider as AsyncGeneratorProvider
    from acytoo.base_provider import Check as Check
    from acytoo.errors import AcytooError as AcytooError
    from acytoo.errors import AuthenticationError as AuthenticationError
    from acytoo.errors import EmbeddedError as EmbeddedError
    from acytoo.errors import InvalidReplyError as InvalidReplyError
    from acytoo.errors import MissingExtraError as MissingExtraError
    from acytoo.errors import NoTextError as NoTextError
    from acytoo.errors import NotFoundError as NotFoundError
    from acytoo.errors import OutputError as OutputError
    from acytoo.errors import ProtocolError as ProtocolError
    from acytoo.errors import ProxyError as ProxyError
    from acytoo.errors import RateLimitError as RateLimitError
    from acytoo.errors import RedirectError as RedirectError
    from acytoo.errors import ReplyError as ReplyError
    from acytoo.errors import ReplyTooLargeError as ReplyTooLargeError
    from acytoo.errors import RequestError as RequestError
    from acytoo.errors import ServerError as ServerError
    from acytoo.errors import StatusError as StatusError
    from acytoo.errors import TimedOutError as TimedOutError
    from acytoo.errors import TLSError as TLSError
    from acytoo.errors import ToolCallsError as ToolCallsError
    from acytoo.errors import TruncatedError as TruncatedError
    from acytoo.errors import UnreachableError as UnreachableError
    from acytoo.errors import UnsupportedError as UnsupportedError
    from acytoo.errors import UsageError as UsageError
    from acytoo.providers.acytoo import Acytoo as Acytoo
    from acytoo.routing.addresses import provider as provider
    from acytoo.routing.route import Route as Route
    from acytoo.routing.target import Target as Target
    from acytoo.transport.config import Timeout as Timeout
    from acytoo.types import AsyncResult as AsyncResult
    from acytoo.types import Attempt as Attempt
    from acytoo.types import Attempts as Attempts
    from acytoo.types import Event as Event
    from acytoo.types import Finish as Finish
    from acytoo.types import Item as Item
    from acytoo.types import Logprobs as Logprobs
    from acytoo.types import Messages as Messages
    from acytoo.types import OpaquePart as OpaquePart
    from acytoo.types import Reasoning as Reasoning
    from acytoo.types import Refusal as Refusal
    from acytoo.types import Reply as Reply
    from acytoo.types import Start as Start
    from acytoo.types import ToolCall as ToolCall
    from acytoo.types import Usage as Usage


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'acytoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
