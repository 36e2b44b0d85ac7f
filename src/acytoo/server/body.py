"""Read and decode request bodies: password, size limits, timeout, Content-Encoding.

The problem: a body costs memory while it arrives. Decoding it costs far more than its bytes, and delays everybody else.
The strategy: decode nothing for a caller without the password; limit what all bodies take while they arrive, and the
values and fields of each; decode long or compressed bodies in a few threads. The cost: msgspec does not release the
interpreter while it decodes, so the worst body within the limits still delays others: docs/security.md has the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from acytoo.dialects.base import Dialect, Memory, ParsedRequest, Turn
from acytoo.dialects.fields import invalid
from acytoo.dialects.server_side import secrets_in
from acytoo.errors import RequestError, ServerError
from acytoo.http1.head import HTTPError
from acytoo.server.auth import PasswordCheck
from acytoo.server.config import ServerConfig
from acytoo.server.request import BodyTooLargeError, Budget, BudgetError, IncomingRequest
from acytoo.types import ChatMessages
from acytoo.wire.compression import DecodingError, OutputTooLargeError, UnknownCodingError, content_decoder
from acytoo.wire.limits import json_excess, json_excess_of

MAX_UNKNOWN = 1024 * 1024
"""Bytes of a body that has to be read before it is known whether it presents the password."""

MAX_ALL_UNKNOWN = 32 * 1024 * 1024
"""Bytes of all such bodies together. For one above it, those that have been arriving for longest are dropped."""

_SMALL = 64 * 1024
"""Bytes of a body that is decoded on the event loop: handing it to a thread would take longer."""

_THREADS = 2

_MAX_MODEL = 1000
"""Characters of a model's name. It is compared with every model, and part of every record of a reply and of the log."""

_BROKEN = "the request body is corrupt: check its content-encoding and its chunks"


class Bodies:
    """The reader of one server's request bodies."""

    def __init__(self, config: ServerConfig, passwords: PasswordCheck) -> None:
        self.config = config
        self._passwords = passwords
        self._budget = Budget(config.max_bodies)
        self._unknown = Budget(MAX_ALL_UNKNOWN, drops_oldest=True)  # 32 slow ones must not keep out all others
        self._threads = ThreadPoolExecutor(_THREADS, "acytoo-body")

    async def read(self, request: IncomingRequest, dialect: Dialect, memory: Memory) -> tuple[Turn, ParsedRequest]:
        """Return a request as a turn of its conversation, and decoded.

        If its head does not present the password, its body has to. Raises AcytooError.
        """
        limit, budget, caller = self.config.max_body, self._budget, request.caller
        if caller is None:
            limit, budget = min(limit, MAX_UNKNOWN), self._unknown
        elif caller.max_body is not None:
            limit = min(limit, caller.max_body)
        try:
            body = await self._receive(request, limit, budget)
            if len(body) <= _SMALL and "content-encoding" not in request.headers:
                return self._decode(body, request, dialect, memory, limit)
            decode = partial(self._decode, body, request, dialect, memory, limit)
            return await asyncio.get_running_loop().run_in_executor(self._threads, decode)
        finally:
            request.release()

    async def read_small(self, request: IncomingRequest) -> bytes:
        """Return a body of at most 64 KiB that is no chat, of a caller whose head presents the password.

        Raises AcytooError.
        """
        try:
            body = await self._receive(request, _SMALL, self._budget)
        finally:
            request.release()
        if (coding := request.headers.get("content-encoding")) is not None:
            body = _decompress(body, coding, _SMALL)
        if excess := json_excess(body):
            raise invalid(f"the request body {excess}")
        return body

    async def _receive(self, request: IncomingRequest, limit: int, budget: Budget) -> bytes:
        """Return the complete body as it was sent. Raises RequestError or ServerError."""
        timeout = self.config.receive
        try:
            return await request.body(limit, timeout, budget)
        except TimeoutError as error:
            message = f"the request body did not arrive within {timeout:g} s"
            raise RequestError(message, status=408, code="timeout_error") from error
        except HTTPError as error:
            raise invalid(_BROKEN) from error
        except BodyTooLargeError as error:
            raise _too_large(limit) from error
        except BudgetError as error:
            message = "too many large requests are arriving at the same time: try again later"
            raise ServerError(message, status=503, code="overloaded_error", retry_after=1) from error

    def _decode(
        self, body: bytes, request: IncomingRequest, dialect: Dialect, memory: Memory, limit: int
    ) -> tuple[Turn, ParsedRequest]:
        """Decode a body, perhaps in a thread. Raises AuthenticationError before anything but its secrets is decoded."""
        coding = request.headers.get("content-encoding")
        if coding is not None:
            body = _decompress(body, coding, limit)
        if request.caller is None:
            secrets = [*secrets_in(request.received()), *dialect.body_secrets(body)]
            caller = request.caller = self._passwords.require(secrets)
            if caller.max_body is not None and len(body) > caller.max_body:
                raise _too_large(caller.max_body)
        if excess := json_excess(body):
            raise invalid(f"the request body {excess}")
        turn = memory.turn(request.received(body))
        parsed = dialect.decode_request_lenient(turn.request)
        if dialect.can_pass_through and not dialect.is_legacy:
            turn.use_body(dialect.unambiguous(turn.request.body))
        if len(parsed.request.model) > _MAX_MODEL:
            raise invalid(f"the model's name has more than {_MAX_MODEL} characters")
        if len(body) > _SMALL and (excess := json_excess_of([*_arguments_in(parsed.request.messages)])):
            raise invalid(f"the arguments of the calls, together: the JSON {excess}")
        return turn, parsed


def _arguments_in(messages: ChatMessages) -> Iterator[bytes]:
    """Yield the arguments of calls: JSON in strings of the body, which most APIs need as objects."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            arguments = call["function"]["arguments"]
            if isinstance(arguments, str):
                yield arguments.encode("utf-8", "surrogatepass")


def _decompress(body: bytes, content_encoding: str, max_size: int) -> bytes:
    """Return a body that is at most `max_size` bytes without its content coding. Raises RequestError."""
    decoder = content_decoder(content_encoding, max_size)
    if decoder is None:
        return body
    try:
        decoded = decoder.decode(body)
        decoder.flush()
    except UnknownCodingError as error:
        raise invalid(f"{error}: send gzip, deflate, zstd or none") from error
    except OutputTooLargeError as error:
        raise _too_large(max_size) from error
    except DecodingError as error:
        raise invalid(_BROKEN) from error
    return decoded


def _too_large(max_size: int) -> RequestError:
    return RequestError(f"the request body is larger than {max_size} bytes", status=413, code="request_too_large")
