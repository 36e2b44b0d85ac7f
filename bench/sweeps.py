"""What is measured: each sweep runs its contenders in turn, round after round."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import startup
from bench.contenders import CLIENTS, GATEWAYS, PEER_GATEWAYS
from bench.gateways import gateway, headers_for, request_for
from bench.peers import PEERS
from bench.processes import Watched, run_client, run_load, upstream

Measure = Callable[[str], dict[str, Any]]


@dataclass
class Sizes:
    """How much is done in a run; `quick` is to see that all works, no figure of it counts."""

    rounds: int = 5
    scale: float = 1.0
    window: float = 4.0

    def of(self, number: int, multiple: int = 1) -> int:
        """So many, or fewer in a quick run."""
        return max(multiple, int(number * self.scale) // multiple * multiple)


@dataclass
class Sweep:
    """Contenders measured in turn, each round; peers a round only, where they are asked for."""

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
        """Every sweep, in the order of the table."""
        paced = ["aiohttp", "acytoo", "aiohttp-tuned", "acytoo+uvloop", "aiohttp-tuned+uvloop"]
        return [
            Sweep("burst", ["aiohttp", "acytoo", "aiohttp-tuned"], self._burst("burst", 6), CLIENTS),
            Sweep("burst-raw", ["aiohttp-raw", "acytoo-raw"], self._burst("burst", 6, 5)),
            Sweep("burst-tools", ["aiohttp-tools", "acytoo-stream"], self._burst("tools", 0)),
            Sweep("paced-200", paced, self._paced(200, 100), CLIENTS),
            Sweep("paced-1000", paced, self._paced(1000, 200)),
            Sweep("still-1000", ["aiohttp", "acytoo", "aiohttp-tuned"], self._still(self.service, None)),
            Sweep("still-1000-tls", ["aiohttp", "acytoo", "aiohttp-tuned"], self._still(self.secure, self.ca)),
            Sweep("short-1", ["aiohttp", "acytoo", "aiohttp-tuned"], self._short(1), CLIENTS),
            Sweep("short-16", ["aiohttp", "acytoo", "aiohttp-tuned"], self._short(16), CLIENTS),
            Sweep("import", ["asyncio", "acytoo", "acytoo.Acytoo", "aiohttp"], startup.imported, CLIENTS),
            Sweep("once", ["aiohttp", "acytoo"], self._once, CLIENTS),
            Sweep("version", ["click", "acytoo"], startup.version),
            Sweep("help", ["click", "acytoo"], startup.help_shown),
            Sweep("embedded", ["llama.cpp", "acytoo", "llama.cpp, every core"], startup.first_text),
            Sweep("gateway-1", GATEWAYS, self._closed(1), PEER_GATEWAYS),
            Sweep("gateway-64", GATEWAYS, self._closed(64), PEER_GATEWAYS),
            Sweep("gateway-burst", GATEWAYS, self._relayed, PEER_GATEWAYS),
            Sweep("gateway-500", GATEWAYS, self._gateway_paced, PEER_GATEWAYS),
            Sweep("install", ["aiohttp", "acytoo"], startup.installed_size, CLIENTS),
        ]

    def _burst(self, kind: str, size: int, times: int = 1) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            chunks = self.sizes.of(20_000 * times, 100)
            model = f"{kind}-{chunks}-{size}" if size else f"{kind}-{chunks}"
            characters = chunks * size if size else chunks // 2 * 6 + 10 + 2 + 5 * (chunks - chunks // 2 - 2)
            repeat = 2 if caller in PEERS else 20
            return run_client(caller, "burst", model, self.service, chunks=chunks, characters=characters, repeat=repeat)

        return measure

    def _once(self, caller: str) -> dict[str, Any]:
        return run_client(caller, "once", "burst-10-6", self.service, characters=60)

    def _short(self, streams: int) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            number = self.sizes.of(1_600 if caller in PEERS else 12_800, 16)
            return run_client(
                caller, "short", "burst-10-6", self.service, streams=streams, repeat=number, characters=60
            )

        return measure

    def _paced(self, streams: int, milliseconds: int) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            number = self.sizes.of(streams, 10)
            return run_client(
                caller,
                "paced",
                f"paced-{milliseconds}",
                self.service,
                streams=number,
                interval=milliseconds / 1000,
                window=self.sizes.window,
            )

        return measure

    def _still(self, service: Watched, ca: Path | None) -> Measure:
        def measure(caller: str) -> dict[str, Any]:
            return run_client(caller, "still", "still", service, streams=self.sizes.of(1000, 10), ca=ca)

        return measure

    def _closed(self, streams: int) -> Measure:
        def measure(name: str) -> dict[str, Any]:
            requests = 128 if name in _SLOW else 3_200
            return self._load(name, "closed", "burst-10-6", streams=streams, requests=self.sizes.of(requests * (
                1 if streams == 1 else 5), 64))  # fmt: skip

        return measure

    def _relayed(self, name: str) -> dict[str, Any]:
        """SSE chunks a second through a gateway, in a burst of one stream at a time."""
        chunks = self.sizes.of(20_000, 100)
        requests = 3 if name in _SLOW else 60
        result = self._load(name, "closed", f"burst-{chunks}-6", streams=1, requests=requests)
        result["chunks_per_s"] = result["requests_per_s"] * chunks
        result["cpu_us"] = result["cpu_us"] / chunks
        return result

    def _gateway_paced(self, name: str) -> dict[str, Any]:
        options = {"streams": self.sizes.of(500, 10), "interval": 0.1, "window": self.sizes.window}
        return self._load(name, "paced", "paced-100", **options)

    def _load(self, name: str, mode: str, model: str, **options: Any) -> dict[str, Any]:
        with gateway(name, self.service) as running:
            headers = headers_for(name, self.service)
            return run_load(mode, running, self.service, *request_for(name, model), headers, **options)


_SLOW = frozenset({"litellm", "g4f"})
"""Gateways that are asked less often, as they take long."""


def with_services(sizes: Sizes, use: Callable[[Bench], None]) -> None:
    """Start the services, let them be used."""
    import trustme

    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        ca, chain = Path(folder) / "ca.pem", Path(folder) / "chain.pem"
        authority.cert_pem.write_to_path(str(ca))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(chain))
        with upstream() as service, upstream(chain) as secure:
            use(Bench(sizes, service, secure, ca))
