"""Try every hostile value at every place of every recorded document (see tests/dialects/hostile_documents.py)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

from tests.dialects.hostile_documents import cases, failure


def _failures(number: int) -> tuple[int, dict[str, str]]:
    """Return how many variants a case has, and one variant for each way in which some of them fail."""
    case = _CASES[number]
    count = 0
    found: dict[str, str] = {}
    for variant, body in case.variants():
        count += 1
        if reason := failure(case, body):
            found.setdefault(reason.partition(": ")[0], f"{case.name}, {variant}: {reason}")
    return count, found


_CASES = [*cases()]


def fuzz_documents(progress: Callable[[str], None]) -> int:
    """Try all variants of all cases on all cores. Return the number of places that raise other errors."""
    total = 0
    places: dict[str, str] = {}
    with multiprocessing.Pool() as pool:
        for done, (count, found) in enumerate(pool.imap_unordered(_failures, range(len(_CASES))), 1):
            total += count
            for place, example in found.items():
                if place not in places:
                    progress(f"{example}\n")
                places.setdefault(place, example)
            progress(f"{done} of {len(_CASES)} documents, {total:,} variants, {len(places)} failures")
    progress(f"{len(_CASES)} documents, {total:,} variants, {len(places)} failures\n")
    return len(places)
