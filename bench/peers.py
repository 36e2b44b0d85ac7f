"""The peers, pinned, each in an environment of its own that is made when it is first wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PEERS = {
    "httpx": ("httpx==0.28.1",),
    "openai": ("openai==3.54.0",),
    "litellm": ("litellm[proxy]==1.106.0",),
    "any-llm-sdk": ("any-llm-sdk[openai]==1.40.2",),
    "g4f": ("g4f[api]==8.8.6",),
    "langchain-openai": ("langchain-openai==1.7.3",),
}
"""What is installed for each: releases of the weeks before they were pinned."""


def home() -> Path:
    """Where the environments are: `ACYTOO_BENCH_PEERS`, else in the user's cache."""
    given = os.environ.get("ACYTOO_BENCH_PEERS")
    return Path(given) if given else Path.home() / ".cache" / "acytoo-bench"


def python_of(name: str) -> Path:
    """The peer's interpreter."""
    return home() / name / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install(name: str) -> str:
    """Make the peer's environment where there is none of its pins; "" or why it could not be installed."""
    folder, pins = home() / name, home() / name / "pins.json"
    if pins.exists() and json.loads(pins.read_text()) == list(PEERS[name]):
        return ""
    sys.stderr.write(f"installing {name} …\n")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]
    pins.write_text(json.dumps(list(PEERS[name])))
    return ""


def installed() -> dict[str, str]:
    """Each peer with "" where it is ready, else why it is not."""
    return {name: "" if (home() / name / "pins.json").exists() else "not installed" for name in PEERS}
