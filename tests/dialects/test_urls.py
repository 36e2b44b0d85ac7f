"""No text of a caller's leads a request, with the operator's key, to another place than the endpoint's own paths."""

from __future__ import annotations

from posixpath import normpath
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acytoo import dialects, registry
from acytoo.dialects import Dialect, Endpoint, Unsupported
from acytoo.errors import UsageError
from acytoo.http import HTTPRequest
from acytoo.types import Request

KINDS: dict[str, Dialect] = {dialect.name: dialect for dialect in dialects.ALL} | {
    name: provider.dialect for name, provider in registry.providers().items() if provider.dialect is not None
}
"""Every dialect by itself, and as every provider configures it."""

HOSTILE = [
    "..", "../..", "x/../../../v1/files", "models/../../x", "tunedModels/../../x", "..%2f..%2fx", "%2e%2e/%2E%2E/x",
    "%252e%252e/x", "x/..\\..\\y", ".", "/x", "//evil.example/x", "x//y", "x?key=1", "x#y", "x&alt=media", "x\r\ny: z",
    "x\n", "x\0", "x y", "https://evil.example/x", "@evil.example", "x:generateContent?", "\ud800", "é\u2028", "..;/x",
]  # fmt: skip
MODELS = st.text(st.sampled_from("ab./\\%2eEfF?#&=:@;\r\n\0 é\ud800"), min_size=1, max_size=12) | st.sampled_from(
    HOSTILE
)
BASE = "https://g.example/base?a=1"


def requests_for(dialect: Dialect, model: str) -> list[HTTPRequest]:
    """Return every request that the dialect makes for a model, none if it refuses the model."""
    request = Request([{"role": "user", "content": "Hi"}], model)
    document = Request(request.messages, model, stream=False)
    endpoint = Endpoint(BASE)
    try:
        made = [dialect.encode_request(one, endpoint, Unsupported(dialect.name)) for one in (document, request)]
    except UsageError:
        return []
    try:
        made.append(dialect.encode_count_request(request, endpoint))
    except UsageError:
        pass  # most APIs cannot count tokens
    return made


def place(outgoing: HTTPRequest) -> tuple[str, ...]:
    """Return what no model may change: all but the end of the path, which names it, as a careless server reads it."""
    parts = urlsplit(outgoing.url)
    path = normpath(unquote(unquote(parts.path)).replace("\\", "/"))
    return parts.scheme, parts.netloc, path.rpartition("odels/")[0] or path, parts.query, parts.fragment


@pytest.mark.parametrize("name", KINDS)
@given(model=MODELS)
@example("x?key=1#y")
def test_no_model_name_changes_where_a_request_goes(name: str, model: str) -> None:
    usual = [place(outgoing) for outgoing in requests_for(KINDS[name], "m")]
    places = [place(outgoing) for outgoing in requests_for(KINDS[name], model)]
    assert places == usual[: len(places)]


@pytest.mark.parametrize("model", [*HOSTILE[:9], "."])
def test_gemini_refuses_a_model_name_that_leaves_its_path(model: str) -> None:
    assert requests_for(dialects.Gemini(), model) == []


def test_a_model_name_in_a_path_is_encoded() -> None:
    first, *_ = requests_for(dialects.Gemini(), "org/m?x#y\r\nz é%2e")
    assert urlsplit(first.url).path == "/base/v1beta/models/org/m%3Fx%23y%0D%0Az%20%C3%A9%252e:generateContent"


@pytest.mark.parametrize(
    ("dialect", "base", "url"),
    [
        (dialects.Gemini(), "https://g/v1beta", "https://g/v1beta/models/m:generateContent"),
        (dialects.Gemini(), "https://g/v1/?a=1", "https://g/v1/models/m:generateContent?a=1"),
        (dialects.Gemini("v1"), "https://g/v1beta", "https://g/v1beta/models/m:generateContent"),
        (
            dialects.Gemini(),
            "https://aiplatform.googleapis.com/v1/publishers/google",
            "https://aiplatform.googleapis.com/v1/publishers/google/models/m:generateContent",
        ),
        (
            dialects.Gemini(),
            "https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio",
            "https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio/v1beta/models/m:generateContent",
        ),
        (
            dialects.Gemini(),
            "https://g/v1/a/v1/projects/p/locations/l/publishers/google",
            "https://g/v1/a/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
        ),
        (dialects.Gemini(), "https://g/v10?v1", "https://g/v10/v1beta/models/m:generateContent?v1"),
        (dialects.Anthropic(), "https://a/v1/?a=1", "https://a/v1/messages?a=1"),
        (dialects.Ollama(), "http://o/api", "http://o/api/chat"),
        (dialects.Ollama(), "http://o/v1/?a=1", "http://o/api/chat?a=1"),
        (dialects.Ollama(), "http://o/my-api", "http://o/my-api/api/chat"),
    ],
)
def test_a_version_or_folder_that_the_url_has_is_not_added_again(dialect: Dialect, base: str, url: str) -> None:
    request = Request([{"role": "user", "content": "Hi"}], "m", stream=False)
    assert dialect.encode_request(request, Endpoint(base), Unsupported(dialect.name)).url == url
