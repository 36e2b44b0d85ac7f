"""Grammars that pass the limits and take very long nevertheless: they are tried with the real model in a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from acytoo.embedded.engine import Engine
from acytoo.embedded.grammar_checker import GrammarChecker
from acytoo.embedded.provider import EngineProvider, Model, load_engine
from acytoo.errors import EmbeddedError, ServerError, UsageError
from tests.processes import run, script

HELLO: list[Any] = [{"role": "user", "content": "Say hi."}]
ENDLESS = 'root ::= x{0,90}\nx ::= y{0,90}\ny ::= z{0,90}\nz ::= "a"? "b"?'
"""In the engine's own language of grammars, to which nothing is translated: its first token takes forever."""
HARMLESS = '%llguidance {}\nstart: "a"'
DIGIT = {"grammar": "root ::= [0-9]"}


@pytest.fixture
async def loaded(model_file: Path) -> AsyncIterator[tuple[Engine, EngineProvider]]:
    """A model of its own, with which no grammar has been tried."""
    engine, provider = load_engine(Model("m", model_file))
    yield engine, provider
    engine.close()
    assert workers() == []


@pytest.fixture
def model(loaded: tuple[Engine, EngineProvider]) -> EngineProvider:
    return loaded[1]


@pytest.fixture
def checker(loaded: tuple[Engine, EngineProvider]) -> GrammarChecker:
    return loaded[0].checker


def workers() -> list[psutil.Process]:
    """Return the processes that try grammars, without those of the engine that other tests share."""
    return [child for child in psutil.Process().children() if child.pid not in _others and _tries_grammars(child)]


_others: set[int] = set()


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    """Note the processes that were there before the test."""
    _others.update(child.pid for child in psutil.Process().children())
    yield
    _others.clear()


def _tries_grammars(process: psutil.Process) -> bool:
    return "acytoo.embedded.grammar_worker" in str(process.cmdline())


async def ask(model: EngineProvider, **fields: Any) -> str:
    return (await model.reply(HELLO, temperature=0, max_tokens=5, extra_body=fields)).text


async def test_others_are_answered_while_an_endless_grammar_is_tried(
    model: EngineProvider, checker: GrammarChecker
) -> None:
    endless = asyncio.ensure_future(checker.check(ENDLESS))
    answers = 0
    while not endless.done():
        assert await ask(model)
        answers += 1
    with pytest.raises(UsageError, match="takes too long to follow this schema or grammar: simplify it"):
        await endless
    assert answers > 2
    assert await ask(model, **DIGIT) in "0123456789"


async def test_a_grammar_that_was_refused_is_not_tried_again(checker: GrammarChecker) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="takes too long"):
            await checker.check(ENDLESS)
    assert workers() == []


async def test_only_what_is_not_obviously_harmless_is_tried(model: EngineProvider) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]}},
        "required": ["a"],
        "$defs": {"b": {"enum": ["c"]}},
    }
    await ask(model)
    await ask(model, json_schema=schema)
    assert workers() == []
    await ask(model, json_schema={"type": "string", "pattern": "^[0-9]$"})
    (worker,) = workers()
    await ask(model, **DIGIT)
    assert workers() == [worker]


async def test_a_process_that_was_killed_is_started_again(model: EngineProvider) -> None:
    await ask(model, **DIGIT)
    (worker,) = workers()
    worker.kill()
    assert await ask(model, grammar="root ::= [0-8]") in "012345678"


async def test_a_grammar_is_tried_again_if_the_process_was_killed_by_somebody_else(checker: GrammarChecker) -> None:
    await checker.check(HARMLESS)
    (worker,) = workers()
    worker.suspend()
    other = asyncio.ensure_future(checker.check(HARMLESS.replace("a", "b")))
    await asyncio.sleep(0)
    worker.kill()
    await other


async def test_few_grammars_wait_and_those_of_callers_that_left_do_not(checker: GrammarChecker) -> None:
    endless = [asyncio.ensure_future(checker.check(f"{ENDLESS}\n# {number}")) for number in range(100)]
    same = [asyncio.ensure_future(checker.check(f"{ENDLESS}\n# 0")) for _ in range(20)]
    await asyncio.sleep(0)
    refused = [task for task in endless if task.done()]
    assert len(refused) == 92
    for task in refused:
        with pytest.raises(ServerError, match="too many schemas and grammars are being tried") as caught:
            await task
        assert caught.value.status == 503
    for task in (*endless, *same):
        assert task in refused or not task.done()
        task.cancel()
    await asyncio.wait({*endless, *same})
    await checker.check(HARMLESS)


async def test_an_engine_that_is_closed_while_a_grammar_is_tried_ends_the_process(model_file: Path) -> None:
    engine, provider = load_engine(Model("m", model_file))
    await ask(provider, **DIGIT)
    endless = asyncio.ensure_future(engine.checker.check(ENDLESS))
    await asyncio.sleep(0)
    await asyncio.to_thread(engine.close)
    assert workers() == []
    with pytest.raises(EmbeddedError, match="the embedded model was closed"):
        await endless


def test_the_process_executes_nothing_from_the_current_folder(model_file: Path, tmp_path: Path) -> None:
    for name in ("json", "xllamacpp", "msgspec", "signal"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    code = f"""
        import asyncio
        from pathlib import Path
        from acytoo.embedded.provider import Model, load_engine
        engine, provider = load_engine(Model("m", Path({str(model_file)!r})))
        messages = [{{"role": "user", "content": "Hi"}}]
        print(asyncio.run(provider.reply(messages, extra_body={{"grammar": 'root ::= "y"'}})).text)
        engine.close()
    """
    done = run([*script(code, "-P", "-W", "error")], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"y\n", b"")
    assert not (tmp_path / "executed").exists()
