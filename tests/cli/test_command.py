"""The command line: arguments, pipes, exit codes, and what goes to stdout and stderr."""

from __future__ import annotations

import json
import os
import pkgutil
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import acytoo as acytoo_package
from acytoo import dialects
from acytoo.cli import commands
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.types import Finish, OpaquePart, Refusal, ToolCall
from tests.processes import ACYTOO, LIMIT, run, script, start

COMMANDS = [module.name for module in pkgutil.iter_modules(commands.__path__)]


def body_of(fake: FakeEndpoint) -> dict[str, Any]:
    """Return the JSON body of the first request."""
    body: dict[str, Any] = json.loads(fake.requests[0].body)
    return body


def acytoo(fake: FakeEndpoint, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command with the endpoint as `ACYTOO_URL`."""
    return run([ACYTOO, *arguments], env={"ACYTOO_URL": fake.url}, stdin=stdin)


def test_a_prompt_prints_only_the_reply_and_a_newline() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world")) as fake:
        done = acytoo(fake, "Hi there")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello world\n", b"")
    assert body_of(fake)["messages"] == [{"role": "user", "content": "Hi there"}]


def test_tool_calls_are_printed_after_the_text() -> None:
    calls = [ToolCall(0, "a", "weather", '{"city": "Rome"}'), ToolCall(1, "b", "time", "{}")]
    with FakeEndpoint(dialects.OpenAI(), reply("One moment", *calls, Finish("tool_calls"))) as fake:
        done = run([ACYTOO, "-m", "compatible/m", "--url", fake.url, "Weather?"])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b'One moment\nweather({"city": "Rome"})\ntime({})\n'


def test_a_reply_that_is_an_image_is_an_error_that_names_the_option_for_it() -> None:
    image = OpaquePart("openai", {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iV"}}]})
    with FakeEndpoint(dialects.OpenAI(), reply(image, Finish("stop"))) as fake:
        done = run([ACYTOO, "-m", "compatible/m", "--url", fake.url, "Draw"])
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr == b"acytoo: the reply has no text but other parts (image): --json prints them\n"
        as_json = run([ACYTOO, "--json", "-m", "compatible/m", "--url", fake.url, "Draw"])
        assert (as_json.returncode, b"base64,iV" in as_json.stdout) == (0, True)
    with FakeEndpoint(dialects.OpenAI(), reply("Here", image, Finish("stop"))) as fake:
        done = run([ACYTOO, "-m", "compatible/m", "--url", fake.url, "Draw"])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"Here\n", b"")


def test_the_next_of_several_models_answers_if_one_fails() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        done = run([ACYTOO, "-m", f"http://127.0.0.1:9|{fake.url}", "Hi"])
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert b"target acytoo failed: UnreachableError: cannot reach http://127.0.0.1:9" in done.stderr


def test_a_refusal_is_printed() -> None:
    with FakeEndpoint(dialects.OpenAI(), reply(Refusal("I will not."), Finish("stop"))) as fake:
        done = run([ACYTOO, "-m", "compatible/m", "--url", fake.url, "Hi"])
    assert (done.returncode, done.stdout) == (0, b"I will not.\n")


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("stop", b""),
        ("length", b"(the reply reached the limit of tokens: -o max_tokens=N sets another)\n"),
        ("content_filter", b"(a content filter ended the reply)\n"),
    ],
)
def test_a_reply_that_the_model_did_not_end_is_marked_on_stderr(reason: str, note: bytes) -> None:
    with FakeEndpoint(dialects.OpenAI(), reply("Once upon", Finish(reason))) as fake:
        done = run([ACYTOO, "-m", "compatible/m", "--url", fake.url, "A story"])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"Once upon\n", note)
        as_json = run([ACYTOO, "--json", "-m", "compatible/m", "--url", fake.url, "A story"])
        assert as_json.stderr == b""  # the finish is one of its lines


def test_every_option_of_chat_reaches_the_request() -> None:
    options = ["-s", "Be brief.", "-t", "0.1", "-m", "m1", "--key", "k1", "--password", "p1"]
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = acytoo(fake, "chat", *options, "Hi")
    assert done.returncode == 0
    body = body_of(fake)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert (body["temperature"], body["model"], body["key"], body["password"]) == (0.1, "m1", "k1", "p1")


@pytest.mark.parametrize(
    ("arguments", "piped", "expected"),
    [
        ([], "from the pipe\n", "from the pipe"),
        (["Summarise:"], "a text\n", "Summarise:\n\na text"),
        (["two", "words"], "", "two words"),
        ([], "你好 مرحبا 👋", "你好 مرحبا 👋"),
    ],
)
def test_the_prompt_is_the_arguments_then_the_piped_text(arguments: list[str], piped: str, expected: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        done = acytoo(fake, *arguments, stdin=piped.encode())
    assert done.returncode == 0, done.stderr
    assert body_of(fake)["messages"][-1]["content"] == expected


def test_json_prints_one_event_per_line() -> None:
    with FakeEndpoint(dialects.OpenAI(), reply("Hel", "lo")) as fake:
        done = run([ACYTOO, "--json", "-m", "compatible/m", "--url", fake.url, "-o", "seed=7", "Hi"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert "".join(line["text"] for line in lines if line["type"] == "text") == "Hello"
    assert lines[-1]["type"] in ("finish", "usage")
    assert body_of(fake)["seed"] == 7


def test_an_error_status_prints_the_servers_message_and_exits_with_1() -> None:
    with FakeEndpoint(dialects.Acytoo(), status(401, message="wrong password")) as fake:
        done = acytoo(fake, "Hi")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"acytoo: 401: wrong password\n"


def test_a_truncated_reply_prints_the_received_text_and_exits_with_1() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").reset(after=1)) as fake:
        done = acytoo(fake, "Hi")
    assert (done.returncode, done.stdout) == (1, b"Hello \n")
    assert done.stderr.startswith(b"acytoo: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc"], "did you mean 'check'"),
        (["--url", "localhost:1", "Hi"], "no scheme"),
        (["--url", "", "Hi"], "--url is empty: give it a value, or leave it out"),
        (["-m", "", "Hi"], "--model is empty"),
        (["--proxy", "", "Hi"], "--proxy is empty"),
        (["check", ""], "the PROVIDER or URL is empty"),
        (["bench", ""], "the PROVIDER or URL is empty"),
        (["models", ""], "the PROVIDER or URL is empty"),
        (["-m", "opnai/gpt", "Hi"], "did you mean -m openai/gpt?"),
        (
            ["-m", "claude-sonnet-5", "Hi"],
            "unknown model 'claude-sonnet-5': did you mean -m anthropic/claude-sonnet-5?",
        ),
        (["-m", "grok-4", "chat", "Hi"], "did you mean -m xai/grok-4?"),
        (["-m", "deepseek-chat", "Hi"], "did you mean -m deepseek/deepseek-chat?"),
        (["-m", "embedded/gpt-4", "Hi"], "did you mean -m openai/gpt-4?"),
        (["--url", "embedded://smollm2-135m-instruct", "-m", "gpt-4", "Hi"], "did you mean -m openai/gpt-4?"),
        (["check", "-m", "gpt-4"], "did you mean -m openai/gpt-4?"),
        (["-m", "SmolLM2", "Hi"], "did you mean -m smollm2-135m-instruct?"),
        (["check", "ollama"], "ollama needs a model: use -m ollama/MODEL"),
        (["bench", "openai", "-m", "openai"], "the provider is set twice"),
        (["check", "http://127.0.0.1:9", "--url", "http://127.0.0.1:9"], "the URL is set twice"),
        (["chat", "-m", "qq"], "expected PROVIDER/MODEL; `acytoo providers` lists"),
        (["serve", "--to", "claude-sonnet-5"], "did you mean 'anthropic/claude-sonnet-5'?"),
        (["-m", "http://127.0.0.1:9", "--url", "http://127.0.0.1:9", "Hi"], "use either -m or --url"),
        (["-m", "openai", "Hi"], "openai needs a model: use -m openai/MODEL"),
        (
            ["-m", "openai/m", "Hi"],
            "openai needs a key: set OPENAI_API_KEY, use --key, or run: acytoo credentials set openai",
        ),
        (["-m", "compatible/m", "Hi"], "compatible needs a URL: use --url, or set COMPATIBLE_URL"),
        (["--timeout", "nan", "Hi"], "expected a number of seconds above 0"),
        (["-o", "model=x", "Hi"], "use -m"),
        (["-o", "api-key=x", "Hi"], "use --key"),
        (["-o", "messages=[]", "Hi"], "the system prompt is -s"),
        (["-o", "min_p=0.1", "Hi"], """use -o extra_body='{"min_p": …}'"""),
        (["-o", "extra_body=1", "Hi"], "expected a JSON object"),
        (["-o", 'extra_body={"model": "x"}', "Hi"], "must not contain 'model'"),
        (["-o", "max_tokens=many", "Hi"], "invalid max_tokens 'many': expected a whole number"),
        (["-o", "temperature=[]", "Hi"], "invalid temperature []: expected a number"),
        (["--url", "http://127.0.0.1:9", "-o", "seed=7", "Hi"], "leave it out, or add --drop-unsupported"),
        (["-o", "seed", "Hi"], "NAME=VALUE"),
        (["-o", "temprature=1", "Hi"], "did you mean 'temperature'"),
        (["--nonsense", "Hi"], "No such option"),
        (["serve", "--host", "0.0.0.0", "--to", "http://127.0.0.1:9"], "password"),
        (["serve", "--password", "", "--to", "http://127.0.0.1:9"], "the password is empty: set one"),
        (["serve", "--password", " x", "--to", "http://127.0.0.1:9"], "the password begins or ends with a blank"),
        (["serve", "--to", "compatible/m"], "compatible needs a URL: set COMPATIBLE_URL"),
        (["serve", "--to", "nobody"], "unknown provider 'nobody'"),
        (["serve", "--port", "99999", "--to", "http://127.0.0.1:9"], "0<=x<=65535"),
        (["serve", "--port", "-1", "--to", "http://127.0.0.1:9"], "0<=x<=65535"),
        (["fake", "--port", "99999"], "0<=x<=65535"),
        (["-m", "ollama/m|", "Hi"], "a target is empty in -m 'ollama/m|'"),
        (["-m", "ollama/m|openai/m", "Hi"], "openai needs a key"),
        (["-m", "ollama/m|embedded", "--key", "k", "Hi"], "--key cannot be used with several targets"),
        (["-m", "ollama/m|embedded", "--url", "http://127.0.0.1:9", "Hi"], "--url cannot be used with several targets"),
        (["-m", "ollama/m|embedded", "-o", "temprature=1", "Hi"], "did you mean 'temperature'"),
        (["-m", "ollama/m|ollama/m", "Hi"], "has 'ollama/m' twice"),
        (["serve", "--to", "a=ollama/m|"], "a target is empty in --to a=ollama/m|"),
        (["serve", "--to", "a=b|ollama/m", "--to", "b=a|ollama/m"], "need one another: a -> b -> a"),
        (["serve", "--to", "a=ollama/m|nobody"], "unknown provider 'nobody'"),
        (["serve", "--to", "a=openai/m|anthropic/m", "--to-key", "k"], "OPENAI_API_KEY, ANTHROPIC_API_KEY"),
        (["serve", "--to-key", "k"], "--to-key needs exactly one backend: add it with --to"),
        (["serve", "--to", "openai/m", "--to", "c=anthropic", "--to-key", "k"], "OPENAI_API_KEY, ANTHROPIC_API_KEY"),
        (["serve", "--to", "http://127.0.0.1:9", "--to", "openai", "--to-password", "p"], "ACYTOO_PASSWORD"),
        (["serve", "--to", "openai", "--to", "anthropic", "--to-key", "k"], "(OPENAI_API_KEY, ANTHROPIC_API_KEY)"),
        (["serve", "--to", "ollama", "--grace", "-1"], "Invalid value for '--grace'"),
        (["-m", "http://127.0.0.1:9/v1", "Hi"], "use the provider compatible/MODEL with http://127.0.0.1:9/v1 as its"),
        (["--url", "http://127.0.0.1:9/v1/", "Hi"], "is probably an OpenAI-compatible server"),
        (["check", "http://127.0.0.1:9/v1/chat/completions"], "compatible/MODEL with http://127.0.0.1:9/v1 as its URL"),
        (["models", "http://127.0.0.1:9/v1"], "is probably an OpenAI-compatible server"),
        (["serve", "--to", "http://127.0.0.1:9/v1"], "is probably an OpenAI-compatible server"),
        (["--url", "http://u:p4ss@127.0.0.1:9/api/completions", "Hi"], "leave out /api/completions"),
        (
            ["-m", "compatible/m", "--url", "http://127.0.0.1:9/v1/chat/completions", "Hi"],
            "leave out /chat/completions",
        ),
        (["-m", "anthropic/m", "--url", "http://127.0.0.1:9/v1/messages", "--key", "k", "Hi"], "leave out /messages"),
        (["-m", "ollama/m", "--url", "http://127.0.0.1:9/api/chat/", "Hi"], "leave out /api/chat"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_hint(arguments: list[str], message: str) -> None:
    done = run([ACYTOO, *arguments])
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_pipe_closed_after_the_first_line_ends_the_command_silently_with_141() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply(*["line\n"] * 20_000)) as fake:
        command = f'"{ACYTOO}" --url {fake.url} Hi </dev/null | head -1; echo "${{PIPESTATUS[0]}}"'
        done = run(["bash", "-c", command])
    assert done.stdout == b"line\n141\n"
    assert done.stderr == b""


@pytest.mark.parametrize("command", ["providers", "providers --help", "completion bash", "--help", "--version"])
def test_a_closed_pipe_ends_any_command_with_141(command: str) -> None:
    done = run(["bash", "-c", f'"{ACYTOO}" {command} | (exec <&-; sleep 0.1); echo "${{PIPESTATUS[0]}}"'])
    assert (done.stdout, done.stderr) == (b"141\n", b"")


def test_a_program_in_a_zip_file_without_metadata_has_its_version_and_its_page(tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "app"), "zip", Path(acytoo_package.__file__).parents[1], "acytoo")
    code = f"""
        import sys
        sys.path.insert(0, {archive!r})
        import acytoo
        assert acytoo.__file__.startswith({archive!r})
        from acytoo.web import PATHS, page_file
        assert all(page_file(path).body for path in PATHS)
        sys.modules["importlib.metadata"] = None
        sys.argv = ["acytoo", "--version"]
        from acytoo.cli import main
        main()
    """
    done = run(script(code))
    assert done.stdout.decode() == f"acytoo {acytoo_package.__version__}\n", done.stderr.decode()


@pytest.mark.parametrize("command", ["Hi", "--json Hi", "providers", "fake", "--help"])
def test_a_closed_standard_output_is_an_error_and_exits_with_1(command: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hello")) as fake:
        done = run(["bash", "-c", f'"{ACYTOO}" {command} </dev/null >&-'], env={"ACYTOO_URL": fake.url})
    assert done.returncode == 1
    assert done.stderr.startswith(b"acytoo: cannot write to standard output: ")
    assert done.stderr.count(b"\n") == 1


def test_ctrl_c_stops_a_reply_and_exits_with_130() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hello", "never").stall(after=1)) as fake:
        process = start([ACYTOO, "--url", fake.url, "Hi"])
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        assert process.stdout.read(5) == b"Hello"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read().strip() == b""
        process.stderr.close()


def test_unicode_is_printed_in_the_c_utf_8_locale() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("你好", " 👋").cut_bytes(1)) as fake:
        done = run([ACYTOO, "--url", fake.url, "Hi"], env={"LANG": "C", "LC_ALL": "C.UTF-8"})
    assert done.stdout.decode() == "你好 👋\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_examples(command: str) -> None:
    done = run([ACYTOO, *command.split(), "--help"])
    assert done.returncode == 0
    assert "Examples:" in done.stdout.decode()


def test_every_command_of_the_help_has_a_complete_sentence() -> None:
    _, _, listing = run([ACYTOO, "--help"]).stdout.decode().partition("Commands:\n")
    rows = [line.split(maxsplit=1) for line in listing.partition("\n\n")[0].splitlines()]
    assert [name for name, _ in rows] == sorted(COMMANDS)
    assert all(text.endswith(".") and not text.endswith("...") for _, text in rows)


def test_the_help_is_shown_without_loading_the_library() -> None:
    code = """
        import sys
        sys.argv = ["acytoo", "--help"]
        from acytoo.cli import main
        try:
            main()
        finally:
            print(*{"httptools", "msgspec", "xllamacpp", "asyncio"} & set(sys.modules), file=sys.stderr)
    """
    done = run(script(code, "-I"))
    assert (done.returncode, done.stderr) == (0, b"\n")


@pytest.mark.parametrize("command", ["", *COMMANDS, "credentials set"])
def test_h_is_short_for_help(command: str) -> None:
    assert run([ACYTOO, *command.split(), "-h"]).stdout == run([ACYTOO, *command.split(), "--help"]).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str) -> None:
    done = run([ACYTOO, "completion", shell])
    assert b"_ACYTOO_COMPLETE" in done.stdout
    if shell == "bash":
        assert run(["bash", "-n"], stdin=done.stdout).returncode == 0


def test_check_prints_the_time_to_the_first_text_or_the_error() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("OK")) as fake:
        good = run([ACYTOO, "check", fake.url])
    bad = run([ACYTOO, "check", "http://127.0.0.1:9"])
    assert (good.returncode, good.stdout[:3]) == (0, b"ok:")
    assert (bad.returncode, bad.stdout) == (1, b"")
    assert b"UnreachableError" in bad.stderr


def test_providers_lists_names_apis_and_keys() -> None:
    done = run([ACYTOO, "providers"], env={"OPENAI_API_KEY": "sk-secret"})
    lines = {line.split()[0]: line for line in done.stdout.decode().splitlines()}
    assert "key set" in lines["openai"]
    assert "needs no key" in lines["acytoo"]
    assert "sk-secret" not in done.stdout.decode()


def test_an_idle_pipe_is_not_waited_for_without_a_word() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        process = start([ACYTOO, "--url", fake.url, "Hi"])
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        assert process.stderr.readline() == b"acytoo: waiting for the piped text to end (</dev/null means none)\n"
        process.stdin.close()
        assert process.stdout.read() == b"ok\n"
        assert process.wait(LIMIT) == 0
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("option", ["-f", "--key-file"])
def test_a_named_pipe_is_read_as_a_file_and_not_waited_for_without_a_word(option: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        process = start([ACYTOO, "--url", fake.url, option, str(pipe), "Hi"])
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.close()
        assert process.stderr.readline() == f"acytoo: waiting for {pipe} to end\n".encode()
        pipe.write_text("piped")
        assert process.stdout.read() == b"ok\n"
        assert process.wait(LIMIT) == 0
        assert b"piped" in fake.requests[0].body
        process.stdout.close()
        process.stderr.close()


def test_the_default_is_the_built_in_model_with_all_options() -> None:
    done = run([ACYTOO, "--json", "-o", "seed=7", "-o", "max_tokens=3", "Hi"])
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert any(event["type"] == "usage" and event["output_tokens"] == 3 for event in events)


def test_a_prompt_that_is_too_long_is_reported_with_the_limit() -> None:
    done = run([ACYTOO, "Summarise:"], stdin=b"word " * 9000)
    assert done.returncode == 1
    assert b"but the model reads at most 8,192: shorten it" in done.stderr


def test_the_help_says_that_the_built_in_model_is_tiny() -> None:
    assert "it is tiny and often wrong" in " ".join(run([ACYTOO, "--help"]).stdout.decode().split())
