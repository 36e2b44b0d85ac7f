"""Who takes part: the peers' clients, our gateway beside bare ones, the peers' gateways."""

from __future__ import annotations

CLIENTS = ["httpx", "g4f", "openai", "any-llm-sdk", "langchain-openai", "pydantic-ai", "litellm"]
GATEWAYS = ["bare-cross", "acytoo-cross", "bare-cross-tuned", "bare-through", "acytoo-through", "bare-through-tuned"]
PEER_GATEWAYS = ["nginx", "portkey", "g4f", "litellm"]
