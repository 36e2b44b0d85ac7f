"""The peers: pinned, each installed in an environment of its own when it is first needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = {
    "httpx": ("httpx==0.28.1",),
    "openai": ("openai==3.54.0",),
    "litellm": ("litellm[proxy]==1.106.0",),
    "any-llm-sdk": ("any-llm-sdk[openai]==1.40.2",),
    "g4f": ("g4f[api]==8.8.6",),
    "langchain-openai": ("langchain-openai==1.7.4",),
    "pydantic-ai": ("pydantic-ai-slim[openai]==2.68.0",),
    "async-batch-llm": ("async-batch-llm[openai]==0.28.0",),
    "ray": (
        "ray[data]==2.60.0",
        "pydantic==2.14.4",
        "aiohttp==3.14.5",
        "click==8.5.1",
        "httptools==0.9.0",
        "msgspec==0.22.0",
    ),
    "tensorzero": ("tensorzero==2026.6.0",),
    "ferrogw": ("ferrogw==1.5.10",),
    "portkey": ("@portkey-ai/gateway@1.15.2", "@hono/node-server@1.13.7"),
}
"""What is installed for each. A name that begins with `@` is an npm package.

Portkey's gateway responds 500 with the newest server library that its range allows, so an earlier one is pinned.
async-batch-llm is called llm-minder from its version 1 on. `ray.data.llm` needs pydantic, and Ray's environment
has what Acytoo needs to run on it.
"""

CLIENTS = ["httpx", "g4f", "openai", "any-llm-sdk", "langchain-openai", "pydantic-ai", "litellm"]
FAST_GATEWAYS = ["tensorzero", "ferrogw", "nginx"]
"""Gateways that are measured beside ours in every round."""
PEER_GATEWAYS = ["portkey", "g4f", "litellm"]


def home() -> Path:
    """Return the folder of the environments: `ACYTOO_BENCH_PEERS`, else one in the user's cache."""
    folder = os.environ.get("ACYTOO_BENCH_PEERS")
    return Path(folder) if folder else Path.home() / ".cache" / "acytoo-bench"


def python_of(name: str) -> Path:
    """Return the peer's interpreter."""
    return home() / name / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install(name: str) -> str:
    """Make the peer's environment unless it exists with these pins; return "" or the reason of the failure."""
    folder = home() / name
    if not _why_missing(name):
        return ""
    sys.stderr.write(f"installing {name} …\n")
    if PEERS[name][0].startswith("@"):
        (program, pinned), *overrides = [pin.rsplit("@", 1) for pin in PEERS[name]]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        manifest = {"dependencies": {program: pinned}, "overrides": dict(overrides)}
        (folder / "package.json").write_text(json.dumps(manifest))
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        command = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[name]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"])[-1]
    (folder / "pins.json").write_text(json.dumps(list(PEERS[name])))
    return ""


def missing() -> dict[str, str]:
    """Return every peer that is not ready, with the reason."""
    reasons = {name: reason for name in PEERS if (reason := _why_missing(name))}
    if shutil.which("nginx", path=_PATH) is None:
        reasons["nginx"] = "the system's package is not installed"
    return reasons


def _why_missing(name: str) -> str:
    pins = home() / name / "pins.json"
    if not pins.exists():
        return "not installed; run `python -m bench peers`"
    installed = json.loads(pins.read_text())
    return "" if installed == list(PEERS[name]) else f"another version is installed: {' '.join(installed)}"


def nginx() -> str:
    """Return the path of the system's nginx."""
    return shutil.which("nginx", path=_PATH) or "nginx"


_PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
