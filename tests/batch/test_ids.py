"""The set of finished ids: exact and small."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from acytoo.batch.ids import IdSet, shard_of

ids = st.one_of(st.integers(-(2**70), 2**70), st.integers(0, 3000), st.text(max_size=5))


@given(st.lists(ids), st.lists(ids))
def test_it_contains_what_was_added_and_nothing_else(added: list[int | str], others: list[int | str]) -> None:
    found, expected = IdSet(), set[int | str]()
    for id in added:
        assert found.add(id) is (id not in expected)
        expected.add(id)
    assert len(found) == len(expected)
    assert all((id in found) is (id in expected) for id in added + others)


def test_a_number_and_its_text_are_different_ids() -> None:
    found = IdSet()
    found.add(7)
    assert "7" not in found
    assert found.add("7")


def test_many_digests_in_one_bucket_are_told_apart() -> None:
    found = IdSet()
    assert all(found.add(f"row-{number}") for number in range(50_000))
    assert all(f"row-{number}" in found for number in range(50_000))
    assert not any(f"row-{number}" in found for number in range(50_000, 100_000))


def test_a_million_row_numbers_take_less_than_200_kilobytes() -> None:
    tracemalloc.start()
    try:
        found = IdSet()
        for number in range(1, 1_000_001, 8):  # the others are bits of the same bytes
            found.add(number)
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


def test_shards_divide_the_ids_and_do_not_depend_on_the_process() -> None:
    shards = [shard_of(f"row-{number}", 4) for number in range(4000)]
    assert {shards.count(shard) > 900 for shard in range(4)} == {True}
    assert (shard_of("a", 1000), shard_of(1, 1000)) == (137, 971)
