"""The gateways that are measured, ours, bare ones and peers, each in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import home, nginx, python_of
from bench.processes import Refused, Watched, environment, started

_MESSAGES = [{"role": "user", "content": "Hello, how are you?"}]


def headers_for(gateway: str, service: Watched) -> dict[str, str]:
    """What a gateway wants to be told in each request."""
    if gateway == "portkey":
        return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{service.url}/v1"}
    return {}


def request_for(gateway: str, model: str) -> tuple[str, str]:
    """The path and body of a request to it: Anthropic's where it renders anew, else OpenAI's."""
    if "cross" in gateway:
        body = {"model": model, "max_tokens": 1000, "stream": True, "messages": _MESSAGES}
        return "/v1/messages", json.dumps(body)
    more = {"provider": "Bench"} if gateway == "g4f" else {}
    usage = {"include_usage": True}
    return "/v1/chat/completions", json.dumps(
        {"model": model, "stream": True, "stream_options": usage, "messages": _MESSAGES, **more}
    )


@contextmanager
def gateway(name: str, service: Watched) -> Iterator[Watched]:
    """A running gateway in front of the service."""
    if name.startswith("acytoo"):
        command = [
            str(Path(sys.executable).with_name("acytoo")),
            "serve",
            "--port",
            "0",
            "--password",
            "bench",
            "--to",
            "openai",
        ]
        env = environment(OPENAI_BASE_URL=f"{service.url}/v1", OPENAI_API_KEY="bench", PYTHONUNBUFFERED="1")
        with started(command, env, announced_on="stderr") as watched:
            watched.url = watched.url.split()[2]
            yield watched
    elif name.startswith("bare"):
        tuned = ["--tuned"] if name.endswith("tuned") else []
        with started([sys.executable, "-m", "bench.relays", service.url, *tuned], environment()) as watched:
            yield watched
    elif name == "litellm":
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "config.yaml"
            config.write_text(
                "model_list:\n  - model_name: '*'\n    litellm_params:\n      model: 'openai/*'\n"
                f"      api_base: {service.url}/v1\n      api_key: bench\n"
            )
            command = [str(python_of("litellm").with_name("litellm")), "--config", str(config), "--host", "127.0.0.1"]
            with _listening(command, "/health/liveliness") as watched:
                yield watched
    elif name == "g4f":
        command = [str(python_of("g4f")), "-m", "bench.g4f_gateway", service.url]
        with _listening(command, "/v1") as watched:
            yield watched
    elif name == "portkey":
        script = home() / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        with _listening(["node", str(script), "--headless"], "/", port_option="--port={}") as watched:
            yield watched
    elif name == "nginx":
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "nginx.conf"
            command = [nginx(), "-p", folder, "-c", str(config)]
            with _listening(command, "/cpu", write=lambda port: config.write_text(_nginx(port, service))) as watched:
                yield watched
    else:
        raise Refused(f"no gateway is called {name}")


def _nginx(port: int, service: Watched) -> str:
    """nginx as a relay of streams: one worker, nothing held back, connections to the service kept."""
    return (
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr; events { worker_connections 4096; }\n"
        "http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f;\n"
        f"uwsgi_temp_path u; scgi_temp_path s; upstream service {{ server {service.url.partition('://')[2]}; "
        "keepalive 1024; keepalive_requests 1000000; }\n"
        f"server {{ listen 127.0.0.1:{port} backlog=2048; keepalive_requests 1000000; location / {{\n"
        'proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }'
    )


@contextmanager
def _listening(
    command: list[str], path: str, *, port_option: str = "", write: Callable[[int], object] | None = None
) -> Iterator[Watched]:
    """A gateway that is told its port, and may take a minute until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if write is not None:
        write(port)
        told = []
    else:
        told = [port_option.format(port)] if port_option else ["--port", str(port)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*command, *told],
            stdout=output,
            stderr=output,
            env=environment(NO_PROXY="*", LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true"),
            cwd=tempfile.gettempdir(),
            text=True,
        )
        try:
            deadline = time.monotonic() + 90
            while not _answers(f"http://127.0.0.1:{port}{path}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise Refused(f"{command[0]} did not start: {output.read()[-300:]}")
                time.sleep(0.5)
            yield Watched(process, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError as error:
        return hasattr(error, "code")
