"""The servers that other tests use."""

from __future__ import annotations

from tests.services import Postgres, Redis, persistent_redis_server, postgres_server, redis_server

__all__ = ["persistent_redis_server", "postgres_server", "redis_server"]


def test_redis_can_be_killed_and_started_again(redis_server: Redis) -> None:
    redis_server.kill()
    redis_server.start()


def test_postgres_keeps_a_database_when_it_is_killed(postgres_server: Postgres) -> None:
    name = postgres_server.new_database().rpartition("/")[2]
    postgres_server.query("CREATE TABLE numbers AS SELECT 7 AS number", name)
    postgres_server.kill()
    postgres_server.start()
    assert postgres_server.query("SELECT * FROM numbers", name) == "7"


def test_each_database_is_empty(postgres_server: Postgres) -> None:
    first, second = (postgres_server.new_database().rpartition("/")[2] for _ in range(2))
    postgres_server.query("CREATE TABLE numbers AS SELECT 7 AS number", first)
    assert not postgres_server.query("SELECT * FROM pg_tables WHERE tablename = 'numbers'", second)
