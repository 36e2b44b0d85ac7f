"""`acytoo config`: check a server's config file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acytoo.gateway.keys import hash_secret
from tests.processes import ACYTOO, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "acytoo.toml"
    path.write_text('[upstreams.openai]\nkey = "env:TEAM_KEY"\n[models.fast]\ntargets = ["openai/gpt-5-mini"]\n')
    return path


def test_a_good_file_exits_with_0(file: Path) -> None:
    done = run([ACYTOO, "config", "check", str(file)], env={"TEAM_KEY": "hunter2"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{file}: ok: 1 upstream, 1 model, 0 keys\n"


def test_a_mistake_exits_with_1_and_names_the_line(file: Path) -> None:
    file.write_text(file.read_text() + "hegde = true\n")
    done = run([ACYTOO, "config", "check", str(file)], env={"TEAM_KEY": "hunter2"})
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"acytoo: {file}:5: unknown field 'hegde' in [models.fast]: did you mean 'hedge'?\n"
    )


def test_a_missing_secret_is_a_mistake_unless_secrets_are_left_out(file: Path) -> None:
    done = run([ACYTOO, "config", "check", str(file)])
    assert done.returncode == 1
    assert done.stderr.decode() == f"acytoo: {file}:2: the environment variable TEAM_KEY is not set\n"
    assert run([ACYTOO, "config", "check", "--no-secrets", str(file)]).returncode == 0


@pytest.mark.parametrize("name", ["admin_key", "counters", "ledger", "cache", "endpoint"])
def test_the_secrets_of_the_server_itself_are_looked_for(file: Path, name: str) -> None:
    table = {"admin_key": "server", "endpoint": "tracing"}.get(name, "storage")
    file.write_text(f'{file.read_text()}[{table}]\n{name} = "env:OTHER"\n')
    done = run([ACYTOO, "config", "check", str(file)], env={"TEAM_KEY": "hunter2"})
    assert done.returncode == 1
    assert done.stderr.decode() == f"acytoo: {file}:6: the environment variable OTHER is not set\n"


def test_an_expired_key_is_only_a_warning(file: Path) -> None:
    file.write_text(f'{file.read_text()}[keys.alice]\nhash = "{hash_secret("a")}"\nexpires = 2020-01-31\n')
    done = run([ACYTOO, "config", "check", "--no-secrets", str(file)])
    assert done.returncode == 0
    assert done.stderr.decode() == f"acytoo: {file}:7: the key 'alice' expired at the end of 2020-01-31\n"


def test_a_file_that_cannot_be_read_exits_with_1(tmp_path: Path) -> None:
    done = run([ACYTOO, "config", "check", str(tmp_path / "missing.toml")])
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot read" in done.stderr


def test_the_schema_in_the_documentation_is_up_to_date() -> None:
    """To update it: acytoo config schema > docs/config.schema.json."""
    done = run([ACYTOO, "config", "schema"])
    assert done.stdout.decode() == (ROOT / "docs" / "config.schema.json").read_text()
    assert json.loads(done.stdout)["$defs"]["Tables"]["additionalProperties"] is False


def test_a_config_of_litellm_is_printed_in_our_format_and_the_rest_is_listed(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="the extra gateway has pyyaml")
    file = tmp_path / "config.yaml"
    file.write_text("model_list: [{model_name: fast, litellm_params: {model: openai/gpt-5-mini, seed: 1}}]\n")
    done = run([ACYTOO, "config", "import", "litellm", str(file)])
    assert done.returncode == 0
    assert done.stdout.decode() == (
        '[upstreams.openai]\nprovider = "openai"\n\n[models.fast]\ntargets = ["openai/gpt-5-mini"]\n'
    )
    assert done.stderr.decode() == (
        "acytoo: left out, or to be done by hand:\n- model_list[0] (fast): seed: a target has no default options\n"
    )


def test_a_file_that_is_not_litellms_exits_with_2(file: Path) -> None:
    pytest.importorskip("yaml", reason="the extra gateway has pyyaml")
    done = run([ACYTOO, "config", "import", "litellm", str(file)])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"acytoo.toml" in done.stderr
