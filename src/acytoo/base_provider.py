"""The class every provider inherits: it does all I/O, a subclass is data and at most a pure function."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from acytoo import arguments
from acytoo._hybridmethod import hybridmethod
from acytoo.dialects.base import Dialect, Unsupported, Writer
from acytoo.endpoints import resolve, scheme_of
from acytoo.errors import AcytooError, AuthenticationError, UnsupportedError, UsageError
from acytoo.http import Endpoint, HTTPRequest
from acytoo.keys import stored_key
from acytoo.messages import check_options, checked
from acytoo.secret import Secret, masked_url
from acytoo.settings import NAMES, Settings, check_url
from acytoo.transport.config import Connection, Proxy, Timeout
from acytoo.types import OPTIONS, AsyncResult, Closable, Item, Messages, Reply, Request, collect

if TYPE_CHECKING:
    from acytoo.client import Target

T = TypeVar("T")


class Check(msgspec.Struct, frozen=True):
    """What `check()` found: seconds until the first item and until the end, or the error."""

    ok: bool
    first_s: float | None = None
    total_s: float | None = None
    text: str = ""
    model: str = ""
    error: AcytooError | None = None

    def __bool__(self) -> bool:
        return self.ok


class AsyncGeneratorProvider:
    """A chat API as an async generator of text.

    A subclass names its `url` and `dialect`. One in the older style, whose own `create_async_generator` is a
    classmethod that does its HTTP itself, leaves `dialect` None and gets every other method all the same.
    """

    name: ClassVar[str] = ""
    """What it is called in addresses; the class's name in lower case where it is empty."""
    url: str = ""
    dialect: ClassVar[Dialect | None] = None
    token_count_dialect: ClassVar[Dialect | None] = None
    """The dialect that the same endpoint counts tokens in, where it is not `dialect`."""
    default_model: ClassVar[str] = ""
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Environment variables for `url`, `key`, `password`, `proxy`, `model`, read before `<CLASS>_URL` and so on."""

    working: bool = True
    needs_auth: bool = False
    needs_model: bool = False
    supports_stream: bool = True
    supports_message_history: bool = True
    supports_system_message: bool = True

    # Read by gpt4free's clients, where a provider class is passed as `provider=`.
    label: ClassVar[str | None] = None
    params: ClassVar[str] = ""
    live: ClassVar[int] = 0
    use_stream_timeout: ClassVar[bool] = True
    supports_native_tools: ClassVar[bool] = True

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | Secret | None = None,
        password: str | Secret | None = None,
        model: str | None = None,
        proxy: str | None = None,
        timeout: Timeout | Mapping[str, float | None] | float | None = None,
        ca: Any = None,
        trust_env: bool = False,
        session: Any = None,
        extra_headers: Mapping[str, str] | None = None,
        drop_unsupported: bool = False,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
    ) -> None:
        """A configured provider; what is not given comes from the environment, then from the class.

        `timeout`: seconds, a dict or a `Timeout`. `ca`: file or folder of certificates, or an `ssl.SSLContext`.
        `session`: an `aiohttp.ClientSession` of yours, left open. `base_url` and `api_key` are `url` and `key`.
        Raises UsageError for anything malformed.
        """
        self.url = self.full_url(arguments.text(url or base_url, "url") or self._from_env("url") or type(self).url)
        self.model = arguments.text(model, "model") or self._from_env("model") or self.default_model
        if self.dialect is not None:
            self.url = self._checked_url()
        proxy = proxy or self._from_env("proxy")
        self._settings = Settings(
            Endpoint(
                self.url,
                arguments.secret(key or api_key or self.own_key(), "key"),
                arguments.secret(password or self._from_env("password"), "password"),
            ),
            Connection(Timeout.of(timeout), Proxy.of(proxy) if proxy else None, trust_env, ca, session),
            arguments.headers(extra_headers),
            drop_unsupported,
        )

    def __repr__(self) -> str:
        secrets = [f", {name}=***" for name in ("key", "password") if getattr(self._settings.endpoint, name)]
        return f"{type(self).__name__}(url={masked_url(self.url)!r}{''.join(secrets)})"

    @classmethod
    def _from_env(cls, what: str) -> str:
        for name in (*cls.env.get(what, ()), f"{cls.__name__.upper()}_{what.upper()}"):
            if value := os.environ.get(name):
                return value
        return ""

    @classmethod
    def address_name(cls) -> str:
        """What the provider is called in `NAME/MODEL`."""
        return cls.name or cls.__name__.lower()

    @classmethod
    def full_url(cls, url: str) -> str:
        """The URL with what this API's users leave out; a provider may override it."""
        return url

    @classmethod
    def own_key(cls) -> str:
        """The key in the environment, else in the system's keyring where the provider needs one."""
        key = cls._from_env("key")
        return key or (stored_key(cls.address_name()) if cls.needs_auth else "")

    def _checked_url(self) -> str:
        if not self.url:
            name = next(iter(self.env.get("url", ())), f"{type(self).__name__.upper()}_URL")
            raise UsageError(f"{type(self).__name__} needs a URL: pass url=…, or set {name}")
        return check_url(self.url)

    # What users call.

    @hybridmethod
    def create_async_generator(
        self, /, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        """Stream the reply's text: non-empty strings that concatenate to the whole reply.

        `kwargs` are request options (`temperature`, `max_tokens`, `tools`, …), settings of the class (`key`,
        `timeout`, …) for this call alone, or `extra_body`. Raises UsageError at once, other AcytooErrors while
        iterating.
        """
        return _texts(self.answer(*self._prepared(model, messages, {**kwargs, "proxy": proxy})))

    @hybridmethod
    def stream(self, /, messages: Messages, model: str = "", **kwargs: Any) -> AsyncGenerator[Item, None]:
        """Stream everything the reply says: `str` for text, `Event`s for the rest. Options as above."""
        if self.dialect is None:
            return _as_items(self.create_async_generator(model or self.model, messages, **kwargs))
        return _items(self.answer(*self._prepared(model, messages, kwargs)))

    @hybridmethod
    async def create_async(self, /, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any) -> str:
        """The whole text of the reply."""
        stream = self.create_async_generator(model or self.model, messages, proxy, **kwargs)
        async with aclosing(stream):
            return "".join([text async for text in stream])

    @hybridmethod
    async def reply(self, /, messages: Messages, model: str = "", **kwargs: Any) -> Reply:
        """The whole reply with all it says; its `.message` can be appended to `messages` and sent anywhere."""
        stream = self.stream(messages, model, **kwargs)
        async with aclosing(stream):
            return collect([item async for item in stream])

    @hybridmethod
    def create_completion(
        self, /, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> Iterator[str]:
        """The text as a plain iterator: works in a script, a thread, inside a running loop, in Jupyter."""
        from acytoo.sync import SyncIterator

        return SyncIterator(self.create_async_generator(model or self.model, messages, proxy, **kwargs))

    @hybridmethod
    async def check(self, /, model: str = "", timeout: float = 30.0) -> Check:
        """Ask for a few tokens: does the endpoint work, how fast, and if not, why not."""
        limits: dict[str, Any] = {"max_tokens": 5} if self.dialect and "max_tokens" in self.dialect.options else {}
        started = time.monotonic()
        first: float | None = None
        texts: list[str] = []
        answered_by = ""
        try:
            stream = self.stream([{"role": "user", "content": "Say OK."}], model, timeout=timeout, **limits)
            async with aclosing(stream):
                async for item in stream:
                    first = first or time.monotonic() - started
                    if isinstance(item, str):
                        texts.append(item)
                        if not limits and (len(texts) >= 5 or len(item) > 20):
                            break
                    else:
                        answered_by = answered_by or getattr(item, "model", "")
        except AcytooError as error:
            return Check(False, first, time.monotonic() - started, "".join(texts), answered_by, error)
        return Check(True, first, time.monotonic() - started, "".join(texts), answered_by)

    @classmethod
    def get_dict(cls) -> dict[str, Any]:
        """Name, URL and label, as gpt4free's clients read them."""
        return {"name": cls.__name__, "url": cls.url, "label": cls.label}

    @classmethod
    def get_parent(cls) -> str:
        """The class's name, as gpt4free's clients read it."""
        return cls.__name__

    # What the server calls.

    def answer(
        self, request: Request, settings: Settings | None = None, unsupported: Unsupported | None = None
    ) -> Closable[list[Item]]:
        """Stream the reply to a request in batches, one for each read of the socket.

        What is wrong with the request raises UsageError here and now. `losses` collects what is dropped.
        """
        settings = settings or self._settings
        dialect = self.dialect
        if dialect is None:
            return self._older_answer(request)
        noted = unsupported or Unsupported(dialect.name, drop=settings.drop_unsupported, hint=_HINT)
        return self._exchanged(
            settings,
            lambda endpoint: dialect.encode_request(request, endpoint, noted),
            lambda outgoing, target: _asked()(outgoing, target),
        )

    def can_pass_through(self, request: Request) -> bool:
        """Whether such a request in this provider's dialect, and its answer, may go on as they came."""
        return self.dialect is not None and self.dialect.can_pass_through

    def pass_through(self, body: bytes, request: Request, writer: Writer | None) -> Closable[bytes]:
        """Stream the answer to a request whose body is in this provider's own dialect, byte for byte as it comes.

        The body goes on as it is, with address and credentials. `writer` renders the stream where one was asked for
        and the endpoint answers with a document; it is None where none was. Raises as `answer`.
        """
        dialect = self.dialect
        assert dialect is not None
        return self._exchanged(
            self._settings,
            lambda endpoint: dialect.http_request(request, endpoint, body),
            lambda outgoing, target: _forward()(outgoing, target, writer),
        )

    async def count_tokens(self, request: Request) -> int:
        """How many tokens the request's messages have, counted by the endpoint. Raises UnsupportedError."""
        dialect = self.token_count_dialect or self.dialect
        if dialect is None:
            raise UnsupportedError("token counting", type(self).__name__, "a provider in the older style has none")
        exchanged = self._exchanged(
            self._settings,
            lambda endpoint: dialect.count(request, endpoint),
            lambda outgoing, target: _counted()(outgoing, target, dialect),
        )
        async with aclosing(exchanged):
            return await anext(exchanged)

    def _exchanged(
        self,
        settings: Settings,
        compose: Callable[[Endpoint], HTTPRequest],
        exchange: Callable[[HTTPRequest, Target], Closable[T]],
    ) -> Closable[T]:
        """An exchange with the endpoint that the settings name; the request is composed, so checked, at once."""
        from acytoo.client import Target

        assert self.dialect is not None
        endpoint = settings.endpoint
        if self.needs_auth and not endpoint.key:
            name = next(iter(self.env.get("key", ())), f"{type(self).__name__.upper()}_KEY")
            raise AuthenticationError(f"{type(self).__name__} needs a key: set {name}, or pass key=…")
        outgoing = compose(endpoint)
        if scheme_of(endpoint.url) is not None:
            return _resolved(endpoint, self.dialect, settings, compose, exchange)
        outgoing.headers.update(settings.extra_headers)
        return exchange(outgoing, Target(self.dialect, endpoint, settings.connection, settings.extra_headers))

    async def _older_answer(self, request: Request) -> AsyncGenerator[list[Item], None]:
        options = {name: value for name in OPTIONS if (value := getattr(request, name)) is not None}
        stream = self.create_async_generator(request.model, request.messages, **options, **request.extra)
        async with aclosing(stream):
            async for text in stream:
                if text:
                    yield [text]

    # From a call's arguments to a request and settings.

    def _prepared(self, model: str, messages: Messages, kwargs: dict[str, Any]) -> tuple[Request, Settings]:
        if self.dialect is None:
            raise NotImplementedError(
                f"{type(self).__name__} names no dialect and has no create_async_generator of its own"
            )
        options: dict[str, Any] = {}
        changes: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name in OPTIONS:
                if type(value) is float and not math.isfinite(value):
                    raise UsageError(f"{name} must be a number that JSON can say, not {value!r}")
                options[name] = value
            elif name == "extra_body":
                extra = arguments.body_fields(value)
            elif name in NAMES:
                if value is not None:
                    changes[name] = value
            elif name not in _NOT_OURS:
                raise UsageError(_unknown(name, type(self).__name__))
        stop = options.get("stop")
        if isinstance(stop, str):
            options["stop"] = [stop]
        try:
            request = msgspec.convert({"messages": [], **_given(options)}, Request)
        except msgspec.ValidationError as error:
            raise UsageError(f"an option has the wrong type: {error}") from error
        request.messages = checked(messages)
        request.model = arguments.text(model, "model") or self.model
        if self.needs_model and not request.model:
            name = self.address_name()
            raise UsageError(f"{type(self).__name__} needs a model: pass model=…, or address it as {name}/MODEL")
        request.extra = extra
        check_options(request)
        return request, self._settings.changed(changes, self.full_url)


_HINT = "leave it out, or pass drop_unsupported=True"

_NOT_OURS = frozenset({"provider", "stream", "ignore_stream", "conversation", "stream_timeout"})
"""What gpt4free's clients pass along for providers of theirs; nothing here depends on it."""


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _unknown(name: str, provider: str) -> str:
    import difflib

    known = OPTIONS | NAMES | {"extra_body"}
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else "a field of the API itself goes into extra_body={…}"
    return f"{provider} knows no option {name!r}: {hint}"


async def _resolved(
    endpoint: Endpoint,
    dialect: Dialect,
    settings: Settings,
    compose: Callable[[Endpoint], HTTPRequest],
    exchange: Callable[[HTTPRequest, Target], Closable[T]],
) -> AsyncGenerator[T, None]:
    """The same exchange with the endpoint behind a scheme of our own, on this machine: no proxy is between."""
    from acytoo.client import Target

    found = await resolve(endpoint)
    outgoing = compose(found)
    outgoing.headers.update(settings.extra_headers)
    direct = msgspec.structs.replace(settings.connection, proxy=None, trust_env=False)
    async with aclosing(exchange(outgoing, Target(dialect, found, direct, settings.extra_headers))) as stream:
        async for batch in stream:
            yield batch


# What does the I/O is imported by the first call, so that an import of ours costs no HTTP client.


@functools.cache
def _asked() -> Callable[[HTTPRequest, Target], Closable[list[Item]]]:
    from acytoo.client import ReplyStream

    return ReplyStream


@functools.cache
def _counted() -> Callable[[HTTPRequest, Target, Dialect], AsyncGenerator[int, None]]:
    from acytoo.client import counted

    return counted


@functools.cache
def _forward() -> Callable[[HTTPRequest, Target, Writer | None], AsyncGenerator[bytes, None]]:
    from acytoo.client import pass_through

    return pass_through


async def _texts(batches: Closable[list[Item]]) -> AsyncResult:
    try:
        async for batch in batches:
            for item in batch:
                if type(item) is str:
                    yield item
    finally:
        await batches.aclose()


async def _items(batches: Closable[list[Item]]) -> AsyncGenerator[Item, None]:
    try:
        async for batch in batches:
            for item in batch:
                yield item
    finally:
        await batches.aclose()


async def _as_items(texts: AsyncResult) -> AsyncGenerator[Item, None]:
    async with aclosing(texts):
        async for text in texts:
            if text:
                yield text
