"""Fixtures for the tests of the gateway."""

from tests.gateway.disks import small_disk
from tests.services import persistent_redis_server, postgres_server, redis_server

__all__ = ["persistent_redis_server", "postgres_server", "redis_server", "small_disk"]
