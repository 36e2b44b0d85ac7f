"""Whatever a client sends, the server responds in the client's format and never fails itself."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.testing import reply
from acytoo.testing.hostile.requests import MALFORMED_BODIES
from acytoo.types import Finish, Start
from tests.server.live_server import call, example, live_server, request

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))
BOUNDED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
ALL = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)

NAMES = st.sampled_from(
    [
        "messages",
        "contents",
        "input",
        "role",
        "content",
        "parts",
        "text",
        "type",
        "tools",
        "tool_choice",
        "functionDeclarations",
        "generationConfig",
        "max_tokens",
        "temperature",
        "stop",
        "stream",
        "model",
        "system",
        "user",
        "assistant",
        "image_url",
        "source",
        "data",
        "format",
        "options",
        "think",
        "system_instruction",
        "response_format",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "tool_use",
        "tool_result",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | NAMES
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
BODIES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())


@st.composite
def mutated(draw: st.DrawFn, dialect: Dialect) -> bytes:
    """Draw a well-formed body with one value in it replaced."""
    document = example(dialect)[1]
    here: Any = document
    while True:
        key = draw(st.sampled_from(list(here) if isinstance(here, dict) else list(range(len(here)))))
        if isinstance(here[key], (dict, list)) and here[key] and draw(st.booleans()):
            here = here[key]
        else:
            here[key] = draw(JSON)
            return json.dumps(document).encode()


def check(dialect: Dialect, status: int, body: bytes) -> None:
    """Assert that the response is a reply or a client error in the dialect's format."""
    assert status == 200 or 400 <= status < 500, (status, body[:300])
    if status != 200:
        error = dialect.read_error(status, body)
        assert error.message not in ("", "no message")
        assert json.loads(body)


async def answers(dialect: Dialect, bodies: list[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the server's response to each of the bodies, streamed and as one document."""
    async with live_server(HELLO) as server:
        for body in bodies:
            for stream in (True, False):
                response = await call(server.port, request(dialect, stream=stream, body=body))
                assert response.is_complete
                yield response.status, response.body


def check_all(dialect: Dialect, bodies: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    """Assert that each body gets a valid response and that no exception is logged."""
    caplog.set_level(logging.INFO)
    caplog.clear()

    async def run() -> None:
        async for status, body in answers(dialect, bodies):
            check(dialect, status, body)

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@ALL
@BOUNDED
@given(bodies=st.lists(BODIES, min_size=1, max_size=8))
def test_any_body_gets_a_response_in_the_clients_format(
    dialect: Dialect, bodies: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    check_all(dialect, bodies, caplog)


@ALL
@BOUNDED
@given(data=st.data())
def test_a_request_with_any_one_value_replaced_gets_a_response_in_the_clients_format(
    dialect: Dialect, data: st.DataObject, caplog: pytest.LogCaptureFixture
) -> None:
    check_all(dialect, data.draw(st.lists(mutated(dialect), min_size=1, max_size=8)), caplog)


WRONG_TYPES = b'{"model": 1, "model": 2, "messages": 1, "messages": 2, "contents": 1, "input": 1}'
"""A body that a server may pass through to a backend of the same API, which then judges it. Here there is none."""


@ALL
@pytest.mark.parametrize("body", [*MALFORMED_BODIES.values(), WRONG_TYPES], ids=[*MALFORMED_BODIES, "wrong types"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_malformed_body_is_400_in_the_clients_format(
    dialect: Dialect, body: bytes, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with live_server(HELLO) as server:
        response = await call(server.port, request(dialect, stream=stream, body=body))
        assert response.status == 400
        check(dialect, response.status, response.body)
        assert server.fake.requests == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@ALL
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "tea"]
)
async def test_json_is_accepted_under_any_content_type(dialect: Dialect, content_type: str) -> None:
    async with live_server(HELLO) as server:
        data = request(dialect).replace(b"content-type: application/json", f"content-type: {content_type}".encode())
        assert (await call(server.port, data)).status == 200
