"""Every error that leaves Acytoo, one class for each thing a caller can do about it.

AcytooError
├── UsageError             the call is wrong, nothing was sent: correct it       (is a ValueError)
│   └── UnsupportedError   the API has no such feature: leave it out, or drop_unsupported=True
├── MissingExtraError      install the extra it names                            (is an ImportError)
├── EmbeddedError          the embedded model cannot be downloaded or loaded: the message says why
├── OutputError            the output of a batch cannot be written: make room, then continue it
├── UnreachableError       no response: check URL and network, try again         (is a ConnectionError)
│   ├── TLSError           the server's certificate was not accepted
│   └── ProxyError         the proxy refused or cannot be reached
├── TimedOutError          a timeout expired: `phase` is its name                (is a TimeoutError)
├── RedirectError          the endpoint has moved: use the URL in the message
├── StatusError            the server refused: `status`, and its own `message`
│   ├── RequestError       400, 413, 422, …: change the request
│   ├── AuthenticationError 401, 403: change key or password
│   ├── NotFoundError      404: no such path or model
│   ├── RateLimitError     429: wait `retry_after` seconds
│   └── ServerError        5xx, or an error in mid-stream: try again later
├── ToolCallsError         the model called tools: use reply() or stream(), or make `tool_calls`
├── NoTextError            the reply is an image or the like: use reply() or stream(), or read `parts`
└── ReplyError             the reply is not complete and valid
    ├── TruncatedError     it was cut: `text` is the part received
    ├── InvalidReplyError  it does not match the schema of a batch: `text` is the reply
    ├── ReplyTooLargeError it is larger than `max_reply`: iterate over it, or raise that setting
    └── ProtocolError      it is not in this API's format: use another URL or dialect
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acytoo.types import Attempt, Reply, ToolCallDict, TurnPart


class AcytooError(Exception):
    """The base of all errors.

    `text` is the part of the reply received before the error. `retryable`: whether the same call may succeed later.
    `attempts` are those of a route.
    """

    text: str = ""
    attempts: Sequence[Attempt] = ()
    retryable: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.args, self.__dict__)


class UsageError(AcytooError, ValueError):
    """A wrong call; nothing was sent."""


class UnsupportedError(UsageError):
    """A request for something that the API does not have, named in `feature`; nothing was sent."""

    def __init__(self, feature: str, dialect: str, hint: str = "leave it out") -> None:
        self.feature = feature
        self.dialect = dialect
        self.hint = hint
        super().__init__(f"the {dialect} API cannot express {feature}: {hint}")


class MissingExtraError(AcytooError, ImportError):
    """An optional dependency that is not installed; `extra` is the extra that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an optional dependency: pip install 'acytoo[{extra}]'")


class EmbeddedError(AcytooError):
    """An embedded model that cannot be downloaded or loaded."""


class OutputError(AcytooError):
    """The output of a batch that cannot be written, such as on a full disk. Its complete lines are kept."""


class UnreachableError(AcytooError, ConnectionError):
    """A server that sent no response."""

    retryable = True


class TLSError(UnreachableError):
    """A failed TLS handshake: the certificate was not accepted, or the server does not speak TLS."""

    retryable = False


class ProxyError(UnreachableError):
    """A proxy that refused or cannot be reached; `status` is the HTTP status it sent, if any."""

    status: int | None = None


class TimedOutError(AcytooError, TimeoutError):
    """A timeout that expired; `phase` is "connect", "first_byte", "idle", "total" or a route's "deadline".

    `limit` is its length in seconds.
    """

    retryable = True

    def __init__(self, phase: str, limit: float, message: str = "") -> None:
        self.phase = phase
        self.limit = limit
        what = {
            "connect": "could not connect",
            "first_byte": "the reply did not begin",
            "idle": "the reply did not continue",
            "total": "the reply was not complete",
        }.get(phase, phase)
        self.hint = f" (the {phase} timeout: timeout={{'{phase}': …}})"
        super().__init__(message or f"{what} within {limit:g} s{self.hint}")


class RedirectError(AcytooError):
    """A redirect that a request with credentials must not follow; `location` is its target."""

    def __init__(self, message: str, location: str = "") -> None:
        super().__init__(message)
        self.location = location


