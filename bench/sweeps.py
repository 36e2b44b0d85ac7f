"""The sweeps: in each, the contenders run in turn, round after round."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import native, startup
from bench.gateways import end_of_stream, native_upstream, request_for, running_gateway
from bench.peers import CLIENTS, FAST_GATEWAYS, PEER_GATEWAYS, PEERS
from bench.processes import Load, Watched, environment, run_client, run_load, upstream
from bench.table import GATEWAYS

Measure = Callable[[str], dict[str, Any]]

_SLOW_GATEWAYS = frozenset({"litellm", "g4f"})
"""Gateways that get fewer requests."""


@dataclass
class Sizes:
    """How much a run does. No figure of a quick run counts."""

    rounds: int = 5
    scale: float = 1.0
    window: float = 2.5

    def scaled(self, number: int, multiple: int = 1) -> int:
        """Return the number, smaller in a quick run, as a multiple of `multiple`."""
        return max(multiple, int(number * self.scale) // multiple * multiple)


@dataclass
class Sweep:
    """Contenders that are measured in turn in each round; peers only on request."""

    name: str
    contenders: list[str]
    measure: Measure
    peers: list[str] = field(default_factory=list)


class Bench:
    """All sweeps, over the services they share."""

    def __init__(self, sizes: Sizes, service: Watched, secure: Watched, ca: Path) -> None:
        self.sizes = sizes
        self.service = service
        self.secure = secure
        self.ca = ca

    def sweeps(self) -> list[Sweep]:
        """Return every sweep, in the order of the table."""
        plain = ["aiohttp", "acytoo", "aiohttp-tuned"]
        paced = [*plain, "acytoo+uvloop", "aiohttp-tuned+uvloop"]
        gateways = [*GATEWAYS, *FAST_GATEWAYS]
        imports = ["asyncio", "acytoo", "acytoo.Acytoo", "aiohttp", "acytoo-call", "acytoo-call-on-aiohttp"]
        return [
            Sweep("burst", plain, self._burst("burst", 6), CLIENTS),
            Sweep("burst-raw", ["aiohttp-raw", "acytoo-raw"], self._burst("burst", 6, 5)),
            Sweep("burst-tools", ["aiohttp-tools", "acytoo-stream"], self._burst("tools", 0)),
            Sweep("paced-200", paced, self._paced(200, 100), CLIENTS),
            Sweep("paced-1000", paced, self._paced(1000, 200)),
            Sweep("still-1000", plain, self._still(self.service, None)),
            Sweep("still-1000-tls", plain, self._still(self.secure, str(self.ca))),
            Sweep("short-1", plain, self._short(1), CLIENTS),
            Sweep("short-16", plain, self._short(16), CLIENTS),
            Sweep("import", imports, self._import, CLIENTS),
            Sweep("once", ["aiohttp", "acytoo", "acytoo-on-aiohttp"], self._once, CLIENTS),
            Sweep("version", ["click", "acytoo"], lambda name: startup.command_time(name, "--version")),
            Sweep("help", ["click", "acytoo"], lambda name: startup.command_time(name, "--help")),
            Sweep("embedded", ["llama.cpp", "acytoo", "llama.cpp, every core"], startup.first_text),
            Sweep("gateway-1", gateways, self._closed(1), PEER_GATEWAYS),
            Sweep("gateway-64", gateways, self._closed(64), PEER_GATEWAYS),
            Sweep("gateway-64-streamed", gateways, self._closed(64, 22), PEER_GATEWAYS),
            Sweep("gateway-agent", gateways, self._agent, PEER_GATEWAYS),
            Sweep("gateway-burst", gateways, self._relayed, PEER_GATEWAYS),
            Sweep("gateway-50", gateways, self._gateway_paced(50, 0.02, 120, 0.5), PEER_GATEWAYS),
            Sweep("gateway-500", gateways, self._gateway_paced(500, 0.1, 25, 1.0), PEER_GATEWAYS),
            Sweep("install", ["aiohttp", "acytoo"], startup.installed_size, CLIENTS),
        ]

    def _burst(self, kind: str, size: int, times: int = 1) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            chunks = self.sizes.scaled(20_000 * times, 100)
            model = f"{kind}-{chunks}-{size}" if size else f"{kind}-{chunks}"
            # "tools": half of the chunks are texts of 6, the others an opening of 10, pieces of 5, an end of 2.
            characters = chunks * size if size else chunks // 2 * 6 + 10 + 2 + 5 * (chunks - chunks // 2 - 2)
            repeat = 2 if caller in PEERS else 15
            return run_client(caller, "burst", model, self.service, chunks=chunks, characters=characters, repeat=repeat)

        return measure

    def _import(self, name: str) -> dict[str, Any]:
        return startup.import_time(name, self.service)

    def _once(self, caller: str) -> dict[str, Any]:
        if caller == "acytoo-on-aiohttp":
            env = environment(PYTHONPATH=startup.on_aiohttp())
            return run_client("acytoo", "once", "burst-10-6", self.service, env=env, characters=60)
        return run_client(caller, "once", "burst-10-6", self.service, characters=60)

    def _short(self, streams: int) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            repeat = self.sizes.scaled(1_600 if caller in PEERS else 4_800 if streams == 1 else 9_600, 16)
            options: dict[str, Any] = {"streams": streams, "repeat": repeat, "characters": 60}
            return run_client(caller, "short", "burst-10-6", self.service, **options)

        return measure

    def _paced(self, streams: int, milliseconds: int) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            number = self.sizes.scaled(streams, 10)
            options: dict[str, Any] = {"streams": number, "interval": milliseconds / 1000, "window": self.sizes.window}
            return run_client(caller, "paced", f"paced-{milliseconds}", self.service, **options)

        return measure

    def _still(self, service: Watched, ca: str | None) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            return run_client(caller, "still", "still", service, streams=self.sizes.scaled(1000, 10), ca=ca)

        return measure

    def _closed(self, streams: int, chunks: int = 0) -> Measure:
        """Measure short replies, one after another on each connection: documents, or streams of so many chunks."""

        def measure(name: str) -> dict[str, Any]:
            requests = (64 if name in _SLOW_GATEWAYS else 1_600) * (1 if streams == 1 else 2 if chunks else 5)
            return self._load(name, streams, self.sizes.scaled(requests, 64), chunks)

        return measure

    def _relayed(self, name: str) -> dict[str, Any]:
        """Measure SSE chunks a second through a gateway, in bursts of one stream at a time."""
        return self._load(name, 1, 1 if name in _SLOW_GATEWAYS else 12, max(2_000, self.sizes.scaled(10_000)))

    def _agent(self, name: str) -> dict[str, Any]:
        """Measure the long requests of coding agents on 8 connections, with streams of 22 chunks as replies."""
        total = self.sizes.scaled(32 if name in _SLOW_GATEWAYS else 800, 16)
        return self._load(name, 8, total, 22, is_agent=True)

    def _gateway_paced(self, streams: int, interval: float, chunks: int, ramp: float) -> Measure:
        def measure(name: str) -> dict[str, Any]:
            number = self.sizes.scaled(streams, 10)
            return self._load(name, number, number, chunks, interval=interval, ramp=ramp)

        return measure

    def _load(
        self, name: str, streams: int, total: int, chunks: int, *, is_agent: bool = False, **pace: float
    ) -> dict[str, Any]:
        with native_upstream() as service, running_gateway(name, service) as gateway:
            prompt = f"Write a story. N={chunks};I={pace.get('interval', 0) * 1e6:.0f};"
            request = request_for(name, service, prompt, stream=chunks > 0, is_agent=is_agent)
            load = Load(request, streams, total, chunks, end_of_stream(name) if chunks else "}", **pace)
            return run_load(native.program("loadgen"), gateway, service, load)


def with_services(sizes: Sizes, use: Callable[[Bench], None]) -> None:
    """Start the services, one of them with TLS, and call `use` with the bench over them."""
    import trustme

    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        ca, chain = Path(folder) / "ca.pem", Path(folder) / "chain.pem"
        authority.cert_pem.write_to_path(str(ca))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(chain))
        with upstream() as service, upstream(chain) as secure:
            use(Bench(sizes, service, secure, ca))
