"""The gateways under measurement (ours, bare ones and peers), each in a process of its own."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import agent, native, team
from bench.peers import PEERS, home, missing, nginx, python_of
from bench.processes import Refused, Watched, environment, pinned, running, started

_ACYTOO_ON_ASYNCIO = "import sys; sys.modules['uvloop'] = None; from acytoo.cli import main; main()"
"""`acytoo serve` runs on uvloop if that can be imported; here it cannot."""


@contextmanager
def native_upstream() -> Iterator[Watched]:
    """Run the service behind the gateways, on the load's core."""
    with started(pinned(1, [native.program("upstream")]), environment()) as watched:
        yield watched


def end_of_stream(gateway: str) -> str:
    """Return a text in the last event of a complete stream."""
    return "message_stop" if "cross" in gateway else "[DONE]"


def request_for(gateway: str, service: Watched, prompt: str, *, stream: bool, is_agent: bool = False) -> bytes:
    """Return a request: Anthropic's for a gateway that translates, else OpenAI's. The prompt steers the upstream.

    `is_agent`: whether it is the long one of a coding agent.
    """
    model = "tensorzero::model_name::gpt" if gateway == "tensorzero" else "gpt-4o-mini"
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    if is_agent:
        body = agent.anthropic_body(model, prompt) if "cross" in gateway else agent.openai_body(model, prompt)
    body["stream"] = stream
    headers = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "authorization": "Bearer bench",
        "accept": "text/event-stream" if stream else "application/json",
    }
    path = "/openai/v1/chat/completions" if gateway == "tensorzero" else "/v1/chat/completions"
    if "cross" in gateway:
        path = "/v1/messages"
        body["max_tokens"] = 1000
        headers |= {"x-api-key": "bench", "anthropic-version": "2023-06-01"}
    elif gateway == "g4f":
        body["provider"] = "Bench"
    elif gateway == "portkey":
        headers |= {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{service.url}/v1"}
    content = json.dumps(body, separators=(",", ":")).encode()  # as SDKs do
    headers["content-length"] = str(len(content))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


@contextmanager
def running_gateway(name: str, service: Watched) -> Iterator[Watched]:
    """Run a gateway in front of the service, alone on its core."""
    kind, _, loop = name.partition("+")
    if kind == "acytoo-team":
        with tempfile.TemporaryDirectory() as folder, _team_gateway(service, Path(folder)) as watched:
            yield watched
    elif kind.startswith("acytoo"):
        on_uvloop = [str(Path(sys.executable).with_name("acytoo"))]
        program = on_uvloop if loop == "uvloop" else [sys.executable, "-c", _ACYTOO_ON_ASYNCIO]
        command = [*program, "serve", "--port", "0", "--password", "bench", "--to", "openai"]
        env = environment(OPENAI_BASE_URL=f"{service.url}/v1", OPENAI_API_KEY="bench", PYTHONUNBUFFERED="1")
        with started(pinned(0, command), env, announced_on="stderr") as watched:
            watched.url = watched.url.split()[2]
            yield watched
    elif kind.startswith("bare"):
        command = [sys.executable, "-m", "bench.relays", service.url, *(["--uvloop"] if loop == "uvloop" else [])]
        with started(pinned(0, command), environment()) as watched:
            yield watched
    elif name in PEERS and (reason := missing().get(name)):
        raise Refused(reason)
    else:
        with tempfile.TemporaryDirectory() as folder:
            port = _free_port()
            command, path = _peer_command(name, service, port, Path(folder))
            if name == "tensorzero":
                with started(pinned(0, command), environment(BENCH_KEY="bench")) as watched:
                    yield watched
            else:
                env = _peer_environment(service, port, Path(folder))
                with _listening(pinned(0, command), f"http://127.0.0.1:{port}", path, env) as watched:
                    yield watched


@contextmanager
def _team_gateway(service: Watched, folder: Path) -> Iterator[Watched]:
    """Run `acytoo serve --config` with keys, limits, a ledger and metrics."""
    config = folder / "acytoo.toml"
    config.write_text(team.config(f"{service.url}/v1", "env:BENCH_KEY", "sqlite:ledger.db"))
    command = [str(Path(sys.executable).with_name("acytoo")), "serve", "--config", str(config)]
    env = environment(BENCH_KEY="bench", PYTHONUNBUFFERED="1")
    with started(pinned(0, command), env, announced_on="stderr") as watched:
        watched.url = watched.url.split()[2]
        yield watched


def _peer_command(name: str, service: Watched, port: int, folder: Path) -> tuple[list[str], str]:
    """Write a peer's configuration; return its command line and a path that answers once it has started."""
    config = folder / "config"
    if name == "litellm":
        config = config.with_suffix(".yaml")
        config.write_text(
            "model_list:\n  - model_name: '*'\n    litellm_params:\n      model: 'openai/*'\n"
            f"      api_base: {service.url}/v1\n      api_key: bench\n"
        )
        program = str(python_of("litellm").with_name("litellm"))
        return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)], "/health/liveliness"
    if name == "g4f":
        return [str(python_of("g4f")), "-m", "bench.g4f_gateway", service.url, "--port", str(port)], "/v1"
    if name == "portkey":
        script = home() / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        return ["node", str(script), "--headless", f"--port={port}"], "/"
    if name == "tensorzero":
        config = config.with_suffix(".toml")
        config.write_text(
            '[gateway]\nobservability.enabled = false\n[models.gpt]\nrouting = ["service"]\n'
            '[models.gpt.providers.service]\ntype = "openai"\nmodel_name = "gpt-4o-mini"\n'
            f'api_base = "{service.url}/v1/"\napi_key_location = "env::BENCH_KEY"\n'
        )
        return [str(python_of("tensorzero")), "-m", "bench.tensorzero_gateway", str(config)], ""
    if name == "ferrogw":
        (folder / "ferrogw.yaml").write_text(_FERROGW_CONFIG)
        return [str(python_of("ferrogw").with_name("ferrogw")), "serve"], "/health"
    if name == "nginx":
        if "nginx" in missing():
            raise Refused("the system's package of nginx is not installed")
        config.write_text(_nginx_config(port, service))
        return [nginx(), "-p", str(folder), "-c", str(config)], "/cpu"
    raise Refused(f"unknown gateway {name!r}")


