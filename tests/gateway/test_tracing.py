"""Traces and metrics as a collector receives them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from acytoo.errors import MissingExtraError, UsageError
from acytoo.gateway.summary import Asked, Summary
from acytoo.gateway.tracing import Tracing
from acytoo.secret import Secret
from acytoo.transport.address import address_of
from acytoo.types import Finish, Request
from tests.gateway.collector import Collector, attributes
from tests.gateway.summaries import SUMMARY, row, summary

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"

pytestmark = pytest.mark.usefixtures("no_variables")


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what the machine's environment says about exporting."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector."""
    with Collector() as made:
        yield made


def export(collector: Collector, *summaries: Summary, headers: dict[str, str] | None = None, **settings: Any) -> None:
    """Trace requests, and wait until the collector has everything."""
    models = {"openai/gpt-5-mini", "google/gemini-3"}
    tracing = Tracing(collector.url + "/", {"openai": "openai", "google": "gemini"}, models, **settings)
    tracing.addresses = {"openai": address_of("https://api.openai.com/v1")}
    for each in summaries:
        tracing.started()
        each.traceparent = tracing.headers_for(headers or {})["traceparent"]
        tracing.ended(each)
    tracing.close()


def server_span(collector: Collector) -> Any:
    """Return the only span of a request."""
    (span,) = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    return span


def attempt_spans(collector: Collector) -> list[Any]:
    """Return the spans of attempts."""
    return [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]


def points(collector: Collector, name: str) -> list[tuple[dict[str, Any], Any]]:
    """Return the attributes and values of a histogram."""
    return [(attributes(point), point) for point in collector.metrics[name].histogram.data_points]


PER_OPERATION = "gen_ai.client.inference.operation.input_tokens"


def used(collector: Collector, name: str) -> list[tuple[dict[str, Any], int]]:
    """Return the attributes and values of a counter of tokens."""
    counter = collector.metrics[f"gen_ai.client.inference.usage.{name}"].sum
    assert counter.is_monotonic
    return [(attributes(point), point.as_int) for point in counter.data_points]


def test_a_request_is_a_span_of_its_route(collector: Collector) -> None:
    export(collector, summary())
    span = server_span(collector)
    assert span.name == "POST /v1/chat/completions"
    assert not span.parent_span_id
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "http.response.size": 4096,
        "client.address": "127.0.0.1",
        "user_agent.original": "OpenAI/Python 3.54.0",
        "gen_ai.request.model": "fast",
        "acytoo.request_id": "r-1",
        "acytoo.key": "ci-bot",
        "acytoo.dialect": "openai",
        "acytoo.first_content": 0.25,
        "acytoo.outcome": "complete",
    }


def test_each_attempt_is_a_span_below_its_request_by_the_genai_conventions(collector: Collector) -> None:
    failed = row(outcome="TimedOutError", status=0, upstream="google", target="google/gemini-2", cost=None, attempt=1)
    asked = {1: Asked(Request([], stream=False), None), 2: SUMMARY.asked[1]}
    export(collector, summary(rows=[failed, row(attempt=2)], asked=asked))
    request, (first, second) = server_span(collector), attempt_spans(collector)
    assert {first.parent_span_id, second.parent_span_id} == {request.span_id}
    assert {first.trace_id, second.trace_id} == {request.trace_id}
    assert (first.name, second.name) == ("chat gemini-2", "chat gpt-5-mini")
    assert (first.status.code, second.status.code) == (Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET)
    assert (second.start_time_unix_nano, second.end_time_unix_nano) == (
        1_800_000_000_000_000_000,
        1_800_000_001_500_000_000,
    )
    assert attributes(second) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "api.openai.com",
        "server.port": 443,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_write.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.response.time_to_first_chunk": 0.2,
        "http.response.status_code": 200,
        "acytoo.attempt": 2,
        "acytoo.outcome": "complete",
        "acytoo.target": "openai/gpt-5-mini",
        "acytoo.usage.is_estimated": False,
        "acytoo.cost_dollars": 0.0025,
    }
    of_failed = attributes(first)
    assert (of_failed["error.type"], of_failed["gen_ai.provider.name"]) == ("TimedOutError", "gcp.gemini")
    assert of_failed["gen_ai.response.finish_reasons"] == ["error"]
    absent = {"acytoo.cost_dollars", "http.response.status_code", "gen_ai.request.stream", "server.address"}
    assert not (absent | {"gen_ai.response.time_to_first_chunk"}) & set(of_failed)


def test_a_document_has_no_first_chunk(collector: Collector) -> None:
    export(collector, summary(asked={1: Asked(Request([], stream=False), Finish("stop"))}))
    assert "gen_ai.client.inference.time_to_first_chunk" not in collector.metrics
    assert "gen_ai.response.time_to_first_chunk" not in attributes(attempt_spans(collector)[0])


