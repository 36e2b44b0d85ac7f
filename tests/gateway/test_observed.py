"""What a running gateway shows of itself: metrics, log, traces, request ids and health checks."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.gateway.call import GatewayCall
from acytoo.server.auth import BURST, MAX_WAITING
from acytoo.testing import FakeEndpoint, reply, silent
from acytoo.testing.hostile.site import example
from acytoo.testing.script.responses import status
from acytoo.types import Finish, Start, Usage
from tests.gateway.collector import Collector, attributes
from tests.gateway.served import Served, served
from tests.gateway.test_metrics import Series, parse, value
from tests.server.live_server import head, read_response

FAST = '[models.fast]\ntargets = ["up/m1"]\n'
PRICE = '[prices."up/m1"]\ninput = 2.0\noutput = 4.0\n'
HELLO = {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}
ANSWER = reply(Start("id-1", "m1", 7), "Hi", " there", Usage(1000, 500, 10, 0, 20), Finish("stop"))
CHAT = "/v1/chat/completions"
BY_KEY = {"key": "ci", "dialect": "openai", "model": "fast"}
TARGET = {"upstream": "up", "target": "up/m1"}


async def scrape(server: Served) -> Series:
    """Return what Prometheus reads."""
    response = await server.get("/metrics")
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return parse(response.body)


# Metrics.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_in_the_metrics(tmp_path: Path, stream: bool) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST + PRICE) as server:
        response = await server.post(CHAT, {**HELLO, "stream": stream})
        series = await scrape(server)
    assert value(series, "acytoo_requests_total", **BY_KEY, status="200") == 1
    assert (value(series, "acytoo_sent_bytes_total", **BY_KEY) or 0) >= len(response.body)
    assert value(series, "acytoo_request_duration_seconds_count", dialect="openai", model="fast") == 1
    assert value(series, "acytoo_attempts_total", **TARGET, outcome="complete") == 1
    tokens = {kind: value(series, "acytoo_tokens_total", key="ci", model="fast", **TARGET, type=kind)
              for kind in ("input", "output", "cached", "reasoning")}  # fmt: skip
    assert tokens == {"input": 1000, "output": 500, "cached": 10, "reasoning": 20}
    assert value(series, "acytoo_cost_dollars_total", key="ci", model="fast", **TARGET) == pytest.approx(0.00398, 0.02)
    begun = 1 if stream else None  # a document has no beginning
    assert value(series, "acytoo_first_content_seconds_count", dialect="openai", model="fast") == begun
    assert value(series, "acytoo_attempt_first_content_seconds_count", **TARGET) == begun
    assert value(series, "acytoo_requests_in_progress") == 1  # the one that reads the metrics


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_requests_of_every_api_are_in_the_metrics(tmp_path: Path, dialect: Dialect) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        path, fields = example(dialect, stream=True)
        await server.post(path, fields, "authorization: Bearer sk-ci\r\n")
        text = (await server.get("/metrics")).body.decode()
    assert f'acytoo_requests_total{{dialect="{dialect.name}"' in text


async def test_a_model_that_a_caller_invents_is_no_label(tmp_path: Path) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        await server.post(CHAT, {**HELLO, "model": "up/invented-1"})
        await server.post(CHAT, {**HELLO, "model": "invented-2"})
        response = await server.get("/metrics")
    assert b"invented" not in response.body
    assert value(parse(response.body), "acytoo_attempts_total", upstream="up", target="other", outcome="complete") == 1


async def test_a_refusal_is_counted_with_its_status_and_error(tmp_path: Path) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        await server.post(CHAT, HELLO, "authorization: Bearer sk-wrong\r\n")
        series = await scrape(server)
    statuses = {dict(labels)["status"] for name, labels in series if name == "acytoo_requests_total"}
    errors = {dict(labels)["error"] for name, labels in series if name == "acytoo_errors_total"}
    assert statuses == {"401"}
    assert len(errors) == 1


async def test_a_method_that_a_path_does_not_allow_is_counted_by_the_name_of_its_error(tmp_path: Path) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        assert (await server.get(CHAT, "authorization: Bearer sk-ci\r\n")).status == 405
        assert b'error="MethodNotAllowedError"' in (await server.get("/metrics")).body


async def test_a_reply_that_is_cut_after_its_status_is_counted_as_an_error(tmp_path: Path) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER.close(after=2)) as fake:
        async with served(tmp_path, fake.url, FAST) as server:
            await server.post(CHAT, {**HELLO, "stream": True})
            series = await scrape(server)
    assert value(series, "acytoo_requests_total", **BY_KEY, status="200") == 1
    assert value(series, "acytoo_errors_total", dialect="openai", model="fast", error="TruncatedError") == 1
    assert value(series, "acytoo_attempts_total", **TARGET, outcome="TruncatedError") == 1
    assert value(series, "acytoo_estimated_attempts_total", **TARGET) == 1


@pytest.mark.parametrize("balance", ["false", "true"])
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_an_attempt_that_the_deadline_ends_is_counted_as_cancelled(
    tmp_path: Path, balance: str, path: str
) -> None:
    models = f"{FAST}deadline = 0.3\nbalance = {balance}\n"
    async with FakeEndpoint(dialects.OpenAI(), silent()) as fake, served(tmp_path, fake.url, models) as server:
        response = await server.post(path, {**HELLO, "max_tokens": 9, "stream": True})
        series = await scrape(server)
    assert response.status == 504
    assert value(series, "acytoo_attempts_total", **TARGET, outcome="cancelled") == 1
    assert value(series, "acytoo_attempts_total", **TARGET, outcome="TimedOutError") is None


@pytest.mark.parametrize("balance", ["false", "true"])
async def test_nothing_is_sent_if_an_upstreams_limits_cannot_be_checked_before_the_deadline(
    tmp_path: Path, balance: str
) -> None:
    connected: list[asyncio.StreamWriter] = []

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        await reader.read()

    redis = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake:
        config = f"""
            [upstreams.limited]
            provider = "compatible"
            url = "{fake.url}"
            concurrent = 5
            [models.fast]
            targets = ["limited/m1"]
            deadline = 0.3
            balance = {balance}
            [storage]
            counters = "redis://127.0.0.1:{redis.sockets[0].getsockname()[1]}"
            ledger = "none"
        """
        async with served(tmp_path, fake.url, config) as server:
            response = await server.post(CHAT, HELLO)
            series = await scrape(server)
            redis.close()
            for writer in connected:
                writer.close()
        assert fake.requests == []
    assert response.status == 504
    assert value(series, "acytoo_attempts_total", upstream="limited", target="limited/m1", outcome="cancelled") is None


async def test_a_client_that_leaves_before_the_answer_is_counted_as_499(tmp_path: Path) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER.stall(after=0)) as fake:
        async with served(tmp_path, fake.url, FAST) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            body = json.dumps(HELLO).encode()
            line = f"content-length: {len(body)}\r\nauthorization: Bearer sk-ci\r\n"
            writer.write(head(f"POST {CHAT} HTTP/1.1", line) + body)
            while not fake.requests:  # noqa: ASYNC110 - a request is no event
                await asyncio.sleep(0.01)
            writer.close()
            async with asyncio.timeout(120):
                while value(series := await scrape(server), "acytoo_requests_in_progress") != 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert value(series, "acytoo_requests_total", **BY_KEY, status="499") == 1
    assert value(series, "acytoo_errors_total", dialect="openai", model="fast", error="DisconnectedError") == 1
    assert value(series, "acytoo_attempts_total", **TARGET, outcome="left") == 1


async def test_with_an_admin_key_the_metrics_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_KEY", "sk-admin")
    async with served(tmp_path, "http://127.0.0.1:9", server='admin_key = "env:ADMIN_KEY"') as server:
        statuses = [
            (await server.get("/metrics", headers)).status
            for headers in ("", "authorization: Bearer sk-ci\r\n", "authorization: Bearer sk-admin\r\n")
        ]
    assert statuses == [401, 401, 200]


async def test_who_guesses_the_admin_key_at_the_metrics_has_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_KEY", "sk-admin")
    async with served(tmp_path, "http://127.0.0.1:9", server='admin_key = "env:ADMIN_KEY"') as server:

        async def guess(number: int) -> int:
            return (await server.get("/metrics", f"authorization: Bearer wrong{number}\r\n")).status

        assert {await guess(number) for number in range(BURST)} == {401}
        statuses = await asyncio.gather(*[guess(number) for number in range(MAX_WAITING + 8)])
        assert set(statuses) == {401, 429}
        assert (await server.get("/livez")).status == 200


async def test_without_an_admin_key_the_metrics_are_not_for_other_machines(tmp_path: Path) -> None:
    async with served(tmp_path, "http://127.0.0.1:9") as server:
        response = await server.get("/metrics", "x-forwarded-for: 203.0.113.7\r\n")
    assert response.status == 403


async def test_the_metrics_can_be_turned_off(tmp_path: Path) -> None:
    async with served(tmp_path, "http://127.0.0.1:9", "[metrics]\nenabled = false\n") as server:
        assert (await server.get("/metrics", "authorization: Bearer sk-ci\r\n")).status == 404


async def test_metrics_survive_a_change_of_the_config(tmp_path: Path) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        await server.post(CHAT, HELLO)
        path = tmp_path / "acytoo.toml"
        path.write_text(path.read_text().replace("[models.fast]", "[models.quick]"))
        await server.gateway.reloaded()
        await server.post(CHAT, {**HELLO, "model": "quick"})
        series = await scrape(server)
    for model in ("fast", "quick"):
        assert value(series, "acytoo_requests_total", **{**BY_KEY, "model": model}, status="200") == 1


# Request ids.


@pytest.mark.parametrize("stream", [False, True])
async def test_the_id_of_a_request_goes_upstream_and_comes_back(tmp_path: Path, stream: bool) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        headers = "authorization: Bearer sk-ci\r\nx-request-id: mine-1\r\n"
        given = await server.post(CHAT, {**HELLO, "stream": stream}, headers)
        made = [await server.post(CHAT, {**HELLO, "stream": stream}) for _ in range(2)]
    assert given.headers["x-request-id"] == "mine-1"
    ids = [response.headers["x-request-id"] for response in (given, *made)]
    assert [request.headers["x-request-id"] for request in fake.requests] == ids
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", CHAT, "authorization: Bearer sk-wrong\r\ncontent-length: 2\r\n", 401),
        ("POST", CHAT, "authorization: Bearer sk-ci\r\ncontent-length: 2\r\n", 400),
        ("GET", "/nowhere", "authorization: Bearer sk-ci\r\n", 404),
        ("GET", "/livez", "", 200),
        ("GET", "/v1/models", "authorization: Bearer sk-ci\r\n", 200),
    ],
)
async def test_every_response_has_the_id(tmp_path: Path, method: str, path: str, headers: str, expected: int) -> None:
    async with served(tmp_path, "http://127.0.0.1:9", FAST) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = b"{]" if method == "POST" else b""
        writer.write(head(f"{method} {path} HTTP/1.1", f"{headers}x-request-id: mine-1\r\n") + body)
        response = await read_response(reader)
        writer.close()
    assert (response.status, response.headers["x-request-id"]) == (expected, "mine-1")


@pytest.mark.parametrize("sent", ["", " ", "x" * 200, 'a"b', "a b", "<script>"])
async def test_an_id_that_is_none_is_replaced(tmp_path: Path, sent: str) -> None:
    async with served(tmp_path, "http://127.0.0.1:9", FAST) as server:
        response = await server.get("/livez", f"x-request-id: {sent}\r\n")
    assert response.headers["x-request-id"].startswith("req_")


# The log.


async def test_a_request_is_a_line_in_the_log_and_no_secret_is(tmp_path: Path) -> None:
    log = f'[log]\nrequests = "file:{tmp_path / "access.log"}"\n'
    async with (
        FakeEndpoint(dialects.OpenAI(), ANSWER) as fake,
        served(tmp_path, fake.url, FAST + PRICE + log) as server,
    ):
        await server.post(CHAT, HELLO, "authorization: Bearer sk-ci\r\nx-request-id: mine-1\r\nuser-agent: me\r\n")
        await server.post(
            "/v1beta/models/fast:generateContent?key=sk-ci", {"contents": [{"parts": [{"text": "Hi"}]}]}, ""
        )
        await server.get("/nowhere/sk-ci?key=sk-ci")
    text = (tmp_path / "access.log").read_text()
    assert "sk-ci" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    first = lines[0]
    assert {name: first[name] for name in ("request_id", "key", "path", "status", "model", "target", "user_agent")} == {
        "request_id": "mine-1", "key": "ci", "path": CHAT, "status": 200, "model": "fast", "target": "up/m1",
        "user_agent": "me",
    }  # fmt: skip
    assert (first["input_tokens"], first["output_tokens"], first["peer"]) == (1000, 500, "127.0.0.1")
    assert (lines[1]["path"], lines[1]["dialect"]) == ("/v1beta/models/{model}:generateContent", "gemini")
    assert (lines[2]["path"], lines[2]["status"]) == ("", 404)


async def test_a_user_agent_without_end_is_cut_in_the_log(tmp_path: Path) -> None:
    log = f'[log]\nrequests = "file:{tmp_path / "access.log"}"\n'
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST + log) as server:
        await server.post(CHAT, HELLO, f"authorization: Bearer sk-ci\r\nuser-agent: {'x' * 10_000}\r\n")
    line = json.loads((tmp_path / "access.log").read_text())
    assert line["user_agent"] == "x" * 499 + "…"


async def test_a_renamed_log_is_opened_again_when_the_config_is_read_again(tmp_path: Path) -> None:
    log = f'[log]\nrequests = "file:{tmp_path / "access.log"}"\n'
    async with served(tmp_path, "http://127.0.0.1:9", log) as server:
        (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        await server.gateway.reloaded()
        await server.get("/livez")
    assert json.loads((tmp_path / "access.log").read_text())["path"] == "/livez"


# Traces.


async def test_a_request_and_its_attempts_are_a_trace_that_the_upstream_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_KEY", "secret-of-the-collector")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with Collector() as collector:
        monkeypatch.setenv("COLLECTOR_URL", collector.url)
        tracing = '[tracing]\nendpoint = "env:COLLECTOR_URL"\nheaders = { x-key = "env:COLLECTOR_KEY" }\n'
        two = '[models.fast]\ntargets = ["up/m0", "up/m1"]\nattempts = 2\n'
        scripts = (status(503, "busy"), ANSWER)
        async with (
            FakeEndpoint(dialects.OpenAI(), *scripts) as fake,
            served(tmp_path, fake.url, two + tracing) as server,
        ):
            headers = f"authorization: Bearer sk-ci\r\ntraceparent: 00-{trace}-{parent}-01\r\n"
            assert (await server.post(CHAT, HELLO, headers)).status == 200
        assert collector.headers[0]["x-key"] == "secret-of-the-collector"
    (request,) = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    first, second = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert (request.name, request.trace_id.hex(), request.parent_span_id.hex()) == (f"POST {CHAT}", trace, parent)
    assert {first.parent_span_id, second.parent_span_id} == {request.span_id}
    assert [attributes(span).get("error.type") for span in (first, second)] == ["ServerError", None]
    assert attributes(second)["gen_ai.provider.name"] == "compatible"
    assert attributes(second)["gen_ai.usage.input_tokens"] == 1000
    assert attributes(second)["gen_ai.response.finish_reasons"] == ["stop"]
    assert attributes(second)["server.address"] == "127.0.0.1"
    assert attributes(second)["server.port"] == urlsplit(fake.url).port
    expected = f"00-{trace}-{request.span_id.hex()}-01"
    assert [sent.headers["traceparent"] for sent in fake.requests] == [expected] * 2


async def test_without_tracing_a_callers_traceparent_is_not_passed_on(tmp_path: Path) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        await server.post(CHAT, HELLO, "authorization: Bearer sk-ci\r\ntraceparent: 00-1-2-01\r\n")
    assert "traceparent" not in fake.requests[0].headers


# Health checks.


async def test_a_ledger_that_cannot_be_read_does_not_show_clients_where_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake, served(tmp_path, fake.url) as server:
        (tmp_path / "acytoo.db").unlink()
        response = await server.get("/usage", "authorization: Bearer sk-ci\r\n")
    assert response.status == 503
    assert b"usage cannot be read at the moment" in response.body
    assert str(tmp_path).encode() not in response.body
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_health_checks_need_no_key_and_ask_nobody(tmp_path: Path, path: str) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST) as server:
        assert (await server.get(path)).status == 200
    assert not fake.requests


@pytest.mark.parametrize(("path", "expected"), [("/livez", 200), ("/readyz", 503), ("/healthz", 503)])
async def test_a_server_that_is_stopping_is_alive_and_not_ready(tmp_path: Path, path: str, expected: int) -> None:
    async with served(tmp_path, "http://127.0.0.1:9", server="grace = 30") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while not server.http.connections:  # noqa: ASYNC110 - being accepted is no event
            await asyncio.sleep(0)
        writer.write(head(f"GET {path} HTTP/1.1"))
        await server.http.close()
        assert (await read_response(reader)).status == expected
        writer.close()


# Memory.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("code", [200, 401])
async def test_nothing_of_a_request_waits_for_the_garbage_collector(tmp_path: Path, stream: bool, code: int) -> None:
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST + PRICE) as server:
        gc.collect()
        gc.disable()
        try:
            key = "sk-ci" if code == 200 else "wrong"
            response = await server.post(CHAT, {**HELLO, "stream": stream}, f"authorization: Bearer {key}\r\n")
            assert response.status == code
            async with asyncio.timeout(60):
                # The server's task ends after the client has the response.
                while any(isinstance(kept, GatewayCall) for kept in gc.get_objects()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


def requests_of_all_kinds() -> list[bytes]:
    """Return requests whose responses are documents, streams, errors, and none of them."""
    bodies = [HELLO, {**HELLO, "stream": True}, {**HELLO, "model": "unknown"}]
    chats = [json.dumps(body).encode() for body in bodies]
    key = "authorization: Bearer sk-ci\r\nconnection: close\r\n"
    return [
        *(head(f"POST {CHAT} HTTP/1.1", f"{key}content-length: {len(body)}\r\n") + body for body in chats),
        head("GET /v1/models HTTP/1.1", key),
        head("HEAD /v1/models HTTP/1.1", key),
        head("GET /v1/models HTTP/1.0", key),
        head("GET /unknown HTTP/1.1", key),
        head("GET /v1/models HTTP/1.1", "connection: close\r\n"),
    ]


async def test_the_log_has_the_bytes_of_a_response_that_its_client_received(tmp_path: Path) -> None:
    log = f'[log]\nrequests = "file:{tmp_path / "access.log"}"\n'
    received = []
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, FAST + log) as server:
        for request in requests_of_all_kinds():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request)
            received.append(len(await reader.read()))
            writer.close()
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["sent_bytes"] for line in lines] == received


async def test_tokens_of_a_reply_from_the_cache_are_in_the_metrics_as_in_the_ledger(tmp_path: Path) -> None:
    asked = {**HELLO, "temperature": 0}
    rest = FAST + "cache = 60\n" + PRICE
    async with FakeEndpoint(dialects.OpenAI(), ANSWER) as fake, served(tmp_path, fake.url, rest) as server:
        for _ in range(2):
            await server.post(CHAT, asked)
        series = await scrape(server)
    assert len(fake.requests) == 1
    by = {"key": "ci", "model": "fast"}
    for target in (TARGET, {"upstream": "", "target": ""}):
        tokens = {kind: value(series, "acytoo_tokens_total", **by, **target, type=kind)
                  for kind in ("input", "output", "cached", "reasoning")}  # fmt: skip
        assert tokens == {"input": 1000, "output": 500, "cached": 10, "reasoning": 20}
    assert value(series, "acytoo_attempt_duration_seconds_count", upstream="", target="") is None
