"""Change the code of a part in one place at a time and see whether its tests notice.

The tests of the part are collected and run once, to learn which test reaches which line and how long it takes. Then
each mutant gets a fork of this process: it replaces the code of the changed function, in every function object that
has it, and runs the tests that reach the changed line, the fastest first, until one fails. Nothing is imported or
collected again, so a mutant costs little more than those tests.

Only function bodies are changed: no defaults of parameters, no constants of modules, and no text of an error that is
raised. Tests that run our code in another process do not see a mutant.
"""

from __future__ import annotations

import ast
import functools
import gc
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from tests.watched_selector import WatchedSelector

from bench.equivalent_mutants import EQUIVALENT

_ROOT = Path(__file__).parent.parent
_SOURCE = _ROOT / "src" / "acytoo"
_RESULTS = _ROOT / "bench" / "results" / "mutation.json"
_DOCUMENT = _ROOT / "bench" / "logs" / "mutation.md"

_DIALECTS = ("acytoo", "anthropic", "gemini", "ollama", "openai", "openai_responses")

_SLOW = [
    *[f"--ignore=tests/dialects/test_{name}.py" for name in ("fuzzed", "growth", "hostile_documents", "json", "shape")],
    *[
        f"--deselect=tests/dialects/test_{name}"
        for name in (
            "every_dialect.py::test_a_large_record_in_chunks_of_one_byte_is_read",
            "every_dialect.py::test_two_hundred_thousand_tiny_records_are_read",
            "lenient.py::test_any_value_in_any_optional_field_of_a_stream_changes_nothing",
        )
    ],
]
"""Tests of dialects that take minutes while their lines are recorded."""

_SHARED = (
    "dialects/fields+finish+json+lenient+readers+surrogates+think_tags+tool_calls",
    "dialects/base+batches+citations+custom_tools+error_bodies+extra_fields+opaque+quotas+server_side+services+translate",
)
"""What several dialects use: to read replies, and the rest."""


_SERVER = [
    "tests/server",
    *[
        f"--ignore=tests/server/test_{name}.py"
        for name in ("command", "every_fault", "fuzz", "imported_before", "supervisor")
    ],
    "--ignore=tests/server/sdks",
    *[f"tests/gateway/test_{name}.py" for name in ("flights", "gateway", "observed", "shared_replies")],
    "tests/test_reply_size.py",
]
"""Tests of the server in their own process. Of those, the faults and the fuzzing take minutes."""


PARTS = {
    "secret": ["tests/test_secret.py", "tests/test_redactor.py", "tests/test_record_redactor.py"],
    "settings": [
        "tests/test_settings.py",
        "tests/test_arguments.py",
        "tests/test_schemes.py",
        "tests/test_client.py",
        "tests/test_registry.py",
    ],
    "wire": ["tests/wire"],
    "http1": ["tests/http1"],
    **{part: ["tests/dialects", *_SLOW, "tests/test_reply_size.py"] for part in _SHARED},
    **{
        f"dialects/{name}": [
            "tests/dialects",
            *[f"--ignore=tests/dialects/{other}" for other in _DIALECTS if other != name],
            *_SLOW,
            "tests/batch/test_submitted.py",
            *(["tests/server/test_memory.py"] if name == "openai_responses" else []),
        ]
        for name in _DIALECTS
    },
    "transport": ["tests/transport"],
    "server/app+backends+config+errors+models+openapi+page+relay": _SERVER,
    "server/auth+body+control+cors+extension+request+router": _SERVER,
    "server/connection+hangup+http_server+listener+notify+response": _SERVER,
    "server/run+worker": [f"tests/server/test_{name}.py" for name in ("protocol", "run", "worker")],
}
"""The tests of each file, folder or files of a folder in `src/acytoo/`, without those that take long.

The supervisor of the server runs in other processes in all of its tests: it has no part.
"""

_SECONDS = 120.0
"""How long the tests of one mutant take at most, without it and while lines are recorded, which makes them slower.

The slowest are left out.
"""

_MAX_TIMEOUTS = 5
"""Tests of one mutant that time out before the rest is left out."""

_SILENCE = 10.0
"""Seconds in which nothing happens in an event loop, after which its test fails. No test here waits so long."""

_BASELINE_SECONDS = 30.0
"""How long one test takes at most without a mutant. One that waits forever for what the tracer keeps is left out."""


