"""gpt4free's API server with a provider for the service under measurement; runs in its environment."""

from __future__ import annotations

import argparse

import uvicorn
from g4f.api import create_app
from g4f.client.factory import AbstractClientFactory
from g4f.Provider import ProviderUtils
from g4f.Provider.template import OpenaiTemplate


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()

    class Bench(OpenaiTemplate):  # type: ignore[misc]
        base_url = f"{arguments.upstream}/v1"
        working = True
        api_key = "bench"

    ProviderUtils.convert["Bench"] = Bench
    AbstractClientFactory._live_providers = {"providers": {"none": {}}}  # else it fetches a list from the internet
    uvicorn.run(create_app(), host="127.0.0.1", port=arguments.port, log_level="error")


if __name__ == "__main__":
    main()
