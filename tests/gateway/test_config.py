"""The config file: what it means, and that every mistake in it is an error with its line."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, strategies

from acytoo.errors import UsageError
from acytoo.gateway.config import GatewayConfig, TargetConfig, load, parse, schema
from acytoo.gateway.config_warnings import warnings_of

HASH = f"sha256:{'0' * 64}"

GOOD = f"""
[server]
host = "0.0.0.0"
workers = 1
admin_key = "env:ACYTOO_ADMIN_KEY"

[storage]
counters = "redis://127.0.0.1:6379/0"
ledger = "sqlite:ledger.db"

[upstreams.openai]
key = "env:OPENAI_API_KEY"
requests_per_minute = 500

[upstreams.local]
provider = "ollama"
url = "http://127.0.0.1:11434"

[models.fast]
targets = [
    "openai/gpt-5-mini",
    {{ to = "local/llama3.2", weight = 2, limit = 8 }},
]
balance = true
cache = 600

[keys.ci-bot]
hash = "{HASH}"
models = ["fast", "claude*"]
budget_per_month = 5
expires = 2027-01-31

[prices."openai/gpt-5-mini"]
input = 0.25
output = 2.0
"""


def config_of(text: str) -> GatewayConfig:
    return parse(text, Path("acytoo.toml"))


def error_of(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        config_of(text)
    return str(caught.value)


def with_models(text: str) -> str:
    return f'[upstreams.openai]\nkey = "env:K"\n[upstreams.local]\nprovider = "ollama"\n{text}'


def test_a_file_becomes_typed_tables() -> None:
    config = config_of(GOOD)
    assert (config.server.host, config.server.port) == ("0.0.0.0", 8000)
    assert config.upstreams["openai"].requests_per_minute == 500
    assert config.models["fast"].target_configs == [
        TargetConfig(to="openai/gpt-5-mini"),
        TargetConfig(to="local/llama3.2", weight=2, limit=8),
    ]
    assert config.keys["ci-bot"].expires == date(2027, 1, 31)
    assert config.keys["ci-bot"].budget_per_month == 5
    assert config.prices["openai/gpt-5-mini"].output == 2


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "acytoo.toml"
    file.write_text('[server]\nadmin_key = "file:admin.txt"\n[upstreams.embedded]\n')
    config = load(file)
    assert config.storage.ledger == f"sqlite:{tmp_path / 'acytoo.db'}"
    assert config.server.admin_key == f"file:{tmp_path / 'admin.txt'}"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    config = config_of(f'[storage]\nledger = "sqlite:{tmp_path}/x.db"\n[upstreams.embedded]\n')
    assert config.storage.ledger == f"sqlite:{tmp_path}/x.db"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server\n", "acytoo.toml:1: not valid TOML: expected ']' at the end of a table declaration"),
        ("[server]\nport = 1\nport = 2\n", "acytoo.toml:3: not valid TOML: a field is there twice in its table"),
        ("[server]\n[server]\n", "acytoo.toml:2: not valid TOML: the table [server] is there twice"),
        ('[storage]\nledger = "none\n', "acytoo.toml:2: not valid TOML: a text has no quote at its end"),
        ("[server]\n\nport = \n", "acytoo.toml:3: not valid TOML: invalid value: a text needs quotes"),
        ("[upstream.openai]\n", "acytoo.toml:1: unknown table 'upstream': did you mean 'upstreams'?"),
        ("upstreams = 3\n", "acytoo.toml:1: [upstreams] must be a table, not an integer"),
        ("[upstreams]\nopenai = 'x'\n", "acytoo.toml:2: [upstreams.openai] must be a table, not a string"),
        ("[server]\nprot = 1\n", "acytoo.toml:2: unknown field 'prot' in [server]: did you mean 'port'?"),
        ("[keys.a]\nrpm = 1\n", "acytoo.toml:2: unknown field 'rpm' in [keys.a]: did you mean 'requests_per_minute'?"),
        (
            '[upstreams.openai]\napi_key = "env:K"\n',
            "acytoo.toml:2: unknown field 'api_key' in [upstreams.openai]: did you mean 'key'?",
        ),
        (
            '[storage]\nzzz = ""\n',
            "unknown field 'zzz' in [storage]: expected counters, ledger, retention_days, on_failure, budgets",
        ),
        ("[server]\nport = 'x'\n", "acytoo.toml:2: [server] port: expected a whole number, got a text in quotes"),
        ("[server]\nport = 70000\n", "acytoo.toml:2: [server] port: expected a whole number <= 65535"),
        (
            "[storage]\non_failure = 'shut'\n",
            "acytoo.toml:2: [storage] on_failure: invalid enum value 'shut': expected closed, open",
        ),
        (
            "[storage]\nbudgets_on_failure = 'opne'\n",
            "acytoo.toml:2: [storage] budgets_on_failure: invalid enum value 'opne': did you mean 'open'?",
        ),
        (
            "[keys.a]\nhash = ''\nexpires = 2027-01-31T00:00:00Z\n",
            "acytoo.toml:3: [keys.a] expires: expected a date, such as 2027-01-31, got a date with a time",
        ),
        (
            "[keys.a]\nhash = ''\nexpires = 20270131\n",
            "acytoo.toml:3: [keys.a] expires: expected a date, such as 2027-01-31, got a whole number",
        ),
        ("[models.fast]\nbalance = true\n", "acytoo.toml:1: [models.fast]: targets is missing"),
        (
            "[models.fast]\ntargets = []\n",
            "acytoo.toml:2: [models.fast] targets: expected a list in [ ] of length >= 1",
        ),
        (
            "[models.fast]\ntargets = [\n 'openai/x',\n { to = 'openai/y',\n\n wieght = 2 }]\n".replace(",\n\n", ","),
            "acytoo.toml:4: unknown field 'wieght' in [models.fast] targets[1]: did you mean 'weight'?",
        ),
        ("[models.fast]\ntargets = [\n 'a',\n 7]\n", "acytoo.toml:4: [models.fast] targets[1]: expected"),
        (
            "[keys.a]\nrequests_per_minute = 0\n",
            "acytoo.toml:2: [keys.a] requests_per_minute: expected a whole number >= 1",
        ),
        ("[keys.a]\nconcurrent = 99999999999999999999\n", "acytoo.toml:2: [keys.a] concurrent: "),
        ("[keys.a]\nbudget_per_day = inf\n", "acytoo.toml:2: [keys.a] budget_per_day: expected a number <= 1000000.0"),
        ("[keys.a]\nbudget_per_day = nan\n", "acytoo.toml:2: [keys.a] budget_per_day: "),
        ("[models.a]\ntargets = ['x']\ncache = inf\n", "acytoo.toml:3: [models.a] cache: expected a number <= 1"),
        (
            "[keys.a]\nhash = ''\nexpires = '2027'\n",
            "acytoo.toml:3: [keys.a] expires: expected a date, such as 2027-01-31",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_with_its_line(text: str, message: str) -> None:
    assert message in error_of(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "acytoo.toml: no upstreams: add a table such as [upstreams.openai]"),
        ("[upstreams.opnai]\n", "acytoo.toml:1: unknown provider 'opnai': did you mean 'openai'?"),
        ("[upstreams.a]\nprovider = 'antropic'\n", "acytoo.toml:2: unknown provider 'antropic': did you mean 'anth"),
        (
            with_models("[models.fast]\ntargets = ['openai/x', 'opnai/y']\n"),
            "acytoo.toml:6: [models.fast] targets[1]: the target 'opnai/y' can never be reached: no upstream 'opnai': "
            "did you mean 'openai'?",
        ),
        (
            with_models("[models.fast]\ntargets = ['openai']\n"),
            "acytoo.toml:6: [models.fast] targets[0]: the target 'openai' names no model: write openai/MODEL",
        ),
        (
            with_models("[models.fast]\ntargets = ['openai/x', 'openai/x']\n"),
            "acytoo.toml:6: [models.fast] targets[1]: 'openai/x' is a target twice",
        ),
        (
            with_models("[models.fast]\ntargets = [{to = 'openai/x', weight = 2}, 'local/y']\n"),
            "acytoo.toml:6: [models.fast] targets[0].weight: weight has an effect only with balance = true",
        ),
        (
            with_models("[models.fast]\ntargets = ['openai/x']\nnext_on = ['NotFoundEror']\n"),
            "acytoo.toml:7: [models.fast] next_on: unknown error class 'NotFoundEror': did you mean 'NotFoundError'?",
        ),
        (
            with_models("[models.a]\ntargets = ['b']\n[models.b]\ntargets = ['openai/x', 'a']\n"),
            "acytoo.toml:8: [models.b] targets: models that need one another: a -> b -> a",
        ),
        (
            with_models("[models.a]\ntargets = ['openai/x']\n[models.b]\ntargets = ['a/y']\n"),
            "'a' is a model of this file, which has no models of its own: write 'a'",
        ),
        (
            with_models("[models.openai]\ntargets = ['openai/x']\n"),
            "acytoo.toml:5: the name 'openai' is too much like [upstreams.openai] in acytoo.toml:1",
        ),
        (
            with_models("[models.Fast]\ntargets = ['openai/x']\n[models.fast]\ntargets = ['openai/x']\n"),
            "acytoo.toml:7: the name 'fast' is too much like [models.Fast] in acytoo.toml:5: rename one of them",
        ),
        (
            with_models("[models.'a/b']\ntargets = ['openai/x']\n"),
            "acytoo.toml:5: invalid name 'a/b': the part before a / names an upstream, so nobody could ask for it",
        ),
        ("[upstreams.'a b']\n", "acytoo.toml:1: invalid name 'a b': expected letters, digits and . _ -"),
        (
            with_models("[models.gpt-4.1]\ntargets = ['openai/gpt-4.1']\n"),
            "acytoo.toml:5: unknown field '1' in [models.gpt-4]: if the name has a dot, write it in quotes: "
            '[models."gpt-4.1"]',
        ),
        (
            with_models("[models.fast]\ntargets = ['openai/x']\n[prices.fast]\ninput = 1\noutput = 1\n"),
            "acytoo.toml:7: 'fast' is a model of this file, but prices are those of its targets, UPSTREAM/MODEL",
        ),
        (
            with_models("[server]\nhost = '127.0.0.1:9000'\n"),
            'acytoo.toml:6: [server] host: expected a host without its port: write host = "127.0.0.1" and port = 9000',
        ),
        (
            with_models("[tracing]\nendpoint = 'localhost:4318'\n"),
            "acytoo.toml:6: [tracing] endpoint: expected http://…, https://… or env:NAME",
        ),
        (
            with_models("[storage]\nledger = 'acytoo.db'\n"),
            "acytoo.toml:6: [storage] ledger: expected sqlite:PATH, none, postgresql://…, postgres://… or env:NAME",
        ),
        (
            with_models(f"[keys.a]\nhash = '{HASH}'\nprevious_hash = '{HASH}'\nprevious_expires = 2030-01-01\n"),
            "acytoo.toml:7: [keys.a] previous_hash: the same hash as [keys.a] hash",
        ),
        (
            with_models(f"[keys.a]\nhash = '{HASH}'\nprevious_expires = 2030-01-01\n"),
            "acytoo.toml:5: [keys.a] needs both previous_hash and previous_expires, or none of them",
        ),
        (
            with_models(f"[keys.a]\nhash = '{HASH}'\n[keys.b]\nhash = '{HASH}'\n"),
            "acytoo.toml:8: [keys.b] hash: the same hash as [keys.a]",
        ),
        (
            with_models("[prices.'opnai/x']\ninput = 1\noutput = 2\n"),
            "acytoo.toml:5: unknown upstream 'opnai': did you mean 'openai'?",
        ),
        ("[server]\nhost = '0.0.0.0'\n", "acytoo.toml:2: [server] host: 0.0.0.0 can be reached from other machines"),
        (
            f"[server]\nworkers = 4\n[upstreams.embedded]\n[keys.a]\nhash = '{HASH}'\nconcurrent = 1\n",
            "acytoo.toml:2: [server] workers: several workers can only share limits in Redis",
        ),
        ("[storage]\ncounters = 'memcached://x'\n", "acytoo.toml:2: [storage] counters: expected memory, redis://"),
        ("[storage]\ncounters = 'none'\n", "acytoo.toml:2: [storage] counters: expected"),
        ("[storage]\ncache = 'sqlite:'\n", "acytoo.toml:2: [storage] cache: expected"),
        ("[storage]\ncache = 'http://x'\n", "acytoo.toml:2: [storage] cache: expected memory, sqlite:PATH, redis://"),
        ("[log]\nrequests = 'log.txt'\n", "acytoo.toml:2: [log] requests: expected stderr, stdout or file:PATH"),
        (
            "[tracing]\nendpoint = 'collector'\n",
            "acytoo.toml:2: [tracing] endpoint: expected http://…, https://… or env:NAME",
        ),
        (
            "[storage]\nledger = 'mysql://x'\n",
            "acytoo.toml:2: [storage] ledger: expected sqlite:PATH, none, postgresql://",
        ),
        ("[storage]\nledger = 'acytoo.db'\n", "acytoo.toml:2: [storage] ledger: expected"),
    ],
)
def test_what_can_never_work_is_an_error_with_its_line(text: str, message: str) -> None:
    assert message in error_of(text)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
@pytest.mark.parametrize("field", ["counters", "cache"])
def test_redis_and_valkey_have_urls_of_their_own(field: str, scheme: str) -> None:
    text = f"[storage]\n{field} = '{scheme}://127.0.0.1:6379/0'\n[upstreams.embedded]\n"
    assert getattr(config_of(text).storage, field).startswith(scheme)


CLEAR = "hunter2hunter2"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'[upstreams.openai]\nkey = "{CLEAR}"\n', 2),
        (f'[upstreams.acytoo]\npassword = "{CLEAR}"\n', 2),
        (f'[upstreams.openai]\nurl = "https://user:{CLEAR}@x"\n', 2),
        (f'[upstreams.openai]\nurl = "https://x/?api_key={CLEAR}"\n', 2),
        (f'[upstreams.openai]\nproxy = "http://user:{CLEAR}@x"\n', 2),
        (f'[upstreams.openai.extra_headers]\nX-Team = "a"\nAuthorization = "{CLEAR}"\n', 3),
        (f'[server]\nadmin_key = "{CLEAR}"\n', 2),
        (f'[storage]\ncounters = "redis://:{CLEAR}@x"\n', 2),
        (f'[storage]\ncounters = "valkey://:{CLEAR}@x"\n', 2),
        (f'[storage]\nledger = "postgresql://me:{CLEAR}@x/db"\n', 2),
        (f'[storage]\nledger = "postgresql://x/db?password={CLEAR}"\n', 2),
        (f'[storage]\ncache = "redis://:{CLEAR}@x"\n', 2),
        (f'[tracing]\nendpoint = "https://a:{CLEAR}@x"\n', 2),
        (f'[tracing.headers]\nx-api-key = "{CLEAR}"\n', 2),
        (f'[upstreams.embedded]\n[keys.a]\nhash = "{CLEAR}"\n', 3),
        (f'[upstreams.embedded]\n[tracing]\nendpoint = "https://me:{CLEAR}@x"\n', 3),
        (f'[upstreams.embedded]\n[tracing.headers]\nAuthorization = "{CLEAR}"\n', 3),
    ],
)
def test_a_secret_in_clear_is_refused_and_not_shown(text: str, line: int) -> None:
    message = error_of(text)
    assert message.startswith(f"acytoo.toml:{line}: ")
    assert CLEAR not in message
    assert "env:NAME" in message or "acytoo keys new" in message


def test_an_error_of_load_has_no_frame_that_holds_the_text(tmp_path: Path) -> None:
    file = tmp_path / "acytoo.toml"
    file.write_text(f'[upstreams.openai]\nkey = "{CLEAR}"\n')
    with pytest.raises(UsageError) as caught:
        load(file)
    assert all(CLEAR not in repr(entry.locals) for entry in caught.traceback[1:])


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*missing.toml: No such file"):
        load(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"# ok\n# \xff\n")
    with pytest.raises(UsageError, match=r"binary.toml:2: the file is not UTF-8 text"):
        load(tmp_path / "binary.toml")


EXAMPLES = [
    pytest.param(match.group(1), id=f"{document.name}:{document.read_text()[: match.start()].count(chr(10)) + 1}")
    for document in sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
    for match in re.finditer(r"^```toml\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    if not match[1].startswith("[project")  # of a pyproject.toml
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_in_the_documentation_are_valid(example: str) -> None:
    config = config_of(example if "[upstreams." in example else f"{example}\n[upstreams.embedded]\n")
    assert warnings_of(config) == []


@given(strategies.data())
def test_any_text_is_a_config_or_a_usage_error(data: strategies.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(strategies.integers(1, 3))):
        start = data.draw(strategies.integers(0, len(text)))
        end = data.draw(strategies.integers(start, min(len(text), start + 12)))
        new = data.draw(strategies.sampled_from(PIECES) | strategies.text(max_size=3))
        text = text[:start] + new + text[end:]
    try:
        config_of(text)
    except UsageError as error:
        assert str(error).startswith("acytoo.toml:")


PIECES = [
    "",
    "[",
    "]",
    "{",
    "}",
    '"',
    "=",
    ".",
    "\n",
    "1",
    "[[models.x]]",
    "nan",
    "inf",
    "-1",
    "1e400",
    "2027-01-31",
    '"""',
]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ('provider = "ollama"', 'provder = "ollama"'),
        ("weight = 2", "wieght = 2"),
        (HASH, "sk-1"),
        ("workers = 1", "workers = 0"),
    ],
)
def test_the_schema_accepts_and_refuses_what_the_decoder_does(old: str, new: str) -> None:
    validator = pytest.importorskip("fastjsonschema", reason="needs fastjsonschema: pip install 'acytoo[schema]'")
    validate = validator.compile(schema())
    text = GOOD.replace(old, new)
    document = json.loads(json.dumps(tomllib.loads(text), default=str))
    if not old:
        validate(document)
        config_of(text)
        return
    with pytest.raises(validator.JsonSchemaException):
        validate(document)
    with pytest.raises(UsageError):
        config_of(text)
