"""`acytoo launch` with stand-ins for the agents: programs that ask the server as the real ones are told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from acytoo.cli.agents import AGENTS, Server
from acytoo.dialects import OpenAI
from acytoo.testing import FakeEndpoint, reply

AGENT = f"""#!{sys.executable}
# Stands for a coding agent: it asks the model that it was told to use, and prints the reply.
import json, os, sys, urllib.request

arguments = " ".join(sys.argv[1:])
if os.environ.get("EXIT"):
    sys.exit(int(os.environ["EXIT"]))
if file := os.environ.get("OPENCODE_CONFIG") or os.environ.get("KILO_CONFIG"):
    config = json.load(open(file))
    options = config["provider"]["acytoo"]["options"]
    url, key, model = options["baseURL"], options["apiKey"], config["model"].partition("/")[2]
elif "COPILOT_MODEL" in os.environ:
    url, key = os.environ["COPILOT_PROVIDER_BASE_URL"], os.environ["COPILOT_PROVIDER_API_KEY"]
    model = os.environ["COPILOT_MODEL"]
else:
    url = os.environ.get("OPENAI_BASE_URL") or os.environ["OPENAI_API_BASE"]
    key, model = os.environ["OPENAI_API_KEY"], os.environ.get("OPENAI_MODEL", "m1")
body = json.dumps({{"model": model, "messages": [{{"role": "user", "content": arguments}}]}}).encode()
headers = {{"authorization": f"Bearer {{key}}", "content-type": "application/json"}}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
with opener.open(urllib.request.Request(url + "/chat/completions", body, headers)) as response:
    print(json.load(response)["choices"][0]["message"]["content"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a stand-in for every agent, the first in PATH, and a home of its own."""
    for agent in AGENTS.values():
        program = tmp_path / agent.program
        program.write_text(AGENT)
        program.chmod(0o755)
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
async def upstream() -> AsyncIterator[FakeEndpoint]:
    """A service that always answers."""
    async with FakeEndpoint(OpenAI(), reply("It is 42.")) as fake:
        yield fake


async def launch(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        **variables,
    }
    command = [sys.executable, "-c", "from acytoo.cli import main; main()", "launch", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("agent", ["aider", "copilot", "kilo", "opencode", "qwen"])
async def test_an_agent_is_answered_by_the_model_behind_its_server(
    agent: str, folder: Path, upstream: FakeEndpoint
) -> None:
    endpoint = ["-m", "compatible/m1", "--url", upstream.url, "--key", "upstream-key"]
    result = await launch(folder, agent, *endpoint, "--", "What", "is", "it?")
    assert (result.returncode, result.stdout) == (0, "It is 42.\n"), result.stderr
    assert upstream.requests[0].json["model"] == "m1"
    assert "What is it?" in upstream.requests[0].json["messages"][0]["content"]
    assert upstream.requests[0].headers["authorization"] == "Bearer upstream-key"
    assert not list((folder / "home").iterdir())


async def test_the_exit_code_is_the_agents(folder: Path, upstream: FakeEndpoint) -> None:
    result = await launch(folder, "qwen", "-m", "compatible/m1", "--url", upstream.url, EXIT="7")
    assert result.returncode == 7


async def test_an_agent_that_is_not_installed_is_named_with_its_installation(tmp_path: Path) -> None:
    result = await launch(tmp_path, "codex", "-m", "compatible/m1", "--url", "http://127.0.0.1:9", PATH="/nowhere")
    assert result.returncode == 2
    assert result.stderr == "acytoo: codex is not installed: npm install -g @openai/codex\n"


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_every_agent_gets_the_url_the_key_and_the_model(agent: str, tmp_path: Path) -> None:
    start = AGENTS[agent].configure(Server("http://127.0.0.1:1", "the-key", "the-model"), tmp_path)
    files = [file.read_text() for file in tmp_path.iterdir()]
    everything = " ".join([*start.arguments, *start.variables.values(), *files])
    for part in ("http://127.0.0.1:1", "the-key", "the-model"):
        assert part in everything
    assert "the-key" not in " ".join(start.arguments), "other users can read the arguments of a process"
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())


def test_sigterm_ends_the_agent_too(folder: Path, upstream: FakeEndpoint) -> None:
    (folder / "qwen").write_text(f"#!{sys.executable}\nimport signal\nprint('ready', flush=True)\nsignal.pause()\n")
    command = [sys.executable, "-c", "from acytoo.cli import main; main()", "launch", "qwen", "-m", "compatible/m1"]
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder / "home")}
    process = subprocess.Popen(
        [*command, "--url", upstream.url, "--key", "k"], env=environment, stdout=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
    watchdog.cancel()