def test_a_unix_socket_is_an_address_without_a_port(collector: Collector) -> None:
    tracing = Tracing(collector.url, {})
    tracing.addresses = {"openai": address_of("http+unix://%2Frun%2Fchat.sock/v1")}
    tracing.ended(summary(traceparent=tracing.headers_for({})["traceparent"]))
    tracing.close()
    found = attributes(attempt_spans(collector)[0])
    assert (found["server.address"], "server.port" in found) == ("/run/chat.sock", False)


def test_what_otlp_cannot_carry_is_replaced(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    asked = {1: Asked(Request([], max_tokens=10**30, seed=-(10**30)), Finish("stop"))}
    absurd = summary(user_agent="\udcff-agent", rows=[row(input_tokens=3 * 2**63)], asked=asked)
    export(collector, absurd)
    found = attributes(attempt_spans(collector)[0])
    assert (found["gen_ai.request.max_tokens"], found["gen_ai.request.seed"]) == (2**63 - 1, -(2**63) + 1)
    assert found["gen_ai.usage.input_tokens"] == 2**63 - 1
    assert attributes(server_span(collector))["user_agent.original"] == "?-agent"
    assert not caplog.records


def test_texts_of_callers_and_upstreams_are_cut_and_encodable(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {1: Asked(Request([], reasoning_effort="x" * 10**6), Finish("\ud800" + "y" * 10**6))}
    export(collector, summary(asked=asked))
    found = attributes(attempt_spans(collector)[0])
    (reason,) = found["gen_ai.response.finish_reasons"]
    assert len(found["gen_ai.request.reasoning.level"]) <= 1000
    assert reason.startswith("?y")
    assert len(reason) <= 1000
    assert not caplog.records


def test_a_method_that_is_not_one_of_the_conventions_is_other(collector: Collector) -> None:
    export(collector, summary(method="M-SEARCH", path="", rows=[]))
    span = server_span(collector)
    assert span.name == "HTTP"
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert attributes(span)["http.request.method_original"] == "M-SEARCH"
    ((labels, _),) = points(collector, "http.server.request.duration")
    assert labels["http.request.method"] == "_OTHER"
    assert "http.route" not in labels


def test_a_trace_of_the_caller_is_continued_and_passed_on(collector: Collector) -> None:
    tracing = Tracing(collector.url, {})
    passed = tracing.headers_for({"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"})
    tracing.ended(summary(traceparent=passed["traceparent"], rows=[]))
    tracing.close()
    span = server_span(collector)
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert passed == {"traceparent": f"00-{TRACE}-{span.span_id.hex()}-01", "tracestate": "vendor=1"}


@pytest.mark.parametrize("sent", ["", "00-0-0-00", f"00-{TRACE}", f"00-{'0' * 32}-{PARENT}-01", "\x00" * 55])
def test_an_invalid_traceparent_begins_a_new_trace(collector: Collector, sent: str) -> None:
    export(collector, summary(), headers={"traceparent": sent})
    span = server_span(collector)
    assert span.trace_id.hex() != TRACE
    assert not span.parent_span_id


def test_a_caller_that_does_not_sample_is_not_traced_but_counted(collector: Collector) -> None:
    export(collector, summary(), headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert not collector.spans
    assert points(collector, "http.server.request.duration")[0][1].count == 1


def test_the_share_of_traced_requests_can_be_none(collector: Collector) -> None:
    export(collector, *[summary() for _ in range(50)], sample=0.0)
    assert not collector.spans


def test_a_refusal_here_has_no_attempt(collector: Collector) -> None:
    refused = row(target="", upstream="", status=429, outcome="refused", first_content=None)
    export(collector, summary(status=429, error="RateLimitError", rows=[refused]))
    assert not attempt_spans(collector)
    span = server_span(collector)
    assert (attributes(span)["http.response.status_code"], attributes(span)["error.type"]) == (429, "RateLimitError")
    assert span.status.code == Status.STATUS_CODE_UNSET  # the caller's error


def test_an_error_of_the_server_is_one_of_the_span(collector: Collector) -> None:
    export(collector, summary(status=502, error="UnreachableError"))
    assert server_span(collector).status.code == Status.STATUS_CODE_ERROR


def test_a_reply_that_was_cut_after_its_status_is_an_error_of_the_span(collector: Collector) -> None:
    export(collector, summary(status=200, error="TruncatedError"))
    assert server_span(collector).status.code == Status.STATUS_CODE_ERROR


@pytest.mark.parametrize("outcome", ["complete", "incomplete", "content_filter", "left", "stopped", "cancelled"])
def test_an_attempt_that_has_not_failed_has_no_error(collector: Collector, outcome: str) -> None:
    export(collector, summary(rows=[row(outcome=outcome)]))
    (span,) = attempt_spans(collector)
    assert (span.status.code, attributes(span)["acytoo.outcome"]) == (Status.STATUS_CODE_UNSET, outcome)
    assert "error.type" not in attributes(span)


def test_the_metrics_have_the_names_units_and_bounds_of_the_conventions(collector: Collector) -> None:
    export(collector, summary(rows=[row(outcome="TruncatedError", first_content=None), row()]))
    assert {name: metric.unit for name, metric in collector.metrics.items()} == {
        "http.server.request.duration": "s",
        "gen_ai.client.inference.duration": "s",
        "gen_ai.client.inference.time_to_first_chunk": "s",
        "gen_ai.client.inference.usage.input_tokens": "{token}",
        "gen_ai.client.inference.usage.output_tokens": "{token}",
        "gen_ai.client.inference.usage.cache_read.input_tokens": "{token}",
        "gen_ai.client.inference.usage.reasoning.output_tokens": "{token}",
        "gen_ai.client.inference.operation.input_tokens": "{token}",
        "gen_ai.client.inference.operation.output_tokens": "{token}",
    }
    labels = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "server.address": "api.openai.com",
        "server.port": 443,
    }
    durations = points(collector, "gen_ai.client.inference.duration")
    assert [each for each, _ in durations] == [{**labels, "error.type": "TruncatedError"}, labels]
    for name, tokens in (("input_tokens", 24), ("output_tokens", 60), ("cache_read.input_tokens", 8)):
        assert used(collector, name) == [({**labels, "gen_ai.token.modality": "unknown"}, tokens)]
    assert [each for each, _ in points(collector, PER_OPERATION)] == [
        {**labels, "error.type": "TruncatedError"},
        labels,
    ]
    ((first_labels, first),) = points(collector, "gen_ai.client.inference.time_to_first_chunk")
    assert (first_labels, first.count, first.sum) == (labels, 1, 0.2)
    assert (first.explicit_bounds[0], first.explicit_bounds[-1]) == (0.01, 81.92)
    assert points(collector, PER_OPERATION)[0][1].explicit_bounds[-1] == 67108864


def test_estimated_tokens_are_not_in_the_metrics_of_tokens(collector: Collector) -> None:
    export(collector, summary(rows=[row(is_estimated=True)]))
    assert not [name for name in collector.metrics if ".usage." in name]
    assert [point.sum for _, point in points(collector, PER_OPERATION)] == [0]
    assert attributes(attempt_spans(collector)[0])["acytoo.usage.is_estimated"] is True


def test_models_that_callers_invent_share_one_series_and_keep_their_names_in_traces(collector: Collector) -> None:
    export(collector, summary(rows=[row(target=f"openai/invented-{number}") for number in range(100)]))
    for name in ("gen_ai.client.inference.duration", "gen_ai.client.inference.time_to_first_chunk"):
        assert [(each["gen_ai.request.model"], point.count) for each, point in points(collector, name)] == [
            ("other", 100)
        ]
    assert len(used(collector, "input_tokens")) == 1
    assert "invented-7" in {attributes(span)["gen_ai.request.model"] for span in attempt_spans(collector)}


def test_the_process_is_named_and_the_environment_may_rename_it(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(collector, summary())
    monkeypatch.setenv("OTEL_SERVICE_NAME", "team-gateway")
    export(collector, summary())
    assert [resource["service.name"] for resource in collector.resources] == ["acytoo", "team-gateway"]
    assert len({resource["service.instance.id"] for resource in collector.resources}) == 2


def test_headers_for_the_collector_are_sent_and_stay_secret(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        tracing = Tracing(collector.url, {}, headers={"authorization": Secret("Bearer hidden-token")})
        tracing.ended(summary(traceparent=tracing.headers_for({})["traceparent"]))
        tracing.close()
    assert collector.headers[-1]["authorization"] == "Bearer hidden-token"
    assert "hidden-token" not in caplog.text


def test_a_collector_that_is_away_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with Collector() as gone:
        url = gone.url
    tracing = Tracing(url, {})
    for _ in range(3000):  # more than the queue holds
        tracing.ended(summary(traceparent=tracing.headers_for({})["traceparent"]))
    tracing.close()
    assert not [record for record in caplog.records if record.levelno > logging.ERROR]


@pytest.mark.parametrize("endpoint", ["", "127.0.0.1:4317", "grpc://127.0.0.1:4317"])
def test_an_endpoint_that_is_not_http_is_a_usage_error(endpoint: str) -> None:
    with pytest.raises(UsageError, match="expected the URL of an OTLP collector"):
        Tracing(endpoint, {})


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.metric_exporter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"acytoo\[otel\]"):
        Tracing("http://127.0.0.1:4318", {})
