"""Gemini: the URL names the model and the kind of answer, and the key is in a header."""

from __future__ import annotations

import pytest

from acytoo.providers.gemini import Gemini
from tests.providers.helpers import sent, target


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-x", "models/gemini-x"),
        ("models/gemini-x", "models/gemini-x"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("a b?c", "models/a%20b%3Fc"),
    ],
)
def test_the_address_is_the_documented_one(model: str, path: str) -> None:
    base = "https://generativelanguage.googleapis.com/v1beta/"
    assert target(Gemini, model) == f"{base}{path}:streamGenerateContent?alt=sse"


async def test_a_call_is_a_post_with_the_key_in_a_header() -> None:
    received = await sent(Gemini)
    assert (received.method, received.target) == ("POST", "/v1beta/models/m-1:streamGenerateContent?alt=sse")
    assert received.headers["x-goog-api-key"] == "sk-1"
    assert received.json == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def test_either_of_googles_variables_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "sk-google")
    assert Gemini()._settings.endpoint.key.reveal() == "sk-google"
    monkeypatch.setenv("GEMINI_API_KEY", "sk-gemini")
    assert Gemini()._settings.endpoint.key.reveal() == "sk-gemini"
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:1")
    assert Gemini().url == "http://127.0.0.1:1"
