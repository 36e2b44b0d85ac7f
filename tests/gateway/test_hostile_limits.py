"""Requests that try to get around the limits of their key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from acytoo.dialects import OpenAI
from acytoo.gateway.keys import hash_secret
from acytoo.gateway.refusals import MOST
from acytoo.testing import FakeEndpoint, reply, silent, status
from acytoo.types import Finish, Usage
from tests.gateway.served import served
from tests.server.live_server import call, head

HELLO = [{"role": "user", "content": "Hello"}]
PARTS = [{"role": "user", "parts": [{"text": "Hello"}]}]

LIMITS = """
tokens_per_day = 2000
budget_per_month = 1
[models.fast]
targets = ["up/m1"]
[prices."up/m1"]
input = 1
output = 1
"""


def requests(most: int, model: str = "fast") -> list[tuple[str, dict[str, Any]]]:
    """A request of each API with so many tokens at most."""
    return [
        ("/v1/chat/completions", {"model": model, "messages": HELLO, "max_tokens": most}),
        ("/v1/chat/completions", {"model": model, "messages": HELLO, "max_completion_tokens": most}),
        ("/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": most}),
        ("/v1/responses", {"model": model, "input": "Hello", "max_output_tokens": most}),
        ("/v1/messages", {"model": model, "messages": HELLO, "max_tokens": most}),
        (f"/v1beta/models/{model}:generateContent", {"contents": PARTS, "generationConfig": {"maxOutputTokens": most}}),
        ("/api/chat", {"model": model, "messages": HELLO, "options": {"num_predict": most}}),
        ("/api/generate", {"model": model, "prompt": "Hello", "options": {"num_predict": most}}),
        ("/api/completions", {"model": model, "messages": HELLO, "max_tokens": most}),
    ]


@pytest.mark.parametrize("most", [-1, -(10**9), -(10**400)])
@pytest.mark.parametrize("number", range(len(requests(0))))
async def test_a_negative_number_of_tokens_gives_no_room_to_others(number: int, most: int, tmp_path: Path) -> None:
    path, body = requests(7)[number]
    data = repr(body).replace("'", '"').replace(": 7", f": {most}").encode()
    scripts = [silent(), reply("Hi", Finish())]
    async with FakeEndpoint(OpenAI(), *scripts) as fake, served(tmp_path, fake.url, LIMITS) as gate:
        prefix = f"content-length: {len(data)}\r\nauthorization: Bearer sk-ci\r\n"
        first = asyncio.create_task(call(gate.port, head(f"POST {path} HTTP/1.1", prefix) + data))
        await fake.received()
        small = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        response = await gate.post("/v1/chat/completions", small)
        assert response.status == 200
        assert response.headers["x-ratelimit-limit-tokens"] == "2000"
        assert int(response.headers["x-ratelimit-remaining-tokens"]) < 1000
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize("most", [10**18, 10**30, 10**400])
@pytest.mark.parametrize("number", range(len(requests(0))))
async def test_any_number_of_tokens_above_the_limit_is_refused(number: int, most: int, tmp_path: Path) -> None:
    path, body = requests(7)[number]
    data = repr(body).replace("'", '"').replace(": 7", f": {most}").encode()
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url, LIMITS) as gate:
        prefix = f"content-length: {len(data)}\r\nauthorization: Bearer sk-ci\r\n"
        response = await call(gate.port, head(f"POST {path} HTTP/1.1", prefix) + data)
        assert response.status == 429
        assert not fake.requests


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "fast", "messages": HELLO, "max_tokens": 100, "n": 5}),
        ("/v1/chat/completions", {"model": "fast", "messages": ["?"], "max_tokens": 100, "n": 5}),
        (
            "/v1beta/models/fast:generateContent",
            {"contents": PARTS, "generationConfig": {"maxOutputTokens": 100, "candidateCount": 5}},
        ),
    ],
)
async def test_each_of_several_replies_is_reserved(path: str, body: dict[str, Any], tmp_path: Path) -> None:
    rest = LIMITS.replace("2000", "499")
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url, rest) as gate:
        response = await gate.post(path, body)
        assert response.status == 429
        assert b"this request may need" in response.body
        assert not fake.requests


@pytest.mark.parametrize("messages", [HELLO, ["?"]])
@pytest.mark.parametrize(("older", "newer"), [(3000, 1), (1, 3000), (3000, 3000)])
async def test_the_larger_of_two_bounds_is_reserved(
    older: int, newer: int, messages: list[Any], tmp_path: Path
) -> None:
    body = {"model": "fast", "messages": messages, "max_tokens": older, "max_completion_tokens": newer}
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url, LIMITS) as gate:
        response = await gate.post("/v1/chat/completions", body)
        assert response.status == 429
        assert not fake.requests


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5, 6])
async def test_a_conversation_that_only_the_upstream_understands_reserves_its_tokens_too(
    number: int, tmp_path: Path
) -> None:
    path, body = requests(3000)[number]
    name = next(name for name in ("messages", "contents", "input") if name in body)
    body[name] = [{"role": "a new role", "content": [{}], "parts": [{}]}]
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url, LIMITS) as gate:
        response = await gate.post(path, body)
        assert response.status == 429
        assert b"this request may need 30" in response.body
        assert not fake.requests


async def test_a_request_of_which_only_the_model_is_understood_reserves_what_one_without_a_limit_does(
    tmp_path: Path,
) -> None:
    body = {"model": "fast", "messages": ["?"], "max_tokens": "many"}
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url, LIMITS) as gate:
        response = await gate.post("/v1/chat/completions", body)
        assert response.status == 200
        assert 900 < int(response.headers["x-ratelimit-remaining-tokens"]) < 976


@pytest.mark.parametrize("prefix", ["", "up/"])
@pytest.mark.parametrize("number", range(len(requests(0))))
async def test_a_model_with_an_endless_name_is_refused_and_not_repeated(
    number: int, prefix: str, tmp_path: Path
) -> None:
    path, body = requests(10, prefix + "x" * 10_000)[number]
    rest = f'{LIMITS}[log]\nrequests = "file:access.log"\n'
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        async with served(tmp_path, fake.url, rest) as gate:
            response = await gate.post(path, body)
        assert response.status == 400
        assert b"name has more than 1000 characters" in response.body
        assert len(response.body) < 1000
        assert not fake.requests
    assert len((tmp_path / "access.log").read_bytes()) < 2000


OF_UPSTREAM = """
{}
[keys.other]
hash = "{}"
[upstreams.small]
provider = "compatible"
url = "{}"
{}
[models.fast]
targets = ["small/m1"]
"""


@pytest.mark.parametrize(
    ("key", "upstream", "most", "refused"),
    [
        ("", "tokens_per_day = 2000", 1990, 429),  # as much as is left, but for a few
        ("", "tokens_per_day = 2000", 9999, 429),
        ("budget_per_day = 5", "", 10, 403),  # the price is unknown
    ],
)
async def test_what_a_limit_refuses_to_one_does_not_close_the_upstream_to_others(
    key: str, upstream: str, most: int, refused: int, tmp_path: Path
) -> None:
    other = "authorization: Bearer sk-other\r\n"
    async with FakeEndpoint(OpenAI(), reply("Hi", Usage(10, 10), Finish())) as fake:
        rest = OF_UPSTREAM.format(key, hash_secret("sk-other"), fake.url, upstream)
        async with served(tmp_path, fake.url, rest) as gate:
            body = {"model": "fast", "messages": HELLO, "max_tokens": 10}
            assert (await gate.post("/v1/chat/completions", body, other)).status == 200
            for _ in range(6):  # five failures in a row would pause a target
                assert (await gate.post("/v1/chat/completions", {**body, "max_tokens": most})).status == refused
            assert (await gate.post("/v1/chat/completions", body, other)).status == 200


FALLBACK = """
budget_per_day = 0.05
[upstreams.dear]
provider = "compatible"
url = "{}"
[models.fast]
targets = ["up/m1", "dear/m1"]
attempts = 2
[prices."up/m1"]
input = 1
output = 1
[prices."dear/m1"]
input = 1000
output = 1000
"""


async def test_requests_that_race_while_a_cheap_target_is_away_do_not_pass_the_budget(tmp_path: Path) -> None:
    async with (
        FakeEndpoint(OpenAI(), status(404)) as cheap,
        FakeEndpoint(OpenAI(), reply("Hi", Usage(5, 10), Finish()).wait(0.3, after=0)) as dear,
        served(tmp_path, cheap.url, FALLBACK.format(dear.url)) as gate,
    ):
        body = {"model": "fast", "messages": HELLO, "max_tokens": 10}  # may cost $0.015
        responses = await asyncio.gather(*[gate.post("/v1/chat/completions", body) for _ in range(20)])
        assert sorted(response.status for response in responses) == [200] * 3 + [429] * 17
        assert len(dear.requests) == 3


async def test_a_file_that_has_lost_its_keys_does_not_open_a_running_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url) as gate:
        path = tmp_path / "acytoo.toml"
        text = path.read_text()
        path.write_text(text[: text.index("[keys.ci]")])  # as an editor may have written it so far
        while "no keys any more" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        body = {"model": "up/m1", "messages": HELLO}
        assert (await gate.post("/v1/chat/completions", body, headers="")).status == 401
        assert (await gate.post("/v1/chat/completions", body)).status == 200


async def test_refused_requests_do_not_fill_the_disk(tmp_path: Path) -> None:
    rest = f"requests_per_minute = 1\n{LIMITS}"
    body = {"model": "unknown", "messages": HELLO}
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url, rest) as gate:
        sent, recorded = 0, {"404": 0}
        async with asyncio.timeout(600):
            while sent == recorded["404"] or sent < MOST:
                responses = await asyncio.gather(*[gate.post("/v1/chat/completions", body) for _ in range(40)])
                assert {response.status for response in responses} == {404}
                sent += len(responses)
                await gate.gateway.ledger.flush()
                rows = await gate.gateway.ledger.usage(0, 1e12, ["status"])
                recorded = {row.group["status"]: row.requests for row in rows}
        assert (await gate.post("/v1/chat/completions", {**body, "model": "fast", "max_tokens": 5})).status == 200
        await gate.gateway.ledger.flush()
        rows = await gate.gateway.ledger.usage(0, 1e12, ["status"])
        assert [(row.group["status"], row.requests) for row in rows] == [("200", 1), ("404", recorded["404"])]


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1beta/models/fast:countTokens"])
async def test_counting_tokens_is_a_request_of_the_key(path: str, tmp_path: Path) -> None:
    rest = f"requests_per_minute = 2\n{LIMITS}"
    body = {"model": "fast", "messages": HELLO, "contents": PARTS}
    async with FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake, served(tmp_path, fake.url, rest) as gate:
        statuses = [(await gate.post(path, body)).status for _ in range(4)]
        assert statuses[2:] == [429, 429]
        response = await gate.post("/v1/chat/completions", {"model": "fast", "messages": HELLO, "max_tokens": 5})
        assert response.status == 429
        assert response.headers["x-ratelimit-remaining-tokens"] == "2000"