@dataclass(frozen=True)
class Mutant:
    """A change: `old` becomes `new` in a field of a node of a file's tree, or in a list of nodes."""

    file: str
    function: str
    line: int
    last_line: int
    place: Any
    key: str | int
    old: str
    new: str
    replacement: Any

    def apply(self) -> None:
        """Change the tree."""
        if isinstance(self.key, int):
            self.place[self.key] = self.replacement
        else:
            setattr(self.place, self.key, self.replacement)

    @property
    def place_name(self) -> str:
        """The file and the function, as results name them."""
        return f"{self.file} {self.function}"

    @property
    def change(self) -> str:
        """What changes, as results name it."""
        return f"{self.old} -> {self.new}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: {self.old} -> {self.new}"


def mutants_of(file: str, tree: ast.Module) -> Iterator[Mutant]:
    """Yield every mutant of the functions of a file."""
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, prefix = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                stack.append((child, f"{prefix}{child.name}."))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                for statement in child.body:
                    yield from _mutants_in(file, prefix + child.name, child.body, statement)


def _mutants_in(file: str, function: str, siblings: list[ast.stmt], statement: ast.stmt) -> Iterator[Mutant]:
    """Yield the mutants of a statement and of those in it."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return  # a docstring
    blocks: list[list[ast.stmt]] = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
    blocks += [part.body for name in ("handlers", "cases") for part in getattr(statement, name, [])]
    first = min((block[0].lineno for block in blocks if block), default=0)
    last_line = max(statement.lineno, first - 1) if first else statement.end_lineno or statement.lineno

    def mutant(place: Any, key: str | int, old: str, new: str, replacement: Any) -> Mutant:
        return Mutant(file, function, statement.lineno, last_line, place, key, old, new, replacement)

    def visit(node: ast.AST) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "format_spec", "type"):
                continue
            for number, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or isinstance(child, ast.stmt | ast.arguments):
                    continue
                if number == 0 and isinstance(node, ast.Call) and ast.unparse(node.func) == "cast":
                    continue  # a type
                is_text = isinstance(child, ast.Constant) and isinstance(child.value, str)
                if not (is_text and isinstance(statement, ast.Raise)):
                    for old, new in _replacements(node, field, child):
                        place, key = (value, number) if isinstance(value, list) else (node, field)
                        yield mutant(place, key, old, ast.unparse(new), new)
                yield from visit(child)
        if isinstance(node, ast.Call):
            for number, keyword in enumerate(node.keywords):
                rest = node.keywords[:number] + node.keywords[number + 1 :]
                yield mutant(node, "keywords", ast.unparse(node), f"no {ast.unparse(keyword)}", rest)

    text = ast.unparse(statement)
    match statement:
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield mutant(statement, "value", text, "None", _nothing(text))
        case ast.AugAssign(op=operator) if type(operator) in _OPERATORS:
            changed = _OPERATORS[type(operator)]
            yield mutant(statement, "op", text, f"with {changed.__name__}", changed())
        case ast.Break() | ast.Continue():
            other = ast.copy_location(ast.Continue() if text == "break" else ast.Break(), statement)
            place = siblings.index(statement)
            yield mutant(siblings, place, text, ast.unparse(other), other)
    yield from visit(statement)
    for block in blocks:
        for child in block:
            yield from _mutants_in(file, function, block, child)


def _nothing(text: str) -> ast.expr:
    """Return None. Without a `super` the code would not fit the closure of the function that it replaces."""
    return ast.parse("None and super()", mode="eval").body if "super()" in text else ast.Constant(None)


_OPERATORS: dict[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def _replacements(parent: ast.AST, field: str, node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the text of a node and each node that a plausible mistake would have in its place."""
    text = ast.unparse(node)
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=right) if type(operator) in _OPERATORS:
            yield text, ast.copy_location(ast.Compare(left, [_OPERATORS[type(operator)]()], right), node)
        case ast.BoolOp(op=operator, values=values):
            yield text, ast.copy_location(ast.BoolOp(_OPERATORS[type(operator)](), values), node)
        case ast.BinOp(left=left, op=operator, right=operand) if type(operator) in _OPERATORS:
            yield text, ast.copy_location(ast.BinOp(left, _OPERATORS[type(operator)](), operand), node)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield text, operand
        case ast.Constant(value=bool(value)):
            yield text, ast.copy_location(ast.Constant(not value), node)
        case ast.Constant(value=int(value)):
            yield text, ast.copy_location(ast.Constant(value + 1), node)
        case ast.Constant(value=str(value)):
            yield text, ast.copy_location(ast.Constant(f"XX{value}XX"), node)
        case ast.Constant(value=bytes(value)):
            yield text, ast.copy_location(ast.Constant(b"XX" + value + b"XX"), node)
    is_bare = not isinstance(node, ast.Compare | ast.BoolOp | ast.Constant) and isinstance(node, ast.expr)
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    if is_bare and not is_not and (field == "test" or isinstance(parent, ast.BoolOp) or field == "ifs"):
        yield text, ast.copy_location(ast.UnaryOp(ast.Not(), node), node)  # type: ignore[arg-type]
    is_value = field == "value" and isinstance(parent, ast.Return | ast.Assign)
    if is_value and not isinstance(node, ast.Constant):
        yield text, ast.copy_location(_nothing(text), node)


