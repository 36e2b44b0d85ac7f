"""`acytoo keys`: the keys of a server's clients."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from acytoo.gateway.config import load
from acytoo.gateway.keys import KeySet, hash_secret
from acytoo.secret import Secret
from tests.processes import ACYTOO, run

CONFIG = "[upstreams.embedded]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "acytoo.toml"
    path.write_text(CONFIG)
    return path


def test_a_new_key_is_printed_once_with_the_table_to_paste() -> None:
    options = ["--models", "fast, claude*", "--rpm", "60", "--tpm", "1000", "--tokens-per-day", "200000"]
    done = run([ACYTOO, "keys", "new", "ci-bot", *options, "--budget", "5usd/month", "--budget", "0.5/day"])
    secret, empty, table = done.stdout.decode().split("\n", 2)
    assert done.returncode == 0
    assert (secret[:10], empty) == ("sk-acytoo-", "")
    assert secret.encode() not in done.stderr
    assert tomllib.loads(table) == {
        "keys": {
            "ci-bot": {
                "hash": hash_secret(secret),
                "models": ["fast", "claude*"],
                "requests_per_minute": 60,
                "tokens_per_minute": 1000,
                "tokens_per_day": 200000,
                "budget_per_month": 5,
                "budget_per_day": 0.5,
            }
        }
    }


def test_a_new_key_is_added_to_a_config_file(file: Path) -> None:
    done = run([ACYTOO, "keys", "new", "alice", "--config", str(file)])
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 1)
    key = KeySet.of(load(file)).find([Secret(done.stdout.decode().strip())])
    assert key is not None
    assert key.name == "alice"
    assert file.read_text().startswith(CONFIG)
    assert done.stdout.strip() not in file.read_bytes()


@pytest.mark.parametrize(
    ("expires", "days"), [("90d", 90), ("2w", 14), ("1y", 365), (f"{date.today() + timedelta(9)}", None)]
)
def test_a_key_may_expire(file: Path, expires: str, days: int | None) -> None:
    before = datetime.now(UTC).date()
    run([ACYTOO, "keys", "new", "alice", "--expires", expires, "--config", str(file)])
    expected = (
        [day + timedelta(days) for day in (before, datetime.now(UTC).date())] if days else [date.fromisoformat(expires)]
    )
    assert load(file).keys["alice"].expires in expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "5eur/month"], "expected dollars for each day or month, such as 5usd/month"),
        (["--budget", "5usd/week"], "expected dollars for each day or month"),
        (["--budget", "0usd/day"], "expected dollars for each day or month"),
        (["--budget", "1usd/day", "--budget", "2usd/day"], "there are two budgets for each day"),
        (["--expires", "soon"], "expected a time such as 90d, or a date such as 2027-01-31"),
        (["--expires", "2020-01-01"], "2020-01-01 has passed"),
        (["--models", "fast,"], "expected names or patterns separated by commas"),
        (["--rpm", "0"], "0 is not in the range x>=1"),
    ],
)
def test_a_wrong_option_is_an_error(options: list[str], message: str) -> None:
    done = run([ACYTOO, "keys", "new", "alice", *options])
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in " ".join(done.stderr.decode().split())


def test_a_wrong_name_is_an_error() -> None:
    done = run([ACYTOO, "keys", "new", "a b"])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"invalid name 'a b': expected letters, digits and . _ -" in done.stderr


def test_keys_are_listed_without_their_hashes(file: Path) -> None:
    file.write_text(
        f"""{CONFIG}
        [keys.alice]
        hash = "{hash_secret("a")}"
        [keys.ci-bot]
        hash = "{hash_secret("b")}"
        models = ["fast", "claude*"]
        requests_per_minute = 60
        budget_per_month = 0.5
        expires = 2020-01-31
        """
    )
    done = run([ACYTOO, "keys", "list", "--config", str(file)])
    assert done.stdout.decode().splitlines() == [
        "alice   no end                *",
        "ci-bot  expired 2020-01-31    fast,claude*  requests_per_minute=60 budget_per_month=0.5",
    ]


def test_a_revoked_key_is_no_longer_in_the_file(file: Path) -> None:
    for name in ("alice", "ci-bot"):
        run([ACYTOO, "keys", "new", name, "--config", str(file)])
    done = run([ACYTOO, "keys", "revoke", "alice", "--config", str(file)])
    assert (done.returncode, done.stdout) == (0, b"")
    assert list(load(file).keys) == ["ci-bot"]


def test_a_key_that_is_not_added_is_not_printed(file: Path) -> None:
    run([ACYTOO, "keys", "new", "alice", "--config", str(file)])
    before = file.read_bytes()
    done = run([ACYTOO, "keys", "new", "alice", "--config", str(file)])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"there is a key 'alice' already" in done.stderr
    assert file.read_bytes() == before


def test_a_pattern_that_no_model_can_match_is_a_warning(file: Path) -> None:
    done = run([ACYTOO, "keys", "new", "alice", "--models", "embeded", "--config", str(file)])
    assert done.returncode == 0
    assert b"acytoo.toml:5: the key 'alice' may use 'embeded', which no model can be named: did you mean" in done.stderr
