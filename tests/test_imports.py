"""Imports go one way, and cost only what is used."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import acytoo

SOURCE = Path(acytoo.__file__).parent

LAYERS = [
    ["errors", "types", "observation", "secret", "http", "_files", "_process", "_reset", "_version"],
    ["wire", "http1", "messages", "credentials", "compat", "sync", "_hybridmethod", "web", "svg"],
    ["dialects"],
    ["testing"],
    ["transport"],
    ["settings"],
    ["preparation", "passage", "redactor", "record_redactor"],
    ["client"],
    ["base_provider"],
    ["providers"],
    ["registry"],
    ["routing"],
    ["server"],
    ["gateway"],
    ["batch", "measure"],
    ["embedded"],
    ["cli"],
]
"""From the bottom up; a part may import its own layer and those before it."""

HTTP_LIBRARIES = {"aiohttp", "python_socks", "httptools", "urllib.request", "http.client"}


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def part_of(module: str) -> str:
    return module.split(".")[1]


def layer_of(part: str) -> int:
    for number, parts in enumerate(LAYERS):
        if part in parts:
            return number
    raise AssertionError(f"{part} has no layer: give it one in this test")


@functools.cache
def imports_of(path: Path) -> list[str]:
    """Every module a file imports, inside functions too."""
    return [*_imports_in(path)]


def _imports_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = node.module or ""
            yield module
            if module == "acytoo":
                yield from (f"acytoo.{alias.name}" for alias in node.names if (SOURCE / alias.name).exists())


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_its_own_layer_and_those_below(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return
    for module in imports_of(path):
        if module.startswith("acytoo."):
            assert layer_of(part_of(module)) <= layer_of(part), f"{part} imports {module}"


def test_dialects_and_transport_do_not_import_each_other() -> None:
    for part, other in (("dialects", "transport"), ("transport", "dialects")):
        for path in (SOURCE / part).rglob("*.py"):
            assert not [name for name in imports_of(path) if name.startswith(f"acytoo.{other}")], path


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_command_line_imports_the_testing_package(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0]
    if part not in ("testing", "cli"):
        assert not [name for name in imports_of(path) if name.startswith("acytoo.testing")]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_http_code_imports_an_http_library(path: Path) -> None:
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if part not in ("http1", "transport", "server"):
        assert not HTTP_LIBRARIES & set(imports_of(path))


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_docstring_begins_with_a_sentence(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith('"""')
    assert first.removesuffix('"""').endswith((".", ":"))


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that the code loads in a fresh interpreter, except those loaded at its start."""
    told = "print(*{m.partition('.')[0] for m in set(sys.modules) - before})"
    script = f"import sys\nbefore = set(sys.modules)\n{code}\n{told}"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_type_checkers_see_the_public_names_that_are_imported_on_first_use() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    seen = {
        (alias.asname, f"{node.module}")
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == set(acytoo._MODULE_OF.items())
    for name in acytoo.__all__:
        assert getattr(acytoo, name) is not None


def test_import_acytoo_loads_nothing_but_itself_and_typing() -> None:
    of_typing = "abc collections contextlib copyreg enum functools itertools keyword operator re reprlib types typing"
    private = "_collections _functools _operator _sre _typing sre_compile sre_constants sre_parse"
    allowed = {"acytoo", "__future__", "importlib", "warnings", *of_typing.split(), *private.split()}
    assert loaded_by("import acytoo") <= allowed


def test_the_provider_class_loads_no_http_library_until_it_is_called() -> None:
    assert not loaded_by("from acytoo import Acytoo; Acytoo()") & {
        *("httptools", "xllamacpp", "click", "ssl"),
        *("asyncio", "logging"),  # slow to import, and not needed before a call
    }


@pytest.mark.parametrize(
    ("use", "dialect"),
    [
        ("from acytoo.providers.compatible import Groq; Groq(key='k')", "openai"),
        ("from acytoo import dialects; dialects.OpenAI()", "openai"),
        ("from acytoo import Acytoo; Acytoo()", "acytoo"),
        ("import acytoo; acytoo.provider('http://127.0.0.1:9')", "acytoo"),
        ("import acytoo; acytoo.provider('groq/m', key='k')", "openai"),
        ("import acytoo; acytoo.provider('anthropic/m', key='k')", "anthropic"),
        ("import acytoo; acytoo.provider('gemini/m', key='k')", "gemini"),
        ("import acytoo; acytoo.provider('ollama/m')", "ollama"),
    ],
)
def test_using_one_dialect_loads_no_other(use: str, dialect: str) -> None:
    code = f"""
import sys
{use}
start = "acytoo.dialects."
apis = {{m.removeprefix(start).partition(".")[0] for m in sys.modules if m.startswith(start)}}
print(*apis & {{"acytoo", "openai", "openai_responses", "anthropic", "ollama", "gemini"}})
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [dialect]


def test_threads_that_load_a_dialect_at_once_share_one_instance() -> None:
    code = """
import threading
from acytoo import dialects
barrier, found = threading.Barrier(8), []
def look():
    barrier.wait()
    found.append((*(dialects.by_name(n) for n in ("openai", "openai-responses", "gemini")), dialects.OpenAI))
threads = [threading.Thread(target=look) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len({tuple(map(id, each)) for each in found}), dialects.ALL[1] is dialects.by_name("openai") is found[0][0])
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 True\n"


def test_the_command_shows_its_version_without_loading_the_library() -> None:
    start = "import sys; sys.argv = ['acytoo', '--version']\nfrom acytoo.cli import main\n"
    assert not loaded_by(start + "try: main()\nexcept SystemExit: pass") & {
        "httptools",
        "msgspec",
        "xllamacpp",
        "asyncio",
    }


OPTIONAL = (
    "xllamacpp",
    "redis",
    "python_socks",
    "uvloop",
    "keyring",
    "trustme",
    "prometheus_client",
    "opentelemetry",
    "pyarrow",
    "fastjsonschema",
    "ray",
    "yaml",
    "rich",
    "prompt_toolkit",
)

BEHIND_AN_EXTRA = ("acytoo.cli.tui",)
"""Packages that are imported only if their extra is installed."""


def test_every_module_imports_without_the_extras() -> None:
    modules = [
        ".".join(("acytoo", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in files()
        if path.name != "__main__.py"
    ]
    modules = [module for module in modules if not module.startswith(BEHIND_AN_EXTRA)]
    hide = "import importlib, sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in OPTIONAL)
    script = f"{hide}for name in {modules!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