class _Session:
    """A pytest plugin that runs the tests once, and then those of every mutant."""

    def __init__(self, parts: list[str], sample: int, seed: int, progress: Callable[[str], None]) -> None:
        self.sample, self.seed, self.progress = sample, seed, progress
        command = ["git", "rev-parse", "--short", "HEAD"]
        self.commit = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT).stdout.strip()
        self.results: dict[str, list[tuple[str, Mutant]]] = {part: [] for part in parts}
        self.totals: dict[str, int] = {}
        self.existing: set[tuple[str, str]] = set()
        self.survivors: set[tuple[str, str]] | None = None
        """The (place, change) pairs that are tried again, None to try a sample."""
        self.failures: set[str] = set()
        self.on_failure = self._leave_out
        self._error = ""
        self.files = {part: files_of(part) for part in parts}
        self.trees = {self._name(file): ast.parse(file.read_text()) for part in parts for file in self.files[part]}

    def _name(self, file: Path) -> str:
        return str(file.relative_to(_SOURCE))

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        self._error = call.excinfo.typename if call.excinfo else ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.on_failure(report.nodeid, self._error)

    def _leave_out(self, test: str, error: str) -> None:
        """Leave out a test that fails without a mutant."""
        self.failures.add(test)
        self.progress(f"without a mutant, {test} failed: {error}")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's own loop."""
        import hypothesis  # pytest wants to import it first

        hypothesis.settings.register_profile(
            "mutation", deadline=None, database=None, derandomize=True, max_examples=25, phases=["explicit", "generate"]
        )
        hypothesis.settings.load_profile("mutation")
        WatchedSelector.limit = _SILENCE
        names = {name: name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in self.trees}
        for name in names.values():
            importlib.import_module(f"acytoo.{name}")
        self.progress(f"{len(session.items)} tests without a mutant")
        gc.unfreeze()  # the functions and caches that `tests/conftest.py` hides from the collector
        reached, seconds = self._baseline(session.items)
        gc.unfreeze()  # a server hides them again
        functions = [each for each in gc.get_objects() if isinstance(each, FunctionType)]
        for part, files in self.files.items():
            names_of_part = [self._name(file) for file in files]
            mutants = [mutant for name in names_of_part for mutant in mutants_of(name, self.trees[name])]
            self.totals[part] = len(mutants)
            self.existing |= {(each.place_name, each.change) for each in mutants}
            if self.survivors is not None:
                mutants = [each for each in mutants if (each.place_name, each.change) in self.survivors]
            random.Random(self.seed).shuffle(mutants)
            del mutants[self.sample or len(mutants) :]
            for number, mutant in enumerate(mutants, 1):
                lines = range(mutant.line, mutant.last_line + 1)
                reaching = set().union(*(reached.get((mutant.file, line), set()) for line in lines))
                items = _in_order([item for item in session.items if item in reaching], seconds, mutant.file)
                outcome = self._try(mutant, items, seconds, functions)
                if outcome == "same code":
                    self.totals[part] -= 1
                else:
                    self.results[part].append((outcome, mutant))
                if outcome != "assertion" or number % 20 == 0:
                    self.progress(f"{part}: {number} of {len(mutants)}, {outcome}: {mutant}")
        return True

    def _baseline(self, items: list[pytest.Item]) -> tuple[dict[tuple[str, int], set[pytest.Item]], dict[Any, float]]:
        """Run all tests; return which of them reach a line, and their seconds."""

        def stop(number: int, frame: FrameType | None) -> None:
            raise TimeoutError(f"it takes more than {_BASELINE_SECONDS:.0f} seconds")

        signal.signal(signal.SIGALRM, stop)
        names = {str(file): self._name(file) for files in self.files.values() for file in files}
        reached: dict[tuple[str, int], set[pytest.Item]] = {}
        seconds: dict[Any, float] = {}
        tracers: dict[int, tuple[CodeType, _LineTracer | None]] = {}  # by identity: comparing code takes long
        touched: dict[_LineTracer, None] = {}

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            code = frame.f_code
            if id(code) not in tracers:
                tracers[id(code)] = code, _LineTracer(code) if code.co_filename in names else None
            tracer = tracers[id(code)][1]
            if tracer is None or not tracer.missing:
                return None
            touched[tracer] = None
            return tracer(frame, event, argument)

        caches = _caches()
        for item, following in zip(items, [*items[1:], None], strict=True):
            for cache in caches:  # what is kept from another test is not reached by this one
                cache.cache_clear()
            threading.settrace(trace)
            sys.settrace(trace)
            started = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, _BASELINE_SECONDS)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.settrace(None)
            threading.settrace(None)
            seconds[item] = time.monotonic() - started
            for tracer in touched:
                for line in tracer.take():
                    if item.nodeid not in self.failures:
                        reached.setdefault((names[tracer.file], line), set()).add(item)
            touched.clear()
        return reached, seconds

    def _try(
        self, mutant: Mutant, items: list[pytest.Item], seconds: dict[Any, float], functions: list[FunctionType]
    ) -> str:
        """Run the tests in a fork with the mutant; return what they notice."""
        if not items:
            return "not reached"
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            alarms = 0

            def interrupt(number: int, frame: FrameType | None) -> None:
                nonlocal alarms
                alarms += 1
                if alarms > _MAX_TIMEOUTS:
                    os._exit(0)  # something catches it again and again
                raise TimeoutError("the test takes too long")

            signal.signal(signal.SIGALRM, interrupt)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)

            timeouts: list[str] = []

            def report(test: str, error: str) -> None:
                if "Timeout" in error:
                    timeouts.append(test)
                    if len(timeouts) < _MAX_TIMEOUTS:
                        return  # another test may notice it by an assertion
                os.write(writer, b"timeout" if "Timeout" in error else b"assertion")
                os._exit(0)

            self.on_failure = report
            try:
                if not self._replace(mutant, functions):
                    os.write(writer, b"same code")
                    os._exit(0)
                spent = 0.0
                for item, following in zip(items, [*items[1:], None], strict=True):
                    spent += seconds[item]
                    if spent > _SECONDS and item is not items[0]:
                        break
                    signal.setitimer(signal.ITIMER_REAL, 30 + 5 * seconds[item], 5.0)
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                os.write(writer, b"timeout" if timeouts else b"survived")
            except BaseException as error:
                os.write(writer, f"invalid: {error!r}".encode())
            os._exit(0)
        os.close(writer)
        try:
            os.waitpid(child, 0)
            os.set_blocking(reader, False)
            outcome = os.read(reader, 1000)
        except BlockingIOError:  # something that the tests started has the pipe
            outcome = b""
        finally:
            os.close(reader)
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # the child, if this is interrupted, and what its tests started
        return outcome.decode() or "timeout"

    def _replace(self, mutant: Mutant, functions: list[FunctionType]) -> int:
        """Give every function of the changed file the code that it has with the mutant; return how many change."""
        path = str(_SOURCE / mutant.file)
        mutant.apply()
        tree = ast.fix_missing_locations(self.trees[mutant.file])
        codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(compile(tree, path, "exec"))}
        for cache in _caches():
            cache.cache_clear()
        changed = 0
        for function in functions:
            old = function.__code__
            new = codes.get((old.co_qualname, old.co_firstlineno))
            if old.co_filename == path and new is not None and new != old:
                function.__code__ = new
                changed += 1
        return changed


