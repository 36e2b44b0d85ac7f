"""Batches on a real Ray: several workers, one of them killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from acytoo import provider
from acytoo.testing import ScriptedResponse, reply, status
from tests.batch.upstream import Upstream, read, write_rows
from tests.processes import run, script

ray: Any = pytest.importorskip("ray", reason="needs Ray: pip install 'acytoo[ray]'")

COUNT = 600


def workers() -> list[int]:
    """Return the process ids of the actors that ask for replies, of this process and no other test's."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if any("ray::MapWorker" in part for part in process.cmdline()):
                found.append(process.pid)
    return found


def test_two_workers_of_which_one_is_killed_have_every_row_once(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ({"id": f"row-{n}", "prompt": f"p{n}"} for n in range(COUNT)))
    with rows.open("a") as file:
        file.write('not JSON\n{"id": "bad", "prompt": "bad"}\n')
    out = tmp_path / "out.jsonl"
    killed: list[int] = []
    once = threading.Lock()

    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        if prompt == "bad":
            return status(400, "no such thing")
        with once:
            if not killed and upstream.counts.total() > COUNT // 3:
                killed.append(workers()[0])
                os.kill(killed[0], signal.SIGKILL)
        return reply("re: ", prompt).wait(0.02)

    with Upstream(answer) as upstream:
        command = upstream.command(rows, out, "--engine", "ray", "--workers", "2", "-j", "20", "--rpm", "600000")
        done = run(command, env={"RAY_DISABLE_IMPORT_WARNING": "1"})
    assert done.returncode == 3, done.stderr
    assert len(killed) == 1
    texts = {line["id"]: line["text"] for line in read(out)}
    assert len(read(out)) == COUNT
    assert texts == {f"row-{n}": f"re: p{n}" for n in range(COUNT)}
    errors = {error["row"]: error["error"] for error in read(tmp_path / "out.errors.jsonl")}
    assert errors == {COUNT + 1: "UsageError", COUNT + 2: "RequestError"}
    assert upstream.counts.total() < 2 * COUNT


def test_replies_can_be_used_on_any_dataset(tmp_path: Path) -> None:
    code = """
    import json, sys
    import ray
    from acytoo import provider
    from acytoo.batch.ray import Replies

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    model = provider("compatible/m", url=sys.argv[1])
    rows = ray.data.from_items([{"text": f"p{n}", "label": n} for n in range(50)])
    settings = {"prompt": "{text}!", "jobs": 5}
    rows = rows.map_batches(Replies, fn_constructor_args=(model,), fn_constructor_kwargs=settings,
                            batch_format="pyarrow", batch_size=10, concurrency=2, num_cpus=0.5)
    print(json.dumps(rows.take_all()))
    """
    with Upstream(lambda prompt, count: status(400, "bad") if prompt == "p7!" else None) as upstream:
        done = run([*script(code, "-I"), upstream.url])
    assert done.returncode == 0, done.stderr
    found = {row["label"]: row for row in json.loads(done.stdout.splitlines()[-1])}
    assert found.keys() == set(range(50))
    assert found[3] == {
        "text": "p3", "label": 3, "reply": "re: p3!", "error": None, "finish_reason": "stop", "input_tokens": 2,
        "output_tokens": 3,
    }  # fmt: skip
    assert found[7]["error"] == "400: bad"


def test_the_workers_cannot_read_standard_input(tmp_path: Path) -> None:
    with Upstream() as upstream:
        done = run(upstream.command("-", tmp_path / "out.jsonl", "--engine", "ray"))
    assert (done.returncode, b"the workers cannot read standard input" in done.stderr) == (2, True)


def test_a_route_can_be_sent_to_the_workers() -> None:
    import pickle

    from acytoo import Route
    from acytoo.batch.ray import portable

    route = Route(provider("ollama/a"), provider("ollama/b"))
    copy = pickle.loads(pickle.dumps(portable(route)))()
    assert repr(copy) == repr(route)


def test_the_limits_are_those_of_all_workers_together() -> None:
    from acytoo.batch.ray import SharedLimits, encoded
    from acytoo.batch.rows import Row

    limits = SharedLimits(10, None)  # one in six seconds
    waits = [limits.reserve(encoded(Row(1, 1))) for _ in range(4)]
    assert [round(seconds / 6) for _, seconds in waits] == [0, 1, 2, 3]
    limits.settle(waits[0][0], None, 30.0)
    assert limits.reserve(encoded(Row(1, 1)))[1] > 25
