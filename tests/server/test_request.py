"""A request's head, and what bodies may take together while they arrive."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.server.request import Budget, BudgetError, IncomingRequest


class Connection:
    """A connection that notes the request whose body it was asked to drop."""

    def __init__(self) -> None:
        self.dropped: list[type[Exception]] = []

    def drop_body(self, request: IncomingRequest, error: Exception) -> None:
        assert not self.dropped, "it is dropped a second time"
        self.dropped.append(type(error))

    async def receive_body(self, request: IncomingRequest, limit: int, timeout: float) -> None:
        request.limit = limit


def new_request(target: str = "/", connection: Any = None, **headers: str) -> IncomingRequest:
    return IncomingRequest(connection, "POST", target, "1.1", headers, True)


async def arriving(budget: Budget, size: int) -> tuple[IncomingRequest, Connection]:
    """Return a request whose body has taken so much of the budget."""
    connection = Connection()
    request = new_request(connection=connection)
    await request.body(1_000, 1.0, budget)
    assert request.take(size)
    return request, connection


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query", "host"),
    [
        ("/v1/models", "/v1/models", "/v1/models", {}, "here"),
        ("/v1/%6dodels/a%2Fb?x=1&y=&x=2", "/v1/models/a/b", "/v1/%6dodels/a%2Fb", {"x": "1", "y": ""}, "here"),
        ("http://there:80/v1/models?x=1", "/v1/models", "/v1/models", {"x": "1"}, "there:80"),
        ("http://there", "/", "/", {}, "there"),
        ("/a://b/c", "/a://b/c", "/a://b/c", {}, "here"),
        ("*", "*", "*", {}, "here"),
    ],
)
def test_a_target_has_a_path_and_a_query_and_maybe_a_host(
    target: str, path: str, raw_path: str, query: dict[str, str], host: str
) -> None:
    request = new_request(target, host="here")
    assert (request.path, request.raw_path, request.query, request.host) == (path, raw_path, query, host)


def test_of_a_new_request_nothing_but_its_head_is_known() -> None:
    request = new_request("/a")
    found = {name: getattr(request, name) for name in IncomingRequest.__slots__ if not name.startswith("_")}
    assert found == {
        "call": None, "caller": None, "can_continue": False, "connection": None, "headers": {}, "host": "",
        "is_complete": False, "keep_alive": True, "limit": None, "method": "POST", "model": "", "path": "/a",
        "pieces": [], "raw_path": "/a", "size": 0, "status": 0, "version": "1.1",
    }  # fmt: skip


async def test_bodies_fit_to_the_last_byte_and_what_one_has_taken_is_released_once() -> None:
    budget = Budget(10)
    first, _ = await arriving(budget, 6)
    second, _ = await arriving(budget, 4)
    assert not first.take(1)
    assert not second.take(1)
    for _ in range(2):
        first.release()
    assert second.take(6)
    assert not second.take(1)
    second.release()
    assert (budget.used, budget.arriving) == (0, {})


async def test_a_body_that_does_not_fit_replaces_those_that_have_been_arriving_for_longest() -> None:
    budget = Budget(10, drops_oldest=True)
    (_, first), (_, second), (third, last) = [await arriving(budget, 3) for _ in range(3)]
    assert third.take(4)
    assert (first.dropped, second.dropped, last.dropped) == ([BudgetError], [], [])
    assert third.take(3)
    assert (first.dropped, second.dropped, last.dropped) == ([BudgetError], [BudgetError], [])
    assert not third.take(1)


async def test_a_body_that_is_complete_is_not_dropped_for_another() -> None:
    budget = Budget(10, drops_oldest=True)
    complete, connection = await arriving(budget, 6)
    complete.is_complete = True
    other, _ = await arriving(budget, 4)
    assert not other.take(1)
    assert connection.dropped == []