class StatusError(AcytooError):
    """An error that the server reported.

    `status` is the HTTP status; None for an error inside a stream that has none. `code` is the server's most specific
    error code, `type` a broader one and `param` the wrong field of the request; each "" if not reported.
    `retry_after` is in seconds. `body` is the start of the response. `is_local`: whether this process refused the
    request, so that it was not sent and nothing is known about the server.
    """

    is_local: bool = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        type: str = "",
        param: str = "",
        retry_after: float | None = None,
        body: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.retry_after = retry_after
        self.body = body

    def __str__(self) -> str:
        return f"{self.status}: {self.message}" if self.status else self.message


class RequestError(StatusError):
    """A request that the server does not accept as it is."""


class AuthenticationError(StatusError):
    """A key or password that is missing, wrong, or lacks the permission."""


class NotFoundError(StatusError):
    """A path or model that the server does not have."""


class RateLimitError(StatusError):
    """Too many requests; wait `retry_after` seconds, if that is set."""

    retryable = True


class ServerError(StatusError):
    """A failure of the server; the same request may succeed later."""

    retryable = True


class ToolCallsError(AcytooError):
    """A reply with tool calls to a method that returns only text; `tool_calls` are in OpenAI's chat shape."""

    def __init__(self, tool_calls: list[ToolCallDict]) -> None:
        self.tool_calls = tool_calls
        names = ", ".join([call["function"]["name"] for call in tool_calls])
        AcytooError.__init__(
            self, f"the model called {names}, but this method returns only text: use reply() or stream()"
        )


class NoTextError(AcytooError):
    """A reply without text, such as an image, where only text can be returned.

    `kinds` says what it is, and `parts` has it, as `Reply.turn_parts` does. In a batch, `reply` is the reply.
    """

    reply: Reply | None = None

    def __init__(
        self,
        kinds: list[str],
        parts: list[TurnPart],
        hint: str = ", and this method returns only text: use reply() or stream()",
    ) -> None:
        self.kinds = kinds
        self.parts = parts
        self.hint = hint
        AcytooError.__init__(self, f"the reply has no text but other parts ({', '.join(kinds)}){hint}")


class ReplyError(AcytooError):
    """A reply that is not complete and valid."""


class TruncatedError(ReplyError):
    """A reply that was cut; `text` is the part received."""

    retryable = True


class InvalidReplyError(ReplyError):
    """A complete `reply` that is not what the schema of a batch asks for. Another one may be."""

    retryable = True

    def __init__(self, message: str, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.reply = reply
        self.text = reply.text if reply is not None else ""


class ReplyTooLargeError(ReplyError):
    """A reply of which more would have to be kept than `limit` bytes; `text` is the part received."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        AcytooError.__init__(
            self,
            f"the reply is larger than {limit} bytes: read it as a stream without keeping it, or raise max_reply, "
            "the setting of the provider or of the server",
        )


class ProtocolError(ReplyError):
    """A reply that is not in the API's format; probably the URL or the dialect is wrong."""


def one_line(text: str) -> str:
    """Return the text with everything escaped that a terminal or a log would not show as it is."""
    return "".join([character if character.isprintable() else repr(character)[1:-1] for character in text])


def _restore(cls: type[AcytooError], args: tuple[Any, ...], state: dict[str, Any]) -> AcytooError:
    """Restore a pickled error with all its attributes, whatever arguments its constructor takes."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def status_error(
    status: int | None,
    message: str,
    *,
    code: str = "",
    type: str = "",
    param: str = "",
    retry_after: float | None = None,
    body: str = "",
) -> StatusError:
    """Return the error for an HTTP status. None (an error inside a stream) and unusual ones are a ServerError."""
    if status in (401, 403):
        cls: Callable[..., StatusError] = AuthenticationError
    elif status == 404:
        cls = NotFoundError
    elif status == 429:
        cls = RateLimitError
    elif status is not None and 400 <= status < 500:
        cls = RequestError
    else:
        cls = ServerError
    error = cls(message, status=status, code=code, type=type, param=param, retry_after=retry_after, body=body)
    if status in (408, 409, 425):
        error.retryable = True
    return error
