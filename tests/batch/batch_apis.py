"""Servers that speak the batch APIs of OpenAI and Anthropic. A batch ends when it has been looked at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from acytoo import dialects
from acytoo.testing import FakeEndpoint, ReceivedRequest, ScriptedResponse, hang_up, status

Outcome = Callable[[str, int], str]
"""Returns what becomes of a prompt that is submitted for the nth time: "ok", "bad", "expired" or "slow".

A slow one is answered only if its batch is not cancelled.
"""


class BatchServer(FakeEndpoint):
    """The parts that both have. `faults` are answered first, by "METHOD path prefix", each once."""

    def __init__(self, dialect: dialects.Dialect, outcome: Outcome) -> None:
        super().__init__(dialect, self._respond)
        self.outcome = outcome
        self.counts: Counter[str] = Counter()
        """How often each prompt was submitted."""
        self.batches: dict[str, dict[str, Any]] = {}
        self.faults: dict[str, ScriptedResponse | None] = {}
        """None does what was requested and then hangs up."""
        self.is_slow = False
        """Whether no batch ends by itself."""

    def _respond(self, received: ReceivedRequest) -> ScriptedResponse:
        called = f"{received.method} {received.path}"
        for prefix in list(self.faults):
            if called.startswith(prefix):
                fault = self.faults.pop(prefix)
                if fault is not None:
                    return fault
                self.answer(called, received)
                return hang_up()
        return self.answer(called, received)

    def answer(self, called: str, received: ReceivedRequest) -> ScriptedResponse:
        raise NotImplementedError

    def submit(self, prompt: str) -> str:
        self.counts[prompt] += 1
        return self.outcome(prompt, self.counts[prompt])


def document(body: Any) -> ScriptedResponse:
    return status(200, body=json.dumps(body), content_type="application/json")


def lines(rows: list[Any]) -> ScriptedResponse:
    return status(200, body="".join(json.dumps(row) + "\n" for row in rows), content_type="application/jsonl")


class OpenAIBatchServer(BatchServer):
    """OpenAI's files and batches, as its API reference describes them."""

    endpoint = "/v1/chat/completions"

    def __init__(self, outcome: Outcome = lambda prompt, count: "ok") -> None:
        super().__init__(dialects.OpenAI(), outcome)
        self.files: dict[str, list[Any]] = {}

    def answer(self, called: str, received: ReceivedRequest) -> ScriptedResponse:
        method, path = called.split(" ")
        parts = path.strip("/").split("/")
        if called == "POST /files":
            return self._upload(received)
        if called == "POST /batches":
            return document(self._create(received.json))
        if called == "GET /batches":
            return document({"object": "list", "data": list(self.batches.values()), "has_more": False})
        if method == "POST" and parts[2:] == ["cancel"]:
            batch = self.batches[parts[1]]
            if batch["status"] != "in_progress":
                return status(400, "the batch has ended")
            self._end(batch, is_cancelled=True)
            return document({**batch, "status": "cancelling"})
        if method == "GET" and parts[0] == "batches":
            batch = self.batches[parts[1]]
            if batch["status"] == "in_progress" and not self.is_slow:
                self._end(batch)
            return document(batch)
        assert called == f"GET /files/{parts[1]}/content"
        return lines(self.files[parts[1]])

    def _upload(self, received: ReceivedRequest) -> ScriptedResponse:
        kind, _, boundary = received.headers["content-type"].partition("; boundary=")
        assert kind == "multipart/form-data"
        fields = received.body.split(f"--{boundary}".encode())
        assert b'name="purpose"\r\n\r\nbatch\r\n' in fields[1]
        assert b'name="file"; filename="batch.jsonl"' in fields[2]
        content = fields[2].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        id = f"file-{len(self.files)}"
        self.files[id] = [json.loads(line) for line in content.splitlines()]
        return document({"id": id, "object": "file", "purpose": "batch"})

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["endpoint"] == self.endpoint
        assert body["completion_window"] == "24h"
        requests = self.files[body["input_file_id"]]
        for request in requests:
            assert (request["method"], request["url"]) == ("POST", body["endpoint"])
            assert "stream" not in request["body"]
        assert len({request["custom_id"] for request in requests}) == len(requests)
        id = f"batch_{len(self.batches)}"
        outcomes = {r["custom_id"]: self.submit(self.prompt_of(r["body"])) for r in requests}
        self.batches[id] = {
            "id": id, "object": "batch", "status": "in_progress", "input_file_id": body["input_file_id"],
            "created_at": int(time.time()), "errors": None, "output_file_id": None, "error_file_id": None,
            "request_counts": {"total": len(requests), "completed": 0, "failed": 0}, "metadata": outcomes,
        }  # fmt: skip
        return self.batches[id]

    def prompt_of(self, body: Any) -> str:
        prompt: str = body["messages"][-1]["content"]
        return prompt

    def reply_to(self, body: Any) -> Any:
        message = {"role": "assistant", "content": f"re: {self.prompt_of(body)}"}
        return {
            "id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
        }  # fmt: skip

    def _end(self, batch: dict[str, Any], *, is_cancelled: bool = False) -> None:
        outputs, errors = [], []
        for request in self.files[batch["input_file_id"]]:
            outcome = batch["metadata"][request["custom_id"]]
            line = {"id": "batch_req_1", "custom_id": request["custom_id"], "response": None, "error": None}
            if outcome == "expired" or (outcome == "slow" and is_cancelled):
                code = "batch_cancelled" if is_cancelled else "batch_expired"
                errors.append({**line, "error": {"code": code, "message": "This request could not be executed."}})
            elif outcome == "bad":
                refused = {"error": {"message": "no such thing", "type": "invalid_request_error"}}
                errors.append({**line, "response": {"status_code": 400, "request_id": "r", "body": refused}})
            else:
                body = self.reply_to(request["body"])
                outputs.append({**line, "response": {"status_code": 200, "request_id": "r", "body": body}})
        batch["status"] = "expired" if "expired" in batch["metadata"].values() else "completed"
        if is_cancelled:
            batch["status"] = "cancelled"
        for name, rows in (("output_file_id", outputs), ("error_file_id", errors)):
            if rows:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = rows


