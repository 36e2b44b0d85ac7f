"""Prometheus metrics of the gateway.

The problem: a label whose values callers choose makes a time series for each of them, until the memory of the server
and of Prometheus is full. The strategy: a model's name is a label only if the configuration has it; key, upstream and
dialect are bounded by the configuration already. The cost: requests with the same labels have one object with all their
sums, and so do rows. They are our own, and made into metrics when somebody asks: prometheus-client takes a lock for
each increment of its own.

Several workers share a directory of its memory-mapped files (its "multiprocess mode"), and each of them reports the
sums. Then those of each request are moved to that library's metrics at once. It decides on its mode when it is
imported, by an environment variable: see `share`.
"""

from __future__ import annotations

import functools
import itertools
import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

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
            from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, values
        except ImportError as error:
            raise MissingExtraError("/metrics", "gateway") from error
        self.models = frozenset(models)
        self._registry = registry = CollectorRegistry()
        self._requests: _Sums[_Requests] = _Sums(_Requests)
        self._rows: _Sums[_Rows] = _Sums(_Rows)
        self._in_progress = 0
        self._shared: Any = None
        """The gauge of the requests in progress, and who moves sums of requests and rows, if workers share metrics."""
        is_shared = _SHARED in os.environ
        if is_shared:
            number = _number(os.environ[_SHARED])
            values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
        else:  # shared figures would be those of the worker that happens to answer
            ProcessCollector(registry=registry)
        gauge = Gauge(
            "acytoo_requests_in_progress", "Requests being answered.", registry=registry, multiprocess_mode="livesum"
        )
        if is_shared:
            self._shared = gauge, _Mover(_OF_REQUESTS, registry), _Mover(_OF_ROWS, registry)
        else:
            gauge.set_function(lambda: self._in_progress)
            registry.register(_Collector(_OF_REQUESTS, self._requests))
            registry.register(_Collector(_OF_ROWS, self._rows))
        info = Gauge("acytoo_info", "The version.", ["version"], registry=registry, multiprocess_mode="livemax")
        info.labels(__version__).set(1)

    def started(self) -> None:
        """Count a request as being answered."""
        self._in_progress += 1
        if self._shared is not None:
            self._shared[0].set(self._in_progress)

    def ended(self, summary: Summary) -> None:
        """Count a request that has been answered, and its attempts."""
        self._in_progress -= 1
        models, model = self.models, summary.model
        if model not in models:
            model = model and OTHER
        labels = summary.key, summary.dialect, model, summary.status or CLIENT_LEFT, summary.error
        self._requests[labels].add(summary)
        if self._shared is not None:
            self._shared[0].set(self._in_progress)
            self._shared[1].move(self._requests)
        for row in summary.rows:
            model, target = row.model, row.target
            if model not in models:
                model = model and OTHER
            if target not in models:
                target = target and OTHER
            self._rows[row.key, model, row.upstream, target, row.outcome].add(row)
            if self._shared is not None:
                self._shared[2].move(self._rows)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format, for `CONTENT_TYPE`."""
        from prometheus_client import generate_latest

        metrics = _shared_metrics() if _SHARED in os.environ else self._registry.collect()
        return generate_latest(_WithoutCreated(metrics))


_Labels: TypeAlias = tuple[Any, ...]

_Histogram: TypeAlias = list[float]
"""The number of observations in each bucket, and at `_SUM`, the last place, the sum of all."""

_SUM = len(_SECONDS) + 1


class _Requests:
    """The sums of the requests with the same labels."""

    labels: ClassVar = "key", "dialect", "model", "status", "error"
    __slots__ = ("count", "errors", "first_content", "seconds", "sent")

    def __init__(self) -> None:
        self.count = self.errors = self.sent = 0
        self.seconds, self.first_content = _histogram(), _histogram()

    def add(self, summary: Summary) -> None:
        self.count += 1
        self.sent += summary.sent
        seconds, first = summary.seconds, summary.first_content
        self.seconds[bisect_left(_SECONDS, seconds)] += 1
        self.seconds[_SUM] += seconds
        if first is not None:
            self.first_content[bisect_left(_SECONDS, first)] += 1
            self.first_content[_SUM] += first
        if summary.error:
            self.errors += 1


class _Rows:
    """The sums of the rows with the same labels."""

    labels: ClassVar = "key", "model", "upstream", "target", "outcome"
    __slots__ = (
        *("cache_write", "cached", "count", "estimated", "first_content", "input", "nanodollars", "output"),
        *("reasoning", "seconds", "unpriced"),
    )

    def __init__(self) -> None:
        self.count = self.estimated = self.unpriced = self.nanodollars = 0
        self.input = self.output = self.cached = self.cache_write = self.reasoning = 0
        self.seconds, self.first_content = _histogram(), _histogram()

    def add(self, row: Row) -> None:
        self.count += 1
        self.input += row.input_tokens
        self.output += row.output_tokens
        if row.cached_tokens or row.cache_write_tokens or row.reasoning_tokens:
            self.cached += row.cached_tokens
            self.cache_write += row.cache_write_tokens
            self.reasoning += row.reasoning_tokens
        if not row.target:  # refused here, or answered from the cache
            return
        seconds, first, cost = row.seconds, row.first_content, row.cost
        self.seconds[bisect_left(_SECONDS, seconds)] += 1
        self.seconds[_SUM] += seconds
        if first is not None:
            self.first_content[bisect_left(_SECONDS, first)] += 1
            self.first_content[_SUM] += first
        if row.is_estimated:
            self.estimated += 1
        if cost is None:
            self.unpriced += 1
        else:
            self.nanodollars += cost

    @property
    def dollars(self) -> float:
        return self.nanodollars / NANODOLLARS


def _histogram() -> _Histogram:
    return [0] * (len(_SECONDS) + 1) + [0.0]


_Sum = TypeVar("_Sum", bound=_Requests | _Rows)


class _Sums(dict[_Labels, _Sum]):
    """Sums by their labels."""

    def __init__(self, kind: type[_Sum]) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, labels: _Labels) -> _Sum:
        sums = self[labels] = self.kind()
        return sums


class _Family(NamedTuple):
    """One metric, made of fields of the sums. If it has several, their names are the values of its last label."""

    name: str
    text: str
    labels: tuple[str, ...]
    fields: tuple[str, ...]

    @property
    def is_histogram(self) -> bool:
        return self.fields[0] in ("seconds", "first_content")

    def labels_for(self, one: _Requests | _Rows, values: _Labels, field: str) -> _Labels:
        """Return the labels of this metric for a field of the sums that have these labels."""
        known = dict(zip(one.labels, values, strict=True), type=field)
        return tuple([str(known[label]) for label in self.labels])

    def samples(self, sums: _Sums[_Sum]) -> dict[_Labels, Any]:
        """Return the figures by the labels of this metric, without those that are 0."""
        found: dict[_Labels, Any] = {}
        for values, one in list(sums.items()):  # a copy, because requests may end meanwhile, in another thread
            for field in self.fields:
                labels = self.labels_for(one, values, field)
                figure = getattr(one, field)
                if not self.is_histogram:
                    found[labels] = found.get(labels, 0) + figure
                elif labels in found:
                    found[labels] = [sum(pair) for pair in zip(found[labels], figure, strict=True)]
                else:
                    found[labels] = figure
        return {labels: figure for labels, figure in found.items() if (any(figure) if self.is_histogram else figure)}

    def collect(self, sums: _Sums[_Sum]) -> Metric:
        """Return the metric of this process."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        name, samples = f"acytoo_{self.name}", self.samples(sums)
        if not self.is_histogram:
            counter = CounterMetricFamily(name, self.text, labels=self.labels)
            for labels, figure in samples.items():
                counter.add_metric(labels, figure)
            return counter
        histogram = HistogramMetricFamily(name, self.text, labels=self.labels)
        bounds = [*map(str, _SECONDS), "+Inf"]
        for labels, figure in samples.items():
            histogram.add_metric(labels, [*zip(bounds, accumulate(figure[:-1]), strict=True)], figure[-1])
        return histogram

    def shared(self, registry: CollectorRegistry) -> Any:
        """Return the metric that several workers share: a Counter or a Histogram of prometheus-client."""
        from prometheus_client import Counter, Histogram

        name = f"acytoo_{self.name}"
        if self.is_histogram:
            return Histogram(name, self.text, self.labels, buckets=_SECONDS, registry=registry)
        return Counter(name, self.text, self.labels, registry=registry)


