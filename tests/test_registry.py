"""Providers that other packages offer as entry points."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import acytoo
from acytoo import dialects
from acytoo.errors import UsageError
from acytoo.testing import FakeEndpoint, reply
from tests.processes import ACYTOO, run, script

SHOUT = """
class Shout:
    @classmethod
    async def create_async_generator(cls, model, messages, proxy=None, **kwargs):
        yield "SHOUT"

broken = 1 / 0 if "broken" in __name__ else None
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Create an empty folder for packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def install(site: Path, package: str, *entries: str) -> None:
    """Write a package with entry points as pip installs it."""
    (site / f"{package}.py").write_text(SHOUT)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[acytoo.providers]\n" + "".join(f"{entry}\n" for entry in entries))


def path(site: Path) -> dict[str, str]:
    """Return an environment in which the packages can be imported."""
    return {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])}


def names(site: Path) -> subprocess.CompletedProcess[bytes]:
    """Print the name and the module of every provider, with these packages installed."""
    code = "from acytoo.registry import providers\nfor name, cls in providers().items(): print(name, cls.__module__)"
    return run(script(code, "-W", "default"), env=path(site))


def test_an_entry_point_is_a_provider_with_its_name_in_lower_case(site: Path) -> None:
    install(site, "loud", "Shout = loud:Shout")
    assert b"shout loud\n" in names(site).stdout


def test_a_foreign_class_gets_the_methods_and_settings_of_a_provider(site: Path) -> None:
    install(site, "loud", "Shout = loud:Shout")
    done = run([ACYTOO, "-m", "shout/x", "Hi"], env=path(site))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"SHOUT\n", b"")
    listed = run([ACYTOO, "providers"], env=path(site))
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert b"shout " in listed.stdout


def test_an_entry_point_never_replaces_a_built_in_provider(site: Path) -> None:
    install(site, "loud", "OpenAI = loud:Shout", "acytoo = loud:Shout")
    done = names(site)
    assert b" loud\n" not in done.stdout
    for name in ("OpenAI", "acytoo"):
        message = f"the entry point {name!r} of loud 1.0 is left out: a built-in provider has this name"
        assert message in done.stderr.decode()


@pytest.mark.parametrize(
    ("package", "entry"),
    [
        ("broken", "broken = broken:Shout"),
        ("loud", "broken = loud:Nothing"),
        ("loud", "broken = loud:SHOUT.nothing"),
        ("loud", "broken = not_there:Shout"),
        ("loud", "broken = loud:__name__"),
    ],
)
def test_a_broken_entry_point_is_reported_and_the_others_still_work(package: str, entry: str, site: Path) -> None:
    install(site, "fine", "shout = fine:Shout")
    install(site, package, entry)
    done = names(site)
    assert done.returncode == 0
    assert b"shout fine\n" in done.stdout
    assert b"openai " in done.stdout
    assert b"broken " not in done.stdout
    assert f"the entry point 'broken' of {package} 1.0" in done.stderr.decode()


def test_looking_up_one_provider_imports_no_other_package(site: Path) -> None:
    install(site, "loud", "shout = loud:Shout")
    install(site, "broken", "broken = broken:Shout")
    code = "import sys\nfrom acytoo.registry import provider_class\nprint(provider_class('shout'))\n"
    done = run(script(code + "print('broken' in sys.modules)", "-W", "error"), env=path(site))
    assert (done.returncode, done.stdout.split(b"\n"), done.stderr) == (
        0,
        [b"<class 'loud.Shout'>", b"False", b""],
        b"",
    )


def test_looking_up_a_broken_entry_point_reports_the_reason(site: Path) -> None:
    install(site, "broken", "broken = broken:Shout")
    code = "from acytoo.registry import provider_class\nprovider_class('broken')"
    done = run(script(code, "-W", "error"), env=path(site))
    assert (
        done.stderr.decode()
        .strip()
        .endswith(
            "the entry point 'broken' of broken 1.0 is left out: "
            "broken:Shout cannot be loaded: ZeroDivisionError: division by zero"
        )
    )


def test_the_command_reports_the_reason_if_a_broken_entry_point_is_named(site: Path) -> None:
    install(site, "broken", "broken = broken:Shout")
    done = run([ACYTOO, "-m", "broken", "Hi"], env=path(site))
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].endswith("ZeroDivisionError: division by zero")


def test_the_command_imports_a_broken_package_only_for_its_own_provider_or_for_all(site: Path) -> None:
    install(site, "broken", "broken = broken:Shout")
    with FakeEndpoint(dialects.OpenAI(), reply("Hello")) as fake:
        arguments = ["-m", "compatible/m", "--url", fake.url, "Hi"]
        done = run([ACYTOO, *arguments], env=path(site))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello\n", b"")
    for command, returncode in ((["-m", "broken/m", "Hi"], 2), (["providers"], 0)):
        done = run([ACYTOO, *command], env=path(site))
        assert done.returncode == returncode
        assert done.stderr.decode().startswith("acytoo: the entry point 'broken' of broken 1.0 ")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("address", [None, b"openai", 7])
def test_an_address_that_is_not_text_is_refused_with_its_type(address: Any) -> None:
    """Such as `provider(os.environ.get("MODEL"))` without that variable."""
    with pytest.raises(UsageError, match=rf"^the address must be a str like 'openai/…', not {type(address).__name__}$"):
        acytoo.provider(address)
