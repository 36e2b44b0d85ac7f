"""The peers, pinned, each in an environment of its own that is made when it is first wanted."""

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
    "portkey": ("@portkey-ai/gateway@1.15.2", "@hono/node-server@1.13.7"),
}
"""What is installed for each: releases of the weeks before they were pinned. A name with an `@` in front is npm's.

Portkey's gateway answers 500 on the newest server library that its range admits: an earlier one is put under it.
"""

UNAVAILABLE = {"tensorzero": "no package registry has its gateway, only its clients: it comes as a container image"}
"""Peers that cannot be installed as packages."""


def home() -> Path:
    """Where the environments are: `ACYTOO_BENCH_PEERS`, else in the user's cache."""
    given = os.environ.get("ACYTOO_BENCH_PEERS")
    return Path(given) if given else Path.home() / ".cache" / "acytoo-bench"


def python_of(name: str) -> Path:
    """The peer's interpreter."""
    return home() / name / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install(name: str) -> str:
    """Make the peer's environment where there is none of its pins; "" or why it could not be installed."""
    folder = home() / name
    if not _why_missing(name):
        return ""
    sys.stderr.write(f"installing {name} …\n")
    if PEERS[name][0].startswith("@"):
        (program, pinned), *below = [pin.rsplit("@", 1) for pin in PEERS[name]]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        wanted = {"dependencies": {program: pinned}, "overrides": dict(below)}
        (folder / "package.json").write_text(json.dumps(wanted))
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
    """Every peer that is not ready, with why."""
    found = {name: why for name in PEERS if (why := _why_missing(name))}
    if shutil.which("nginx", path=_PATH) is None:
        found["nginx"] = "the system's package is not installed"
    return {**found, **UNAVAILABLE}


def _why_missing(name: str) -> str:
    pins = home() / name / "pins.json"
    if not pins.exists():
        return "not installed: `python -m bench peers` does it, and tells why where it cannot"
    kept = json.loads(pins.read_text())
    return "" if kept == list(PEERS[name]) else f"another version is installed: {' '.join(kept)}"


def nginx() -> str:
    """The program, which is the system's own."""
    return shutil.which("nginx", path=_PATH) or "nginx"


_PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
