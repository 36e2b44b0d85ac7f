"""What every dialect makes of the same requests and replies is what it made of them before."""

from __future__ import annotations

import json

import pytest

from tests.dialects.golden import DOCUMENTS, path_of


@pytest.mark.parametrize("name", DOCUMENTS)
def test_requests_and_replies_are_encoded_as_before(name: str) -> None:
    made, before = DOCUMENTS[name](), json.loads(path_of(name).read_text())
    assert list(made) == list(before)
    for case, encoded in made.items():
        for dialect, found in encoded.items():
            assert found == before[case][dialect], f"{dialect}: {case}"
