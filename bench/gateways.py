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

from bench.callers import MESSAGES
from bench.peers import home, nginx, python_of
from bench.processes import Refused, Watched, environment, running, started


def headers_for(gateway: str, service: Watched) -> dict[str, str]:
    """Return the headers that a gateway needs in each request."""
    if gateway == "portkey":
        return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{service.url}/v1"}
    return {}


def request_for(gateway: str, model: str) -> tuple[str, str]:
    """Return the path and the body of a request: Anthropic's for a gateway that translates, else OpenAI's."""
    body = {"model": model, "stream": True, "messages": MESSAGES}
    if "cross" in gateway:
        return "/v1/messages", json.dumps({**body, "max_tokens": 1000})
    more = {"provider": "Bench"} if gateway == "g4f" else {}
    return "/v1/chat/completions", json.dumps({**body, "stream_options": {"include_usage": True}, **more})


@contextmanager
def running_gateway(name: str, service: Watched) -> Iterator[Watched]:
    """Run a gateway in front of the service."""
    if name.startswith("acytoo"):
        program = str(Path(sys.executable).with_name("acytoo"))
        command = [program, "serve", "--port", "0", "--password", "bench", "--to", "openai"]
        env = environment(OPENAI_BASE_URL=f"{service.url}/v1", OPENAI_API_KEY="bench", PYTHONUNBUFFERED="1")
        with started(command, env, announced_on="stderr") as watched:
            watched.url = watched.url.split()[2]
            yield watched
    elif name.startswith("bare"):
        tuned = ["--tuned"] if name.endswith("tuned") else []
        with started([sys.executable, "-m", "bench.relays", service.url, *tuned], environment()) as watched:
            yield watched
    else:
        with tempfile.TemporaryDirectory() as folder:
            port = _free_port()
            command, path = _peer_command(name, service, port, Path(folder))
            with _listening(command, f"http://127.0.0.1:{port}", path) as watched:
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
    if name == "nginx":
        config.write_text(_nginx_config(port, service))
        return [nginx(), "-p", str(folder), "-c", str(config)], "/cpu"
    raise Refused(f"unknown gateway {name!r}")


def _nginx_config(port: int, service: Watched) -> str:
    """Return a configuration that relays streams: one worker, no buffering, kept connections to the service."""
    return (
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr; events { worker_connections 4096; }\n"
        "http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f;\n"
        f"uwsgi_temp_path u; scgi_temp_path s; upstream service {{ server {service.url.partition('://')[2]}; "
        "keepalive 1024; keepalive_requests 1000000; }\n"
        f"server {{ listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000; location / {{\n"
        'proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }'
    )


@contextmanager
def _listening(command: list[str], url: str, path: str) -> Iterator[Watched]:
    """Run a gateway that prints no URL, and wait up to 90 seconds until it answers."""
    env = environment(NO_PROXY="*", LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true")
    with (
        tempfile.TemporaryFile("w+") as output,
        running(command, stdout=output, stderr=output, env=env) as process,
    ):
        deadline = time.monotonic() + 90
        while not _answers(url + path):
            if process.poll() is not None or time.monotonic() > deadline:
                output.seek(0)
                raise Refused(f"{command[0]} did not start: {output.read()[-300:]}")
            time.sleep(0.5)
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
