"""OpenTelemetry traces and metrics, by its conventions for generative AI, sent by OTLP over HTTP.

A request is a span of kind SERVER. It begins when the request does, because its id is passed upstream. Each attempt is
a span of kind CLIENT below it, made when the request has ended, of what the ledger has. Nothing is done for a chunk.
The SDK's own threads send; if the collector is away, they drop what does not fit into their queue.

Names are of version 0.1.0 of the conventions, the first of their own repository, "development":
https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/client-inference.md and
gen-ai-token-metrics.md; those of HTTP are stable: https://opentelemetry.io/docs/specs/semconv/http/. Names that begin
with `acytoo.` are ours.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypeAlias

from acytoo._version import __version__
from acytoo.errors import MissingExtraError, UsageError
from acytoo.gateway.ledger import Row
from acytoo.gateway.metrics import CLIENT_LEFT, OTHER
from acytoo.gateway.prices import NANODOLLARS
from acytoo.gateway.summary import Asked, Summary
from acytoo.secret import Secret, truncate
from acytoo.transport.address import Address

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Span

Value: TypeAlias = str | int | float | bool | list[str]

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "openai-responses": "openai",
    "xai": "x_ai",
}
"""What the conventions call our providers, if it is not the provider's own name."""

_OF_REQUESTS: dict[str, Callable[[Summary], Value | None]] = {
    "http.request.method": lambda summary: _method(summary),
    "http.request.method_original": lambda summary: summary.method if _method(summary) == _OTHER_METHOD else None,
    "http.route": lambda summary: summary.path or None,
    "url.scheme": lambda summary: "http",
    "http.response.status_code": lambda summary: summary.status or CLIENT_LEFT,
    "http.response.size": lambda summary: summary.sent,
    "client.address": lambda summary: summary.peer or None,
    "user_agent.original": lambda summary: summary.user_agent or None,
    "error.type": lambda summary: summary.error or None,
    "gen_ai.request.model": lambda summary: summary.model or None,
    "acytoo.request_id": lambda summary: summary.request_id,
    "acytoo.key": lambda summary: summary.key or None,
    "acytoo.dialect": lambda summary: summary.dialect or None,
    "acytoo.first_content": lambda summary: summary.first_content,
    "acytoo.outcome": lambda summary: summary.rows[-1].outcome if summary.rows else None,
}

_OF_ATTEMPTS: dict[str, Callable[[Row], Value | None]] = {
    "gen_ai.operation.name": lambda row: "chat",
    "gen_ai.request.model": lambda row: _model(row),
    "gen_ai.usage.input_tokens": lambda row: row.input_tokens,
    "gen_ai.usage.output_tokens": lambda row: row.output_tokens,
    "gen_ai.usage.cache_read.input_tokens": lambda row: row.cached_tokens,
    "gen_ai.usage.cache_write.input_tokens": lambda row: row.cache_write_tokens,
    "gen_ai.usage.reasoning.output_tokens": lambda row: row.reasoning_tokens,
    "http.response.status_code": lambda row: row.status or None,
    "error.type": lambda row: _error(row),
    "acytoo.attempt": lambda row: row.attempt,
    "acytoo.outcome": lambda row: row.outcome,
    "acytoo.target": lambda row: row.target,
    "acytoo.usage.is_estimated": lambda row: row.is_estimated,
    "acytoo.cost_dollars": lambda row: None if row.cost is None else row.cost / NANODOLLARS,
}
"""All that the ledger has."""

_OF_ASKED: dict[str, Callable[[Asked, Row], Value | None]] = {
    "gen_ai.request.stream": lambda asked, row: asked.request.stream or None,
    "gen_ai.request.max_tokens": lambda asked, row: asked.request.max_tokens,
    "gen_ai.request.temperature": lambda asked, row: asked.request.temperature,
    "gen_ai.request.top_p": lambda asked, row: asked.request.top_p,
    "gen_ai.request.top_k": lambda asked, row: asked.request.top_k,
    "gen_ai.request.seed": lambda asked, row: asked.request.seed,
    "gen_ai.request.frequency_penalty": lambda asked, row: asked.request.frequency_penalty,
    "gen_ai.request.presence_penalty": lambda asked, row: asked.request.presence_penalty,
    "gen_ai.request.reasoning.level": lambda asked, row: asked.request.reasoning_effort,
    "gen_ai.response.finish_reasons": lambda asked, row: _finish_reasons(asked, row),
    "gen_ai.response.time_to_first_chunk": lambda asked, row: row.first_content if asked.request.stream else None,
}
"""What is known of the request and of the end of its reply. `gen_ai.request.stop_sequences` is text of the caller."""