class _LineTracer:
    """What notes the lines of one function that are reached. It is called for each line, so it does little else."""

    __slots__ = ("_all", "file", "missing")

    def __init__(self, code: CodeType) -> None:
        self.file = code.co_filename
        self._all = frozenset([line for _, _, line in code.co_lines() if line is not None])
        self.missing = set(self._all)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.missing.discard(frame.f_lineno)
        return self

    def take(self) -> frozenset[int]:
        """Return the lines since the last call."""
        taken = self._all - self.missing
        self.missing = set(self._all)
        return taken


def _in_order(items: list[pytest.Item], seconds: dict[Any, float], file: str) -> list[pytest.Item]:
    """Return the tests with those of the file first, then the fastest, and the variants of one test apart.

    Variants often fail alike.
    """
    own = f"test_{Path(file).stem}.py"
    variants: Counter[str] = Counter()
    costs: dict[pytest.Item, float] = {}
    for item in sorted(items, key=lambda item: seconds[item]):
        test = item.nodeid.partition("[")[0]
        variants[test] += 1
        costs[item] = seconds[item] * variants[test]
    return sorted(costs, key=lambda item: (item.path.name != own, costs[item]))


def files_of(part: str) -> list[Path]:
    """Return the files of a part: a folder, a file, or files of a folder with `+` between them."""
    path = _SOURCE / part
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    return [path.with_name(f"{name}.py") for name in path.name.split("+")]