_OF_REQUESTS = (
    _Family("requests", "Requests answered.", ("key", "dialect", "model", "status"), ("count",)),
    _Family("sent_bytes", "Bytes of responses, with their heads.", ("key", "dialect", "model"), ("sent",)),
    _Family("errors", "Requests that ended with an error, by its class.", ("dialect", "model", "error"), ("errors",)),
    _Family("request_duration_seconds", "Time to the response's end.", ("dialect", "model"), ("seconds",)),
    _Family("first_content_seconds", "Time to the first content sent.", ("dialect", "model"), ("first_content",)),
)

_TARGET = "upstream", "target"
_OF_ROWS = (
    _Family("attempts", "Rows of the ledger.", (*_TARGET, "outcome"), ("count",)),
    _Family("attempt_duration_seconds", "Time to an attempt's end.", _TARGET, ("seconds",)),
    _Family("attempt_first_content_seconds", "Time to an upstream's first content.", _TARGET, ("first_content",)),
    _Family(
        "tokens",
        "Tokens. input includes cached and cache_write, output includes reasoning.",
        ("key", "model", *_TARGET, "type"),
        ("input", "output", "cached", "cache_write", "reasoning"),
    ),
    _Family("estimated_attempts", "Attempts with estimated tokens.", _TARGET, ("estimated",)),
    _Family("cost_dollars", "Cost of attempts.", ("key", "model", *_TARGET), ("dollars",)),
    _Family("unpriced_attempts", "Attempts of unknown cost.", _TARGET, ("unpriced",)),
)