_USAGE: dict[str, tuple[str, Callable[[Row], int]]] = {
    "input_tokens": ("Input tokens, including cached ones.", lambda row: row.input_tokens),
    "output_tokens": ("Output tokens, including those of reasoning.", lambda row: row.output_tokens),
    "cache_read.input_tokens": ("Input tokens read from a cache.", lambda row: row.cached_tokens),
    "cache_write.input_tokens": ("Input tokens written to a cache.", lambda row: row.cache_write_tokens),
    "reasoning.output_tokens": ("Output tokens of reasoning.", lambda row: row.reasoning_tokens),
}
"""The tokens that are counted: their name, description and number."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
_OTHER_METHOD = "_OTHER"
"""What the conventions call a method that is not one of these."""

_MOST = 2**63 - 1
"""The largest number that OTLP can carry."""

_LONGEST_TEXT = 1000
"""Characters of an attribute."""

_MOST_COUNTED = 2**45
"""Tokens of one attempt that are counted at most: a sum that OTLP cannot carry would stop all metrics for good."""

_NO_ERRORS = frozenset({"complete", "cached", "incomplete", "content_filter", "left", "stopped", "cancelled"})
"""Outcomes of attempts that have not failed. Others are the class of an error."""

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""Bounds that the conventions ask for."""

_TIMEOUT = 5.0
"""Seconds for one export with its retries."""

_LAST_EXPORT = 2.0
"""Seconds for what waits when the gateway stops."""


