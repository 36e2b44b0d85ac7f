"""`acytoo keys`: the keys of a server's clients."""

from __future__ import annotations

import asyncio
import time
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from acytoo.gateway.config import load
from acytoo.gateway.keys import KeySet, hash_secret
from acytoo.gateway.ledger import Row, open_ledger
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
        "ci-bot  expired 2020-01-31    fast,claude*  budget_per_month=$0.5 requests_per_minute=60",
    ]
    assert b"the use of the keys is unknown: ledger" in done.stderr
    assert b"does not exist" in done.stderr


async def test_keys_are_listed_with_what_they_have_used_of_their_limits(file: Path) -> None:
    file.write_text(  # noqa: ASYNC240
        f"""{CONFIG}
        [keys.alice]
        hash = "{hash_secret("a")}"
        tokens_per_day = 1000
        requests_per_day = 5
        budget_per_month = 0.5
        concurrent = 3
        [keys.bob]
        hash = "{hash_secret("b")}"
        tokens_per_day = 1000
        disabled = true
        """
    )
    ledger = await open_ledger(f"sqlite:{file.parent / 'acytoo.db'}")
    row = Row(
        request_id="r", attempt=1, at=time.time(), key="alice", input_tokens=100, output_tokens=20, cost=12_500_000
    )
    ledger.add([row, row])
    await ledger.close()
    day = datetime.fromtimestamp(row.at, UTC).date()
    done = await asyncio.to_thread(run, [ACYTOO, "keys", "list", "--config", str(file)])
    assert (done.stdout.decode().splitlines(), done.stderr) == (
        [
            f"alice  no end                used {day}  *  budget_per_month=$0.025/$0.5 "
            "tokens_per_day=240/1000 requests_per_day=2/5 concurrent=3",
            "bob    disabled              not used         *  tokens_per_day=0/1000",
        ],
        b"",
    )


def test_a_key_gets_a_new_secret_and_the_old_one_is_valid_for_a_while(file: Path) -> None:
    first = run([ACYTOO, "keys", "new", "alice", "--rpm", "60", "--config", str(file)]).stdout.decode().strip()
    before = datetime.now(UTC).date()
    done = run([ACYTOO, "keys", "rotate", "alice", "--keep", "2d", "--config", str(file)])
    after = datetime.now(UTC).date()
    second = done.stdout.decode().strip()
    assert (done.returncode, second[:10]) == (0, "sk-acytoo-")
    assert second not in file.read_text()
    keys = KeySet.of(load(file))
    old, new = keys.find([Secret(first)]), keys.find([Secret(second)])
    assert old is not None
    assert new is not None
    assert (new.name, new.expires, old.name, old.limits) == ("alice", None, "alice", new.limits)
    assert old.expires in (before + timedelta(2), after + timedelta(2))
    third = run([ACYTOO, "keys", "rotate", "alice", "--config", str(file)]).stdout.decode().strip()
    keys = KeySet.of(load(file))
    assert [keys.find([Secret(secret)]) is None for secret in (first, second, third)] == [True, False, False]


def test_a_secret_that_has_leaked_is_replaced_at_once(file: Path) -> None:
    run([ACYTOO, "keys", "new", "alice", "--config", str(file)])
    run([ACYTOO, "keys", "rotate", "alice", "--config", str(file)])
    done = run([ACYTOO, "keys", "rotate", "alice", "--keep", "0d", "--config", str(file)])
    key = load(file).keys["alice"]
    assert (key.hash, key.previous_hash, key.previous_expires) == (
        hash_secret(done.stdout.decode().strip()),
        None,
        None,
    )
    assert b"the old one is not valid any more" in done.stderr


def test_a_key_is_disabled_and_enabled(file: Path) -> None:
    run([ACYTOO, "keys", "new", "alice", "--config", str(file)])
    before = file.read_bytes()
    assert run([ACYTOO, "keys", "disable", "alice", "--config", str(file)]).returncode == 0
    assert load(file).keys["alice"].disabled
    assert run([ACYTOO, "keys", "enable", "alice", "--config", str(file)]).returncode == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", ["rotate", "disable", "enable", "revoke"])
def test_a_name_that_no_key_has_is_an_error(file: Path, command: str) -> None:
    run([ACYTOO, "keys", "new", "alice", "--config", str(file)])
    before = file.read_bytes()
    done = run([ACYTOO, "keys", command, "alcie", "--config", str(file)])
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"there is no key 'alcie': did you mean 'alice'?" in done.stderr
    assert file.read_bytes() == before


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