class _Mover:
    """Moves the sums of one request, or of one row, to the metrics that workers share."""

    def __init__(self, families: Iterable[_Family], registry: CollectorRegistry) -> None:
        shared = [(family, family.shared(registry)) for family in families]
        self._metrics = [(family, metric, field) for family, metric in shared for field in family.fields]
        self._found: dict[_Labels, list[Any]] = {}
        """Where sums with these labels are moved to, in the order of the metrics: that takes long to find."""

    def move(self, sums: _Sums[_Sum]) -> None:
        for labels, one in sums.items():
            found = self._found.setdefault(labels, [None] * len(self._metrics))
            for place, (family, metric, field) in enumerate(self._metrics):
                figure = getattr(one, field)
                is_histogram = isinstance(figure, list)
                if not (any(figure) if is_histogram else figure):
                    continue
                if found[place] is None:
                    found[place] = metric.labels(*family.labels_for(one, labels, field))
                if is_histogram:
                    found[place].observe(figure[-1])
                else:
                    found[place].inc(figure)
        sums.clear()


class _Collector(Generic[_Sum]):
    """What prometheus-client asks for the metrics of this process, in any thread."""

    def __init__(self, families: Iterable[_Family], sums: _Sums[_Sum]) -> None:
        self._families = families
        self._sums = sums

    def collect(self) -> Iterable[Metric]:
        return [family.collect(self._sums) for family in self._families]


def _shared_metrics() -> Iterable[Metric]:
    """Return the metrics of all workers: the sums of what their files have."""
    from prometheus_client.multiprocess import MultiProcessCollector

    files = [str(path) for path in Path(os.environ[_SHARED]).glob("*.db") if _has_begun(path)]
    found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return found


def _has_begun(path: Path) -> bool:
    """Return whether a file has figures: a worker that starts creates it empty, which prometheus-client cannot read."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # of a worker that has just ended
        return False


class _WithoutCreated:
    """Metrics without the `_created` series, which double the number of series in this format and help nobody."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self._metrics:
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