class Tracing:
    """Traces and metrics of one gateway: a Consumer of summaries.

    `providers`: the provider of each upstream. `addresses`: where each is. `models`: the targets that the metrics name;
    others are "other", because callers may invent any number of them. Traces have all names.
    """

    def __init__(
        self,
        endpoint: str,
        providers: Mapping[str, str],
        models: Collection[str] = (),
        *,
        headers: Mapping[str, Secret] | None = None,
        sample: float = 1.0,
    ) -> None:
        """Begin to send to the collector at `endpoint`, for example `http://127.0.0.1:4318`.

        `headers` go with each export. `sample`: the share of the requests that are traced, unless the caller has
        decided with its `traceparent`. The SDK's variables, such as `OTEL_SERVICE_NAME` and `OTEL_BSP_SCHEDULE_DELAY`,
        apply. Raises MissingExtraError without the SDK, and UsageError for an endpoint that is not HTTP.
        """
        if not endpoint.startswith(("http://", "https://")):
            raise UsageError("invalid endpoint for traces: expected the URL of an OTLP collector, http:// or https://")
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise MissingExtraError("tracing", "otel") from error
        self.providers = providers
        self.addresses: Mapping[str, Address] = {}
        self.models = frozenset(models)
        base, revealed = endpoint.rstrip("/"), {name: value.reveal() for name, value in (headers or {}).items()}
        resource = _resource()
        self._tracers = TracerProvider(ParentBased(TraceIdRatioBased(sample)), resource, shutdown_on_exit=False)
        traces = OTLPSpanExporter(f"{base}/v1/traces", headers=revealed, timeout=_TIMEOUT)
        self._tracers.add_span_processor(BatchSpanProcessor(traces))
        figures = OTLPMetricExporter(f"{base}/v1/metrics", headers=revealed, timeout=_TIMEOUT)
        self._meters = MeterProvider([PeriodicExportingMetricReader(figures)], resource, shutdown_on_exit=False)
        self._end_retries: tuple[Callable[[], None], ...] = (traces.shutdown, figures.shutdown)
        self._tracer = self._tracers.get_tracer("acytoo", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._spans: dict[str, Span] = {}
        """The spans of requests that have not ended, by the `traceparent` that is passed upstream."""
        meter = self._meters.get_meter("acytoo", __version__)
        self._request_seconds = meter.create_histogram(
            "http.server.request.duration", "s", "Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self._attempt_seconds = meter.create_histogram(
            "gen_ai.client.inference.duration", "s", "GenAI client inference operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.inference.time_to_first_chunk", "s", "Time to receive the first chunk.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self._usage = [
            (meter.create_counter(f"gen_ai.client.inference.usage.{name}", "{token}", text), number)
            for name, (text, number) in _USAGE.items()
        ]
        self._input_tokens, self._output_tokens = (
            meter.create_histogram(
                f"gen_ai.client.inference.operation.{name}", "{token}", f"{_USAGE[name][0][:-1]}, per operation.",
                explicit_bucket_boundaries_advisory=_TOKENS,
            )
            for name in ("input_tokens", "output_tokens")
        )  # fmt: skip

    def headers_for(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Begin the trace of a request, or continue the one that its headers name. Return the headers to pass upstream.

        The summary of the request has to have the `traceparent` that is returned.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        parent = self._propagator.extract(headers)
        span = self._tracer.start_span("HTTP", parent, SpanKind.SERVER)
        passed: dict[str, str] = {}
        self._propagator.inject(passed, set_span_in_context(span))
        self._spans[passed["traceparent"]] = span
        return passed

    def started(self) -> None:
        """Do nothing: `headers_for` begins the span."""

    def ended(self, summary: Summary) -> None:
        """Complete the trace of a request, and count it."""
        span = self._spans.pop(summary.traceparent, None)
        if span is not None:
            self._complete(span, summary)
        labels: dict[str, Value] = {
            "http.request.method": _method(summary), "url.scheme": "http",
            "http.response.status_code": summary.status or CLIENT_LEFT,
        }  # fmt: skip
        if summary.path:
            labels["http.route"] = summary.path
        if summary.error:
            labels["error.type"] = summary.error
        self._request_seconds.record(summary.seconds, labels)
        for row in summary.rows:
            if row.target:
                self._record(row, summary.asked.get(row.attempt))

    def _complete(self, span: Span, summary: Summary) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.status import StatusCode

        if span.is_recording():
            context = set_span_in_context(span)
            for row in summary.rows:
                if not row.target:
                    continue
                attributes = {**_attributes(_OF_ATTEMPTS, row), **self._upstream(row)}
                if (asked := summary.asked.get(row.attempt)) is not None:
                    attributes |= _attributes(_OF_ASKED, asked, row)
                child = self._tracer.start_span(
                    f"chat {_model(row)}", context, SpanKind.CLIENT, attributes, start_time=int(row.at * 1e9)
                )
                if error := _error(row):
                    child.set_status(StatusCode.ERROR, error)
                child.end(int((row.at + row.seconds) * 1e9))
            method = _method(summary)
            span.update_name(f"{'HTTP' if method == _OTHER_METHOD else method} {summary.path}".rstrip())
            span.set_attributes(_attributes(_OF_REQUESTS, summary))
            # A 4xx is no error of the server: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status
            if summary.error and not 400 <= (summary.status or CLIENT_LEFT) < 500:
                span.set_status(StatusCode.ERROR, summary.error)
        span.end()

    def _record(self, row: Row, asked: Asked | None) -> None:
        labels: dict[str, Value] = {
            "gen_ai.operation.name": "chat", **self._upstream(row),
            "gen_ai.request.model": _model(row) if row.target in self.models else OTHER,
        }  # fmt: skip
        if row.first_content is not None and asked is not None and asked.request.stream:
            self._first_chunk.record(row.first_content, labels)
        if not row.is_estimated:  # the conventions: what the provider reports, or 0
            with_modality = {**labels, "gen_ai.token.modality": "unknown"}
            for counter, number in self._usage:
                if tokens := number(row):
                    counter.add(min(tokens, _MOST_COUNTED), with_modality)
        if error := _error(row):
            labels["error.type"] = error
        self._attempt_seconds.record(row.seconds, labels)
        self._input_tokens.record(0 if row.is_estimated else row.input_tokens, labels)
        self._output_tokens.record(0 if row.is_estimated else row.output_tokens, labels)

    def _upstream(self, row: Row) -> dict[str, Value]:
        """Return the attributes of the service that was asked."""
        provider = self.providers.get(row.upstream, row.upstream)
        attributes: dict[str, Value] = {"gen_ai.provider.name": _PROVIDERS.get(provider, provider)}
        if (address := self.addresses.get(row.upstream)) is not None:
            attributes["server.address"] = address.host
            if address.port:
                attributes["server.port"] = address.port
        return attributes

    def close(self) -> None:
        """Send what waits and end the threads. If the collector is away, this blocks for some seconds."""
        # The SDK's own limit is 30 s, for each kind.
        threads = [
            threading.Thread(target=provider.shutdown, name="acytoo-otel", daemon=True)
            for provider in (self._tracers, self._meters)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _LAST_EXPORT
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for thread, end_retries in zip(threads, self._end_retries, strict=True):
            if thread.is_alive():
                end_retries()
                thread.join(_TIMEOUT)


def _attributes(table: Mapping[str, Callable[..., Value | None]], *sources: object) -> dict[str, Value]:
    return {name: _encodable(value) for name, of in table.items() if (value := of(*sources)) is not None}


def _encodable(value: Value) -> Value:
    """Return a value that OTLP can carry: the SDK would log a traceback for another one.

    Callers and upstreams choose some of them, so texts are cut too.
    """
    if isinstance(value, list):
        return [_text(each) for each in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not -_MOST <= value <= _MOST:
        return _MOST if value > 0 else -_MOST
    return value


def _text(value: str) -> str:
    return truncate(value, _LONGEST_TEXT).encode("utf-8", "replace").decode()


def _method(summary: Summary) -> str:
    return summary.method if summary.method in _METHODS else _OTHER_METHOD


def _finish_reasons(asked: Asked, row: Row) -> list[str] | None:
    """Return the finish reason. Of a reply that failed, it is "error", as the conventions ask for."""
    if asked.finish is not None:
        return [asked.finish.reason]
    return None if row.outcome == "complete" else ["error"]


def _model(row: Row) -> str:
    """Return the model that the upstream was asked for."""
    return row.target.removeprefix(f"{row.upstream}/")


def _error(row: Row) -> str | None:
    return None if row.outcome in _NO_ERRORS else row.outcome


def _resource() -> Resource:
    """Return what identifies this process. The environment may name the service differently."""
    from opentelemetry.sdk.resources import Resource

    found = Resource.create({"service.instance.id": str(uuid.uuid4()), "service.version": __version__})
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": "acytoo"}))
    return found
