"""The example of a third-party provider package: installed with pip, found by name, used by client, CLI and server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import ACYTOO, run, script

EXAMPLE = Path(__file__).parents[1] / "examples" / "acytoo-shout"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables for a process that has the example installed."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    done = run([*pip, str(EXAMPLE)])
    assert done.returncode == 0, done.stderr.decode()
    return {"PYTHONPATH": str(folder)}


def output_of(command: list[str], installed: dict[str, str]) -> str:
    done = run(command, env=installed)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_it_is_found_by_name(installed: dict[str, str]) -> None:
    code = """
        import asyncio, acytoo
        shout = acytoo.provider("shout/!")
        hello = [{"role": "user", "content": "hello there"}]
        print(type(shout).__name__, asyncio.run(shout.create_async("", hello)), *shout.create_completion("?", hello))
    """
    assert output_of(script(code), installed) == "Shout HELLO! THERE!  HELLO?  THERE? \n"


def test_the_command_in_its_readme_works(installed: dict[str, str]) -> None:
    command = [ACYTOO, "-m", "shout/!", "hello there"]
    assert output_of(command, installed).split() == ["HELLO!", "THERE!"]
    assert "hello there" in (EXAMPLE / "README.md").read_text()
    assert "shout" in output_of([ACYTOO, "providers"], installed)


def test_it_is_served_to_clients_of_every_api(installed: dict[str, str]) -> None:
    code = """
        import asyncio, acytoo
        from acytoo import dialects
        from acytoo.server.config import ServerConfig
        from acytoo.server.run import start

        async def main():
            server, url = await start(ServerConfig({"shout": acytoo.provider("shout")}, port=0))
            for dialect in dialects.ALL:
                client = type("Client", (acytoo.AsyncGeneratorProvider,), {"dialect": dialect})
                print(await client(url).create_async("!", [{"role": "user", "content": "hello"}]))
            await server.close()

        asyncio.run(main())
    """
    assert output_of(script(code), installed).split() == ["HELLO!"] * 6
