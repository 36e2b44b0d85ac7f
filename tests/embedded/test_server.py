"""`embedded://` with the real model, in processes of their own: what they print and how they exit."""

from __future__ import annotations

import ast
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psutil
import pytest

from acytoo import Acytoo
from tests.helpers import CONTRACT
from tests.processes import ACYTOO, LIMIT, run, script, start

pytestmark = pytest.mark.usefixtures("model_file")

PREAMBLE = """
import asyncio, logging, os, sys, threading
from acytoo import Acytoo
logging.getLogger("asyncio").setLevel(logging.ERROR)  # debug mode warns about slow callbacks
STORY = [{"role": "user", "content": "Tell me a very long story."}]
"""

ENDINGS = {
    "a complete reply": """
        asyncio.run(Acytoo.create_async("", STORY, extra_body={"max_tokens": 5}))
    """,
    "a generator left half-read": """
        async def main():
            await anext(Acytoo.create_async_generator("", STORY))
        asyncio.run(main())
    """,
    "a half-read generator that outlives its loop": """
        async def main():
            global stream
            stream = Acytoo.create_async_generator("", STORY)
            await anext(stream)
        asyncio.run(main())
    """,
    "a loop of the caller's own": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(anext(Acytoo.create_async_generator("", STORY)))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """,
    "two loops one after the other": """
        for _ in range(2):
            asyncio.run(Acytoo.create_async("", STORY, extra_body={"max_tokens": 5}))
    """,
    "create_completion": """
        assert "".join(Acytoo.create_completion("", STORY, extra_body={"max_tokens": 5}))
    """,
    "create_completion left early": """
        for text in Acytoo.create_completion("", STORY):
            break
    """,
    "create_completion left half-read": """
        texts = Acytoo.create_completion("", STORY)
        next(texts)
    """,
    "create_completion inside a running loop": """
        async def main():
            for text in Acytoo.create_completion("", STORY):
                break
        asyncio.run(main())
    """,
    "threads": """
        def ask():
            for text in Acytoo.create_completion("", STORY):
                break
        threads = [threading.Thread(target=ask) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """,
    "sys.exit in the middle of a reply": """
        async def main():
            async for text in Acytoo.create_async_generator("", STORY):
                sys.exit(0)
        asyncio.run(main())
    """,
}

ENDLESS = ["-o", 'extra_body={"ignore_eos": true}', "Tell me a very long story."]
"""Arguments of the command for a reply that does not end while a test looks away."""

FORKED = """
    next(Acytoo.create_completion("", STORY))
    child = os.fork()
    if not child:
        {child}
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert next(Acytoo.create_completion("", STORY))
"""


def run_cleanly(code: str, *options: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the code. It must exit with 0 and write nothing to stderr."""
    done = run(script(code, *options), env=env)
    assert (done.stderr.decode(), done.returncode) == ("", 0)
    return done


def test_the_example_of_the_contract_runs_unchanged() -> None:
    assert run_cleanly(CONTRACT, "-W", "error").stdout.decode().strip()  # its words are random: it may have only one


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_exits_without_output_on_stderr(ending: str) -> None:
    run_cleanly(PREAMBLE + "".join(f"{line[8:]}\n" for line in ENDINGS[ending].splitlines()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("child", ["pass", 'assert next(Acytoo.create_completion("", STORY))'])
def test_parent_and_forked_child_both_work_and_exit(child: str) -> None:
    run_cleanly(PREAMBLE + "".join(f"{line[4:]}\n" for line in FORKED.format(child=child).splitlines()))


def test_a_forked_multiprocessing_child_works() -> None:
    run_cleanly(
        PREAMBLE
        + """
import multiprocessing
def ask(queue):
    queue.put(next(Acytoo.create_completion("", STORY)))
next(Acytoo.create_completion("", STORY))
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=ask, args=(queue,))
child.start()
assert queue.get()
child.join()
assert child.exitcode == 0
""",
        "-W",
        "error",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_ends_a_streaming_script_at_once() -> None:
    endless = CONTRACT.replace("    async for", "    while True:\n        async for").replace(
        "        print", " " * 12 + "print"
    )
    process = start(script(endless, "-W", "error"))
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGINT
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_ends_the_command_with_130_and_no_output_on_stderr() -> None:
    process = start([ACYTOO, *ENDLESS])
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdin = None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors.strip()) == (130, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.parametrize("command", [["serve", "--port", "0"], ENDLESS], ids=["serve", "chat"])
def test_ctrl_c_at_any_moment_of_the_start_ends_the_command(command: list[str]) -> None:
    def start_command() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        process = start([ACYTOO, *command])
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        output = process.stderr if command[0] == "serve" else process.stdout
        assert output is not None
        return process, output

    def processor_time(process: subprocess.Popen[bytes]) -> float:
        # Unlike the time that passes, it does not depend on what else the machine does.
        times = psutil.Process(process.pid).cpu_times()
        return float(times.user + times.system)

    process, output = start_command()
    assert output.read(1)
    duration = processor_time(process)
    process.kill()
    process.communicate()
    for tenths in (3, 5, 7, 9, 10):
        process, output = start_command()
        while processor_time(process) < duration * tenths / 10 and not select.select([output], [], [], 0.01)[0]:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=LIMIT / 4)
        finally:
            process.kill()
        is_serving = errors.startswith(b"Acytoo serves ")
        assert process.returncode == 130 or (process.returncode == 0 and is_serving), errors


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_does_not_destroy_a_model_that_has_just_been_loaded(tmp_path: Path) -> None:
    # The real one's destructor would wait for a thread that has not begun yet.
    fake = """
import os, signal, time
from unittest.mock import MagicMock
CommonParams = MagicMock
class Server:
    def __init__(self, params):
        print('loading', flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    def __del__(self):
        os.write(1, b'destroyed')
"""
    (tmp_path / "xllamacpp.py").write_text(fake)
    code = "import pathlib; from acytoo.embedded.engine import Engine; Engine(pathlib.Path('m'), 'm', is_verified=True)"
    result = run(script(code, "-W", "error"), env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == -signal.SIGINT
    assert result.stdout == b"loading\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_does_not_interrupt_the_import_of_llama_cpp(tmp_path: Path) -> None:
    # The real one imports orjson, whose initialization crashes if it is interrupted.
    fake = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.1)\nprint('imported')\n"
    (tmp_path / "xllamacpp.py").write_text(fake)
    code = "from acytoo.embedded.provider import load_provider\nload_provider('embedded:///model.gguf')"
    done = run(script(code), env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (-signal.SIGINT, b"imported\n")
    assert done.stderr.decode().rstrip().endswith("KeyboardInterrupt")


def test_without_the_extra_the_error_names_it() -> None:
    hide = 'import sys\nsys.modules["xllamacpp"] = None\n'
    done = run(script(hide + CONTRACT))
    assert done.returncode == 1
    assert b"the embedded model needs an optional dependency: pip install 'acytoo[local]'" in done.stderr
    done = run([*script(hide + "from acytoo.cli import main\nmain()", "-W", "error"), "Hello"])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().count("\n") == 1


def test_a_thread_in_the_middle_of_a_reply_does_not_keep_the_process_alive() -> None:
    done = run(
        script(
            PREAMBLE
            + """
began = threading.Event()
def ask():
    for text in Acytoo.create_completion("", STORY):
        began.set()
threading.Thread(target=ask, daemon=True).start()
began.wait()
"""
        )
    )
    assert done.returncode == 0


STUCK = """
import asyncio, atexit, json, os, signal, threading, time, urllib.request
from acytoo.embedded.provider import load_engine, resolve_model
from acytoo.server.config import ServerConfig
from acytoo.server.run import run

engine, provider = load_engine(resolve_model("embedded://smollm2-135m-instruct"))
atexit.register(engine.close)

def ask(**fields):
    headers = {"content-type": "application/json", "authorization": "Bearer " + engine.key.reveal()}
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, **fields}).encode()
    request = urllib.request.Request(engine.url + "/chat/completions", body, headers)
    urllib.request.urlopen(request)

def stick(url):
    schema = {"type": "string", "pattern": "^((a{0,40}){0,40}){0,40}$"}  # in the engine's own grammars, it never ends
    fields = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    threading.Thread(target=ask, kwargs=fields, daemon=True).start()
    while is_answered():
        pass
    print("stuck", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

def is_answered():
    # The CPU time of this process does not depend on what else the machine does, and a stuck engine uses it.
    asking, end = threading.Thread(target=ask, daemon=True), time.process_time() + 3
    asking.start()
    while asking.is_alive() and time.process_time() < end:
        asking.join(0.1)
    return not asking.is_alive()

config = ServerConfig({"embedded": provider}, port=0, grace=0.5)
run(config, lambda url: threading.Thread(target=stick, args=(url,), daemon=True).start(), asyncio.new_event_loop)
raise SystemExit(7)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs an exit handler of glibc")
def test_sigterm_ends_a_server_whose_engine_is_stuck() -> None:
    done = run(script(STUCK, "-W", "error"))
    assert (done.returncode, done.stdout, done.stderr) == (7, b"stuck\n", b"")


def test_a_variable_enables_the_log_of_the_engine() -> None:
    done = run(script(CONTRACT, "-W", "error"), env={"ACYTOO_ENGINE_LOG": "1"})
    assert done.returncode == 0
    assert b"llama" in done.stderr


@pytest.mark.parametrize("prompt", ["请用中文回答：北京在哪里？", "أين تقع القاهرة؟", "😀👩‍👩‍👧‍👦🇫🇷 é e\u0301"])
def test_unicode_reaches_the_model_unchanged(prompt: str) -> None:
    done = run_cleanly(
        f"""
import asyncio, json, urllib.request
from acytoo import Acytoo
from acytoo.embedded.provider import load_engine, resolve_model
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
engine, provider = load_engine(resolve_model("embedded://smollm2-135m-instruct"))

def prompts():
    headers = {{"authorization": "Bearer " + engine.key.reveal()}}
    request = urllib.request.Request(engine.url.removesuffix("/v1") + "/slots", headers=headers)
    with urllib.request.urlopen(request) as response:
        return [slot.get("prompt", "") for slot in json.load(response)]

async def main():
    server, url = await start(ServerConfig({{"embedded": provider}}, port=0, grace=0))
    stream = Acytoo(url).create_async_generator("", [{{"role": "user", "content": {prompt!a}}}])
    await anext(stream)
    print(ascii(await asyncio.to_thread(prompts)))
    await stream.aclose()
    await server.close()

asyncio.run(main())
engine.close()
""",
        "-W",
        "error",
        env={"LLAMA_SERVER_SLOTS_DEBUG": "1"},
    )
    prompts = ast.literal_eval(done.stdout.decode())
    assert any(f"<|im_start|>user\n{prompt}<|im_end|>" in text for text in prompts)


@pytest.mark.parametrize("name", ["Jack"])
async def test_the_first_of_ten_turns_is_remembered(name: str) -> None:
    provider = Acytoo()
    things = ("a color", "an animal", "a fruit", "a city", "a planet", "a number", "a day")
    between = ["What is 1 + 1?", *(f"Name {thing}." for thing in things)]
    questions = [f"My dog is called {name}.", *between, "What is the name of my dog?"]
    messages = [{"role": "system", "content": "You are a friendly assistant. Answer briefly."}]
    for question in questions:
        messages.append({"role": "user", "content": question})
        answer = await provider.create_async("", messages, temperature=0, extra_body={"max_tokens": 16})
        messages.append({"role": "assistant", "content": answer})
    assert len(questions) == 10
    assert name in answer
