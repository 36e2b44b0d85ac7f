"""Prometheus metrics of the gateway.

The problem: a label whose values callers choose makes a time series for each of them, until the memory of the server
and of Prometheus is full. The strategy: a model's name is a label only if the configuration has it; key, upstream and
dialect are bounded by the configuration already. The cost: some ten increments for each request. They are our own,
and read by a collector when somebody asks: prometheus-client takes a lock for each of its own.

Several workers share a directory of its memory-mapped files (its "multiprocess mode"), and each of them reports the
sums. That library decides on its mode when it is imported, by an environment variable: see `share`.
"""

from __future__ import annotations

import functools
import itertools
import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from acytoo._version import __version__
from acytoo.errors import MissingExtraError
from acytoo.gateway.ledger import Row
from acytoo.gateway.prices import NANODOLLARS
from acytoo.gateway.summary import Summary

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

OTHER = "other"
"""The label of all models that the configuration does not name."""

CLIENT_LEFT = 499
"""The status of a request whose client left before it was answered, as in nginx's log."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 150.0, 600.0)
"""Bounds of the histograms: from a cached reply to the longest reasoning."""

_SHARED = "PROMETHEUS_MULTIPROC_DIR"


def share(directory: Path) -> None:
    """Let this process and those that it starts report common figures, kept in files in the directory.

    The directory has to be empty. Call this before the first `Metrics` of the process is made.
    """
    os.environ[_SHARED] = str(directory)


def forget_ended_workers() -> None:
    """Drop the requests in progress of the workers that have ended; what they have counted is kept."""
    for path in Path(os.environ[_SHARED]).glob("*.lock"):
        descriptor = _lock(path)
        if descriptor is not None:
            _drop_live(path)
            os.close(descriptor)


@functools.cache
def _number(directory: str) -> int:
    """Return the number of this process, which is part of the names of its files.

    A process that has ended frees its number, and the next one with it counts on in the same files. So there are as
    many files as there were workers at the same time, however often they are replaced.
    """
    for number in itertools.count(1):
        path = Path(directory, f"{number}.lock")
        if _lock(path) is not None:  # stays open, and so locked, until the process ends
            _drop_live(path)
            return number
    raise AssertionError


def _lock(path: Path) -> int | None:
    """Return the descriptor of a file that this process has locked, None if another one has."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _drop_live(path: Path) -> None:
    """Delete what only holds while the process with the lock at this path runs."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(int(path.stem))  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one gateway: a Consumer of summaries.

    `models`: the names that may be labels, of the configured models and targets; others are counted as "other".
    """

    def __init__(self, models: Collection[str] = ()) -> None:
        """Create the metrics, all 0. Raises MissingExtraError without prometheus-client."""
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, values
        except ImportError as error:
            raise MissingExtraError("/metrics", "gateway") from error
        self.models = frozenset(models)
        self._registry = registry = CollectorRegistry()
        is_shared = _SHARED in os.environ
        if is_shared:
            number = _number(os.environ[_SHARED])
            values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
        else:  # shared figures would be those of the worker that happens to answer
            ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> _Series:
            name = f"acytoo_{name}"
            if is_shared:
                return _Series(Counter(name, text, labels, registry=registry).labels)
            series = _Series(_Count)
            registry.register(_Collector(lambda: _counter_family(name, text, labels, series)))
            return series

        def histogram(name: str, text: str, *labels: str) -> _Series:
            name = f"acytoo_{name}"
            if is_shared:
                return _Series(Histogram(name, text, labels, buckets=_SECONDS, registry=registry).labels)
            series = _Series(_Histogram)
            registry.register(_Collector(lambda: _histogram_family(name, text, labels, series)))
            return series

        in_progress = Gauge(
            "acytoo_requests_in_progress", "Requests being answered.", registry=registry, multiprocess_mode="livesum"
        )
        self._in_progress: Any = in_progress if is_shared else _Count()
        if not is_shared:
            in_progress.set_function(lambda: self._in_progress.value)
        info = Gauge("acytoo_info", "The version.", ["version"], registry=registry, multiprocess_mode="livemax")
        info.labels(__version__).set(1)
        self._requests = counter("requests", "Requests answered.", "key", "dialect", "model", "status")
        self._sent = counter("sent_bytes", "Bytes of responses.", "key", "dialect", "model")
        self._errors = counter(
            "errors", "Requests that ended with an error, by its class.", "dialect", "model", "error"
        )
        self._seconds = histogram("request_duration_seconds", "Time to the response's end.", "dialect", "model")
        self._first = histogram("first_content_seconds", "Time to the first content sent.", "dialect", "model")
        self._attempts = counter("attempts", "Rows of the ledger.", "upstream", "target", "outcome")
        self._attempt_seconds = histogram("attempt_duration_seconds", "Time to an attempt's end.", "upstream", "target")
        self._attempt_first = histogram(
            "attempt_first_content_seconds", "Time to an upstream's first content.", "upstream", "target"
        )
        self._tokens = counter(
            "tokens",
            "Tokens. input includes cached and cache_write, output includes reasoning.",
            *("key", "model", "upstream", "target", "type"),
        )
        self._estimated = counter("estimated_attempts", "Attempts with estimated tokens.", "upstream", "target")
        self._cost = counter("cost_dollars", "Cost of attempts.", "key", "model", "upstream", "target")
        self._unpriced = counter("unpriced_attempts", "Attempts of unknown cost.", "upstream", "target")
        # The figures that a request or a row with these labels changes: found with one look instead of one for each.
        self._of_requests = _Series(self._figures_of_request)
        self._of_rows = _Series(self._figures_of_row)

    def started(self) -> None:
        """Count a request as being answered."""
        self._in_progress.inc()

    def ended(self, summary: Summary) -> None:
        """Count a request that has been answered, and its attempts."""
        self._in_progress.inc(-1)
        model, first = summary.model, summary.first_content
        if model not in self.models:
            model = model and OTHER
        figures = self._of_requests[summary.key, summary.dialect, model, summary.status, first is not None]
        requests, sent, seconds, first_content = figures
        requests.inc()
        sent.inc(summary.sent)
        seconds.observe(summary.seconds)
        if first is not None:
            first_content.observe(first)
        if summary.error:
            self._errors[summary.dialect, model, summary.error].inc()
        for row in summary.rows:
            self._count(row)

    def _figures_of_request(self, key: str, dialect: str, model: str, status: int, has_content: bool) -> _Figures:
        return (
            self._requests[key, dialect, model, str(status or CLIENT_LEFT)],
            self._sent[key, dialect, model],
            self._seconds[dialect, model],
            self._first[dialect, model] if has_content else None,
        )

    def _count(self, row: Row) -> None:
        models, model, target, first, cost = self.models, row.model, row.target, row.first_content, row.cost
        if model not in models:
            model = model and OTHER
        if target not in models:
            target = target and OTHER
        if not target:  # refused here
            self._attempts[row.upstream, target, row.outcome].inc()
            return
        figures = self._of_rows[row.key, model, row.upstream, target, row.outcome, first is not None, bool(cost)]
        attempts, seconds, first_content, tokens, dollars = figures
        attempts.inc()
        seconds.observe(row.seconds)
        if first is not None:
            first_content.observe(first)
        if row.input_tokens:
            tokens[("input",)].inc(row.input_tokens)
        if row.output_tokens:
            tokens[("output",)].inc(row.output_tokens)
        if row.cached_tokens:
            tokens[("cached",)].inc(row.cached_tokens)
        if row.cache_write_tokens:
            tokens[("cache_write",)].inc(row.cache_write_tokens)
        if row.reasoning_tokens:
            tokens[("reasoning",)].inc(row.reasoning_tokens)
        if row.is_estimated:
            self._estimated[row.upstream, target].inc()
        if cost:
            dollars.inc(cost / NANODOLLARS)
        elif cost is None:
            self._unpriced[row.upstream, target].inc()

    def _figures_of_row(
        self, key: str, model: str, upstream: str, target: str, outcome: str, has_content: bool, has_cost: bool
    ) -> _Figures:
        return (
            self._attempts[upstream, target, outcome],
            self._attempt_seconds[upstream, target],
            self._attempt_first[upstream, target] if has_content else None,
            _Series(lambda kind: self._tokens[key, model, upstream, target, kind]),
            self._cost[key, model, upstream, target] if has_cost else None,
        )

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format, for `CONTENT_TYPE`."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._registry
        if _SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(_WithoutCreated(registry))


