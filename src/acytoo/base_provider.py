"""The class every provider inherits. It does all I/O; a subclass is data, and at most a pure function."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec

from acytoo._hybridmethod import hybridmethod
from acytoo.compat import g4f, legacy
from acytoo.credentials import stored_key
from acytoo.dialects.base import Dialect, Fetch, Unsupported, Writer
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    ReplyTooLargeError,
    ServerError,
    ToolCallsError,
    UnsupportedError,
    UsageError,
)
from acytoo.http import Endpoint
from acytoo.messages import check_messages, check_options, wrong_type
from acytoo.observation import Received
from acytoo.secret import Secret, mask_url
from acytoo.settings import NAMES, SettingArguments, Settings, as_body_fields, as_size, as_text, check_url, hidden
from acytoo.types import (
    OPTIONS,
    AsyncResult,
    Attempt,
    Closable,
    Item,
    Messages,
    OpaquePart,
    Refusal,
    Reply,
    ReplySize,
    Request,
    ToolCall,
    collect,
)

if TYPE_CHECKING:
    from typing import Unpack

    from acytoo.client import Client
    from acytoo.observation import Observation
    from acytoo.preparation import Preparation

T = TypeVar("T")

ReplyOpener: TypeAlias = "Callable[[AsyncGeneratorProvider, Request], Closable[T]]"
"""Begins the reply of a provider to a request: as batches of items or, in a server, as bytes."""


class OpenReply(msgspec.Struct, Generic[T]):
    """A reply, and which provider gives it: `source` is what the opener returned for that one.

    `batches` is the same reply to iterate over; `attempts` are those of a route.
    """

    source: Closable[T]
    batches: Closable[T]
    attempts: list[Attempt] = []


class Check(msgspec.Struct, frozen=True):
    """The result of `check()`: the seconds until the first item and until the end, or the error."""

    ok: bool
    first_s: float | None = None
    total_s: float | None = None
    text: str = ""
    model: str = ""
    error: AcytooError | None = None

    def __bool__(self) -> bool:
        return self.ok


class AsyncGeneratorProvider(g4f.ProviderMixin):
    """A chat API as an async generator of text.

    A subclass sets `url` and `dialect`. A legacy (gpt4free-style) subclass leaves `dialect` None and overrides
    `create_async_generator`, or else `create_async` or `create_completion`, with a classmethod that does its own HTTP;
    every other method works for it too. It gets an instance's settings as arguments, and the URL as its class's `url`.
    What it cannot take is refused by name.
    """

    name: ClassVar[str] = ""
    """The name in addresses such as `NAME/MODEL`; by default the class's name in lower case."""
    url: str = ""
    dialect: ClassVar[Dialect | None] = None
    token_count_dialect: ClassVar[Dialect | None] = None
    """The dialect in which the same endpoint counts tokens, if it is not `dialect`."""
    default_model: ClassVar[str] = ""
    model_prefixes: ClassVar[tuple[str, ...]] = ()
    """How the names of the service's own models begin, for the error about a model without a provider."""
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Environment variables for `url`, `key`, `password`, `proxy` and `model`. `<CLASS>_URL` and so on come after."""

    is_legacy: ClassVar[bool] = False
    """Whether the class overrides `create_async_generator` and has no dialect. Set when the class is created."""
    _settings = Settings()  # error reporters show the repr of an instance whose arguments are invalid
    legacy_settings: Mapping[str, object] = {}  # class attributes, for legacy classes whose __init__ is their own
    """The settings that an instance passes to the legacy methods of its class."""
    model: str = ""
    working: bool = True
    needs_auth: bool = False
    needs_model: bool = False
    supports_stream: bool = True
    supports_message_history: bool = True
    supports_system_message: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_attributes(cls)
        has_own = legacy.adopt(cls, AsyncGeneratorProvider)
        cls.is_legacy = cls.dialect is None and (has_own or cls.is_legacy)

    def __init__(
        self, url: str | None = None, *, model: str | None = None, **settings: Unpack[SettingArguments]
    ) -> None:
        """Create a configured provider; what is not passed comes from the environment, then from the class.

        `key`, `password`: for the endpoint. `proxy`: a URL. `timeout`: seconds, a dict or a `Timeout`.
        `ca`: a file or folder of certificates, or an `ssl.SSLContext`. `trust_env`: use the environment's proxies.
        `extra_headers`: sent with every request.
        `drop_unsupported`: drop what the API cannot express instead of raising. `max_reply`: how many bytes of a reply
        are kept, in a `Reply` or with an error. `base_url` and `api_key` are other
        names for `url` and `key`. Raises UsageError for an invalid value.
        """
        for name in settings.keys() - NAMES:
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
        changes = hidden({"url": url, **settings})
        del url, settings  # an error reporter prints the variables of this frame
        # An empty proxy means no proxy argument, so that `proxy=os.environ.get(…, "")` works.
        if not (changes.get("proxy") or changes.pop("proxy", None)) and (proxy := Secret(self.environment("proxy"))):
            changes["proxy"] = proxy
        # The keyring is slow, so it is read only if no key is passed.
        key = Secret() if changes.get("key") or changes.get("api_key") else Secret(self.own_key())
        env_url = Secret(self.environment("url"))
        self.legacy_settings = changes.copy()
        if self.is_legacy:
            self.legacy_settings = {**({"url": env_url} if env_url else {}), **self._key_if_taken(key), **changes}
        before = Settings(Endpoint("", key, Secret(self.environment("password"))))
        if not (changes.get("url") or changes.get("base_url")):
            changes["url"] = env_url or Secret(type(self).url)
        self._settings = before.changed(changes, self._normalize_url)
        if self.dialect is None:  # what its URL consists of is not known
            self.url = self._normalize_url(Secret(changes.get("url") or changes.get("base_url")).reveal())
        else:
            self.url = self._settings.endpoint.url
        self._own_client: Client | None = None
        self._preparation: Preparation | None = None
        if self.dialect is not None and (
            type(self).prepare is not AsyncGeneratorProvider.prepare
            or type(self.dialect).prepare is not Dialect.prepare
        ):
            from acytoo.preparation import Preparation

            self._preparation = Preparation(self.prepare)
        self.model = as_text(model, "model") or self.environment("model") or self.default_model

    def __repr__(self) -> str:
        secrets = [f", {name}=***" for name in ("key", "password") if getattr(self._settings.endpoint, name)]
        return f"{type(self).__name__}(url={mask_url(self.url)!r}{''.join(secrets)})"

    @classmethod
    def variable(cls, setting: str) -> str:
        """Return the environment variable to set for a setting."""
        return next(iter(cls.env.get(setting, ())), f"{cls.__name__.upper()}_{setting.upper()}")

    @classmethod
    def environment(cls, setting: str) -> str:
        """Return the value of a setting in the environment, or "" if it is not set."""
        for name in (*cls.env.get(setting, ()), f"{cls.__name__.upper()}_{setting.upper()}"):
            if value := os.environ.get(name):
                return value
        return ""

    @property
    def max_reply(self) -> int:
        """How many bytes of a reply are kept."""
        return self._settings.max_reply

    @property
    def has_key(self) -> bool:
        """Whether a key was passed or found in the environment or the keyring."""
        return bool(self._settings.endpoint.key)

    @classmethod
    def address_name(cls) -> str:
        """Return the provider's name in addresses such as `NAME/MODEL`."""
        return cls.name or cls.__name__.lower()

    @classmethod
    def full_url(cls, url: str) -> str:
        """Return the URL with what this API's users leave out, such as a port. Providers may override it."""
        return url

    @classmethod
    def own_key(cls) -> str:
        """Return the key from the environment, or from the system's keyring if the provider needs one."""
        key = cls.environment("key")
        return key or (stored_key(cls.address_name()) if cls.needs_auth else "")

    @classmethod
    def _takes(cls, name: str) -> bool:
        """Return whether a legacy class's `create_async_generator` can be called with the argument."""
        return legacy.takes(cls, name)

    @classmethod
    def _key_if_taken(cls, key: Secret) -> dict[str, object]:
        """Return the environment's key as an argument. A legacy class that does not take it may read it by itself."""
        return {"key": key} if key and cls._takes("key") else {}

    def _normalize_url(self, url: str) -> str:
        """Return the full URL. Raises UsageError if it is missing or invalid; a legacy provider's may be anything."""
        url = self.full_url(url)
        if self.dialect is None:
            return url
        if not url:
            raise UsageError(f"{type(self).__name__} needs a URL: pass url=…, or set {self.variable('url')}")
        return check_url(url)

    async def prepare(self, endpoint: Endpoint, fetch: Fetch) -> Endpoint:
        """Return the endpoint to call, such as one with the token of a login as its key, or a cookie in its headers.

        A provider or its dialect may override this. `fetch` sends a request with the connection settings of the call.
        The result is kept for the instance; if the server answers 401 to it, this is called once more. A call on the
        class creates an instance, and so prepares again.
        """
        assert self.dialect is not None
        return await self.dialect.prepare(endpoint, fetch)

    # What users call.

    @hybridmethod
    def create_async_generator(
        self, /, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        """Stream the reply's text: non-empty strings that concatenate to the complete reply. A refusal is text too.

        `kwargs` are request options (`temperature`, `max_tokens`, `tools`, …), settings (`key`, `timeout`, …) for this
        call alone, or `extra_body`. Raises UsageError now, and other AcytooErrors while iterating; ToolCallsError at
        the end of a reply with tool calls, and NoTextError at that of an image or the like without text: only `stream`
        and `reply` return these.
        """
        return _texts(self.begin(model, messages, {**kwargs, "proxy": proxy}, texts_only=True))

    @hybridmethod
    def stream(self, /, messages: Messages, *, model: str = "", **kwargs: Any) -> AsyncGenerator[Item, None]:
        """Stream the complete reply: `str` for text, `Event`s for the rest.

        Takes the options of `create_async_generator`.
        """
        return _items(self.begin(model, messages, kwargs))

    @hybridmethod
    async def create_async(self, /, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any) -> str:
        """Return the text of the complete reply. Raises as `create_async_generator`."""
        stream = self.create_async_generator(model or self.model, messages, proxy=proxy, **kwargs)
        return "".join([item for item in await self._collected(stream, kwargs) if isinstance(item, str)])

    @hybridmethod
    async def reply(self, /, messages: Messages, *, model: str = "", **kwargs: Any) -> Reply:
        """Return the complete reply. Its `.message` can be appended to `messages` and sent to any provider."""
        stream = self.stream(messages, model=model, **kwargs)
        return collect(await self._collected(stream, kwargs))

    async def _collected(self, stream: AsyncGenerator[Item, None], kwargs: Mapping[str, object]) -> list[Item]:
        """Return all items of a call's stream. Raises ReplyTooLargeError above its `max_reply`."""
        size = ReplySize(as_size(kwargs.get("max_reply") or self._settings.max_reply, "max_reply"))
        items: list[Item] = []
        async with aclosing(stream):
            try:
                async for item in stream:
                    size.add((item,))
                    items.append(item)
            except ReplyTooLargeError as error:
                error.text = "".join([item for item in items if isinstance(item, str)])
                raise
        return items

    @hybridmethod
    def create_completion(
        self, /, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> Iterator[str]:
        """Return the text as a synchronous iterator. Raises as `create_async_generator`.

        Works in a script, in a thread, inside a running event loop and in Jupyter.
        """
        from acytoo.sync import SyncIterator

        return SyncIterator(self.create_async_generator(model or self.model, messages, proxy=proxy, **kwargs))

    @hybridmethod
    async def check(self, /, model: str = "", timeout: float = 30.0) -> Check:
        """Request a few tokens and return whether the endpoint works, how fast, or why it does not."""
        limits: dict[str, object] = {"max_tokens": 5} if self.dialect and "max_tokens" in self.dialect.options else {}
        waiting = {"timeout": timeout} if not self.is_legacy or self._takes("timeout") else {}
        started = time.monotonic()
        first: float | None = None
        texts: list[str] = []
        answering_model = ""
        try:
            stream = self.stream([{"role": "user", "content": "Say OK."}], model=model, **waiting, **limits)
            async with aclosing(stream):
                async for item in stream:
                    first = first or time.monotonic() - started
                    if isinstance(item, str):
                        texts.append(item)
                        if not limits and (len(texts) >= 5 or len(item) > 20):
                            break
                    else:
                        answering_model = answering_model or getattr(item, "model", "")
        except AcytooError as error:
            return Check(False, first, time.monotonic() - started, "".join(texts), answering_model, error)
        except Exception as error:
            if not self.is_legacy:
                raise
            failed = time.monotonic() - started
            return Check(False, first, failed, "".join(texts), answering_model, legacy_error(error))
        return Check(True, first, time.monotonic() - started, "".join(texts), answering_model)

    def begin(
        self, model: str, messages: Messages, kwargs: dict[str, object], *, texts_only: bool = False
    ) -> Closable[list[Item]]:
        """Return the reply to a call of a public method, with its arguments. Raises UsageError now.

        `texts_only`: the caller has no use for events about the reply itself, such as the attempts of a route.
        """
        if self.is_legacy:
            arguments: dict[str, Any] = kwargs
            return _as_batches(self.create_async_generator(model or self.model, messages, **arguments))
        return self.answer(*self._prepared(model, messages, kwargs))

    # What the server and routes call.

    async def open_reply(self, request: Request, opener: ReplyOpener[T], session: str = "") -> OpenReply[T]:
        """Return the reply that `opener` begins with the provider that answers: this one. A route chooses one.

        `session` is the caller's key for requests that share a prompt cache.
        """
        source = opener(self, request)
        return OpenReply(source, source)

    def settings_with(self, changes: Mapping[str, object]) -> Settings:
        """Return the settings for a call that changes some. Raises UsageError."""
        if self.dialect is None and changes:
            raise UnsupportedError(", ".join(changes), type(self).__name__, "set it on the provider itself")
        return self._settings.changed(changes, self._normalize_url)

    def answer(
        self,
        request: Request,
        settings: Settings | None = None,
        unsupported: Unsupported | None = None,
        observation: Observation | None = None,
    ) -> Closable[list[Item]]:
        """Return the reply to a request as batches of items, one for each read of the socket.

        `unsupported` is called with what the API cannot express, `observation` is filled in while the reply is read.
        Raises UsageError now if the request is invalid.
        """
        if self.dialect is None:
            texts = self._legacy_answer(request, unsupported or Unsupported(type(self).__name__, hint=_HINT))
            return texts if observation is None else _observed(texts, observation)
        settings = settings or self._settings
        unsupported = unsupported or Unsupported(self.dialect.name, drop=settings.drop_unsupported, hint=_HINT)
        return self._client(settings, self.dialect).stream(request, unsupported, observation)

    def can_pass_through(self, request: Request) -> bool:
        """Return whether the body of such a request in this provider's dialect may be sent on unchanged."""
        return self.dialect is not None and self.dialect.can_pass_through

    def pass_through(
        self, body: bytes, request: Request, writer: Writer | None, observation: Observation | None = None
    ) -> Closable[bytes]:
        """Return the chunks of the answer to a body in this provider's own dialect, as they are received.

        The body is sent unchanged, with this provider's address and credentials. `writer` is None unless a stream was
        requested; it renders the stream if the endpoint answers with a single document. Raises as `answer` does.
        """
        assert self.dialect is not None
        return self._client(self._settings, self.dialect).pass_through(body, request, writer, observation)

    async def count_tokens(self, request: Request) -> int:
        """Return how many tokens the endpoint counts in the request's messages. Raises UnsupportedError."""
        dialect = self.token_count_dialect or self.dialect
        if dialect is None:
            raise UnsupportedError("token counting", type(self).__name__, "a legacy provider has none")
        return await self._client(self._settings, dialect).count_tokens(request)

    async def list_models(self) -> list[str]:
        """Return the names of the models that the endpoint lists, in its order. Raises UnsupportedError.

        Those of a legacy class are what its `get_models` returns, or its attribute `models`, as in gpt4free.
        """
        if self.dialect is None:
            models = getattr(self, "models", None)
            if callable(get_models := getattr(self, "get_models", None)):
                import asyncio

                models = await asyncio.to_thread(get_models)  # it may ask its service
            if isinstance(models, Iterable):
                return [model for model in models if isinstance(model, str)]
            raise UnsupportedError("a list of models", type(self).__name__, "ask one that speaks an API")
        return await self.client().list_models()

    def chat_request(self, model: str, messages: Messages, options: Mapping[str, object]) -> tuple[Request, Settings]:
        """Return the request and the settings that a call with these arguments has. Raises UsageError."""
        return self._prepared(model, messages, dict(options))

    def client(self) -> Client:
        """Return a client for the endpoint, for requests that are not chats. Raises UnsupportedError."""
        if self.dialect is None:
            raise UnsupportedError("requests of its own", type(self).__name__, "a legacy provider has none")
        return self._client(self._settings, self.dialect)

    @property
    def secrets(self) -> list[Secret]:
        """The secrets in the settings."""
        from acytoo.client import all_secrets

        return all_secrets(self._settings.endpoint, self._settings.connection, self._settings.extra_headers)

    def _client(self, settings: Settings, dialect: Dialect) -> Client:
        """Return a client for the settings. Raises AuthenticationError if a required key is missing.

        Nearly all calls have the provider's own settings and share one.
        """
        own = self._own_client
        if own is not None and settings is self._settings and dialect is own.dialect:
            return own
        if self.needs_auth and not settings.endpoint.key:
            raise AuthenticationError(f"{type(self).__name__} needs a key: set {self.variable('key')}, or pass key=…")
        headers, limit = settings.extra_headers, settings.max_reply
        create = _client_class()
        client = create(dialect, settings.endpoint, settings.connection, headers, self._preparation, max_reply=limit)
        if settings is self._settings and dialect is self.dialect:
            self._own_client = client
        return client

    def _legacy_answer(self, request: Request, unsupported: Unsupported) -> AsyncGenerator[list[Item], None]:
        options = {
            name: value for name in sorted(OPTIONS) if (value := getattr(request, name)) is not None
        } | request.extra
        for name in [name for name in options if not self._takes(name)]:
            unsupported(name)
            del options[name]
        batches = _as_batches(self.create_async_generator(request.model, request.messages, **options))
        return _with_own_errors(batches, self.max_reply)

    # From a call's arguments to a request and settings.

    def _prepared(self, model: str, messages: Messages, kwargs: dict[str, object]) -> tuple[Request, Settings]:
        """Return the validated request and the settings of one call. Raises UsageError."""
        if self.dialect is None:
            raise NotImplementedError(f"{type(self).__name__} must set `dialect` or override create_async_generator")
        options, changes, extra_body = self._split(kwargs)
        request = self._request(model, messages, options, extra_body)
        return request, self.settings_with(changes) if changes else self._settings

    def _request(
        self, model: str, messages: Messages, options: dict[str, object], extra_body: dict[str, object]
    ) -> Request:
        """Return the validated request of a call. Raises UsageError."""
        try:
            request = msgspec.convert({"messages": [], **options}, Request)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the second for a lone surrogate
            raise UsageError(wrong_type(options)) from error
        request.messages = check_messages(messages)
        request.model = as_text(model, "model") or self.model
        if self.needs_model and not request.model:
            name = self.address_name()
            raise UsageError(f"{type(self).__name__} needs a model: pass model=…, or address it as {name}/MODEL")
        request.extra = extra_body
        check_options(request)
        return request

    def _split(self, kwargs: dict[str, object]) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
        """Split a call's arguments into request options, settings and the fields of `extra_body`; None means absent."""
        options: dict[str, object] = {}
        changes: dict[str, object] = {}
        extra_body: dict[str, object] = {}
        for name, value in kwargs.items():
            if name in OPTIONS:
                if type(value) is float and not math.isfinite(value):
                    raise UsageError(f"{name} must be finite, because JSON has no {value!r}")
                if type(value) is int and value.bit_length() > 64:  # msgspec before 0.20 raises a SystemError for it
                    raise UsageError(f"{name} is too large: expected a number of at most 64 bits")
                if value is not None and not (name == "response_format" and g4f.is_ignored(name, value)):
                    options[name] = [value] if name == "stop" and isinstance(value, str) else value
            elif name == "extra_body":
                extra_body = as_body_fields(value)
            elif name in NAMES:
                if value is not None:
                    changes[name] = value
            elif not g4f.is_ignored(name, value):
                raise UsageError(_unknown(name, type(self).__name__))
        return options, changes, extra_body


_IN_ENVIRONMENT = ("url", "key", "password", "proxy", "model")
"""The settings that `env` may have variables for."""


def _check_attributes(cls: type[AsyncGeneratorProvider]) -> None:
    """Raise TypeError for what a class's author may easily write and no call would explain."""
    dialect: object = cls.dialect
    if dialect is not None and not isinstance(dialect, Dialect):
        found = f"the class {dialect.__name__}: add ()" if isinstance(dialect, type) else repr(dialect)
        raise TypeError(f"{cls.__name__}.dialect must be an instance such as dialects.OpenAI(), not {found}")
    if not isinstance(cls.env, Mapping):
        raise TypeError(f"{cls.__name__}.env must be like {{'key': ('NAME',)}}, not {cls.env!r}")
    for setting, names in cls.env.items():
        if setting not in _IN_ENVIRONMENT:
            raise TypeError(f"{cls.__name__}.env has {setting!r}: expected {', '.join(_IN_ENVIRONMENT)}")
        if isinstance(names, str):
            raise TypeError(f"{cls.__name__}.env[{setting!r}] must be a tuple of names, such as ({names!r},)")


@functools.cache
def _client_class() -> type[Client]:
    """Import the client, and with it asyncio and HTTP, when the first call needs it."""
    from acytoo.client import Client

    return Client


_HINT = "leave it out, or pass drop_unsupported=True"


def _unknown(name: str, provider: str) -> str:
    """Return the message for an unknown argument, with the most similar known one."""
    import difflib

    known = OPTIONS | NAMES | {"extra_body"}
    similar = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {similar[0]!r}?" if similar else "pass a field of the API itself in extra_body={…}"
    return f"{provider} has no option {name!r}: {hint}"


# An async generator that iterates over another one must close it, or its connection stays open until the garbage
# collector runs. `Closable` has no `async with`, and `aclosing` would cost another object for each reply.


async def _texts(batches: Closable[list[Item]]) -> AsyncResult:
    others: list[Item] = []  # for an error at the end
    has_text = False
    try:
        async for batch in batches:
            for item in batch:
                if type(item) is str:
                    has_text = True
                    yield item
                elif type(item) in _NOT_TEXT:
                    if type(item) is not Refusal:
                        others.append(item)
                    elif item.text:
                        has_text = True
                        yield item.text
    finally:
        await batches.aclose()
    if not others:
        return
    if calls := collect(others).tool_calls:
        error = ToolCallsError(calls)
        error.text = getattr(batches, "text", "")
        raise error
    if not has_text:
        from acytoo.dialects.opaque import no_text_error

        if (no_text := no_text_error(others)) is not None:
            raise no_text


_NOT_TEXT = frozenset({ToolCall, OpaquePart, Refusal})
"""Items that a caller who gets only texts must not lose silently. The text of a refusal is one of the texts."""


async def _items(batches: Closable[list[Item]]) -> AsyncGenerator[Item, None]:
    try:
        async for batch in batches:
            for item in batch:
                yield item
    finally:
        await batches.aclose()


async def _as_batches(texts: AsyncResult) -> AsyncGenerator[list[Item], None]:
    async with aclosing(texts):
        async for text in texts:
            if text:
                yield [text]


async def _with_own_errors(batches: Closable[list[Item]], max_text: int) -> AsyncGenerator[list[Item], None]:
    """Yield the reply of a legacy provider, whose errors may be those of its HTTP library.

    `max_text` is how many characters of the reply are kept for an error.
    """
    texts: list[str] = []
    try:
        async for batch in batches:
            text = "".join([item for item in batch if isinstance(item, str)])
            if (max_text := max_text - len(text)) >= 0:
                texts.append(text)
            yield batch
    except AcytooError:
        raise
    except Exception as error:
        failure = legacy_error(error)
        failure.text = "".join(texts)
        try:
            raise failure from error
        finally:
            del failure  # its traceback refers to this frame
    finally:
        await batches.aclose()


def legacy_error(error: Exception) -> ServerError:
    """Return the error for a legacy provider's own, without its message: nobody knows whether that shows a secret."""
    failure = ServerError(f"the legacy provider raised {type(error).__name__}")
    failure.__cause__ = error
    return failure


async def _observed(batches: Closable[list[Item]], observation: Observation) -> AsyncGenerator[list[Item], None]:
    """Yield the reply of a legacy provider, which knows nothing of observations."""
    outcome, failure, size = "cancelled", None, 0
    try:
        await observation.begin()
        observation.has_begun = observation.is_sent = True
        async for batch in batches:
            observation.note_content()
            size += sum([len(item.encode("utf-8", "surrogatepass")) for item in batch if isinstance(item, str)])
            yield batch
        outcome = "complete"
    except AcytooError as error:
        outcome, failure = "error", error
        raise
    except Exception:
        outcome = "error"
        raise
    finally:
        observation.end(outcome, Received(size=size), failure)
        failure = None  # its traceback holds this frame
        await batches.aclose()
