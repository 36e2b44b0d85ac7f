"""The fault table: what goes wrong, what is required of a provider, and why; tests and docs are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    NotFoundError,
    ProtocolError,
    ProxyError,
    RateLimitError,
    RedirectError,
    ReplyError,
    RequestError,
    ServerError,
    StatusError,
    TimedOutError,
    TLSError,
    TruncatedError,
    UnreachableError,
)
from acytoo.testing.script.syntax import SERVER_WORDS, TEXTS

Kinds = tuple[type[AcytooError], ...]

EVERYWHERE = ("text", "sse", "ndjson")
RECORDS = ("sse", "ndjson")
WHOLE = "".join(TEXTS)


@dataclass(frozen=True)
class Fault:
    """One row. `words` are the endpoint's, request by request; `errors` what may be raised, nothing: a whole reply.

    `text` is what must have been yielded, and be carried by an error; `also_whole`: a whole reply is right as well.
    `has` are attributes of the error, `says` is in its message, `requests` how often the endpoint may be asked.
    `families` and `needs_end`: only for dialects whose streams are written so, and end with a record of its own.
    """

    name: str
    words: tuple[str, ...]
    why: str
    errors: Kinds = ()
    text: str | None = None
    also_whole: bool = False
    has: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    timeout: float = 10.0
    place: str = ""
    families: tuple[str, ...] = EVERYWHERE
    needs_end: bool = False
    asks: int = 1
    requests: int | None = None
    seen: tuple[str, ...] = ()

    @property
    def required(self) -> str:
        """What is required, in words."""
        if not self.errors:
            return "the whole reply"
        kinds = " or ".join(f"`{kind.__name__}`" for kind in self.errors)
        if self.has:
            kinds += f" with {', '.join(f'`{name}={value!r}`' for name, value in self.has.items())}"
        if self.text:
            kinds += " and the text so far"
        if self.says:
            kinds += " and the server's own words"
        return f"the whole reply, or {kinds}" if self.also_whole else kinds


def _good(name: str, words: str, why: str, *, text: str = WHOLE, **more: Any) -> Fault:
    return Fault(name, tuple(words.split(" then ")), why, (), text, **more)


def _bad(
    name: str, words: str, errors: type[AcytooError] | Kinds, why: str, *, text: str | None = "", **more: Any
) -> Fault:
    kinds = errors if isinstance(errors, tuple) else (errors,)
    return Fault(name, tuple(words.split(" then ")), why, kinds, text, **more)


def _late(name: str, words: str, phase: str, why: str, **more: Any) -> Fault:
    return _bad(name, words, TimedOutError, why, has={"phase": phase}, timeout=0.3, **more)


_CONNECTING = (
    _bad("refused", "ok", UnreachableError, "nothing listens there: try another URL", place="refused"),
    _late(
        "black-hole",
        "ok",
        "connect",
        "a firewall drops packets: the system itself waits two minutes",
        place="black hole",
    ),
    _bad(
        "no-such-host",
        "ok",
        UnreachableError,
        "a typing error in the URL is the commonest fault of all",
        place="no such host",
    ),
    _bad(
        "tls-unknown-authority",
        "ok",
        TLSError,
        "whoever is between reads the key",
        place="unknown authority",
        requests=0,
    ),
    _bad(
        "tls-other-name", "ok", TLSError, "whoever is between reads the key", place="another's certificate", requests=0
    ),
    _bad("tls-not-spoken", "ok", TLSError, "https:// was written for http://", place="no TLS"),
    _late(
        "tls-silent",
        "ok",
        "connect",
        "a handshake that never ends is a connect that never ends",
        place="silent handshake",
    ),
    _good("tls", "ok+cut:7", "a caller's own authority is trusted", place="tls"),
    _good("http-proxy", "ok", "whole offices sit behind one", place="HTTP proxy"),
    _good(
        "http-proxy-tls",
        "ok",
        "the tunnel needs the credentials, the endpoint must not get them",
        place="HTTP proxy, TLS",
        seen=("aio-libs/aiohttp#617",),
    ),
    _good(
        "socks-proxy",
        "ok",
        "really SOCKS, with credentials",
        place="SOCKS proxy",
        seen=("aio-libs/aiohttp#10147", "encode/httpx#3555"),
    ),
    _bad(
        "http-proxy-password",
        "ok",
        ProxyError,
        "it is the proxy that refuses, not the service",
        place="HTTP proxy, wrong password",
        has={"status": 407},
        requests=0,
    ),
    _bad(
        "http-proxy-password-tls",
        "ok",
        ProxyError,
        "the same in the tunnel's request",
        place="HTTP proxy, TLS, wrong password",
        has={"status": 407},
        requests=0,
    ),
    _bad(
        "http-proxy-502",
        "ok",
        ProxyError,
        "a tunnel that is refused is the proxy's fault",
        place="HTTP proxy that refuses TLS",
        requests=0,
    ),
    _bad(
        "socks-password",
        "ok",
        ProxyError,
        "it is the proxy that refuses",
        place="SOCKS proxy, wrong password",
        requests=0,
    ),
    _bad(
        "socks-refuses", "ok", ProxyError, "it is the proxy that refuses", place="SOCKS proxy that refuses", requests=0
    ),
    _bad(
        "proxy-refused",
        "ok",
        ProxyError,
        "never round the proxy instead: that shows the address it hides",
        place="no proxy there",
        requests=0,
    ),
    _late(
        "proxy-black-hole", "ok", "connect", "the proxy is part of connecting", place="black-holed proxy", requests=0
    ),
)

_HEAD = (
    _bad("huge-head", "huge-head", (ProtocolError, UnreachableError), "what a peer may make us hold has a limit"),
    _bad("hang-up", "hang-up", UnreachableError, "asked again, a paid request could be made twice", requests=1),
    _bad("reset-at-once", "hang-up+reset:0w", UnreachableError, "as above", requests=1),
    _bad("garbage", "garbage", (ProtocolError, UnreachableError), "another service on that port"),
    _bad("half-a-head", "ok+close:19w", UnreachableError, "no answer came"),
    _late(
        "silent",
        "silent",
        "first_byte",
        "a model that hangs holds the caller for ever",
        seen=("moonbitlang/openseek#343",),
    ),
    _late("stall-in-head", "ok+stall:9w", "first_byte", "the limit is for the reply, not for each byte"),
    _late("slow-head", "ok+slow-head:0.1", "first_byte", "a byte now and then is no reply"),
    _late(
        "no-first-byte",
        "ok+stall:0",
        "first_byte",
        "a head is no reply: many servers send it at once",
        seen=("anomalyco/opencode#16366",),
    ),
    _good(
        "keep-alive-closed",
        "ok+close:w then ok",
        "a server closes idle connections when it likes: a new connection, no error",
        asks=2,
        requests=2,
        seen=("aio-libs/aiohttp#850", "psf/requests#3458"),
    ),
    _good(
        "keep-alive-ran-out",
        "ok then hang-up then ok",
        "the request crossed the close: sent once more, on a new connection",
        asks=2,
        requests=3,
        seen=("aio-libs/aiohttp#9138", "StevenLooman/async_upnp_client#93"),
    ),
    _bad(
        "keep-alive-twice",
        "ok then hang-up then hang-up",
        UnreachableError,
        "once more, not for ever",
        asks=2,
        requests=3,
    ),
)

_STATUS = tuple(
    _bad(
        f"status-{code}-{shape}",
        f"status:{code}:{shape}",
        kind,
        why if shape == "json" else "the caller needs the server's words, not a JSON decoder's",
        has={"status": code},
        says="" if shape == "empty" else SERVER_WORDS,
        requests=1,
        seen=seen if shape in ("json", "html") else (),
    )
    for code, kind, shapes, why, seen in (
        (400, RequestError, ("json", "text", "empty"), "change the request", ()),
        (401, AuthenticationError, ("json", "html"), "change the key", ()),
        (403, AuthenticationError, ("json", "html"), "change the key, or what is asked for", ()),
        (404, NotFoundError, ("json", "text", "html"), "another model or URL", ()),
        (408, RequestError, ("json",), "try again", ()),
        (413, RequestError, ("json", "html"), "make it shorter", ()),
        (422, RequestError, ("json",), "change the request", ()),
        (429, RateLimitError, ("json", "text", "html", "empty"), "wait, then try again", ()),
        (500, ServerError, ("json", "text", "html", "empty", "huge", "cut"), "try again later", ()),
        (502, ServerError, ("json", "html"), "try again later", ("ramnes/notion-sdk-py#119", "Imgur/imgurpython#101")),
        (503, ServerError, ("json", "text"), "try again later", ()),
        (529, ServerError, ("json",), "Anthropic's own word for overloaded", ()),
    )
    for shape in shapes
)

_REFUSALS = (
    _bad(
        "retry-after",
        "status:429+retry-after:7",
        RateLimitError,
        "the server says how long",
        has={"retry_after": 7.0},
        requests=1,
        seen=("modelcontextprotocol/typescript-sdk#1965",),
    ),
    _bad(
        "error-that-echoes",
        "echo:401",
        AuthenticationError,
        "services repeat the key they refuse: no log may show it",
        has={"status": 401},
        seen=("BerriAI/litellm#8075", "BerriAI/litellm#15799"),
    ),
    _bad(
        "error-that-stalls",
        "status:500:text+length:99+stall",
        ServerError,
        "an error that does not end is that error",
        has={"status": 500},
        says=SERVER_WORDS,
        timeout=0.3,
    ),
    _bad(
        "error-with-200",
        "json-error",
        (StatusError, ProtocolError),
        "an error that is yielded as the answer, or a reply that is empty",
        says=SERVER_WORDS,
        seen=("farzaa/clicky#132",),
    ),
    _bad("page-with-200", "page", ProtocolError, "a hotel's log-in page is no answer", says=SERVER_WORDS),
    _bad("empty-with-200", "empty", ReplyError, "nothing is not an answer"),
)

_REDIRECTS = (
    _good("redirect-307", "redirect:307:/moved then ok", "same method, same origin: nothing is given away"),
    _good("redirect-308", "redirect:308:/moved then ok", "same method, same origin: nothing is given away"),
    _bad(
        "redirect-302",
        "redirect:302:/moved then ok",
        RedirectError,
        "followed, the POST becomes a GET of some page",
        requests=1,
    ),
    _bad(
        "redirect-303",
        "redirect:303:/moved then ok",
        RedirectError,
        "followed, the POST becomes a GET of some page",
        requests=1,
    ),
    _bad(
        "redirect-elsewhere",
        "redirect:307:{elsewhere}/x",
        RedirectError,
        "key and password would go to another server",
        requests=1,
        seen=("adobe/fetch#447", "erlang/otp#11212"),
    ),
    _bad(
        "redirect-to-plain",
        "redirect:307:{elsewhere}/x",
        RedirectError,
        "key and password would go over the wire in clear",
        place="tls",
        requests=1,
    ),
    _bad("redirect-loop", "redirect:307:/again", RedirectError, "it never ends"),
)

_STREAM = (
    _good("document", "document", "some servers know no streams", families=RECORDS),
    _bad("document-cut", "document+close:40", TruncatedError, "half a document is no reply", families=RECORDS),
    _bad(
        "document-cut-in-good-order",
        "document+until-close+end:40",
        TruncatedError,
        "half a document is no reply",
        families=RECORDS,
    ),
    _bad(
        "tls-reset",
        "ok+until-close+reset:1t",
        TruncatedError,
        "TLS tells a cut, if it is asked",
        text=TEXTS[0],
        place="tls",
    ),
    _bad(
        "http-proxy-reset",
        "ok+reset:1t",
        TruncatedError,
        "a proxy hides how a connection ended",
        text=TEXTS[0],
        place="HTTP proxy",
    ),
    _bad(
        "socks-proxy-reset",
        "ok+reset:1t",
        TruncatedError,
        "a proxy hides how a connection ended",
        text=TEXTS[0],
        place="SOCKS proxy",
    ),
    _late(
        "http-proxy-stall",
        "ok+stall:1t",
        "idle",
        "a proxy keeps a dead connection open",
        text=TEXTS[0],
        place="HTTP proxy, TLS",
    ),
    _good(
        "byte-by-byte",
        "ok+cut:1",
        "networks cut where they like, in characters too",
        seen=("mpetazzoni/sseclient#8", "vllm-project/vllm#38732", "jawah/urllib3.future#349"),
    ),
    _good("three-bytes-each", "ok+cut:3", "networks cut where they like", seen=()),
    _good("one-packet", "one-packet", "networks join what was sent apart"),
    _good("slow-drip", "ok+drip:16:0.002", "a slow reply is a reply: no limit is for the whole of it"),
    _good(
        "longer-than-the-limit",
        "ok+wait:0.25:1t+wait:0.25:2t+wait:0.25:3t",
        "limits are for silence, not for the whole reply",
        timeout=0.6,
    ),
    _late(
        "stall",
        "ok+stall:1t",
        "idle",
        "servers go silent for ever after a fault of their own",
        text=TEXTS[0],
        seen=("MoonshotAI/kimi-code#1798", "aaif-goose/goose#8134", "anomalyco/opencode#16366"),
    ),
    _late("stall-in-record", "ok+stall:2", "idle", "half a record is not yet a text", text=None, families=RECORDS),
    _bad(
        "reset",
        "ok+reset:1t",
        TruncatedError,
        "half a reply is not a reply, and what came is worth having",
        text=TEXTS[0],
        seen=("preloop/preloop#117", "ColeMurray/background-agents#998"),
    ),
    _bad(
        "close",
        "ok+close:1t",
        TruncatedError,
        "half a reply is not a reply",
        text=TEXTS[0],
        seen=("groq/groq-python#26",),
    ),
    _bad("half-close", "ok+half-close:1t", TruncatedError, "half a reply is not a reply", text=TEXTS[0]),
    _bad("cut-chunk", "ok+close:3", TruncatedError, "the chunk's length was announced", text=None),
    _bad(
        "broken-chunking",
        "ok+noise:1t",
        (TruncatedError, ProtocolError),
        "whatever follows is not the reply",
        text=TEXTS[0],
    ),
    _bad(
        "length-too-long",
        "ok+length:99999+close",
        TruncatedError,
        "less came than was announced",
        text=None,
        families=("text",),
        seen=("psf/requests#4956", "aio-libs/aiohttp#4581"),
    ),
    _bad(
        "length-too-short",
        "ok+length:5",
        (TruncatedError, ProtocolError),
        "the end is missing",
        text=None,
        families=RECORDS,
    ),
    _good("true-length", "ok+length", "a stream may as well have a length"),
    _good("until-close", "ok+until-close", "old proxies end a body by closing"),
    _bad("until-reset", "ok+until-close+reset:3t", TruncatedError, "a reset is no end", text="".join(TEXTS[:3])),
    _bad(
        "until-close-cut",
        "ok+until-close+end:1t",
        TruncatedError,
        "HTTP cannot tell, the records can",
        text=TEXTS[0],
        families=RECORDS,
    ),
    _good("gzip", "ok+gzip+cut:1", "some proxies compress what nobody asked them to"),
    _bad(
        "gzip-cut",
        "ok+gzip+end:2t",
        TruncatedError,
        "the compressed body's own end is missing",
        text="".join(TEXTS[:2]),
    ),
    _bad(
        "gzip-lie",
        "ok+header:content-encoding:gzip",
        (ProtocolError, TruncatedError),
        "the header says so, the body is not",
    ),
    _bad("br", "ok+header:content-encoding:br", ProtocolError, "it was not asked for: say so, do not yield noise"),
    _bad(
        "end-in-character",
        "ok+end:3",
        TruncatedError,
        "no replacement character is made up",
        text="Gr",
        families=("text",),
    ),
    _bad("invalid-utf-8", "invalid", ProtocolError, "the text would be wrong without a sign", text=TEXTS[0]),
    _bad(
        "unknown-charset",
        "ok+header:content-type:text/plain; charset=klingon",
        ProtocolError,
        "the text would be wrong without a sign",
        families=("text",),
    ),
    _good("bom", "bom", "some servers write one; it is no text"),
    _good("nul", "nul", "control characters are text", text="a\0b\x1b\x7fc"),
    _good(
        "separators",
        "separators",
        "Python's splitlines cuts at more than a line's end",
        text="a\u2028b\u2029\x85\ufeffc",
        seen=("Soju06/codex-lb#1010", "modelscope/evalscope#1642"),
    ),
    _good("line-ends-in-text", "breaks", "a line's end in the text is no record's end", text="a\n\nb\r\n\rdata: c\n\n"),
    _good("crlf", "crlf", "the standard allows it", families=RECORDS, seen=("hey-api/hey-api#3054",)),
    _good(
        "crlf-cut",
        "crlf+cut:1",
        "a CRLF in two packets is one line's end",
        families=RECORDS,
        seen=("router-for-me/CLIProxyAPI#5657", "kaitranntt/ccs#1359"),
    ),
    _good("cr", "cr+cut:1", "the standard allows it", families=("sse",), seen=("a2aproject/a2a-js#718",)),
    _good("pings", "pings", "servers keep connections open that way", families=RECORDS),
    _good("unknown-record", "unknown", "APIs grow", families=RECORDS),
    _bad(
        "broken-record",
        "broken",
        ProtocolError,
        "skipped, the text it held is lost without a sign",
        text=TEXTS[0],
        families=RECORDS,
        seen=("can1357/oh-my-pi#3362",),
    ),
    _bad(
        "error-in-stream",
        "ok+fail:1t",
        (ServerError, TruncatedError),
        "half a reply is not a reply, and the status is sent already",
        text=TEXTS[0],
        seen=("farzaa/clicky#132", "open-webui/open-webui#29628"),
    ),
    _bad(
        "error-in-another-shape",
        "strange-error",
        ServerError,
        "skipped, half a reply passes for a whole one",
        text=TEXTS[0],
        says=SERVER_WORDS,
        families=RECORDS,
    ),
    _bad("error-before-text", "ok+fail:0t", (ServerError, TruncatedError), "an empty reply is not a reply"),
    _bad(
        "no-end",
        "ok+no-end",
        TruncatedError,
        "proxies end a cut stream in good order",
        text=WHOLE,
        families=RECORDS,
        seen=("BerriAI/litellm#32159",),
    ),
    _bad(
        "cut-in-good-order",
        "ok+end:1t",
        TruncatedError,
        "proxies end a cut stream in good order",
        text=TEXTS[0],
        families=RECORDS,
        seen=("preloop/preloop#117",),
    ),
    _good("end-twice", "end-twice", "harmless, and seen", families=RECORDS),
    _bad(
        "more-after-end",
        "more",
        ReplyError,
        "what follows the end is not the reply's",
        text=None,
        also_whole=True,
        needs_end=True,
    ),
    _bad(
        "out-of-order",
        "shuffled",
        AcytooError,
        "whatever comes of it: an error of ours, no crash, no hang",
        text=None,
        also_whole=True,
        families=RECORDS,
    ),
)

FAULTS: tuple[Fault, ...] = (*_CONNECTING, *_HEAD, *_STATUS, *_REFUSALS, *_REDIRECTS, *_STREAM)
"""Every row."""
