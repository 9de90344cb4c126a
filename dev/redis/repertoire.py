"""Which commands are served over REST, and who may send them: Upstash has fewer than Redis, and says so in its own words.

The table is that of its documentation ("Redis API Compatibility"). What a real redis-server can do beyond it is refused
here too, so that nothing is built on `OBJECT`, `CONFIG` or `MEMORY` that would fail on the day of the deployment.
Newer commands that an old redis-server lacks are answered as if Upstash lacked them.
"""

from collections.abc import Sequence

from dev.redis.resp import Refusal, Wire


def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_SEE = "See https://upstash.com/docs/redis/overall/rediscompatibility for details"

# Meant for a connection that lasts, which REST has not.
_NOT_IN_REST = _names(
    """AUTH HELLO QUIT RESET SELECT CLIENT MULTI EXEC DISCARD WATCH UNWATCH MONITOR
    SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE"""
)

_SERVED = _names(
    """APPEND DECR DECRBY GET GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT MGET MSET MSETNX PSETEX SET SETEX SETNX
    SETRANGE STRLEN
    BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS GETBIT SETBIT
    HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HSCAN HSET HSETNX HSTRLEN HRANDFIELD HVALS
    HEXPIRE HEXPIREAT HEXPIRETIME HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HTTL
    LINDEX LINSERT LLEN LMOVE LMPOP LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPOPLPUSH RPUSH RPUSHX
    SADD SCARD SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SISMEMBER SMEMBERS SMISMEMBER SMOVE SPOP SRANDMEMBER SREM
    SSCAN SUNION SUNIONSTORE
    ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN
    ZRANDMEMBER ZRANGE ZRANGESTORE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE
    ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE
    GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUS_RO GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEOSEARCH GEOSEARCHSTORE
    PFADD PFCOUNT PFMERGE
    EVAL EVALSHA EVAL_RO EVALSHA_RO SCRIPT FCALL FCALL_RO FUNCTION
    PUBLISH PUBSUB
    COPY DEL DUMP EXISTS EXPIRE EXPIREAT EXPIRETIME KEYS PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PTTL RANDOMKEY RENAME
    RENAMENX RESTORE SCAN TOUCH TTL TYPE UNLINK
    ECHO PING
    ACL DBSIZE FLUSHALL FLUSHDB INFO TIME
    XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XTRIM"""
)

# A script may write whatever it is called; Redis itself does not say that it writes.
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "FCALL"})

# Reads that the read-only token may not send, as they look at every key.
_TOO_POWERFUL = frozenset({"SCAN", "KEYS"})
# Neither reads nor writes.
_HARMLESS = frozenset({"PING", "ECHO"})


def name_of(command: Sequence[bytes]) -> str:
    return command[0].decode(errors="replace").upper()


def refusal(command: Sequence[bytes]) -> Refusal | None:
    """Why this command does not even reach Redis."""
    name = name_of(command)
    if name in _NOT_IN_REST:
        return Refusal(f'ERR Command "{name}" is not allowed in REST or it has a special context path')
    if name not in _SERVED or (name in ("XREAD", "XREADGROUP") and _blocks(command)):
        return unavailable(name)
    return None


def unavailable(name: str) -> Refusal:
    return Refusal(f"ERR Command is not available: '{name}'. {_SEE}")


def _blocks(command: Sequence[bytes]) -> bool:
    """BLOCK is an option, and what follows STREAMS are names."""
    words = [word.upper() for word in command[1:]]
    options = words[: words.index(b"STREAMS")] if b"STREAMS" in words else words
    return b"BLOCK" in options


class Manual:
    """What the server itself says of its commands."""

    def __init__(self, wire: Wire) -> None:
        entries = wire.ask("COMMAND")
        assert isinstance(entries, list)
        self._flags = dict(map(_entry, entries))

    def writes(self, command: Sequence[bytes]) -> bool:
        name = name_of(command)
        return name in _SCRIPTS or "write" in self._flags.get(name, ())

    def reads(self, command: Sequence[bytes]) -> bool:
        return "readonly" in self._flags.get(name_of(command), ())

    def refusal_to_readers(self, command: Sequence[bytes]) -> Refusal | None:
        name = name_of(command)
        if name in _HARMLESS or (self.reads(command) and name not in _TOO_POWERFUL):
            return None
        return Refusal(
            f"NOPERM this user has no permissions to run the '{name.lower()}' command or its subcommand"
        )


def _entry(about: object) -> tuple[str, frozenset[str]]:
    """Of name, arity, flags and more; the flags come as statuses."""
    match about:
        case [bytes(name), _, [*flags], *_]:
            return name.decode().upper(), frozenset(getattr(flag, "text", "") for flag in flags)
    raise ValueError(f"COMMAND told {about!r}")
