"""Keys that are added to a config file and removed from it."""

from __future__ import annotations

import os
import sys
import threading
from datetime import date
from pathlib import Path

import pytest

from acytoo.errors import UsageError
from acytoo.gateway.config import load
from acytoo.gateway.key_file import add_key, change_key, remove_key
from acytoo.gateway.keys import hash_secret

FILE = f"""# The team's gateway.
[upstreams.embedded]  # no key needed

[keys.first]   # of Ann
hash = "{hash_secret("first")}"
models = [
    "fast",  # ]
]
# Nobody knows what this was for:

[prices."embedded/x"]
input = 1
output = 1"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "acytoo.toml"
    path.write_text(FILE)
    return path


def fields(secret: str = "second") -> dict[str, object]:
    return {"hash": hash_secret(secret), "models": ["fast", 'c"*'], "budget_per_day": 1.5}


def test_a_key_is_appended_and_every_other_byte_stays(file: Path) -> None:
    add_key(file, "second", fields())
    text = file.read_text()
    assert (
        text
        == f"""{FILE}

[keys.second]
hash = "{hash_secret("second")}"
models = ["fast", "c\\"*"]
budget_per_day = 1.5
"""
    )
    key = load(file).keys["second"]
    assert (key.models, key.budget_per_day) == (("fast", 'c"*'), 1.5)


@pytest.mark.parametrize("content", [FILE + "\n", (FILE + "\n").replace("\n", "\r\n"), "\ufeff" + FILE + "\n"])
def test_adding_and_removing_a_key_leaves_the_file_as_it_was(file: Path, content: str) -> None:
    file.write_bytes(content.encode())
    add_key(file, "second", fields())
    assert ("\r\n[keys.second]\r\n" in file.read_bytes().decode()) is ("\r\n" in content)
    remove_key(file, "second")
    assert file.read_bytes() == content.encode()


def test_a_key_is_removed_with_its_table_and_nothing_else(file: Path) -> None:
    add_key(file, "second", fields())
    before = file.read_text()
    remove_key(file, "first")
    start, end = before.index("\n[keys.first]"), before.index("# Nobody")
    assert file.read_text() == before[:start] + before[end:]


@pytest.mark.parametrize("content", [FILE + "\n", (FILE + "\n").replace("\n", "\r\n"), "\ufeff" + FILE])
def test_fields_of_a_key_are_set_and_removed_and_every_other_byte_stays(file: Path, content: str) -> None:
    file.write_bytes(content.encode())
    change_key(file, "first", {"disabled": True, "expires": date(2030, 1, 31)})
    assert (load(file).keys["first"].disabled, load(file).keys["first"].expires) == (True, date(2030, 1, 31))
    change_key(file, "first", {"disabled": False, "expires": date(2031, 1, 31)})
    line = f'hash = "{hash_secret("first")}"'
    newline = "\r\n" if "\r\n" in content else "\n"
    lines = newline.join([line, "disabled = false", "expires = 2031-01-31"])
    assert file.read_bytes().decode() == content.replace(line, lines)
    change_key(file, "first", {"disabled": None, "expires": None, "max_body": None})
    assert file.read_bytes().decode() == content


def test_a_comment_beside_a_field_that_is_changed_stays(file: Path) -> None:
    old, new = hash_secret("first"), hash_secret("other")
    file.write_text(FILE.replace(f'"{old}"', f"'{old}'   # made in May"))
    change_key(file, "first", {"hash": new})
    assert file.read_text() == FILE.replace(f'"{old}"', f'"{new}"   # made in May')


def test_a_key_whose_fields_have_no_lines_is_not_changed(file: Path) -> None:
    content = FILE.replace("[keys.first]   # of Ann\nhash", '[keys]\nfirst.models = ["*"]\nfirst.hash').replace(
        'models = [\n    "fast",  # ]\n]\n', ""
    )
    file.write_text(content)
    with pytest.raises(UsageError, match="the key is not a table of its own"):
        change_key(file, "first", {"disabled": True})
    assert file.read_text() == content


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("[keys]\na = {{ hash = '{0}' }}\nb = {{ hash = '{1}' }}\n", "not a table of its own"),
        ("[keys]\na.hash = '{0}'\nb.hash = '{1}'\n", "not a table of its own"),
        ("[keys.a]\nhash = '{0}'\n", "'a' is the only key, and without one the server would admit everybody"),
        ("[keys.b]\nhash = '{0}'\n", "there is no key 'a': expected b"),
        ("[keys.a]\nhash = '{0}'\n[keys.b]\nhash = ''\n", "acytoo.toml:5: [keys.b] hash: expected sha256:"),
    ],
)
def test_a_key_that_cannot_be_removed_is_an_error_and_the_file_stays(file: Path, keys: str, message: str) -> None:
    text = "[upstreams.embedded]\n" + keys.format(hash_secret("a"), hash_secret("b"))
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        remove_key(file, "a")
    assert message in str(caught.value)
    assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "secret", "message"),
    [
        ("first", "second", "there is a key 'first' already"),
        ("second", "first", "the same hash as [keys.first]"),
        ("se cond", "second", "invalid name 'se cond'"),
    ],
)
def test_a_key_that_makes_the_file_invalid_is_not_added(file: Path, name: str, secret: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        add_key(file, name, fields(secret))
    assert message in str(caught.value)
    assert file.read_text() == FILE


def test_the_first_key_of_a_public_server_can_be_added(file: Path) -> None:
    file.write_text('[server]\nhost = "0.0.0.0"\n[upstreams.embedded]\n')
    add_key(file, "first", fields())
    assert list(load(file).keys) == ["first"]


def test_a_key_is_not_added_to_an_inline_table(file: Path) -> None:
    file.write_text("keys = {}\n[upstreams.embedded]\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        add_key(file, "first", fields())


def test_a_key_is_not_added_to_what_is_not_a_table(file: Path) -> None:
    file.write_text("keys = 3\n[upstreams.embedded]\n")
    with pytest.raises(UsageError, match="keys must be a table"):
        add_key(file, "first", fields())


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot change .*missing.toml: No such file"):
        add_key(tmp_path / "missing.toml", "first", fields())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_permissions_owners_and_links_stay(file: Path) -> None:
    file.chmod(0o640)
    if os.geteuid() == 0:  # only root may give files away
        os.chown(file, 1234, 1235)
    owner = file.stat()
    link = file.with_name("link.toml")
    link.symlink_to(file.name)
    add_key(link, "second", fields())
    assert link.is_symlink()
    now = file.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (owner.st_mode, owner.st_uid, owner.st_gid)
    assert "second" in load(file).keys


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
def test_keys_that_are_added_at_the_same_time_are_all_in_the_file(file: Path) -> None:
    names = [f"key-{number}" for number in range(16)]
    threads = [threading.Thread(target=add_key, args=(file, name, fields(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(load(file).keys) == sorted(["first", *names])


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    file = tmp_path / f"{'a' * 250}.toml"  # the new file would have a longer name, which no file system accepts
    file.write_text(FILE)
    with pytest.raises(UsageError, match=r"cannot change .*a.toml: File name too long"):
        add_key(file, "second", fields())
    assert file.read_text() == FILE


OTHER = f'[keys.other]\nhash = "{hash_secret("other")}"'


@pytest.mark.parametrize(
    ("before", "table", "after"),
    [
        ("[upstreams.embedded]\n", f"[ keys . 'gone' ]  # x\nhash = '{hash_secret('x')}' # y\n", f"{OTHER}\n"),
        ("[upstreams.embedded]\n", f'[keys."gone"]\nhash="{hash_secret("x")}"\n', f"# of Bob\n{OTHER}"),
        (f"{OTHER}\n# end\n", f"[keys.gone]\nhash = '{hash_secret('x')}'\n", "# trailing\n[upstreams.embedded]\n"),
        (f"{OTHER}\n[upstreams.embedded]\n", f"[keys.gone]\nhash = '{hash_secret('x')}'", ""),
        (
            f"{OTHER}\n[upstreams.embedded]\n",
            f"  [keys.gone]\n  models = [\n'#',\n]\n  hash = '{hash_secret('x')}'\n",
            "\n",
        ),
    ],
)
def test_a_table_is_removed_however_it_is_written(file: Path, before: str, table: str, after: str) -> None:
    file.write_text(before + table + after)
    remove_key(file, "gone")
    assert file.read_text() == before + after
