"""The engine as a provider, which validates requests and forces tool calls."""

from __future__ import annotations

import atexit
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Unsupported
from acytoo.dialects.custom_tools import as_functions, custom_names
from acytoo.dialects.json import dumps
from acytoo.dialects.openai.request import encode_request
from acytoo.embedded.constraints import constrain, grammar_to_try, has_schema, is_constrained, require_json
from acytoo.embedded.engine import Engine
from acytoo.embedded.fields import unknown_fields
from acytoo.embedded.forced_tools import convert_reply, request_call
from acytoo.embedded.grammar_checker import GrammarChecker
from acytoo.embedded.validate import forced_functions, normalize, with_extra_options
from acytoo.embedded.weights import KNOWN, fetch
from acytoo.errors import RequestError, StatusError, UsageError
from acytoo.http import Endpoint, HTTPRequest
from acytoo.observation import Observation
from acytoo.settings import Settings
from acytoo.types import Closable, Item, Request


class Model(msgspec.Struct, frozen=True):
    """The model of an `embedded://` URL: its name in replies, and its file.

    `template` replaces the file's own chat template. `is_verified` means that the file has a pinned hash.
    """

    name: str
    path: Path
    template: str | None = None
    is_verified: bool = False


class _EngineDialect(dialects.OpenAI):
    """The API of llama.cpp's server.

    Its schemas and grammars are sent as llguidance's. Its error about a long prompt gives advice to those who started
    it.
    """

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """Return the HTTP request for a reply, as OpenAI's API has it, but with other constraints."""
        self.check_options(request, unsupported)
        body = encode_request(request, self.extra(request), unsupported, self.variations)
        return self.http_request(request, endpoint, dumps(constrain(body)))

    def read_error(self, status: int | None, body: bytes, retry_after: float | None = None) -> StatusError:
        """Return the error; that of a prompt that is too long has the limit and what to do."""
        error = super().read_error(status, body, retry_after)
        if error.type != "exceed_context_size_error":
            return error
        try:
            sizes = msgspec.json.decode(body, type=_ErrorDocument).error
        except msgspec.DecodeError:
            return error
        message = (
            f"the prompt has {sizes.n_prompt_tokens:,} tokens, but the model reads at most {sizes.n_ctx:,}: "
            "shorten it, leave out earlier messages, or use a model of another provider"
        )
        return RequestError(message, status=status, code=error.code, type=error.type, body=error.body)


class _ContextSizes(msgspec.Struct):
    n_prompt_tokens: int
    n_ctx: int


class _ErrorDocument(msgspec.Struct):
    error: _ContextSizes


class EngineProvider(AsyncGeneratorProvider):
    """The engine as a provider. It ignores the name of the requested model: only one is loaded."""

    name = "embedded"
    dialect = _EngineDialect()
    token_count_dialect = dialects.Anthropic()
    checker: GrammarChecker | None = None
    """What tries schemas and grammars first. Without one, a grammar that takes forever holds up everybody."""

    def answer(
        self,
        request: Request,
        settings: Settings | None = None,
        unsupported: Unsupported | None = None,
        observation: Observation | None = None,
    ) -> Closable[list[Item]]:
        """Return the reply, as every provider does. A required tool call is forced."""
        settings = settings or self._settings
        unsupported = unsupported or Unsupported(self.name, drop=settings.drop_unsupported)
        request = with_extra_options(as_functions(request, unsupported))
        if request.extra_for in ("", "openai"):
            for field in unknown_fields(request.extra):
                (unsupported.note if request.extra_for else unsupported)(field)
        request = normalize(request)
        if functions := forced_functions(request):
            request = request_call(request, functions)
        batches = super().answer(request, settings, unsupported, observation)
        if self.checker is not None and (grammar := grammar_to_try(request)):
            batches = _after_check(self.checker, grammar, batches)
        if functions:
            return convert_reply(batches)
        return require_json(batches) if has_schema(request) else batches

    def can_pass_through(self, request: Request) -> bool:
        """Return False if the body must be changed: if it is normalized or constrained, or a tool call is forced.

        Raises:
            UsageError: The engine cannot answer the request.
        """
        return (
            bool(request.messages)
            and not custom_names(request)
            and normalize(request) is request
            and not is_constrained(request)
            and not forced_functions(request)
        )

    async def count_tokens(self, request: Request) -> int:
        """Return the number of input tokens, as every provider does."""
        return await super().count_tokens(normalize(as_functions(request, Unsupported(self.name, drop=True))))


async def _after_check(
    checker: GrammarChecker, grammar: str, batches: Closable[list[Item]]
) -> AsyncGenerator[list[Item], None]:
    """Yield the reply if the engine can follow the grammar."""
    async with aclosing(batches):
        await checker.check(grammar)
        async for batch in batches:
            yield batch


def resolve_model(url: str) -> Model:
    """Return the model of an `embedded://` URL. The weights of a named model are downloaded if necessary.

    Raises:
        UsageError: The name is unknown.
        EmbeddedError: The download failed.
    """
    parts = urlsplit(url)
    if not parts.path.strip("/"):
        weights = KNOWN.get(parts.netloc)
        if weights is None:
            raise UsageError(
                f"unknown embedded model {parts.netloc.rpartition('@')[2]!r}: use {', '.join(KNOWN)}, "
                "or a GGUF file as embedded:///path/model.gguf"
            )
        template = files("acytoo.embedded").joinpath(weights.template).read_text() if weights.template else None
        return Model(weights.name, fetch(weights), template, is_verified=True)
    path = Path(unquote(f"/{parts.netloc}{parts.path}" if parts.netloc else parts.path)).resolve()
    return Model(path.stem, path)


def load_engine(model: Model) -> tuple[Engine, EngineProvider]:
    """Load the model. Return the running engine and its provider. Blocks while the model loads.

    Raises:
        EmbeddedError: The model cannot be loaded.
        MissingExtraError: llama.cpp is not installed.
    """
    engine = Engine(model.path, model.name, model.template, is_verified=model.is_verified)
    provider = EngineProvider(engine.url, key=engine.key, model=model.name)
    provider.checker = engine.checker
    return engine, provider


def load_provider(url: str) -> EngineProvider:
    """Return the provider of a new engine, without a server in between. The engine is closed when the process exits."""
    engine, provider = load_engine(resolve_model(url))
    atexit.register(engine.close)
    return provider
