"""The exception tree: documented as it is, picklable, and derived from built-in exceptions."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from acytoo import errors
from acytoo.errors import AcytooError, status_error

EXAMPLES: list[AcytooError] = [
    errors.AcytooError("anything"),
    errors.UsageError("wrong"),
    errors.UnsupportedError("tools", "acytoo"),
    errors.MissingExtraError("the proxy", "socks"),
    errors.EmbeddedError("no model"),
    errors.InvalidReplyError("the reply is not JSON"),
    errors.OutputError("cannot write replies.jsonl: No space left on device"),
    errors.UnreachableError("gone"),
    errors.TLSError("not trusted"),
    errors.ProxyError("refused"),
    errors.TimedOutError("idle", 3.5),
    errors.RedirectError("moved", "https://elsewhere/"),
    errors.StatusError("no", status=418, code="teapot", body="no"),
    errors.RequestError("no", status=400, code="invalid"),
    errors.AuthenticationError("no", status=401),
    errors.NotFoundError("no", status=404),
    errors.RateLimitError("no", status=429, retry_after=2.5),
    errors.ServerError("no", status=503),
    errors.ToolCallsError([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
    errors.NoTextError(["image"], [{"type": "opaque", "source": "gemini", "fields": {}}]),
    errors.ReplyError("odd"),
    errors.TruncatedError("cut"),
    errors.ReplyTooLargeError(1000),
    errors.ProtocolError("not this"),
]


def test_every_class_has_an_example_here() -> None:
    classes = {c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, AcytooError)}
    assert {type(error) for error in EXAMPLES} == classes


def test_the_diagram_in_the_docstring_is_the_class_tree() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│ ├└─]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            if depth:
                drawn[found[2]] = path[depth - 1]
    real = {type(e).__name__: type(e).__bases__[0].__name__ for e in EXAMPLES if type(e) is not AcytooError}
    assert drawn == real


@pytest.mark.parametrize(
    ("kind", "python"),
    [
        (errors.UsageError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.UnreachableError, ConnectionError),
        (errors.TimedOutError, TimeoutError),
    ],
)
def test_an_error_is_also_a_builtin_exception(kind: type[AcytooError], python: type[Exception]) -> None:
    assert issubclass(kind, python)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("clone", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_keeps_its_attributes_when_pickled_or_copied(error: AcytooError, clone: object) -> None:
    error.text = "so far"
    twin = clone(error)  # type: ignore[operator]
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert twin.retryable == error.retryable


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_an_errors_message_is_never_empty(error: AcytooError) -> None:
    assert error.message
    assert error.message in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (None, errors.ServerError, True),
        (300, errors.ServerError, True),
        (400, errors.RequestError, False),
        (401, errors.AuthenticationError, False),
        (402, errors.RequestError, False),
        (403, errors.AuthenticationError, False),
        (404, errors.NotFoundError, False),
        (408, errors.RequestError, True),
        (409, errors.RequestError, True),
        (413, errors.RequestError, False),
        (422, errors.RequestError, False),
        (425, errors.RequestError, True),
        (429, errors.RateLimitError, True),
        (500, errors.ServerError, True),
        (502, errors.ServerError, True),
        (529, errors.ServerError, True),
        (999, errors.ServerError, True),
    ],
)
def test_a_status_maps_to_its_class(status: int | None, kind: type[AcytooError], retryable: bool) -> None:
    error = status_error(status, "message")
    assert type(error) is kind
    assert error.retryable is retryable
    assert str(error) == (f"{status}: message" if status else "message")