def _caches() -> list[functools._lru_cache_wrapper[Any]]:
    """Return the caches of our functions."""
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith("acytoo.")
    ]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def mutate(parts: list[str], sample: int, seed: int) -> bool:
    """Try the mutants of parts, or a sample of each; save the results and return whether 95 % of each were noticed.

    Ctrl-C ends it, and saves the results so far.
    """
    for part in parts:
        if part not in PARTS:
            raise SystemExit(f"mutate: unknown part {part!r}: expected {', '.join(PARTS)}")
    os.chdir(_ROOT)
    tests = list(dict.fromkeys(argument for part in parts for argument in PARTS[part]))
    if len(parts) > 1:  # what one part leaves out may be another's own tests
        tests = [test for test in tests if test.removeprefix("--ignore=tests/") not in parts]
    session = _run(parts, tests, sample, seed)
    # A result is saved even if that of another part is too low.
    enough = [_save(part, session, seed) for part in parts if session.results[part]]
    return all(enough) and bool(enough)


def _run(
    parts: list[str], tests: list[str], sample: int, seed: int, survivors: set[tuple[str, str]] | None = None
) -> _Session:
    """Run the tests and try the mutants: a sample of each part, or the survivors of the only one."""
    with tempfile.TemporaryDirectory() as storage, os.fdopen(os.dup(2), "w", buffering=1) as progress:
        session = _Session(parts, sample, seed, lambda line: print(line, file=progress))
        session.survivors = survivors
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = storage
        pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", *tests], plugins=[session])
    return session


def _save(part: str, session: _Session, seed: int) -> bool:
    """Save the result of a part and write the document."""
    counts: Counter[str] = Counter()
    survivors, equivalent = [], []
    for outcome, mutant in session.results[part]:
        place, change = mutant.place_name, mutant.change
        reason = EQUIVALENT.get(place, {}).get(change)
        if reason and outcome not in ("assertion", "timeout"):
            outcome = "equivalent"
            equivalent.append([place, change, reason])
        elif outcome != "assertion":
            survivors.append([f"{place}, line {mutant.line}", change, outcome])
        counts[outcome] += 1
    results = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
    before = results.get(part)
    results[part] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": session.commit,
        "mutants": session.totals[part],
        "tried": len(session.results[part]),
        "seed": seed if len(session.results[part]) < session.totals[part] else None,
        "counts": counts,
        "survivors": survivors,
        "equivalent": equivalent,
        "left out": sorted(session.failures),
    }
    if before is not None:
        results[part]["before"] = before.get("first", _share(before))
    return _write(results, part)


def _write(results: dict[str, Any], part: str) -> bool:
    """Write the results and the document; return whether 95 % of the mutants of the part were noticed."""
    _RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    _DOCUMENT.write_text(render({name: results[name] for name in PARTS if name in results}))
    return _share(results[part]) >= 0.95


def try_survivors_again(part: str, tests: list[str]) -> bool:
    """Try the mutants of a part that nothing noticed in its last result, with these tests or else with all of its own.

    If several mutants of a function make the same change, it counts as noticed only if each of them is, or is
    equivalent.
    """
    os.chdir(_ROOT)
    results = json.loads(_RESULTS.read_text())
    if part not in results:
        raise SystemExit(f"mutate: {part!r} has no result yet: leave out --again")
    result = results[part]
    survivors = {(_without_line(place), change) for place, change, _ in result["survivors"]}
    session = _run([part], tests or PARTS[part], 0, 0, survivors)
    outcomes = [(each.place_name, each.change, outcome) for outcome, each in session.results[part]]
    first = result.get("first", _share(result))
    results[part] = {**merged(result, session.existing, outcomes), "again": session.commit, "first": first}
    return _write(results, part)


