"""What /metrics has, read by Prometheus's own parser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from acytoo.errors import MissingExtraError
from acytoo.gateway.metrics import Metrics
from tests.gateway.summaries import row, summary
from tests.processes import environment

NAMES = ("fast", "openai/gpt-5-mini")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: bytes) -> Series:
    """Return every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float | None:
    """Return a sample, None if there is none."""
    return series.get((name, frozenset(labels.items())))


def test_a_request_is_counted_by_key_dialect_model_and_status() -> None:
    metrics = Metrics(NAMES)
    for status in (200, 200, 429):
        metrics.started()
        metrics.ended(summary(status=status, rows=[]))
    series = parse(metrics.render())
    labels = {"key": "ci-bot", "dialect": "openai", "model": "fast"}
    assert value(series, "acytoo_requests_total", **labels, status="200") == 2
    assert value(series, "acytoo_requests_total", **labels, status="429") == 1
    assert value(series, "acytoo_sent_bytes_total", **labels) == 3 * 4096
    assert value(series, "acytoo_request_duration_seconds_count", dialect="openai", model="fast") == 3
    assert value(series, "acytoo_request_duration_seconds_sum", dialect="openai", model="fast") == pytest.approx(4.8)
    assert value(series, "acytoo_first_content_seconds_bucket", dialect="openai", model="fast", le="0.25") == 3
    assert value(series, "acytoo_first_content_seconds_bucket", dialect="openai", model="fast", le="0.1") == 0


def test_requests_in_progress_are_those_that_have_not_ended() -> None:
    metrics = Metrics(NAMES)
    metrics.started()
    metrics.started()
    metrics.ended(summary())
    assert value(parse(metrics.render()), "acytoo_requests_in_progress") == 1


def test_tokens_and_cost_are_counted_for_each_attempt() -> None:
    metrics = Metrics(NAMES)
    metrics.ended(summary(rows=[row(outcome="error", cost=1_000_000_000), row()]))
    series = parse(metrics.render())
    target = {"upstream": "openai", "target": "openai/gpt-5-mini"}
    by = {"key": "ci-bot", "model": "fast", **target}
    assert value(series, "acytoo_attempts_total", **target, outcome="error") == 1
    assert value(series, "acytoo_attempts_total", **target, outcome="complete") == 1
    assert value(series, "acytoo_tokens_total", **by, type="input") == 24
    assert value(series, "acytoo_tokens_total", **by, type="output") == 60
    assert value(series, "acytoo_tokens_total", **by, type="cached") == 8
    assert value(series, "acytoo_tokens_total", **by, type="reasoning") == 10
    assert value(series, "acytoo_cost_dollars_total", **by) == pytest.approx(1.0025)
    assert value(series, "acytoo_attempt_duration_seconds_sum", **target) == 3
    assert value(series, "acytoo_attempt_first_content_seconds_count", **target) == 2


def test_an_unknown_cost_is_counted_as_unknown_and_never_as_nothing() -> None:
    metrics = Metrics(NAMES)
    metrics.ended(summary(rows=[row(cost=None, is_estimated=True)]))
    series = parse(metrics.render())
    target = {"upstream": "openai", "target": "openai/gpt-5-mini"}
    assert value(series, "acytoo_unpriced_attempts_total", **target) == 1
    assert value(series, "acytoo_estimated_attempts_total", **target) == 1
    assert not [name for name, _ in series if name == "acytoo_cost_dollars_total"]


def test_a_request_that_no_upstream_was_asked_for_has_no_tokens() -> None:
    metrics = Metrics(NAMES)
    refused = row(
        target="", upstream="", outcome="refused", cost=0, first_content=None,
        input_tokens=0, output_tokens=0, cached_tokens=0, cache_write_tokens=0, reasoning_tokens=0,
    )  # fmt: skip
    metrics.ended(summary(status=429, rows=[refused]))
    series = parse(metrics.render())
    assert value(series, "acytoo_attempts_total", upstream="", target="", outcome="refused") == 1
    assert not [name for name, _ in series if name.startswith(("acytoo_tokens", "acytoo_attempt_duration"))]


def test_names_that_callers_invent_share_one_series() -> None:
    metrics = Metrics(NAMES)
    for number in range(1000):
        invented = row(model=f"invented-{number}", target=f"openai/invented-{number}")
        metrics.ended(summary(model=f"invented-{number}", rows=[invented]))
    series = parse(metrics.render())
    assert value(series, "acytoo_requests_total", key="ci-bot", dialect="openai", model="other", status="200") == 1000
    assert b"invented" not in metrics.render()


def test_the_names_that_may_be_labels_change_with_the_configuration() -> None:
    metrics = Metrics(NAMES)
    metrics.models = frozenset({"slow"})
    metrics.ended(summary(model="slow", rows=[]))
    assert b'model="slow"' in metrics.render()


def test_a_client_that_left_before_a_status_was_sent_is_counted_as_499() -> None:
    metrics = Metrics(NAMES)
    metrics.ended(summary(status=0, rows=[], error="DisconnectedError"))
    series = parse(metrics.render())
    assert value(series, "acytoo_requests_total", key="ci-bot", dialect="openai", model="fast", status="499") == 1
    assert value(series, "acytoo_errors_total", dialect="openai", model="fast", error="DisconnectedError") == 1


