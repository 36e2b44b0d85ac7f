"""The backends that a config describes."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from acytoo.errors import MissingExtraError, NotFoundError, UsageError
from acytoo.gateway.backends import Backends, Running, check_extras, create_backends
from acytoo.gateway.config import parse
from acytoo.providers.ollama import Ollama
from acytoo.providers.openai import OpenAI
from acytoo.routing.route import Route
from acytoo.routing.target import Target
from acytoo.types import Request

UPSTREAMS = """
[upstreams.openai]
key = "env:TEAM_KEY"
[upstreams.local]
provider = "ollama"
url = "http://127.0.0.1:9"
timeout = 5
extra_headers = { X-Team = "a", X-Key = "env:TEAM_KEY" }
max_reply = 1000
"""


@pytest.fixture(autouse=True)
def team_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_KEY", "hunter2")
    for name in ("OPENAI_API_KEY", "OPENAI_MODEL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def backends_of(text: str) -> dict[str, object]:
    return dict(create_backends(parse(UPSTREAMS + text, Path("acytoo.toml"))))


def route_of(backend: object) -> Route:
    assert isinstance(backend, Route)
    return backend


def test_models_come_before_upstreams() -> None:
    backends = backends_of('[models.fast]\ntargets = ["openai/gpt-5-mini"]\n')
    assert {name: type(backend) for name, backend in backends.items()} == {
        "fast": Route,
        "openai": OpenAI,
        "local": Ollama,
    }


def test_an_upstream_has_the_settings_of_its_table() -> None:
    local = backends_of("")["local"]
    assert isinstance(local, Ollama)
    assert (local.url, local.max_reply) == ("http://127.0.0.1:9", 1000)
    settings = local.settings_with({})
    assert settings.connection.timeout.connect == 5
    assert settings.extra_headers["x-key"].reveal() == "hunter2"
    assert settings.extra_headers["x-team"].reveal() == "a"


def test_an_upstream_without_a_max_reply_has_that_of_the_server() -> None:
    openai = backends_of("[server]\nmax_reply = 2000\n")["openai"]
    assert isinstance(openai, OpenAI)
    assert openai.max_reply == 2000


def test_a_target_is_named_by_its_upstream_and_model_and_asks_for_that_model() -> None:
    route = route_of(backends_of('[models.fast]\ntargets = ["local/llama3.2:3b", "openai/gpt-5-mini"]\n')["fast"])
    assert [target.name for target in route.targets] == ["local/llama3.2:3b", "openai/gpt-5-mini"]
    assert [target.provider.model for target in route.targets] == ["llama3.2:3b", "gpt-5-mini"]
    assert [target.provider.url for target in route.targets] == ["http://127.0.0.1:9", "https://api.openai.com/v1"]


def test_a_route_has_the_settings_of_its_model() -> None:
    text = (
        '[models.fast]\ntargets = ["openai/a", "local/b"]\nbalance = true\nattempts = 7\ndeadline = 9\nhedge = true\n'
    )
    route = route_of(backends_of(text + 'max_wait = 3\nnext_on = ["NotFoundError"]\n')["fast"])
    assert (route.max_attempts, route.deadline, route.max_wait, route.hedges) == (7, 9, 3, True)
    assert route.next_on == (NotFoundError,)
    assert route.balance is not None


def test_a_model_may_be_a_target_of_another_one_and_is_created_once() -> None:
    backends = backends_of('[models.best]\ntargets = ["fast", "local/b"]\n[models.fast]\ntargets = ["openai/a"]\n')
    target = route_of(backends["best"]).targets[0]
    assert target.provider is backends["fast"]
    assert target.name == "fast"


def test_models_share_a_target_with_the_same_settings() -> None:
    text = """
    [models.a]
    targets = [{ to = "openai/x", limit = 2 }]
    [models.b]
    targets = [{ to = "openai/x", limit = 2 }]
    [models.c]
    targets = [{ to = "openai/x", limit = 3 }]
    """
    backends = backends_of(text)
    a, b, c = (route_of(backends[name]).targets[0] for name in "abc")
    assert a is b
    assert a is not c


MODELS = """
[models.fast]
targets = ["openai/a", "local/b"]
balance = true
[models.best]
targets = ["fast", "openai/c"]
"""


def reloaded(before: str, after: str) -> tuple[dict[str, Target], dict[str, Target]]:
    """Return the targets by their names, before and after a config is replaced by another one."""
    config = parse(UPSTREAMS + before, Path("acytoo.toml"))
    backends = create_backends(config)
    others = create_backends(parse(after, Path("acytoo.toml")), Running(config, backends))
    return _targets(backends), _targets(others)


def _targets(backends: Backends) -> dict[str, Target]:
    routes = [backend for backend in backends.values() if isinstance(backend, Route)]
    return {target.name: target for route in routes for target in route.targets}


@pytest.mark.parametrize(
    ("change", "to", "kept"),
    [
        ("", "", {"openai/a", "local/b", "openai/c", "fast"}),
        ("[models.best]", "[models.other]", {"openai/a", "local/b", "openai/c", "fast"}),
        ('["fast", "openai/c"]', '["openai/c", "fast", "local/d"]', {"openai/a", "local/b", "openai/c", "fast"}),
        ('url = "http://127.0.0.1:9"', 'url = "http://127.0.0.1:8"', {"openai/a", "openai/c"}),
        ('X-Team = "a"', 'X-Team = "b"', {"openai/a", "openai/c"}),
        ('"openai/a",', '{ to = "openai/a", limit = 2 },', {"local/b", "openai/c"}),
        ("balance = true", "balance = true\naffinity = 9.0", {"openai/a", "local/b", "openai/c"}),
        ("[upstreams.local]", "[upstreams.third]\nprovider = 'ollama'\n[upstreams.local]",
         {"openai/a", "local/b", "openai/c", "fast"}),
    ],
)  # fmt: skip
def test_a_reload_keeps_each_target_whose_settings_are_the_same(change: str, to: str, kept: set[str]) -> None:
    before, after = reloaded(MODELS, (UPSTREAMS + MODELS).replace(change, to))
    assert {name for name in before if after.get(name) is before[name]} == kept


def test_a_reload_creates_the_targets_again_whose_secret_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(UPSTREAMS + MODELS, Path("acytoo.toml"))
    before = create_backends(config)
    monkeypatch.setenv("TEAM_KEY", "other")
    after = create_backends(config, Running(config, before))
    assert all(after[name] is not backend for name, backend in before.items())
    assert after["openai"].settings_with({}).endpoint.key.reveal() == "other"


def test_a_route_whose_targets_change_keeps_the_affinity_of_its_requests() -> None:
    config = parse(UPSTREAMS + MODELS, Path("acytoo.toml"))
    before = create_backends(config)
    old = route_of(before["fast"])
    assert old.balance is not None
    request = Request([{"role": "user", "content": "Hi"}])
    first, other = old.targets
    sessions = [name for name in map(str, range(100)) if old.balance.choose([first, other], request, name) is first]
    text = (UPSTREAMS + MODELS).replace('"local/b"', '"local/b", "local/d"')
    new = route_of(create_backends(parse(text, Path("acytoo.toml")), Running(config, before))["fast"])
    assert new is not old
    assert new.balance is not None
    for _ in range(3):
        first.take()  # is too busy for a new key, and not for one of the last minutes
    assert {new.balance.choose([first, other], request, name) for name in sessions} == {first}
    assert {new.balance.choose([first, other], request, f"new-{name}") for name in sessions} == {other}


def test_a_missing_variable_is_an_error_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEAM_KEY")
    with pytest.raises(UsageError, match=r"^acytoo.toml:3: the environment variable TEAM_KEY is not set"):
        backends_of("")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[upstreams.anthropic]\n", "acytoo.toml:10: anthropic needs a key: set ANTHROPIC_API_KEY, or write key = "),
        ('[upstreams.compatible]\nprovider = "compatible"\n', "acytoo.toml:10: Compatible needs a URL"),
        ('[upstreams.vllm]\nurl = "gopher://x"\n', "acytoo.toml:11: invalid URL"),
        ("[upstreams.vllm]\ntimeout = { conect = 1.0 }\n", "acytoo.toml:11: unknown timeout 'conect'"),
        ('[upstreams.vllm]\nkey = "env:TEAM_KEY"\nproxy = "socks9://x"\n', "acytoo.toml:12: invalid proxy"),
        (
            '[upstreams.vllm]\nextra_headers = { "X Team" = "a" }\n',
            "acytoo.toml:11: extra_headers cannot be sent: invalid header name 'x team'",
        ),
        ('[upstreams.vllm]\nurl = "gopher://x"\nproxy = "socks9://x"\n', "acytoo.toml:10: invalid "),
    ],
)
def test_what_a_provider_refuses_is_an_error_with_its_line(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "COMPATIBLE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError) as caught:
        backends_of(text)
    assert str(caught.value).startswith(message)


def test_a_missing_key_is_an_error_once_with_its_place_also_inside_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(UsageError) as caught:
        backends_of('[models.m]\ntargets = ["anthropic/x"]\n[upstreams.anthropic]\n')
    assert str(caught.value).count("acytoo.toml:") == 1


@pytest.mark.parametrize(
    ("text", "module", "extra"),
    [
        ("", "prometheus_client", "gateway"),
        ('[storage]\ncounters = "redis://x"\n', "redis", "redis"),
        ('[storage]\ncache = "env:TEAM_URL"\n', "redis", "redis"),
        ('[storage]\nledger = "postgresql://x/y"\n', "asyncpg", "postgres"),
        ('[tracing]\nendpoint = "http://x"\n', "opentelemetry", "otel"),
    ],
)
def test_an_extra_that_the_server_would_need_is_named(
    text: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_URL", "rediss://x")
    config = parse(UPSTREAMS + text, Path("acytoo.toml"))
    for name in ("prometheus_client", "redis", "asyncpg", "opentelemetry"):
        installed = ModuleType(name)
        installed.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, installed)
    check_extras(config)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as caught:
        check_extras(config)
    assert caught.value.extra == extra


def test_certificates_start_at_the_folder_of_the_file_and_proxies_of_the_environment_are_opt_in(tmp_path: Path) -> None:
    (tmp_path / "certificates").mkdir()
    config = parse(UPSTREAMS + 'ca = "certificates"\ntrust_env = true\n', tmp_path / "acytoo.toml")
    connection = create_backends(config)["local"].settings_with({}).connection
    assert (connection.ca, connection.trust_env) == (str(tmp_path / "certificates"), True)
    connection = create_backends(config)["openai"].settings_with({}).connection
    assert (connection.ca, connection.trust_env) == (None, False)