def _without_line(place: str) -> str:
    return place.rpartition(", line ")[0]


def merged(
    result: dict[str, Any], existing: set[tuple[str, str]], outcomes: list[tuple[str, str, str]]
) -> dict[str, Any]:
    """Return a result with the outcomes of its survivors, each with its place and change, that were tried again."""
    noticed = {(place, change) for place, change, outcome in outcomes if outcome == "assertion"}
    missed = {
        (place, change)
        for place, change, outcome in outcomes
        if outcome != "assertion" and (outcome == "timeout" or change not in EQUIVALENT.get(place, {}))
    }
    counts: Counter[str] = Counter(result["counts"])
    survivors, equivalent, gone = [], list(result["equivalent"]), 0
    for place, change, outcome in result["survivors"]:
        name = _without_line(place)
        counts[outcome] -= 1
        if (name, change) not in existing:
            gone += 1
        elif (name, change) in noticed - missed:
            counts["assertion"] += 1
        elif outcome != "timeout" and (reason := EQUIVALENT.get(name, {}).get(change)):
            counts["equivalent"] += 1
            equivalent.append([name, change, reason])
        else:
            counts[outcome] += 1
            survivors.append([place, change, outcome])
    changed = {"tried": result["tried"] - gone, "counts": counts, "survivors": survivors, "equivalent": equivalent}
    return {**result, **changed}


def _share(result: dict[str, Any]) -> float:
    """Return the share of the mutants that are not equivalent which an assertion noticed."""
    counts = result["counts"]
    different = result["tried"] - counts.get("equivalent", 0)
    return float(counts.get("assertion", 0) / different) if different else 1.0


def render(results: dict[str, Any]) -> str:
    """Return the document: the figures of each part, and every mutant that was not noticed."""
    lines = [_INTRODUCTION]
    for part, result in results.items():
        counts = result["counts"]
        tried = f"{result['tried']}" + ("" if result["seed"] is None else f" (seed {result['seed']})")
        survived = sum(counts.get(name, 0) for name in counts if name not in ("assertion", "timeout", "equivalent"))
        figures = [counts.get("assertion", 0), counts.get("timeout", 0), survived, counts.get("equivalent", 0)]
        commits = result["commit"] + (f", {result['again']}" if "again" in result else "")
        share = f"{_share(result):.0%}"
        first = f"{result['first']:.0%}" if "first" in result else "" if "again" in result else share
        before = f"{result['before']:.0%}" if "before" in result else ""
        cells = [part, result["date"], commits, result["mutants"], tried, *figures, share, first, before]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |\n")
    for title, key in (("Not noticed", "survivors"), ("Equivalent", "equivalent")):
        lines.append(f"\n## {title}\n\n")
        for result in results.values():
            lines += [f"- {place}: `` {change} ``: {remark}\n" for place, change, remark in result[key]]
    return "".join(lines)


_INTRODUCTION = """\
# Mutation testing

`python -m bench mutate wire` changes the code of a part in one place at a time and runs the tests of the part
(`PARTS` in `bench/mutation.py`) that reach this place. `--sample 60 --seed 1` tries so many of the mutants, chosen at
random. `--again` tries those that survived the last time, after tests were written for them; the second commit is
that of these tests. Such a share is higher than that of the part. *First* is the share of the same sample before any
test was written for it: what can be expected of the mutants that were not tried. *Before* is that of the sample before
it, for whose survivors tests were written since then. The command writes this page.

A mutant is *noticed* if a test fails, other than by a timeout. A test whose event loop has nothing left to do, or is
in a step that does not end, fails by an assertion (`tests/watched_selector.py`), here after ten seconds. *Survived*
means that all tests passed, or that none reaches the line ("not reached"). *Equivalent* mutants change nothing that a
caller could see; the reasons are in `bench/equivalent_mutants.py`. The share is that of the noticed ones among those
that are not equivalent. Only function bodies are changed, but not the text of an error that is raised. Tests that run
our code in another process do not count, and Hypothesis tries 25 examples.

| part | date | commit | mutants | tried | noticed | timeout | survived | equivalent | share | first | before |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
