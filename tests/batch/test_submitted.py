"""The provider's own batches: submitted once, resumed, and complete in the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from acytoo import AcytooError, Reply, UsageError, provider
from acytoo.batch.budget import Caps
from acytoo.batch.output import errors_path
from acytoo.batch.run import BatchConfig, BatchRun, Summary
from acytoo.batch.status import status_of
from acytoo.batch.submitted import price_in_batches, submissions_path
from acytoo.testing import status
from tests.batch.batch_apis import (
    AnthropicBatchServer,
    BatchServer,
    OpenAIBatchServer,
    Outcome,
    ResponsesBatchServer,
)
from tests.batch.upstream import read, write_rows
from tests.processes import ACYTOO, run

SERVERS = {
    "openai": OpenAIBatchServer,
    "openai-responses": ResponsesBatchServer,
    "anthropic": AnthropicBatchServer,
}
CREATE = {
    "openai": "POST /batches",
    "openai-responses": "POST /batches",
    "anthropic": "POST /v1/messages/batches",
}

each_api = pytest.mark.parametrize("api", SERVERS)


def folder_of(output: Path) -> list[Path]:
    return list(output.parent.iterdir())


def len_of(batch: dict[str, Any]) -> int:
    counts = batch["request_counts"]
    return int(counts["total"] if "total" in counts else counts["processing"])


class Job:
    """A batch of ten rows in batches of four, against one server."""

    def __init__(self, folder: Path, api: str, outcome: Outcome = lambda prompt, count: "ok") -> None:
        self.server: BatchServer = SERVERS[api](outcome)
        self.api = api
        self.rows = write_rows(folder / "in.jsonl", ({"id": f"row {n}", "prompt": f"p{n}"} for n in range(10)))
        self.output = folder / "out.jsonl"

    def start(self, **changes: Any) -> BatchRun:
        model = provider(f"{self.api}/m", url=self.server.url, key="sk-key")
        settings: dict[str, Any] = {"via_provider": True, "poll_every": 0.01, "max_submission": 4, **changes}
        return BatchRun(BatchConfig(provider=model, input=str(self.rows), output=self.output, **settings))

    async def run(self, **changes: Any) -> Summary:
        async with asyncio.timeout(120):
            return await self.start(**changes).run()

    def texts(self) -> dict[str, str]:
        found = {line["id"]: line["text"] for line in read(self.output)}
        assert len(found) == len(read(self.output))
        return found


ALL = {f"row {n}": f"re: p{n}" for n in range(10)}


@each_api
async def test_rows_are_submitted_in_batches_and_their_results_are_written(tmp_path: Path, api: str) -> None:
    job = Job(tmp_path, api)
    async with job.server:
        summary = await job.run()
        again = await job.run()
    assert (summary.outcome, again.outcome) == ("complete", "complete")
    assert job.texts() == ALL
    assert len(job.server.batches) == 3
    assert (summary.spending.input_tokens, summary.spending.output_tokens) == (20, 30)


@each_api
async def test_errors_are_rows_and_what_has_expired_is_submitted_again(tmp_path: Path, api: str) -> None:
    def outcome(prompt: str, count: int) -> str:
        if prompt in ("p2", "p3") and count == 1:
            return "expired"
        return "bad" if prompt == "p5" and count == 1 else "ok"

    job = Job(tmp_path, api, outcome)
    async with job.server:
        summary = await job.run()
        assert summary.outcome == "complete with errors"
        (error,) = read(errors_path(job.output))
        assert (error["id"], error["status"], error["message"]) == ("row 5", 400, "no such thing")
        assert job.server.counts == {f"p{n}": 2 if n in (2, 3) else 1 for n in range(10)}
        assert (await job.run(retry_errors=True)).outcome == "complete"
    assert job.texts() == ALL
    assert job.server.counts["p5"] == 2


@each_api
async def test_a_run_that_is_stopped_is_continued_by_the_next_one(tmp_path: Path, api: str) -> None:
    job = Job(tmp_path, api)
    job.server.is_slow = True
    async with job.server:
        batch = job.start()
        task = asyncio.create_task(batch.run())
        await job.server.until(lambda: len(job.server.batches) == 3)
        batch.stop("interrupted")
        assert (await task).outcome == "unfinished"
        with pytest.raises(UsageError, match="10 rows are submitted to the provider: collect them with --via provider"):
            job.start(via_provider=False)
        assert status_of(job.output).submitted == 10
        job.server.is_slow = False
        assert (await job.run()).outcome == "complete"
    assert job.texts() == ALL
    assert set(job.server.counts.values()) == {1}


@each_api
async def test_a_run_killed_at_any_step_submits_no_row_twice(tmp_path: Path, api: str) -> None:
    for cut in range(20):
        folder = tmp_path / str(cut)
        folder.mkdir()
        job = Job(folder, api)
        async with job.server:
            await job.run()
            steps = submissions_path(job.output).read_bytes().splitlines(keepends=True)
            replies = job.output.read_bytes().splitlines(keepends=True)
            if cut > len(steps):
                break
            # As if the process had been killed after so many steps, and in the middle of the next batch's results.
            submissions_path(job.output).write_bytes(b"".join(steps[:cut]) + b'{"torn')
            collected = sum(b'"collected"' in step for step in steps[:cut])
            is_collecting = sum(b'"batch"' in step for step in steps[:cut]) == 3
            job.output.write_bytes(b"".join(replies[: 4 * collected + 2 * is_collecting]))
            before = dict(job.server.counts)
            assert (await job.run()).outcome == "complete"
        assert job.texts() == ALL
        # Batches whose first step was cut off are unknown to this run; all others are found again.
        begun = sum(b'"started"' in step for step in steps[:cut])
        repeated = sum(job.server.counts.values()) - sum(before.values())
        assert repeated == 10 - min(10, 4 * begun)


@each_api
@pytest.mark.parametrize("fault", [status(500), status(429, retry_after=0.01), None])
async def test_a_creation_without_an_answer_is_looked_for_before_it_is_repeated(
    tmp_path: Path, api: str, fault: Any
) -> None:
    job = Job(tmp_path, api)
    job.server.faults[CREATE[api]] = fault
    async with job.server:
        assert (await job.run()).outcome == "complete"
    assert job.texts() == ALL
    assert set(job.server.counts.values()) == {1}


@each_api
async def test_a_run_that_is_stopped_before_its_batch_is_created_ends_cleanly(tmp_path: Path, api: str) -> None:
    job = Job(tmp_path, api)
    job.server.faults[CREATE[api]] = status(429, retry_after=60)
    async with job.server:
        batch = job.start()
        task = asyncio.create_task(batch.run())
        await job.server.until(lambda: not job.server.faults)
        batch.stop("interrupted")
        assert (await task).reason == "interrupted"
        assert not job.server.batches
        assert (await job.run()).outcome == "complete"
    assert job.texts() == ALL


async def test_a_batch_that_the_provider_refuses_is_an_error(tmp_path: Path) -> None:
    job = Job(tmp_path, "openai")
    failed = {"id": "b", "object": "batch", "status": "failed", "input_file_id": "file-0"}
    failed["errors"] = {"data": [{"code": "model_not_found", "message": "no such model", "line": 1}]}  # type: ignore[assignment]
    job.server.faults["GET /batches/"] = status(200, body=failed)
    async with job.server:
        with pytest.raises(AcytooError, match="the provider has refused the batch b: no such model"):
            await job.run()
        assert (await job.run()).outcome == "complete"


async def test_a_batch_that_is_too_much_at_once_is_submitted_again_later(tmp_path: Path) -> None:
    job = Job(tmp_path, "openai")
    failed = {"id": "b", "object": "batch", "status": "failed", "input_file_id": "file-0"}
    failed["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "too much is waiting"}]}  # type: ignore[assignment]
    job.server.faults["GET /batches/"] = status(200, body=failed)
    async with job.server:
        assert (await job.run()).outcome == "complete"
    assert job.texts() == ALL


# Each row is expected to take 10 tokens (4 for its message, 6 for the reply), and takes 5.
MAX = {"max_tokens": 6}


@each_api
async def test_no_more_is_submitted_than_is_expected_to_fit_under_the_cap_on_tokens(tmp_path: Path, api: str) -> None:
    job = Job(tmp_path, api)
    async with job.server:
        summary = await job.run(caps=Caps(tokens=50), options=MAX)
        assert (summary.outcome, summary.replies) == ("unfinished", 9)
        # 5 rows fit, then (50 - 25) / 10, then (50 - 35) / 10, then (50 - 40) / 10.
        assert sorted(map(len_of, job.server.batches.values())) == [1, 1, 1, 2, 4]
        assert summary.reason == "the cap of 50 tokens would be passed: 55 are expected with the next row"
        assert (await job.run(options=MAX)).outcome == "complete"
    assert job.texts() == ALL
    assert set(job.server.counts.values()) == {1}


async def test_what_an_earlier_run_has_submitted_counts_for_the_cap(tmp_path: Path) -> None:
    job = Job(tmp_path, "openai")
    job.server.is_slow = True
    async with job.server:
        first = job.start(caps=Caps(tokens=50), options=MAX)
        task = asyncio.create_task(first.run())
        await job.server.until(lambda: len(job.server.batches) == 2)
        first.stop("interrupted")
        await task
        second = job.start(caps=Caps(tokens=50), options=MAX)
        task = asyncio.create_task(second.run())
        looked = len(job.server.requests)
        await job.server.until(lambda: len(job.server.requests) > looked + 4)
        assert len(job.server.batches) == 2
        job.server.is_slow = False
        assert (await task).outcome == "unfinished"


@each_api
async def test_the_cap_on_the_cost_counts_what_is_expected(tmp_path: Path, api: str) -> None:
    def price(reply: Reply) -> int:
        assert reply.usage is not None
        return (reply.usage.input_tokens + reply.usage.output_tokens) * 1_000_000

    job = Job(tmp_path, api)
    async with job.server:
        summary = await job.run(caps=Caps(dollars=0.05), price=price, options=MAX)
    assert (summary.replies, summary.spending.dollars) == (9, 0.045)
    assert summary.reason == "the cap of $0.05 would be passed: $0.055 are expected with the next row"


async def test_a_cap_on_the_cost_needs_a_price(tmp_path: Path) -> None:
    job = Job(tmp_path, "openai")
    async with job.server:
        with pytest.raises(UsageError, match="the price of m is unknown, so --max-cost cannot be kept"):
            await job.run(caps=Caps(dollars=1))
    assert not job.server.batches


@each_api
async def test_too_many_failures_cancel_what_is_submitted_and_what_was_answered_is_kept(
    tmp_path: Path, api: str
) -> None:
    def outcome(prompt: str, count: int) -> str:
        return "bad" if prompt < "p4" else "slow" if prompt < "p9" and count == 1 else "ok"

    job = Job(tmp_path, api, outcome)
    async with job.server:
        summary = await job.run(caps=Caps(failures=4))
        assert (summary.outcome, summary.reason, summary.errors) == ("unfinished", "4 rows have failed", 4)
        assert job.texts() == {"row 9": "re: p9"}
        assert (await job.run()).outcome == "complete with errors"
    assert job.server.counts["p9"] == 1


@each_api
async def test_the_deadline_cancels_what_is_submitted_and_what_was_answered_is_kept(tmp_path: Path, api: str) -> None:
    job = Job(tmp_path, api, lambda prompt, count: "slow" if prompt > "p5" and count == 1 else "ok")
    job.server.is_slow = True
    async with job.server:
        batch = job.start()
        task = asyncio.create_task(batch.run())
        await job.server.until(lambda: len(job.server.batches) == 3)
        batch.stop("the deadline has passed", cancel=True)
        summary = await task
        assert (summary.outcome, summary.reason) == ("unfinished", "the deadline has passed")
        assert job.texts() == {f"row {n}": f"re: p{n}" for n in range(6)}
        job.server.is_slow = False
        assert (await job.run()).outcome == "complete"
    assert job.texts() == ALL
    assert job.server.counts == {f"p{n}": 1 if n < 6 else 2 for n in range(10)}


async def test_a_cap_that_the_last_row_reaches_does_not_make_the_batch_unfinished(tmp_path: Path) -> None:
    job = Job(tmp_path, "openai")
    async with job.server:
        assert (await job.run(caps=Caps(tokens=50), max_submission=1, options={"max_tokens": 1})).outcome == "complete"


@pytest.mark.parametrize(
    ("address", "share"),
    [
        ("openai/gpt-5-mini", 0.5),
        ("openai-responses/gpt-5-mini", 0.5),
        ("anthropic/claude-haiku-4-5", 0.5),
        ("compatible/m", 1),
    ],
)
def test_a_request_in_a_batch_costs_half_where_that_is_published(address: str, share: float) -> None:
    url = {"url": "https://llm.example/v1"} if address.startswith("compatible") else {}
    price = price_in_batches(provider(address, key="k", **url), lambda reply: 1000)
    assert price is not None
    assert price(Reply()) == 1000 * share


@each_api
async def test_the_key_goes_to_the_endpoint_alone_and_into_no_file(tmp_path: Path, api: str) -> None:
    job = Job(tmp_path, api)
    async with job.server:
        await job.run()
    assert all(b"sk-key" not in path.read_bytes() for path in folder_of(job.output))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["in.jsonl", "-m", "ollama/m"], "ollama has no batches of its own: leave out --via provider"),
        (["-", "-m", "openai/m", "--key", "k"], "the input of --via provider is read more than once"),
        (["in.jsonl", "-m", "openai/m", "--key", "k", "--max-cost", "5"], "the price of openai/m is unknown"),
    ],
)
def test_what_the_providers_batches_cannot_do_is_a_usage_error(
    tmp_path: Path, options: list[str], message: str
) -> None:
    write_rows(tmp_path / "in.jsonl", [{"prompt": "a"}])
    done = run([ACYTOO, "batch", *options, "-o", "out.jsonl", "--via", "provider"], cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr.decode()


def test_the_command_uses_the_providers_batches(tmp_path: Path) -> None:
    job = Job(tmp_path, "openai")
    with job.server as server:
        command = [ACYTOO, "batch", str(job.rows), "-o", str(job.output), "-m", "openai/m", "--url", server.url]
        done = run([*command, "--via", "provider", "--poll", "0.01"], env={"OPENAI_API_KEY": "sk-key"})
    assert (done.returncode, done.stderr.startswith(b"10 replies, 0 errors\n")) == (0, True)
    assert job.texts() == ALL
