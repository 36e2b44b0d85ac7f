"""A balanced route: load, weights, and conversations that stay where their prompt is cached."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from acytoo import Acytoo, Target
from acytoo.routing.selection import Balance
from acytoo.types import Request


def targets(*weights: float) -> list[Target]:
    return [Target(Acytoo("http://127.0.0.1:9"), name=f"t{i}", weight=w) for i, w in enumerate(weights, 1)]


def request(text: str = "", **options: Any) -> Request:
    return Request([{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **options)


def conversation(text: str, turns: int) -> Request:
    later: list[Any] = [{"role": "assistant", "content": "ok"}, {"role": "user", "content": "more"}] * turns
    return Request([*request(text).messages, *later])


def test_all_turns_of_a_conversation_go_to_one_target() -> None:
    balance, ts = Balance(300), targets(1, 1, 1)
    for number in range(50):
        chosen = {balance.choose(ts, conversation(f"question {number}", turns), "").name for turns in range(5)}
        assert len(chosen) == 1


def test_conversations_are_spread_by_weight() -> None:
    balance, ts = Balance(300), targets(3, 1)
    counts = Counter(balance.choose(ts, request(str(number)), "").name for number in range(2000))
    assert 1350 < counts["t1"] < 1650


def test_two_processes_choose_the_same_target() -> None:
    ts = targets(1, 1, 1)
    for number in range(50):
        asked = request(str(number))
        assert Balance(300).choose(ts, asked, "") is Balance(300).choose(ts, asked, "")


def test_losing_a_target_moves_only_its_conversations() -> None:
    ts = targets(1, 1, 1)
    for number in range(100):
        before = Balance(300).choose(ts, request(str(number)), "")
        if before is not ts[2]:
            assert Balance(300).choose(ts[:2], request(str(number)), "") is before


def test_a_session_or_prompt_cache_key_decides_before_the_messages() -> None:
    balance, ts = Balance(300), targets(1, 1, 1, 1)
    assert len({balance.choose(ts, request(str(n)), "session-1").name for n in range(50)}) == 1
    keyed = [request(str(n), extra={"prompt_cache_key": "k"}) for n in range(50)]
    assert len({balance.choose(ts, asked, "").name for asked in keyed}) == 1


@pytest.mark.parametrize("same", ["x" * 2_000_000, "\ud83d" * 2_000_000], ids=["long", "lone surrogates"])
def test_only_the_beginning_of_a_very_long_text_or_session_is_looked_at(same: str) -> None:
    balance, ts = Balance(300), targets(1, 1, 1, 1)

    def chosen(*texts: str, session: bool = False) -> set[str]:
        return {balance.choose(ts, request("" if session else text), text if session else "").name for text in texts}

    for session in (False, True):
        assert len(chosen(*[f"{same}{number:02}" for number in range(30)], session=session)) == 1
        assert len(chosen(*[f"{number:02}{same}" for number in range(30)], session=session)) > 1


def test_different_tools_make_different_keys() -> None:
    balance, ts = Balance(300), targets(1, 1, 1, 1)
    tools: list[Any] = [[{"type": "function", "function": {"name": f"f{n}"}}] for n in range(50)]
    assert len({balance.choose(ts, request("same", tools=tool), "").name for tool in tools}) > 1


def test_a_new_conversation_avoids_a_busier_target_and_a_recent_one_stays() -> None:
    balance, ts = Balance(300), targets(1, 1)
    home = balance.choose(ts, request("recent"), "")
    for _ in range(4):
        home.take()
    assert balance.choose(ts, request("recent"), "") is home
    assert all(balance.choose(ts, request(f"new {n}"), "") is not home for n in range(20))


def test_a_conversation_leaves_a_target_that_is_far_busier() -> None:
    balance, ts = Balance(300), targets(1, 1)
    home = balance.choose(ts, request("recent"), "")
    for _ in range(20):
        home.take()
    assert balance.choose(ts, request("recent"), "") is not home


@pytest.mark.parametrize("weight", [0.01, 1, 50])
def test_only_the_ratio_of_weights_matters(weight: float) -> None:
    balance, ts = Balance(300), targets(weight, weight)
    home = balance.choose(ts, request("recent"), "")
    for _ in range(4):
        home.take()
    assert balance.choose(ts, request("recent"), "") is home
    assert all(balance.choose(ts, request(f"new {n}"), "") is not home for n in range(20))


def test_without_affinity_the_less_busy_target_gets_the_request() -> None:
    balance, ts = Balance(0), targets(1, 1)
    ts[0].take()
    assert all(balance.choose(ts, request("same"), "") is ts[1] for _ in range(20))


def test_a_request_without_messages_goes_by_load() -> None:
    balance, ts = Balance(300), targets(1, 1)
    ts[0].take()
    assert all(balance.choose(ts, Request([]), "") is ts[1] for _ in range(20))


def test_the_memory_of_keys_is_bounded() -> None:
    balance, ts = Balance(300), targets(1, 1)
    for number in range(10_050):
        balance.choose(ts, Request([{"role": "user", "content": str(number)}]), "")
    assert len(balance._used_at) <= 10_000


def test_a_long_key_of_the_caller_is_not_kept() -> None:
    balance, ts = Balance(300), targets(1, 1)
    tracemalloc.start()
    try:
        for number in range(20):
            balance.choose(ts, request("Hi", extra={"prompt_cache_key": f"{number}" + "x" * 1_000_000}), "")
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_several_threads_can_choose_at_the_same_time() -> None:
    balance, ts = Balance(1e-6), targets(1, 1)  # each choice drops the key of another one
    errors: list[Exception] = []

    def choose() -> None:
        try:
            for number in range(3000):
                balance.choose(ts, Request([]), str(number % 7))
        except Exception as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=choose) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