class ResponsesBatchServer(OpenAIBatchServer):
    """OpenAI's batches of requests for its Responses API."""

    endpoint = "/v1/responses"

    def prompt_of(self, body: Any) -> str:
        prompt: str = body["input"][-1]["content"]
        return prompt

    def reply_to(self, body: Any) -> Any:
        text = {"type": "output_text", "text": f"re: {self.prompt_of(body)}", "annotations": []}
        message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": body["model"],
            "output": [message], "usage": {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5},
        }  # fmt: skip


class AnthropicBatchServer(BatchServer):
    """Anthropic's message batches, as its API reference describes them."""

    def __init__(self, outcome: Outcome = lambda prompt, count: "ok") -> None:
        super().__init__(dialects.Anthropic(), outcome)
        self.requests_of: dict[str, list[Any]] = {}

    def answer(self, called: str, received: ReceivedRequest) -> ScriptedResponse:
        assert received.headers["anthropic-version"]
        method, path = called.split(" ")
        base, _, rest = path.partition("/v1/messages/batches")
        assert base == ""
        if called == "POST /v1/messages/batches":
            return document(self._create(received.json["requests"]))
        if method == "GET" and not rest:
            return document({"data": list(self.batches.values()), "has_more": False})
        id, _, results = rest.strip("/").partition("/")
        batch = self.batches[id]
        if results == "cancel":
            assert method == "POST"
            if batch["processing_status"] == "in_progress":
                batch["processing_status"] = "ended"
                for request in self.requests_of[id]:
                    request["outcome"] = "canceled" if request["outcome"] == "slow" else request["outcome"]
            return document({**batch, "processing_status": "canceling"})
        if results:
            assert batch["processing_status"] == "ended"
            return lines(self._results(id))
        if not self.is_slow:
            batch["processing_status"] = "ended"
        return document(batch)

    def _create(self, requests: list[Any]) -> dict[str, Any]:
        id = f"msgbatch_{len(self.batches)}"
        for request in requests:
            assert len(request["custom_id"]) <= 64
            assert "stream" not in request["params"]
            request["outcome"] = self.submit(request["params"]["messages"][-1]["content"])
        self.requests_of[id] = requests
        self.batches[id] = {
            "id": id, "type": "message_batch", "processing_status": "in_progress",
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_counts": {"processing": len(requests), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
            "results_url": f"https://elsewhere.example/{id}/results",
        }  # fmt: skip
        return self.batches[id]

    def _results(self, id: str) -> list[Any]:
        rows: list[Any] = []
        for request in self.requests_of[id]:
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}
            text = f"re: {request['params']['messages'][-1]['content']}"
            message = {
                "id": "m", "type": "message", "role": "assistant", "model": request["params"]["model"],
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
                "usage": {"input_tokens": 2, "output_tokens": 3},
            }  # fmt: skip
            result = {
                "ok": {"type": "succeeded", "message": message},
                "bad": {"type": "errored", "error": error},
                "slow": {"type": "succeeded", "message": message},
                "expired": {"type": "expired"},
                "canceled": {"type": "canceled"},
            }[request["outcome"]]
            rows.append({"custom_id": request["custom_id"], "result": result})
        return rows
