"""TensorZero's embedded gateway; runs in TensorZero's environment. It picks a free port and prints its URL."""

from __future__ import annotations

import argparse
import os
import signal

from tensorzero import _start_http_gateway


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    arguments = parser.parse_args()
    out = os.dup(1)
    os.dup2(2, 1)  # the gateway logs to stdout
    gateway = _start_http_gateway(
        config_file=arguments.config, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
    )
    os.write(out, f"{gateway.base_url}\n".encode())
    signal.pause()


if __name__ == "__main__":
    main()