_FERROGW_CONFIG = """strategy: {mode: single}
targets:
  - virtual_key: ollama
aliases: {gpt-4o-mini: llama3}
"""


def _peer_environment(service: Watched, port: int, folder: Path) -> dict[str, str]:
    """Return the environment of the peers' gateways; the last variables are ferrogw's."""
    return environment(
        NO_PROXY="*",
        LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true",
        OLLAMA_HOST=service.url,
        OLLAMA_MODELS="gpt-4o-mini",
        MASTER_KEY="bench",
        ALLOW_UNAUTHENTICATED_PROXY="true",
        PORT=str(port),
        RATE_LIMIT_RPS="10000000",
        RATE_LIMIT_BURST="10000000",
        GATEWAY_CONFIG=str(folder / "ferrogw.yaml"),
    )


def _nginx_config(port: int, service: Watched) -> str:
    """Return a configuration that relays streams: one worker, no buffering, kept connections to the service."""
    return (
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr; events { worker_connections 4096; }\n"
        "http { access_log off; client_body_buffer_size 1m; client_body_temp_path body; proxy_temp_path proxy;\n"
        "fastcgi_temp_path f;\n"
        f"uwsgi_temp_path u; scgi_temp_path s; upstream service {{ server {service.url.partition('://')[2]}; "
        "keepalive 1024; keepalive_requests 1000000; }\n"
        f"server {{ listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000; location / {{\n"
        'proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }'
    )


@contextmanager
def _listening(command: list[str], url: str, path: str, env: dict[str, str]) -> Iterator[Watched]:
    """Run a gateway that prints no URL, and wait up to 90 seconds until it answers."""
    with (
        tempfile.TemporaryFile("w+") as output,
        running(command, stdout=output, stderr=output, env=env) as process,
    ):
        deadline = time.monotonic() + 90
        while not _answers(url + path):
            if process.poll() is not None or time.monotonic() > deadline:
                output.seek(0)
                raise Refused(f"{command[3]} did not start: {output.read()[-300:]}")
            time.sleep(0.05)
        yield Watched(process, url)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    """Return whether there is a response, of whatever status."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