_Figures: TypeAlias = tuple[Any, ...]
"""Figures that change together; None for one that does not."""


class _Series(dict[tuple[Any, ...], Any]):
    """The figures of one metric, or of several that change together, by their labels."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, labels: tuple[Any, ...]) -> Any:
        figure = self[labels] = self._make(*labels)
        return figure


class _Count:
    """A sum of this process, with the method of prometheus-client's counters."""

    __slots__ = ("value",)

    def __init__(self, *_: str) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class _Histogram:
    """A histogram of this process, with the method of prometheus-client's."""

    __slots__ = ("counts", "sum")

    def __init__(self, *_: str) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(_SECONDS, value)] += 1
        self.sum += value


_Family: TypeAlias = "Callable[[], Metric]"


class _Collector:
    """What prometheus-client asks for the figures of one metric, in any thread."""

    def __init__(self, family: _Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family()]


def _counter_family(name: str, text: str, labels: tuple[str, ...], series: _Series) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for values, figure in list(series.items()):
        family.add_metric(values, figure.value)
    return family


def _histogram_family(name: str, text: str, labels: tuple[str, ...], series: _Series) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=labels)
    for values, figure in list(series.items()):
        bounds = [*map(str, _SECONDS), "+Inf"]
        family.add_metric(values, [*zip(bounds, accumulate(figure.counts), strict=True)], figure.sum)
    return family


class _WithoutCreated:
    """A registry without the `_created` series, which double the number of series in this format and help nobody."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
