"""`acytoo launch`: start a coding agent on any model."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from acytoo.cli.agents import AGENTS
from acytoo.cli.options import endpoint_options, provider_from_options
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider
    from acytoo.cli.agents import Agent


@click.command
@endpoint_options
@click.argument("agent", type=click.Choice(sorted(AGENTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def launch(ctx: click.Context, /, agent: str, arguments: tuple[str, ...], **options: Any) -> None:
    """Start AGENT, a coding agent, with another model behind it.

    A server that only this agent can use runs beside it, and stops with it. ARGUMENTS after `--` are the agent's own.
    Your configuration of the agent is not changed.

    \b
    Examples:
      acytoo launch codex -m openai/gpt-5-mini
      acytoo launch opencode -m 'anthropic/claude-sonnet-5|ollama/qwen3-coder'
      acytoo launch qwen -m ollama/qwen3-coder -- -p "Explain this repository"
    """
    import shutil

    chosen = AGENTS[agent]
    program = shutil.which(chosen.program)
    if program is None:
        raise UsageError(f"{chosen.program} is not installed: {chosen.install}")
    ctx.exit(_run(program, chosen, arguments, provider_from_options(**options)))


def _run(program: str, agent: Agent, arguments: tuple[str, ...], provider: AsyncGeneratorProvider) -> int:
    import asyncio

    from acytoo.server.run import loop_factory

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve_agent(program, agent, arguments, provider))


async def _serve_agent(program: str, agent: Agent, arguments: tuple[str, ...], provider: AsyncGeneratorProvider) -> int:
    """Run the agent beside a server. Return its exit code, or 128 and the number of the signal that ended it."""
    import asyncio
    import os
    import secrets
    import signal
    import tempfile
    from pathlib import Path

    from acytoo.cli.agents import Server
    from acytoo.secret import Secret
    from acytoo.server.config import ServerConfig
    from acytoo.server.run import start

    key = secrets.token_urlsafe(24)
    # Agents send fields that other APIs do not have, and have no option to leave them out.
    config = ServerConfig({"launch": provider}, Secret(key), port=0, grace=0.0, drop_unsupported=True)
    server, url = await start(config)
    loop = asyncio.get_running_loop()
    try:
        # Not in /tmp: Gemini's agent trusts no settings in a folder that others can write to.
        with tempfile.TemporaryDirectory(prefix=".acytoo-launch-", dir=Path.home()) as folder:
            configured = agent.configure(Server(url, key, provider.model or "launch"), Path(folder))
            environment = {
                **os.environ,
                **configured.variables,
                "NO_PROXY": _without_proxy(),
                "no_proxy": _without_proxy(),
            }
            process = await asyncio.create_subprocess_exec(program, *configured.arguments, *arguments, env=environment)
            # Ctrl-C reaches the agent too, which decides what it means.
            with suppress(NotImplementedError):  # on Windows
                loop.add_signal_handler(signal.SIGINT, lambda: None)
                for number in (signal.SIGTERM, signal.SIGHUP):
                    loop.add_signal_handler(number, process.send_signal, number)
            code = await process.wait()
            return code if code >= 0 else 128 - code
    finally:
        await server.close()


def _without_proxy() -> str:
    """Return the hosts for which agents use no proxy, with this machine among them."""
    import os

    hosts = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return ",".join([*([hosts] if hosts else []), "127.0.0.1", "localhost"])
