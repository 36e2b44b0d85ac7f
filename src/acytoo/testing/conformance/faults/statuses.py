"""Faults that a response reports: error statuses, errors with status 200, redirects."""

from __future__ import annotations

from acytoo.errors import (
    AuthenticationError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RedirectError,
    ReplyError,
    RequestError,
    ServerError,
    StatusError,
)
from acytoo.testing.conformance.environments import Environment
from acytoo.testing.conformance.faults.scenario import FaultScenario, fails, succeeds
from acytoo.testing.script.directives import ERROR_MESSAGE

STATUS: tuple[FaultScenario, ...] = tuple(
    fails(
        f"status-{code}-{shape}",
        f"status:{code}:{shape}",
        error_type,
        why if shape == "json" else "the caller needs the server's message, not a JSON decoder's error",
        attributes={"status": code},
        message="" if shape == "empty" else ERROR_MESSAGE,
        max_requests=1,
        reports=reports if shape in ("json", "html") else (),
    )
    for code, error_type, shapes, why, reports in (
        (400, RequestError, ("json", "text", "empty"), "the caller should change the request", ()),
        (401, AuthenticationError, ("json", "html"), "the caller should change the key", ()),
        (403, AuthenticationError, ("json", "html"), "the caller should change the key or the request", ()),
        (404, NotFoundError, ("json", "text", "html"), "the caller should change the model or the URL", ()),
        (408, RequestError, ("json",), "the caller should try again", ()),
        (413, RequestError, ("json", "html"), "the caller should shorten the request", ()),
        (422, RequestError, ("json",), "the caller should change the request", ()),
        (429, RateLimitError, ("json", "text", "html", "empty"), "the caller should wait, then try again", ()),
        (
            500,
            ServerError,
            ("json", "text", "html", "empty", "huge", "cut"),
            "the caller should try again later",
            (),
        ),
        (
            502,
            ServerError,
            ("json", "html"),
            "the caller should try again later",
            ("ramnes/notion-sdk-py#119", "Imgur/imgurpython#101"),
        ),
        (503, ServerError, ("json", "text"), "the caller should try again later", ()),
        (529, ServerError, ("json",), "Anthropic's status for overload: the caller should try again later", ()),
    )
    for shape in shapes
)

ERRORS: tuple[FaultScenario, ...] = (
    fails(
        "retry-after",
        "status:429+retry-after:7",
        RateLimitError,
        "the caller needs to know how long to wait",
        attributes={"retry_after": 7.0},
        max_requests=1,
        reports=("modelcontextprotocol/typescript-sdk#1965",),
    ),
    fails(
        "error-with-key",
        "echo:401",
        AuthenticationError,
        "services repeat the key that they refuse, and it must not reach a log",
        attributes={"status": 401},
        reports=("BerriAI/litellm#8075", "BerriAI/litellm#15799"),
    ),
    fails(
        "error-with-escaped-key",
        "echo-escaped:401",
        AuthenticationError,
        "a JSON escape hides the key from whoever searches the body for it, and from nobody else",
        attributes={"status": 401},
        message=ERROR_MESSAGE,
    ),
    fails(
        "error-stalls",
        "status:500:text+length:99+stall",
        ServerError,
        "the status is known: an incomplete error body must not replace it by a timeout",
        attributes={"status": 500},
        message=ERROR_MESSAGE,
        timeout=0.3,
    ),
    fails(
        "error-with-200",
        "json-error",
        (StatusError, ProtocolError),
        "the error must not become the reply's text, nor an empty reply",
        message=ERROR_MESSAGE,
        reports=("farzaa/clicky#132",),
    ),
    fails("page-with-200", "page", ProtocolError, "a captive portal's page is not a reply", message=ERROR_MESSAGE),
    fails("empty-with-200", "empty", ReplyError, "an empty body is not a reply"),
)

REDIRECTS: tuple[FaultScenario, ...] = (
    succeeds("redirect-307", "redirect:307:/moved then ok", "the method and the origin stay the same"),
    succeeds("redirect-308", "redirect:308:/moved then ok", "the method and the origin stay the same"),
    fails(
        "redirect-302",
        "redirect:302:/moved then ok",
        RedirectError,
        "following it would turn the POST into a GET",
        max_requests=1,
    ),
    fails(
        "redirect-303",
        "redirect:303:/moved then ok",
        RedirectError,
        "following it would turn the POST into a GET",
        max_requests=1,
    ),
    fails(
        "redirect-elsewhere",
        "redirect:307:{elsewhere}/x",
        RedirectError,
        "following it would send key and messages to another server",
        max_requests=1,
        reports=("adobe/fetch#447", "erlang/otp#11212"),
    ),
    fails(
        "redirect-to-plain",
        "redirect:307:{elsewhere}/x",
        RedirectError,
        "following it would send key and messages unencrypted",
        environment=Environment.TLS,
        max_requests=1,
    ),
    fails("redirect-loop", "redirect:307:/again", RedirectError, "following it would never end"),
)
