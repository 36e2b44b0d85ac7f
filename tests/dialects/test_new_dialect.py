"""A new dialect is one folder: `toy/` works as provider, endpoint, fake server and subject of the conformance kit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import Dialect
from acytoo.testing import reply
from acytoo.testing.conformance.checks import check
from acytoo.testing.conformance.faults import FAULT_SCENARIOS, FaultScenario
from acytoo.testing.conformance.subject import Subject, point_at
from acytoo.types import Finish, Item
from tests.dialects.strategies import encode_stream, read_items, replies, reply_fields, split_at
from tests.dialects.toy import Toy
from tests.server.live_server import backend, call, head, live_server, request

TOY = Toy()
DIALECTS = (*dialects.ALL, TOY)
HELLO = reply("Hello ", "world", Finish("stop"))


class ToyProvider(AsyncGeneratorProvider):
    """The one line that a provider of the new API needs, and a model."""

    dialect = TOY
    model = "m-1"


SUBJECT = Subject("ToyProvider", lambda url, **settings: point_at(ToyProvider, url, **settings), TOY)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULT_SCENARIOS if fault.can_happen_in(TOY)], ids=lambda fault: fault.name
)
def test_its_provider_passes_the_conformance_suite(fault: FaultScenario) -> None:
    assert check(SUBJECT, fault) == []


@given(items=replies(TOY), places=st.lists(st.integers(0, 10_000), max_size=8))
def test_a_reply_is_read_as_written_in_any_chunks(items: list[Item], places: list[int]) -> None:
    assert reply_fields(TOY, read_items(TOY, split_at(encode_stream(TOY, items), places))) == reply_fields(
        TOY, [*items, Finish("stop")]
    )


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("upstream", DIALECTS, ids=lambda dialect: dialect.name)
async def test_the_server_answers_its_clients_over_a_backend_of_any_dialect(upstream: Dialect, stream: bool) -> None:
    async with live_server(HELLO, dialect=upstream, dialects=DIALECTS) as server:
        response = await call(server.port, request(TOY, stream=stream))
        assert (response.status, response.is_complete) == (200, True)
        assert [json.loads(line) for line in response.body.splitlines()][-1]["finish"] == "stop"
        assert "".join(json.loads(line).get("piece", "") for line in response.body.splitlines()) == "Hello world"


async def test_its_provider_streams_from_the_server() -> None:
    async with live_server(HELLO, dialects=DIALECTS) as server:
        provider = backend(TOY, server.url)
        texts = [text async for text in provider.create_async_generator("m-1", [{"role": "user", "content": "Hi"}])]
        assert "".join(texts) == "Hello world"


@pytest.mark.parametrize(
    ("path", "headers", "document"),
    [
        ("/toy/models", "", {"toys": ["m-1"]}),
        ("/toy/version", "", {"toy": 1}),
        ("/v1/models", "x-toy: 1\r\n", {"toys": ["m-1"]}),
        (
            "/toy/nowhere",
            "",
            {
                "error": "unknown path '/toy/nowhere': "
                "this server answers chats only, and GET /openapi.json lists its paths"
            },
        ),
    ],
)
async def test_the_server_answers_its_other_paths_in_its_own_shape(path: str, headers: str, document: object) -> None:
    async with live_server(HELLO, dialects=DIALECTS) as server:
        response = await call(server.port, head(f"GET {path} HTTP/1.1", headers))
        assert json.loads(response.body) == document


async def test_a_shared_path_still_answers_the_clients_of_the_other_dialects() -> None:
    async with live_server(HELLO, dialects=DIALECTS) as server:
        response = await call(server.port, head("GET /v1/models HTTP/1.1"))
        assert json.loads(response.body)["data"][0]["id"] == "m-1"


async def test_a_dialect_that_is_not_served_has_no_paths() -> None:
    async with live_server(HELLO, dialects=(TOY,)) as server:
        assert (await call(server.port, request("openai"))).status == 404
        assert (await call(server.port, request(TOY))).status == 200
