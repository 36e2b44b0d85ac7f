"""How each coding agent is configured to use a server: by variables, arguments or a config file of its own.

Each entry was tried with the version that docs/agents.md names. Nothing of the user's own configuration is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias


class Server(NamedTuple):
    """The server that an agent is to use, and the model that it asks for."""

    url: str
    key: str
    model: str


class Start(NamedTuple):
    """The arguments before the user's own, and the variables, with which an agent is started."""

    arguments: list[str]
    variables: dict[str, str]


Configure: TypeAlias = Callable[[Server, Path], Start]
"""Returns how to start an agent; the path is a folder for its files, which is removed at its end."""


class Agent(NamedTuple):
    """A coding agent: its program, how it is installed, and how it is configured."""

    program: str
    install: str
    configure: Configure


def _codex(server: Server, folder: Path) -> Start:
    provider = {
        "name": "Acytoo",
        "base_url": f"{server.url}/v1",
        "env_key": "ACYTOO_LAUNCH_KEY",
        "wire_api": "responses",
    }
    arguments = ["-c", 'model_provider="acytoo"', "-c", f"model={json.dumps(server.model)}"]
    for name, value in provider.items():
        arguments += ["-c", f"model_providers.acytoo.{name}={json.dumps(value)}"]
    return Start(arguments, {"ACYTOO_LAUNCH_KEY": server.key})


def _opencode(server: Server, folder: Path) -> Start:
    return Start([], {"OPENCODE_CONFIG": _opencode_config(server, folder)})


def _kilo(server: Server, folder: Path) -> Start:
    return Start([], {"KILO_CONFIG": _opencode_config(server, folder)})


def _opencode_config(server: Server, folder: Path) -> str:
    """Write a config file of opencode, which Kilo Code is based on. Return its path."""
    config = {
        "model": f"acytoo/{server.model}",
        "small_model": f"acytoo/{server.model}",
        "provider": {
            "acytoo": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Acytoo",
                "options": {"baseURL": f"{server.url}/v1", "apiKey": server.key},
                "models": {server.model: {"name": server.model}},
            }
        },
    }
    return _write(folder / "opencode.json", config)


def _copilot(server: Server, folder: Path) -> Start:
    variables = {
        "COPILOT_PROVIDER_BASE_URL": f"{server.url}/v1",
        "COPILOT_PROVIDER_API_KEY": server.key,
        "COPILOT_MODEL": server.model,
    }
    return Start([], variables)


def _gemini(server: Server, folder: Path) -> Start:
    # With a base URL in the environment it wants a kind of login that it then refuses, unless its settings select one.
    # Those of the system win over the user's. Source: `getAuthTypeFromEnv` and `validateAuthMethod` of version 0.61.0.
    settings = _write(folder / "settings.json", {"security": {"auth": {"selectedType": "gemini-api-key"}}})
    variables = {
        "GOOGLE_GEMINI_BASE_URL": server.url,
        "GEMINI_API_KEY": server.key,
        "GEMINI_CLI_SYSTEM_SETTINGS_PATH": settings,
    }
    return Start(["--model", server.model], variables)


def _qwen(server: Server, folder: Path) -> Start:
    variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": server.key, "OPENAI_MODEL": server.model}
    return Start(["--auth-type", "openai", "--model", server.model], variables)


def _aider(server: Server, folder: Path) -> Start:
    variables = {"OPENAI_API_BASE": f"{server.url}/v1", "OPENAI_API_KEY": server.key}
    return Start(["--model", f"openai/{server.model}"], variables)


def _write(file: Path, document: object) -> str:
    """Write a config file that only this user can read, because it may have the key. Return its path."""
    file.touch(0o600)
    file.write_text(json.dumps(document))
    return str(file)


AGENTS = {
    "aider": Agent("aider", "pip install aider-chat", _aider),
    "codex": Agent("codex", "npm install -g @openai/codex", _codex),
    "copilot": Agent("copilot", "npm install -g @github/copilot", _copilot),
    "gemini": Agent("gemini", "npm install -g @google/gemini-cli", _gemini),
    "kilo": Agent("kilo", "npm install -g @kilocode/cli", _kilo),
    "opencode": Agent("opencode", "npm install -g opencode-ai", _opencode),
    "qwen": Agent("qwen", "npm install -g @qwen-code/qwen-code", _qwen),
}
"""The agents that can be started, by name."""
