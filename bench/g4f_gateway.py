"""gpt4free's API server in front of the upstream; runs in gpt4free's environment."""

from __future__ import annotations

import argparse

import uvicorn
from g4f.client.factory import AbstractClientFactory


def main() -> None:
    """Serve until terminated. The list of providers is set, which g4f else downloads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    service = {"baseUrl": f"{arguments.upstream}/v1"}
    AbstractClientFactory._live_providers = {"providers": {"default": service, "Bench": service}, "defaultModels": {}}
    from g4f.api import create_app

    uvicorn.run(create_app(), host="127.0.0.1", port=arguments.port, log_level="error")


if __name__ == "__main__":
    main()
