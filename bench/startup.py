"""Starting: imports, the command line, the first text of the built-in model, and what an installation weighs."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers import PEERS, python_of
from bench.processes import ROOT, Refused, environment, interpreter

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
import os, sys, time
started = time.perf_counter()
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
            sys.stderr.write(f"engine {time.perf_counter() - started}\\n"); sys.stderr.flush()
            os._exit(0)
    return False
server.handle_chat_completions(
    {"messages": [{"role": "user", "content": "Hello, how are you?"}], "stream": True, "temperature": 0.5}, first
)
"""


def imported(name: str) -> dict[str, Any]:
    """Milliseconds that an import takes in a fresh interpreter, the quickest of five."""
    statement = _IMPORTS.get(name, f"import {name.replace('-', '_')}")
    code = f"import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1e3)"
    command = [interpreter(name), "-c", code]
    times = []
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_bare())
        if done.returncode:
            raise Refused((done.stderr.strip().splitlines() or ["it failed"])[-1][:300])
        times.append(float(done.stdout.split()[-1]))
    return {"ms": min(times)}


def version(name: str) -> dict[str, Any]:
    """Milliseconds of CPU that `--version` takes."""
    return _command(name, "--version")


def help_shown(name: str) -> dict[str, Any]:
    """Milliseconds of CPU that `--help` takes."""
    return _command(name, "--help")


def _command(name: str, option: str) -> dict[str, Any]:
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
    """Seconds from the start of the process until it writes its first text; the model's file is in the cache.

    llama.cpp is set as our engine is, which leaves a core to other work; once more with a thread for every core.
    """
    from acytoo.embedded.weights import KNOWN

    model = next(iter(KNOWN.values())).path
    if not model.exists():
        raise Refused("the model is not in the cache: run `acytoo pull`")
    model.read_bytes()
    cores = os.cpu_count() or 1
    if name.startswith("llama.cpp"):
        threads = cores if name.endswith("every core") else max(1, cores - 1)
        command = [sys.executable, "-c", _FIRST_TOKEN, str(model), str(threads)]
    else:
        command = [str(Path(sys.executable).with_name("acytoo")), "Hello, how are you?"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=_bare()
    )
    assert process.stdout is not None and process.stderr is not None
    first = process.stdout.read(1)
    took = time.perf_counter() - began
    process.kill()
    errors = process.stderr.read().decode()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    if not first:
        raise Refused(f"{name} said nothing: {errors[-300:]}")
    inside = [float(line.split()[1]) for line in errors.splitlines() if line.startswith("engine ")]
    return {"s": took, **({"inside_s": inside[0]} if inside else {})}


@functools.cache
def installed_size(name: str) -> dict[str, Any]:
    """MB and distributions of an environment, without those it is made with; a peer's is there already."""
    if name in PEERS:
        return _weight(next(python_of(name).parent.parent.rglob("site-packages")))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        what = str(ROOT) if name == "acytoo" else name
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", what]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(done.stderr.strip().splitlines()[-1])
        return _weight(next(Path(folder).rglob("site-packages")))


def _weight(site: Path) -> dict[str, Any]:
    """Bytecode left out, which only some installers write, and the installers themselves."""
    files = [path for path in site.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    counted = [path for path in files if not path.relative_to(site).parts[0].startswith(_INSTALLERS)]
    distributions = [path for path in site.glob("*.dist-info") if not path.name.startswith(_INSTALLERS)]
    return {"mb": sum(path.stat().st_size for path in counted) / 1e6, "distributions": len(distributions)}


_INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")


def _bare() -> dict[str, str]:
    env = environment()
    del env["PYTHONPATH"]
    return env
