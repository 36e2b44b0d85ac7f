"""Rows of a batch whose reply has no text but an image or the like."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from acytoo import Finish, OpaquePart, ToolCall, Usage, provider
from acytoo.batch import batch
from acytoo.batch.run import BatchConfig, BatchRun
from acytoo.testing import ScriptedResponse, reply
from tests.batch.batch_apis import OpenAIBatchServer
from tests.batch.upstream import Upstream, read, write_rows
from tests.processes import run

IMAGES = {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]}
MESSAGE = "the reply has no text but other parts (image), and a line of the output has only text"


def answer(prompt: str, count: int) -> ScriptedResponse | None:
    """Answer the prompt "draw" with an image, "draw and call" with a call too."""
    calls = [ToolCall(0, "call_1", "f", "{}")] if "call" in prompt else []
    usage = Usage(input_tokens=2, output_tokens=3)
    return reply(*calls, OpaquePart("openai", IMAGES), Finish("stop"), usage) if "draw" in prompt else None


def test_an_image_without_text_is_an_error_of_its_row(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", [{"prompt": "draw"}, {"prompt": "draw and call"}, {"prompt": "p3"}])
    with Upstream(answer) as upstream:
        done = run(upstream.command(rows, tmp_path / "out.jsonl"))
    assert done.returncode == 3
    assert b"6 + 9 tokens" in done.stderr  # it has been paid for
    assert upstream.counts["draw"] == 1
    written = {line["id"]: line for line in read(tmp_path / "out.jsonl")}
    assert written.keys() == {2, 3}
    assert written[2]["tool_calls"][0]["function"]["name"] == "f"
    [error] = read(tmp_path / "out.errors.jsonl")
    assert (error["id"], error["error"], error["message"]) == (1, "NoTextError", MESSAGE)


@pytest.mark.parametrize(
    ("url", "body", "is_written"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "draw"}]}, True),
        ("/v1/responses", {"input": "draw"}, False),
    ],
)
def test_a_row_in_the_format_of_openai_has_an_image_if_its_api_has_a_field_for_it(
    tmp_path: Path, url: str, body: dict[str, Any], is_written: bool
) -> None:
    row = {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "m", **body}}
    rows = write_rows(tmp_path / "in.jsonl", [row])
    with Upstream(answer) as upstream:
        done = run(upstream.command(rows, tmp_path / "out.jsonl"))
    written, errors = read(tmp_path / "out.jsonl"), read(tmp_path / "out.errors.jsonl")
    assert (done.returncode, len(written), len(errors)) == ((0, 1, 0) if is_written else (3, 0, 1))
    if is_written:
        message = written[0]["response"]["body"]["choices"][0]["message"]
        assert message["images"] == IMAGES["images"]
    else:
        assert "other parts (image)" in errors[0]["error"]["message"]


async def test_an_image_in_a_batch_of_the_provider_is_an_error_of_its_row(tmp_path: Path) -> None:
    class Server(OpenAIBatchServer):
        def reply_to(self, body: Any) -> Any:
            document = super().reply_to(body)
            if self.prompt_of(body) == "draw":
                document["choices"][0]["message"] = {"role": "assistant", "content": "", **IMAGES}
            return document

    rows = write_rows(tmp_path / "in.jsonl", [{"prompt": "draw"}, {"prompt": "p2"}])
    async with Server() as server, asyncio.timeout(120):
        model = provider("openai/m", url=server.url, key="sk-key")
        config = BatchConfig(
            provider=model, input=str(rows), output=tmp_path / "out.jsonl", via_provider=True, poll_every=0.01
        )
        summary = await BatchRun(config).run()
    assert summary.outcome == "complete with errors"
    assert summary.spending.output_tokens == 6
    assert [line["text"] for line in read(tmp_path / "out.jsonl")] == ["re: p2"]
    assert [error["message"] for error in read(tmp_path / "out.errors.jsonl")] == [MESSAGE]


async def test_the_results_of_a_batch_in_python_have_the_image() -> None:
    async with Upstream(answer) as upstream:
        [result] = [each async for each in batch(provider("compatible/m", url=upstream.url), ["draw"])]
    assert result.reply is not None
    assert [part["fields"] for part in result.reply.turn_parts] == [IMAGES]


async def test_an_image_is_an_error_in_the_columns_of_a_dataset() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'acytoo[arrow]'")
    pytest.importorskip("ray", reason="needs ray: pip install 'acytoo[ray]'")
    from acytoo.batch.ray import Replies

    async with Upstream(answer) as upstream:
        replies = Replies(provider("compatible/m", url=upstream.url))
        table = await replies(pyarrow.table({"prompt": ["draw", "p2"]}))
    assert table.column("reply").to_pylist() == [None, "re: p2"]
    assert table.column("error").to_pylist() == [MESSAGE, None]
