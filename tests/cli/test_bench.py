"""`acytoo bench` against scripted endpoints."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from acytoo.dialects import OpenAI
from acytoo.measure import quantile
from acytoo.testing import FakeEndpoint, reply, silent, status
from acytoo.types import Finish, Usage
from tests.services import missing
from tests.terminal import CTRL_C, Terminal, needs_terminal

BENCH = [sys.executable, "-c", "from acytoo.cli import main; main()", "bench"]
ANSWER = reply("one ", "two ", "three", Finish(), Usage(5, 9))


async def bench(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*BENCH, "-m", "compatible/m1", "--url", url]
    return await asyncio.to_thread(
        subprocess.run, [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


async def test_it_measures_each_number_of_requests_at_once(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    async with FakeEndpoint(OpenAI(), ANSWER) as fake:
        result = await bench(fake.url, "-c", "1,3", "-n", "4", "--max-tokens", "7", "--json", "--plot", str(plot))
    assert (result.returncode, result.stderr) == (0, "")
    levels = json.loads(result.stdout)
    assert [(level["concurrency"], level["requests"], level["errors"]) for level in levels] == [(1, 4, 0), (3, 4, 0)]
    assert [level["tokens"] for level in levels] == [36, 36]
    assert not any(level["tokens_estimated"] for level in levels)
    assert all(level["first_content"]["p50"] <= level["first_content"]["p95"] for level in levels)
    assert len(fake.requests) == 8
    assert {request.json["max_tokens"] for request in fake.requests} == {7}
    assert len({request.json["messages"][0]["content"] for request in fake.requests}) == 8
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")


async def test_the_table_has_a_line_for_each_and_counts_pieces_without_usage() -> None:
    async with FakeEndpoint(OpenAI(), reply("one ", "two", Finish())) as fake:
        result = await bench(fake.url, "-c", "1,2", "-n", "2")
    head, *lines = result.stdout.split("\n\n")[0].splitlines()
    assert head.split()[:2] == ["at", "once"]
    assert [line.split()[:2] for line in lines] == [["1", "2"], ["2", "2"]]
    assert all("~" in line for line in lines)


async def test_replies_that_fail_are_reported_and_counted() -> None:
    async with FakeEndpoint(OpenAI(), status(503, "overloaded")) as fake:
        result = await bench(fake.url, "-c", "2", "-n", "3")
    assert result.returncode == 1
    assert result.stdout.splitlines()[1].split()[:2] == ["2", "0"]
    assert "2 at once: 3 not complete, the first: 503: overloaded" in result.stderr


@pytest.mark.parametrize("numbers", ["0", "1,x", "", "-3"])
async def test_numbers_that_are_wrong_are_refused_before_anything_is_sent(numbers: str) -> None:
    result = await bench("http://127.0.0.1:9", "-c", numbers)
    assert result.returncode == 2
    assert "expected numbers such as 1,4,16" in result.stderr


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert quantile([3.0], 0.01) == 3.0
    assert quantile([], 0.5) != quantile([], 0.5)  # nan


async def test_bars_are_to_scale_and_have_the_figures_of_the_table() -> None:
    async with FakeEndpoint(OpenAI(), ANSWER) as fake:
        result = await bench(fake.url, "-c", "1,2", "-n", "4")
    table, speeds, firsts = result.stdout.split("\n\n")
    title, *bars = speeds.splitlines()
    assert title == "tokens/s"
    figures = [float(line.split()[-2].replace(",", "")) for line in table.splitlines()[1:]]
    assert [bar.split()[-1] for bar in bars] == [f"{figure:,.1f}" for figure in figures]
    lengths = [bar.count("█") for bar in bars]
    assert lengths == [round(max(lengths) * figure / max(figures)) for figure in figures]
    assert all(bar.count("█") + bar.count("░") <= 60 for bar in firsts.splitlines()[1:])


async def test_a_plot_is_written_as_png_too(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra png")
    async with FakeEndpoint(OpenAI(), ANSWER) as fake:
        result = await bench(fake.url, "-c", "1", "-n", "1", "--plot", str(tmp_path / "plot.PNG"))
    if "install a font" in result.stderr:
        missing("a font", "fonts-dejavu-core")
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "plot.PNG").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("plot.pdf", 2, "expected a name that ends in .svg or .png"), ("no/plot.svg", 1, "No such file or directory")],
)
async def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_sent(
    tmp_path: Path, name: str, code: int, message: str
) -> None:
    result = await bench("http://127.0.0.1:9", "--plot", str(tmp_path / name))
    assert result.returncode == code
    assert message in result.stderr


@needs_terminal
async def test_a_terminal_shows_the_progress_and_after_an_interrupt_what_was_measured() -> None:
    async with FakeEndpoint(OpenAI(), ANSWER, ANSWER, ANSWER, silent()) as fake:
        command = [*BENCH, "-m", "compatible/m1", "--url", fake.url, "-c", "1,3", "-n", "2"]
        with Terminal(command, env={"COLUMNS": "100"}) as terminal:
            await asyncio.to_thread(terminal.wait_for, "3/5 replies  3 at once  ")
            terminal.press(CTRL_C)
            rest = await asyncio.to_thread(terminal.wait_for, "time to the first content")
            assert [line.split()[:2] for line in rest.splitlines() if line.startswith("      1")] == [["1", "2"]]
            assert await asyncio.to_thread(terminal.wait) == 130


async def test_errors_are_counted_by_class() -> None:
    async with FakeEndpoint(OpenAI(), status(503, "overloaded"), status(429, "slow down")) as fake:
        result = await bench(fake.url, "-c", "1", "-n", "3", "--json")
    (level,) = json.loads(result.stdout)
    assert level["errors_by_class"] == {"RateLimitError": 2, "ServerError": 1}
