"""The mutation tool changes every place of a function that a plausible mistake could change, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from bench.equivalent_mutants import EQUIVALENT
from bench.mutation import PARTS, files_of, merged, mutants_of, render

ROOT = Path(__file__).parent.parent

SOURCE = '''
LIMIT = 8

class Counter:
    def add(self, number: int = 1) -> int | None:
        """Add a number."""
        if not number or number > LIMIT:
            raise ValueError("too large")
        for each in range(number):
            if each:
                continue
            self.total += self.sum(each, start=0)
        return cast("int", self.total)
'''

CHANGES = {
    "not number or number > LIMIT -> not number and number > LIMIT",
    "not number -> number",
    "number > LIMIT -> number >= LIMIT",
    "each -> not each",
    "continue -> break",
    "self.total += self.sum(each, start=0) -> with Sub",
    "0 -> 1",
    "self.sum(each, start=0) -> no start=0",
    "cast('int', self.total) -> None",
}


def test_every_place_of_a_function_is_changed_once() -> None:
    mutants = list(mutants_of("counter.py", ast.parse(SOURCE)))
    assert sorted(f"{mutant.old} -> {mutant.new}" for mutant in mutants) == sorted(CHANGES)
    assert {(mutant.file, mutant.function) for mutant in mutants} == {("counter.py", "Counter.add")}


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_mutant_changes_the_code(number: int) -> None:
    tree = ast.parse(SOURCE)
    list(mutants_of("counter.py", tree))[number].apply()
    assert ast.unparse(tree) != ast.unparse(ast.parse(SOURCE))
    compile(ast.fix_missing_locations(tree), "counter.py", "exec")


def test_a_method_that_calls_super_has_the_same_closure_without_the_call() -> None:
    source = "class A(B):\n    def f(self):\n        super().f()\n        x = super().g()\n        return super().h()\n"
    for number in range(3):
        tree = ast.parse(source)
        list(mutants_of("a.py", tree))[number].apply()
        changed = ast.unparse(ast.fix_missing_locations(tree))
        assert changed.count("super()") == 3
        assert changed.count("None and super()") == 1


def test_the_share_leaves_out_equivalent_mutants_and_timeouts_do_not_count_as_noticed() -> None:
    result = {
        "date": "2026-01-01", "commit": "abc", "mutants": 50, "tried": 12, "seed": 7,
        "counts": {"assertion": 8, "timeout": 1, "survived": 1, "equivalent": 2},
        "survivors": [["a.py f, line 3", "0 -> 1", "survived"]], "equivalent": [["a.py g", "1 -> 2", "never read"]],
    }  # fmt: skip
    document = render({"wire": result})
    assert "| wire | 2026-01-01 | abc | 50 | 12 (seed 7) | 8 | 1 | 1 | 2 | 80% | 80% |" in document
    assert "- a.py f, line 3: `` 0 -> 1 ``: survived" in document
    assert "- a.py g: `` 1 -> 2 ``: never read" in document


def test_the_share_before_tests_were_written_for_a_sample_is_kept() -> None:
    result = {
        "date": "2026-01-01", "commit": "abc", "again": "def", "mutants": 50, "tried": 10, "seed": 7, "first": 0.9,
        "counts": {"assertion": 10}, "survivors": [], "equivalent": [],
    }  # fmt: skip
    assert "| abc, def | 50 | 10 (seed 7) | 10 | 0 | 0 | 0 | 100% | 90% |" in render({"wire": result})


def test_survivors_that_are_noticed_the_next_time_count_as_noticed_and_those_without_code_not_at_all() -> None:
    result = {
        "tried": 10, "counts": {"assertion": 5, "survived": 4, "equivalent": 1}, "equivalent": [["a.py g", "1", "r"]],
        "survivors": [[f"a.py {name}, line 3", "0 -> 1", "survived"] for name in ("noticed", "missed", "gone", "late")],
    }  # fmt: skip
    existing = {(f"a.py {name}", "0 -> 1") for name in ("noticed", "missed", "late")}
    outcomes = [
        ("a.py noticed", "0 -> 1", "assertion"),
        ("a.py missed", "0 -> 1", "assertion"),
        ("a.py missed", "0 -> 1", "timeout"),
    ]
    assert merged(result, existing, outcomes) == {
        "tried": 9, "counts": {"assertion": 6, "survived": 2, "equivalent": 1}, "equivalent": [["a.py g", "1", "r"]],
        "survivors": [["a.py missed, line 3", "0 -> 1", "survived"], ["a.py late, line 3", "0 -> 1", "survived"]],
    }  # fmt: skip


def test_a_survivor_is_noticed_although_an_equivalent_mutant_makes_the_same_change() -> None:
    place, change = "server/request.py IncomingRequest.__init__", "False -> True"
    assert change in EQUIVALENT[place]
    result = {
        "tried": 1, "counts": {"timeout": 1}, "equivalent": [], "survivors": [[f"{place}, line 3", change, "timeout"]],
    }  # fmt: skip
    outcomes = [(place, change, "assertion"), (place, change, "survived")]
    assert merged(result, {(place, change)}, outcomes)["counts"] == {"timeout": 0, "assertion": 1}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_and_its_tests_exist(part: str) -> None:
    assert all(file.is_file() for file in files_of(part))
    for argument in PARTS[part]:
        path, _, test = argument.removeprefix("--ignore=").removeprefix("--deselect=").partition("::")
        assert (ROOT / path).exists()
        assert not test or f"def {test}(" in (ROOT / path).read_text()
