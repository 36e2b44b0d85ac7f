"""Every error that leaves Acytoo, one class per thing a caller can do about it.

AcytooError
├── UsageError             the call is wrong, nothing was sent: mend it          (is a ValueError)
│   └── UnsupportedError   this API cannot say that: leave it out, or drop_unsupported=True
├── MissingExtraError      install the extra it names                            (is an ImportError)
├── EmbeddedError          the embedded model cannot be fetched or loaded: it says how to
├── UnreachableError       no answer came: check URL and network, try again      (is a ConnectionError)
│   ├── TLSError           the server's certificate was not accepted
│   └── ProxyError         the proxy refused or cannot be reached
├── TimedOutError          a limit ran out: `phase` says which                   (is a TimeoutError)
├── RedirectError          the endpoint has moved: use the URL it names
├── StatusError            the server refused, in its own words: `status`, `message`
│   ├── RequestError       400, 413, 422, …: change the request
│   ├── AuthenticationError 401, 403: change key or password
│   ├── NotFoundError      404: no such path or model
│   ├── RateLimitError     429: wait `retry_after` seconds
│   └── ServerError        5xx, or a fault told in mid-stream: try again later
└── ReplyError             the answer is not a whole reply
    ├── TruncatedError     it was cut: `text` is what came
    └── ProtocolError      it is not this API's: another URL or dialect is meant
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class AcytooError(Exception):
    """Base of all; `text` is what of the reply had arrived, `retryable` whether the same call may succeed."""

    text: str = ""
    retryable: bool = False
    told: bool = False
    """Whether a stream that is passed on has told it to its reader already."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class UsageError(AcytooError, ValueError):
    """The call is wrong; nothing was sent."""


class UnsupportedError(UsageError):
    """The API cannot express what was asked; nothing was sent. `feature` names it."""

    def __init__(self, feature: str, dialect: str, hint: str = "leave it out") -> None:
        self.feature = feature
        self.dialect = dialect
        super().__init__(f"the {dialect} API cannot express {feature}: {hint}")

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.args, self.__dict__)


class MissingExtraError(AcytooError, ImportError):
    """An optional part is not installed; the message names the extra."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an optional part: pip install 'acytoo[{extra}]'")

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.args, self.__dict__)


class EmbeddedError(AcytooError):
    """The embedded model cannot be fetched or loaded."""


class UnreachableError(AcytooError, ConnectionError):
    """No answer came from the server."""

    retryable = True


class TLSError(UnreachableError):
    """The TLS handshake failed; the certificate was not accepted, or the server does not speak TLS."""

    retryable = False


class ProxyError(UnreachableError):
    """The proxy refused, or cannot be reached; `status` is its HTTP status where it gave one."""

    status: int | None = None


class TimedOutError(AcytooError, TimeoutError):
    """A limit ran out; `phase` is "connect", "first_byte", "idle" or "total", `limit` its seconds."""

    retryable = True

    def __init__(self, phase: str, limit: float, message: str = "") -> None:
        self.phase = phase
        self.limit = limit
        what = {
            "connect": "could not connect",
            "first_byte": "no reply began",
            "idle": "the reply went silent",
            "total": "the reply was not complete",
        }.get(phase, phase)
        super().__init__(message or f"{what} within {limit:g} s (the {phase} limit: timeout={{'{phase}': …}})")

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.args, self.__dict__)


class RedirectError(AcytooError):
    """The endpoint redirects where a request with credentials must not follow; `location` is where to."""

    def __init__(self, message: str, location: str = "") -> None:
        super().__init__(message)
        self.location = location

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.args, self.__dict__)


class StatusError(AcytooError):
    """The server refused; `status` is None where the fault was told inside a stream without one.

    `code` is the server's own word for the kind of error, the narrowest it gives; `type` a broader one and `param` the
    request's field that is wrong, where it tells them. `retry_after`: seconds to wait, `body`: the start of its answer.
    """

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

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.args, self.__dict__)


class RequestError(StatusError):
    """The server does not accept the request as it is."""


class AuthenticationError(StatusError):
    """The key or password is missing, wrong, or not allowed this."""


class NotFoundError(StatusError):
    """The server knows no such path or model."""


class RateLimitError(StatusError):
    """Too many requests; wait `retry_after` seconds where it is given."""

    retryable = True


class ServerError(StatusError):
    """The server failed; the same request may succeed later."""

    retryable = True


class ReplyError(AcytooError):
    """What came is not a whole reply."""


class TruncatedError(ReplyError):
    """The reply was cut; `text` is what came before."""

    retryable = True


class ProtocolError(ReplyError):
    """The answer is not in the API's format; the URL or the dialect is probably another."""


def _restore(cls: type[AcytooError], args: tuple[Any, ...], state: dict[str, Any]) -> AcytooError:
    """Unpickle: errors cross process boundaries whole, whatever their constructor takes."""
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
    """The error class for an HTTP status; None (a fault inside a stream) and anything unusual is a ServerError."""
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
