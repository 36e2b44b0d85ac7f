"""A hostile value at any place of any recorded document, or of a caller's arguments, raises only an AcytooError.

The documents are a fixed sample. `python -m bench fuzz --target documents` runs everything.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from acytoo.dialects import Dialect
from acytoo.errors import AcytooError
from tests.dialects.hostile_documents import Case, cases, failure, places_in
from tests.dialects.test_every_dialect import every, replace_at
from tests.dialects.unusual_requests import MESSAGES, OPTIONS
from tests.server.live_server import backend

SAMPLE = 25
"""Variants of each document."""


@pytest.mark.parametrize("case", [*cases()], ids=lambda case: case.name)
def test_a_hostile_value_anywhere_raises_only_acytoo_errors(case: Case) -> None:
    failures = {f"{variant}: {found}" for variant, body in case.sample(SAMPLE) if (found := failure(case, body))}
    assert failures == set()


def nested(depth: int) -> list[Any]:
    """Return lists inside one another."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)

ARGUMENTS = {
    "None": None,
    "True": True,
    "-1": -1,
    "0.5": 0.5,
    "inf": math.inf,
    "nan": math.nan,
    "10**400": 10**400,
    "2**64": 2**64,
    "no text": "",
    "half a surrogate pair": "\ud800",
    "a brace": "{",
    "[]": [],
    "[[]]": [[]],
    "[None]": [None],
    "['x']": ["x"],
    "{}": {},
    "{1: 2}": {1: 2},
    "{'a': {}}": {"a": {}},
    "{'type': 'text'}": {"type": "text"},
    "{'type': 5}": {"type": 5},
    "bytes": b"x",
    "an object": object(),
    "a tuple": (1,),
    "a set": {1, 2},
    "a type": type,
    "deep lists": nested(300),
    "deeper lists": nested(2000),
    "a list in itself": ENDLESS,
}
"""Python values by a name for reports."""


@every
def test_a_callers_hostile_value_anywhere_raises_only_acytoo_errors(dialect: Dialect) -> None:
    provider = backend(dialect, "http://127.0.0.1:9")
    failures = []
    for path in places_in({"messages": MESSAGES, **OPTIONS})[1:]:
        for name, value in ARGUMENTS.items():
            arguments = replace_at({"messages": MESSAGES, **OPTIONS}, [*path], value)
            try:
                provider.stream(**arguments, drop_unsupported=True)
            except AcytooError:
                pass
            except Exception as error:
                failures.append(f"{'.'.join(map(str, path))} = {name}: {error!r}")
    assert failures == []