def test_every_metric_has_a_unit_or_counts_things_and_has_help() -> None:
    metrics = Metrics(NAMES)
    metrics.ended(summary(error="TruncatedError", rows=[row(), row(cost=None, is_estimated=True)]))
    families = [
        family
        for family in text_string_to_metric_families(metrics.render().decode())
        if family.name.startswith("acytoo_")
    ]
    assert {family.name for family in families} == {
        "acytoo_info", "acytoo_requests_in_progress", "acytoo_requests", "acytoo_sent_bytes", "acytoo_errors",
        "acytoo_request_duration_seconds", "acytoo_first_content_seconds", "acytoo_attempts",
        "acytoo_attempt_duration_seconds", "acytoo_attempt_first_content_seconds", "acytoo_tokens",
        "acytoo_estimated_attempts", "acytoo_cost_dollars", "acytoo_unpriced_attempts",
    }  # fmt: skip
    assert all(family.documentation for family in families)


def test_the_figures_of_the_process_are_there() -> None:
    assert (value(parse(Metrics().render()), "process_resident_memory_bytes") or 0) > 1_000_000


WORKER = """
import sys
from acytoo.gateway.metrics import Metrics
from tests.gateway.summaries import row, summary
metrics = Metrics(["fast", "openai/gpt-5-mini"])
metrics.started(), metrics.started()
metrics.ended(summary(rows=[row(seconds=0.5), row(seconds=20.0)]))
sys.stdout.buffer.write(metrics.render())
sys.stdout.flush()
"""


def test_each_of_several_workers_reports_the_sums_of_all(tmp_path: Path) -> None:
    script = f"""
import subprocess, sys
from pathlib import Path
from acytoo.gateway.metrics import Metrics, forget_ended_workers, share
share(Path({str(tmp_path)!r}))
wait = {WORKER!r} + "sys.stdin.read()"
workers = [subprocess.Popen([sys.executable, "-c", wait], stdin=-1, stdout=-1) for _ in range(3)]
for worker in workers:
    assert worker.stdout.read(1)
for worker in workers[1:]:
    worker.kill()
    worker.wait()
forget_ended_workers()
sys.stdout.buffer.write(Metrics([]).render())
workers[0].communicate()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    series = parse(done.stdout)
    assert value(series, "acytoo_requests_total", key="ci-bot", dialect="openai", model="fast", status="200") == 3
    assert value(series, "acytoo_request_duration_seconds_count", dialect="openai", model="fast") == 3
    target = {"upstream": "openai", "target": "openai/gpt-5-mini"}
    assert value(series, "acytoo_attempt_duration_seconds_count", **target) == 6
    assert value(series, "acytoo_attempt_duration_seconds_bucket", **target, le="0.5") == 3
    assert value(series, "acytoo_attempt_duration_seconds_sum", **target) == pytest.approx(3 * 20.5)
    assert value(series, "acytoo_requests_in_progress") == 1  # of the worker that has not ended


def test_a_worker_that_is_creating_its_files_does_not_disturb_the_others(tmp_path: Path) -> None:
    for name in ("counter_7.db", "gauge_livesum_7.db", "histogram_7.db"):
        (tmp_path / name).touch()
    env = environment({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
    series = parse(subprocess.run([sys.executable, "-c", WORKER], capture_output=True, check=True, env=env).stdout)
    assert value(series, "acytoo_requests_in_progress") == 1


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_workers_that_are_replaced_again_and_again_leave_no_files_and_lose_no_counts(
    tmp_path: Path, is_forgotten: bool
) -> None:
    script = f"""
import subprocess, sys
from pathlib import Path
from acytoo.gateway.metrics import forget_ended_workers, share
share(Path({str(tmp_path)!r}))
for _ in range(6):
    last = subprocess.run([sys.executable, "-c", {WORKER!r}], stdout=subprocess.PIPE)
    if {is_forgotten}:
        forget_ended_workers()
sys.stdout.buffer.write(last.stdout)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    series = parse(done.stdout)
    assert value(series, "acytoo_requests_total", key="ci-bot", dialect="openai", model="fast", status="200") == 6
    assert value(series, "acytoo_request_duration_seconds_count", dialect="openai", model="fast") == 6
    assert value(series, "acytoo_requests_in_progress") == 1
    assert len(list(tmp_path.glob("*.db"))) <= 4  # one for each type of metric


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"acytoo\[gateway\]"):
        Metrics()


DASHBOARD = json.loads((Path(__file__).parents[2] / "deploy" / "grafana.json").read_text())


def expressions() -> list[str]:
    """Return the queries of the dashboard."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


@pytest.mark.parametrize("expression", expressions())
def test_each_query_of_the_dashboard_asks_for_metrics_and_labels_that_exist(expression: str) -> None:
    metrics = Metrics(NAMES)
    metrics.ended(summary(error="TruncatedError", rows=[row(), row(cost=None, is_estimated=True)]))
    labels: dict[str, set[str]] = {}
    for name, pairs in parse(metrics.render()):
        labels.setdefault(name, set()).update(label for label, _ in pairs)
    used = re.findall(r"((?:acytoo|process)_\w+)(?:\{([^}]*)\})?", expression)
    assert used
    for name, matchers in used:
        assert name in labels
        asked = set(re.findall(r"(\w+)(?:=|!=|=~)\"", matchers)) - {"job"}
        asked |= {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
        assert asked <= labels[name]


def test_every_metric_is_on_the_dashboard() -> None:
    text = " ".join(expressions())
    metrics = Metrics(NAMES)
    metrics.ended(summary(error="TruncatedError", rows=[row(), row(cost=None, is_estimated=True)]))
    names = {name for name, _ in parse(metrics.render()) if name.startswith("acytoo_")} - {"acytoo_info"}
    assert not {name for name in names if re.sub("_(bucket|sum|count)$", "", name) not in text}


def test_every_metric_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    metrics = Metrics(NAMES)
    metrics.ended(summary(error="TruncatedError", rows=[row(), row(cost=None, is_estimated=True)]))
    names = {name for name, _ in parse(metrics.render()) if name.startswith("acytoo_")}
    assert not {name for name in names if f"`{re.sub('_(bucket|sum|count)$', '', name)}`" not in documented}
