"""Lists of models: each API's own request for one, and what is read from the answers of real services."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo._version import __version__
from acytoo.dialects.base import Dialect
from acytoo.dialects.openai import Variations
from acytoo.http import Endpoint
from acytoo.secret import Secret


@pytest.mark.parametrize(
    ("dialect", "base", "url", "header"),
    [
        (dialects.OpenAI(), "http://h/v1", "http://h/v1/models", "authorization"),
        (
            dialects.OpenAI(Variations(path="/openai/v1/chat/completions", key_header="api-key")),
            "http://h?api-version=1",
            "http://h/openai/v1/models?api-version=1",
            "api-key",
        ),
        (dialects.OpenAIResponses(), "http://h/v1/", "http://h/v1/models", "authorization"),
        (dialects.Anthropic(), "http://h/v1", "http://h/v1/models?limit=1000", "x-api-key"),
        (dialects.Gemini(), "http://h?a=b", "http://h/v1beta/models?a=b&pageSize=1000", "x-goog-api-key"),
        (dialects.Gemini(), "http://h/v1alpha", "http://h/v1alpha/models?pageSize=1000", "x-goog-api-key"),
        (dialects.Ollama(), "http://h", "http://h/api/tags", "authorization"),
        (dialects.Ollama(), "http://h/v1/", "http://h/api/tags", "authorization"),
        (dialects.Acytoo(), "http://h", "http://h/v1/models", "authorization"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_request_has_the_services_own_address_and_key(dialect: Dialect, base: str, url: str, header: str) -> None:
    request = dialect.encode_models_request(Endpoint(base, Secret("k-1")))
    assert (request.method, request.url, request.body) == ("GET", url, b"")
    assert request.headers[header].endswith("k-1")


def test_the_password_comes_before_the_key_of_an_acytoo_server() -> None:
    request = dialects.Acytoo().encode_models_request(Endpoint("http://h", Secret("k-1"), Secret("p-1")))
    assert request.headers["authorization"] == "Bearer p-1"


@pytest.mark.parametrize(
    ("dialect", "document", "names"),
    [
        (dialects.OpenAI(), {"object": "list", "data": [{"id": "b", "x": None}, {"id": "a"}]}, ["b", "a"]),
        (dialects.OpenAI(), [{"id": "meta-llama/Llama-3", "type": "chat"}], ["meta-llama/Llama-3"]),
        (dialects.OpenAIResponses(), {"data": []}, []),
        (dialects.Anthropic(), {"data": [{"type": "model", "id": "claude-sonnet-5"}]}, ["claude-sonnet-5"]),
        (
            dialects.Gemini(),
            {
                "models": [
                    {"name": "models/gemini-3", "supportedGenerationMethods": ["generateContent"]},
                    {"name": "models/embedding-1", "supportedGenerationMethods": ["embedContent"]},
                    {"name": "tunedModels/mine"},
                ]
            },
            ["gemini-3", "tunedModels/mine"],
        ),
        (dialects.Ollama(), {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest"}]}, ["llama3.2:latest"]),
        (dialects.Acytoo(), {"object": "list", "data": [{"id": "b"}, {"id": "a"}]}, ["b", "a"]),
    ],
)
def test_names_are_read_in_their_order(dialect: Dialect, document: Any, names: list[str]) -> None:
    assert dialect.read_models(json.dumps(document).encode()) == names


@pytest.mark.parametrize("dialect", [d for d in dialects.ALL if d.list_routes], ids=lambda dialect: dialect.name)
def test_a_list_that_is_written_is_read(dialect: Dialect) -> None:
    names = ["b/1", "a", "ü"]
    assert dialect.read_models(msgspec.json.encode(dialect.models(names, 5))) == names


MODELS: list[tuple[Dialect, dict[str, Any]]] = [
    (dialects.OpenAI(), {"id": "m", "object": "model", "created": 1691139139, "owned_by": "acytoo"}),
    (
        dialects.Anthropic(),
        {
            "type": "model",
            "id": "m",
            "display_name": "m",
            "created_at": "2023-08-04T08:52:19+00:00",
            "lifecycle": "active",
        },
    ),
    (
        dialects.Gemini(),
        {
            "name": "models/m",
            "displayName": "m",
            "version": __version__,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
        },
    ),
    (
        dialects.Ollama(),
        {
            "name": "m",
            "model": "m",
            "modified_at": "2023-08-04T08:52:19+00:00",
            "size": 0,
            "digest": "62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a",
            "details": {
                "parent_model": "",
                "format": "",
                "family": "",
                "families": [],
                "parameter_size": "",
                "quantization_level": "",
            },
        },
    ),
]


def test_models_of_ollama_have_different_digests() -> None:
    """Those with one digest would be names of one model: the command `llm` then asks for any of them."""
    listed = dialects.Ollama().models(["a", "b", "c/a"], 0)["models"]
    assert len({model["digest"] for model in listed}) == 3


@pytest.mark.parametrize(("dialect", "document"), MODELS, ids=[dialect.name for dialect, _ in MODELS])
def test_a_model_is_written_with_the_fields_of_its_api(dialect: Dialect, document: dict[str, Any]) -> None:
    assert dialect.model("m", 1691139139) == document


def test_a_list_of_anthropic_names_its_ends() -> None:
    first, none = dialects.Anthropic().models(["a", "b"], 5), dialects.Anthropic().models([], 5)
    assert (first["first_id"], first["last_id"], first["has_more"]) == ("a", "b", False)
    assert (none["data"], none["first_id"], none["last_id"], none["has_more"]) == ([], None, None, False)
