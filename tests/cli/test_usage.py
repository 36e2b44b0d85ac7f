"""`acytoo usage`: tables, CSV, JSON and plots from a ledger."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from acytoo.gateway.ledger import Row, open_ledger
from tests.processes import ACYTOO, run
from tests.services import Postgres, postgres_server

__all__ = ["postgres_server"]

CONFIG = """
[storage]
ledger = "{ledger}"
[upstreams.local]
provider = "ollama"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config file whose ledger has three requests."""
    asyncio.run(fill(f"sqlite:{tmp_path / 'ledger.db'}"))
    path = tmp_path / "acytoo.toml"
    path.write_text(CONFIG.format(ledger="sqlite:ledger.db"))
    return path


async def fill(url: str) -> None:
    ledger = await open_ledger(url)
    at = time.time() - 3600
    common: dict[str, Any] = {"at": at, "status": 200, "outcome": "complete", "upstream": "local", "seconds": 1.5}
    ledger.add(
        [
            Row(request_id="1", attempt=1, key="bot", model="fast", input_tokens=12000, cost=2_500_000, **common),
            Row(request_id="2", attempt=1, key="bot", model="fast", output_tokens=7, is_estimated=True, **common),
            Row(request_id="3", attempt=1, key="alice", model="=2+3\x1b[31m", output_tokens=5, **common),
        ]
    )
    await ledger.close()


def usage(config: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return run([ACYTOO, "usage", "--config", str(config), *options], env=env)


def test_the_table_has_a_line_for_each_group_and_a_total(config: Path) -> None:
    done = usage(config)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line.split("  ") for line in re.sub(" {2,}", "  ", done.stdout.decode()).splitlines()] == [
        ["key", "model", "requests", "attempts", "input", "output", "cached", "cost", "first content", "time"],
        ["alice", "=2+3\N{REPLACEMENT CHARACTER}[31m", "1", "1", "0", "5", "0", "unknown", "1.50 s"],
        ["bot", "fast", "2", "2", "~12,000", "~7", "~0", "$0.0025+", "1.50 s"],
        ["total", "3", "3", "~12,000", "~12", "~0", "$0.0025+", "1.50 s"],
    ]
    assert len({len(line) for line in done.stdout.decode().splitlines()}) == 1


def test_the_usage_of_one_key_can_be_printed(config: Path) -> None:
    lines = usage(config, "--key", "alice", "--by", "").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["requests", "1"]


def test_csv_has_dollars_and_no_formulas(config: Path) -> None:
    lines = usage(config, "--csv").stdout.decode().splitlines()
    assert lines[0] == (
        "key,model,requests,attempts,input_tokens,output_tokens,cached_tokens,cache_write_tokens,reasoning_tokens,"
        "estimated,unpriced,cost_usd,first_content,seconds"
    )
    assert lines[1].startswith("alice,'=2+3")
    assert lines[2] == "bot,fast,2,2,12000,7,0,0,0,1,1,0.0025,,1.5"


def test_json_is_the_document_of_the_server(config: Path) -> None:
    document = json.loads(usage(config, "--json", "--by", "status").stdout)
    assert (document["object"], document["by"], document["total"]["requests"]) == ("usage", ["status"], 3)
    assert [row["status"] for row in document["data"]] == ["200"]


def test_a_plot_is_written_to_a_file(config: Path, tmp_path: Path) -> None:
    plot = tmp_path / "usage.svg"
    done = usage(config, "--plot", str(plot), "--since", "2d", "--by", "model")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert "Cost per hour by model" in plot.read_text()
    done = usage(config, "--plot", str(tmp_path / "missing" / "usage.svg"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"acytoo: cannot write {tmp_path}/missing/usage.svg: No such file or directory\n"


def test_a_time_without_requests_prints_no_table(config: Path) -> None:
    done = usage(config, "--since", "2001-01-01", "--until", "2001-02-01")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"acytoo: no requests in this time\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "keys"], "cannot group usage by 'keys': use key, dialect, model"),
        (["--since", "soon"], "invalid time 'soon': expected a time ago, such as 7d"),
    ],
)
def test_wrong_options_are_reported(config: Path, options: list[str], message: str) -> None:
    done = usage(config, *options)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"acytoo: {message}")


def test_a_ledger_that_is_not_there_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "acytoo.toml"
    path.write_text(CONFIG.format(ledger="sqlite:none.db"))
    done = usage(path)
    assert done.returncode == 1
    assert done.stderr.decode() == f"acytoo: ledger '{tmp_path}/none.db' does not exist\n"
    path.write_text(CONFIG.format(ledger="none"))
    assert usage(path).stderr.startswith(b"acytoo: there is no ledger: set [storage] ledger")


def test_a_ledger_in_postgres_is_found_through_its_variable(postgres_server: Postgres, tmp_path: Path) -> None:
    url = postgres_server.new_database()
    asyncio.run(fill(url))
    path = tmp_path / "acytoo.toml"
    path.write_text(CONFIG.format(ledger="env:LEDGER"))
    done = usage(path, "--by", "key,day", "--csv", env={"LEDGER": url})
    assert done.returncode == 0
    assert [line.partition(",")[0] for line in done.stdout.decode().splitlines()[1:]] == ["alice", "bot"]


@pytest.mark.parametrize("forms", [("--csv", "--json"), ("--json", "--csv"), ("--csv", "--plot", "usage.svg")])
def test_one_form_of_the_output_can_be_asked_for(config: Path, forms: tuple[str, ...]) -> None:
    done = usage(config, *forms)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"use one of --csv, --json and --plot" in done.stderr
