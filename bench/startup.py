"""Start-up: imports, the command line, the first text of the built-in model, and the size of an installation."""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from bench.peers import PEERS, python_of
from bench.processes import ROOT, Refused, Watched, environment, interpreter, last_line

_IMPORTS = {
    "acytoo.Acytoo": "from acytoo import Acytoo; Acytoo",
    "any-llm-sdk": "import any_llm",
    "langchain-openai": "import langchain_openai",
    "pydantic-ai": "from pydantic_ai import Agent",
}
_CLICK = """
import click

@click.group()
@click.version_option("1.0")
def cli():
    '''A program.'''

@cli.command()
@click.argument("name")
def hello(name):
    '''Say hello.'''
    print(name)

cli()
"""
_FIRST_TOKEN = """
import os, sys
os.environ["GOMP_SPINCOUNT"] = "1000"
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 8192
params.n_parallel = 4
params.kv_unified = True
params.cache_ram_mib = 256
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
params.warmup = False
params.verbosity = -1
server = xllamacpp.Server(params)
def first(data):
    data = data[0] if isinstance(data, list) else data
    for choice in data.get("choices", ()):
        if choice.get("delta", {}).get("content"):
            sys.stdout.write(choice["delta"]["content"]); sys.stdout.flush()
            os._exit(0)
    return False
server.handle_chat_completions(
    {"messages": [{"role": "user", "content": "Hello, how are you?"}], "stream": True, "temperature": 0.5}, first
)
"""


_FIRST_CALL = """
import asyncio, json, sys
before = set(sys.modules)
from bench.callers import CALLERS, Target
async def main():
    async with CALLERS["acytoo"](Target(sys.argv[1], "burst-10-6")) as call:
        await call(lambda text: None)
asyncio.run(main())
print(json.dumps([name for name in sys.modules if name not in before and not name.startswith("bench")]))
"""
"""Prints the modules that a first call loads after asyncio, in the order of their import."""

_LAST_ON_AIOHTTP = "c2d3c8c093d727cd66ba5fef723bba8d50928b04"
"""The last commit at which aiohttp was our HTTP client."""


def import_time(name: str, service: Watched) -> dict[str, Any]:
    """Measure the milliseconds of an import in a fresh interpreter, the fastest of five.

    "acytoo-call" is all that a first call imports after asyncio, which every program of ours has imported.
    """
    statement = _IMPORTS.get(name, f"import {name.replace('-', '_')}")
    env, before = _bare(), ""
    if name.startswith("acytoo-call"):
        if name.endswith("on-aiohttp"):
            env["PYTHONPATH"] = on_aiohttp()
        before = "import asyncio, importlib; "
        statement = f"[importlib.import_module(name) for name in {_modules_of_first_call(service, env)}]"
    code = f"{before}import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1e3)"
    command = [interpreter(name), "-c", code]
    times = []
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        if done.returncode:
            raise Refused(last_line(done.stderr))
        times.append(float(done.stdout.split()[-1]))
    return {"ms": min(times)}


def _modules_of_first_call(service: Watched, env: dict[str, str]) -> list[str]:
    path = env.get("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-c", _FIRST_CALL, service.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**env, "PYTHONPATH": path})
    if done.returncode:
        raise Refused(last_line(done.stderr))
    names: list[str] = json.loads(done.stdout)
    return names


@functools.cache
def _older() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="acytoo-on-aiohttp-")


@functools.cache
def on_aiohttp() -> str:
    """Return the PYTHONPATH of the last version of ours that used aiohttp, taken from git."""
    folder = Path(_older().name)
    command = ["git", "-C", str(ROOT), "archive", "--format=zip", _LAST_ON_AIOHTTP, "src"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise Refused(f"git has no commit {_LAST_ON_AIOHTTP[:7]} to compare with: {last_line(done.stderr.decode())}")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder)
    return os.pathsep.join([str(folder / "src"), str(ROOT)])


def command_time(name: str, option: str) -> dict[str, Any]:
    """Measure the milliseconds of CPU that a program takes for an option, the fastest of five."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "program.py"
        script.write_text(_CLICK if name == "click" else "from acytoo.cli import main\nmain()\n")
        times = []
        for _ in range(5):
            process = subprocess.Popen(
                [sys.executable, str(script), option], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=_bare()
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise Refused(f"{name} {option} ended with {process.returncode}")
            times.append((usage.ru_utime + usage.ru_stime) * 1e3)
    return {"ms": min(times)}


def first_text(name: str) -> dict[str, Any]:
    """Measure the seconds from the start of the process until its first text; the model's file is in the cache.

    llama.cpp has our engine's settings, which leave one core free; "every core" gives it a thread for each.
    """
    from acytoo.embedded.weights import KNOWN

    model = next(iter(KNOWN.values())).path
    if not model.exists():
        raise Refused("the model is not cached; run `acytoo pull`")
    model.read_bytes()  # so that every contender finds the file in the page cache
    cores = os.cpu_count() or 1
    if name.startswith("llama.cpp"):
        threads = cores if name.endswith("every core") else max(1, cores - 1)
        command = [sys.executable, "-c", _FIRST_TOKEN, str(model), str(threads)]
    else:
        command = [str(Path(sys.executable).with_name("acytoo")), "Hello, how are you?"]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=_bare()
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - started
        process.kill()
        errors = process.stderr.read().decode()
    if not first:
        raise Refused(f"{name} printed nothing: {errors[-300:]}")
    return {"s": seconds}


@functools.cache
def installed_size(name: str) -> dict[str, Any]:
    """Measure the MB and distributions of a new environment; a peer's exists already."""
    if name in PEERS:
        return _size(next(python_of(name).parent.parent.rglob("site-packages")))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        package = str(ROOT) if name == "acytoo" else name
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(last_line(done.stderr))
        return _size(next(Path(folder).rglob("site-packages")))


def _size(site: Path) -> dict[str, Any]:
    """Count without bytecode, which only some installers write, and without the installers themselves."""
    files = [path for path in site.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    counted = [path for path in files if not path.relative_to(site).parts[0].startswith(_INSTALLERS)]
    distributions = [path for path in site.glob("*.dist-info") if not path.name.startswith(_INSTALLERS)]
    return {"mb": sum(path.stat().st_size for path in counted) / 1e6, "distributions": len(distributions)}


_INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")


def _bare() -> dict[str, str]:
    """Return an environment in which the installed package is imported, not the one of the work tree."""
    env = environment()
    del env["PYTHONPATH"]
    return env
