"""The engine as a provider, with a tool call that must happen made certain."""

from __future__ import annotations

import atexit
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Unsupported
from acytoo.embedded.engine import Engine
from acytoo.embedded.forced_tools import as_call, as_structured
from acytoo.embedded.validate import must_call, taken
from acytoo.embedded.weights import KNOWN, Weights, fetch, fetched_anew
from acytoo.errors import EmbeddedError, UsageError
from acytoo.settings import Settings
from acytoo.types import Closable, Item, Request


class Model(msgspec.Struct, frozen=True):
    """What an `embedded://` URL names: a file, what it is called, the chat template where it needs another.

    `weights` say what the file must be, where that is known.
    """

    name: str
    path: Path
    template: str | None = None
    weights: Weights | None = None


class EngineProvider(AsyncGeneratorProvider):
    """The engine as a provider: whatever model is asked for, it is the one that is loaded."""

    name = "embedded"
    dialect = dialects.OpenAI()
    token_count_dialect = dialects.Anthropic()

    def answer(
        self, request: Request, settings: Settings | None = None, unsupported: Unsupported | None = None
    ) -> Closable[list[Item]]:
        """As any provider; where a function must be called, the model is held to it."""
        request = taken(request)
        functions = must_call(request)
        if functions:
            return as_call(super().answer(as_structured(request, functions), settings, unsupported))
        return super().answer(request, settings, unsupported)

    def can_pass_through(self, request: Request) -> bool:
        """Not what cannot be read or must be mended, nor where a function must be called.

        Raises UsageError where it cannot be answered.
        """
        return bool(request.messages) and taken(request) is request and not must_call(request)

    async def count_tokens(self, request: Request) -> int:
        """As any provider."""
        return await super().count_tokens(taken(request))


def model_of(url: str) -> Model:
    """The model behind an `embedded://` URL; a named one's weights are fetched. Raises UsageError, EmbeddedError."""
    parts = urlsplit(url)
    if parts.netloc and not parts.path.strip("/"):
        weights = KNOWN.get(parts.netloc)
        if weights is None:
            raise UsageError(
                f"no embedded model is called {parts.netloc!r}; known are {', '.join(KNOWN)}, "
                "and any file as embedded:///path/model.gguf"
            )
        template = files("acytoo.embedded").joinpath(weights.template).read_text() if weights.template else None
        return Model(weights.name, fetch(weights), template, weights)
    path = Path(unquote(f"/{parts.netloc}{parts.path}" if parts.netloc else parts.path)).resolve()
    return Model(path.stem, path)


def load(model: Model) -> tuple[Engine, EngineProvider]:
    """The running engine and its provider; blocks while it loads. Raises EmbeddedError, MissingExtraError.

    Where a file that is known cannot be loaded because it is damaged, it is fetched anew.
    """
    try:
        engine = Engine(model.path, model.name, model.template)
    except EmbeddedError:
        if model.weights is None or not fetched_anew(model.weights):
            raise
        engine = Engine(model.path, model.name, model.template)
    return engine, EngineProvider(engine.url, key=engine.key, model=model.name)


def engine_provider(url: str) -> EngineProvider:
    """The provider of an engine of its own, without a server in between; it ends with the process."""
    engine, provider = load(model_of(url))
    atexit.register(engine.close)
    return provider
