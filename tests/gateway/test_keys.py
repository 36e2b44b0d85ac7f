"""The keys of clients."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from acytoo.gateway.config import parse
from acytoo.gateway.keys import Key, KeySet, hash_secret, new_secret
from acytoo.secret import Secret


def test_a_new_secret_is_random_and_looks_like_an_api_key() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("sk-acytoo-") and len(secret) >= 42 and secret.isascii() for secret in secrets)


def test_a_hash_is_the_sha_256_of_the_secret() -> None:
    assert hash_secret("abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_key_is_found_by_any_of_the_secrets_that_a_request_presents() -> None:
    keys = KeySet([Key("a", hash_secret("one")), Key("b", hash_secret("two"))])
    assert [key.name for key in keys] == ["a", "b"]
    found = keys.find([Secret("wrong"), Secret("two")])
    assert found is not None
    assert found.name == "b"


@pytest.mark.parametrize("presented", ["", "On", "one ", "ONE", hash_secret("one"), "\udc80", "sk-" * 10_000])
def test_nothing_else_is_a_key(presented: str) -> None:
    keys = KeySet([Key("a", hash_secret("one"))])
    assert keys.find([Secret(presented)]) is None
    assert keys.find([]) is None


@pytest.mark.parametrize(
    ("patterns", "model", "is_allowed"),
    [
        (("*",), "openai/gpt-5", True),
        (("fast",), "fast", True),
        (("fast",), "fast/gpt-5", False),
        (("fast",), "Fast", False),
        (("openai/*",), "openai/gpt-5", True),
        (("openai/*",), "openai", False),
        (("fast", "claude*"), "claude-sonnet-4-5", True),
        (("fast", "claude*"), "my-claude", False),
        ((), "fast", False),
    ],
)
def test_a_key_allows_the_models_of_its_patterns(patterns: tuple[str, ...], model: str, is_allowed: bool) -> None:
    assert Key("a", "", patterns).allows(model) is is_allowed


def test_a_key_is_valid_until_the_end_of_its_last_day_in_utc() -> None:
    key = Key("a", "", expires=date(2027, 1, 31))
    assert not key.is_expired(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    assert key.is_expired(datetime(2027, 2, 1, tzinfo=UTC).timestamp())
    assert not Key("b", "").is_expired(2e9)


def test_the_keys_of_a_config_have_its_limits() -> None:
    text = f"""
    [upstreams.embedded]
    [keys.ci-bot]
    hash = "{hash_secret("one")}"
    models = ["fast"]
    requests_per_minute = 60
    expires = 2027-01-31
    max_body = 1000
    """
    key = KeySet.of(parse(text, Path("acytoo.toml"))).find([Secret("one")])
    assert key is not None
    assert (key.name, key.models, key.max_body) == ("ci-bot", ("fast",), 1000)
    assert key.limits.requests_per_minute == 60
    assert key.limits.tokens_per_day is None


def test_a_key_shows_nothing_of_its_secret() -> None:
    assert "hunter2" not in repr(Key("a", hash_secret("hunter2")))
