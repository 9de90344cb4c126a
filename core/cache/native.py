"""Redis by its own protocol, by `redis-py`: its connections alone, without its pool and its client.

So a reply comes as it was sent (RESP2), one failing command does not hide the others, nothing is tried again behind our
back, and nothing but AUTH and SELECT is said on connecting.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from core.cache.commands import CacheFailed, Command, Refused
from core.settings import Secret
from core.values import dataclass

Connection = Any  # of redis-py, whose types end at its client
# What was idle for longer may have been dropped on the way without a word: a new connection costs less than a timeout.
_IDLE_S = 30.0
_MOST_KEPT = 8
_FROM_THE_URL = {"host", "port", "path", "db", "username", "password"}


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: Connection
    since: float


class NativeRedis:
    """`redis://`, `rediss://` or `unix://`; options of TLS may be given in the address. Loads its library at first use."""

    kind = "redis"

    def __init__(self, url: Secret) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        self._used: set[Connection] = set()
        self._closings = 0
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return "NativeRedis(…)"

    def run(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        if self._pid != os.getpid():  # the connections are our parent's, and so may be whoever holds the lock
            self._lock, self._kept, self._used, self._pid = threading.Lock(), [], set(), os.getpid()
        closings, kept = self._closings, self._take()
        try:
            if kept is not None:
                try:
                    return self._said(kept, commands, timeout_s)
                except _Died:  # while it was kept; once more, on a new one
                    if closings != self._closings:
                        raise
            return self._said(self._new(timeout_s), commands, timeout_s)
        except _Died as died:
            raise CacheFailed("transport", str(died)) from None

    def close(self) -> None:
        """Ends every connection, also those that are being waited for; a later call opens new ones.

        Nobody closes a socket that another thread reads from: its number could soon be that of somebody else's connection.
        It is shut down, and whoever waits for it closes it.
        """
        with self._lock:
            kept, self._kept = self._kept, []
            self._closings += 1
            for connection in self._used:
                _shut_down(connection)
        for one in kept:
            one.connection.disconnect()

    # --- connections

    def _take(self) -> Connection | None:
        """The one used last, unless it is old, was closed from over there, or has something left to say."""
        from redis.exceptions import RedisError

        while True:
            with self._lock:
                if not self._kept:
                    return None
                kept = self._kept.pop()
                self._used.add(kept.connection)
            try:
                if time.monotonic() - kept.since < _IDLE_S and not kept.connection.can_read(0):
                    return kept.connection
            except (RedisError, OSError):
                pass
            self._drop(kept.connection)

    def _new(self, timeout_s: float) -> Connection:
        connection = _connection(self._url, timeout_s)
        with self._lock:
            self._used.add(connection)
        return connection

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            self._used.discard(connection)
            if connection.is_connected and len(self._kept) < _MOST_KEPT:
                self._kept.append(_Kept(connection, time.monotonic()))
                return
        connection.disconnect()

    def _drop(self, connection: Connection) -> None:
        with self._lock:
            self._used.discard(connection)
        connection.disconnect()

    # --- a call

    def _said(self, connection: Connection, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        try:
            replies = _exchange(connection, commands, timeout_s)
        except BaseException:
            self._drop(connection)
            raise
        self._keep(connection)
        return replies


def _shut_down(connection: Connection) -> None:
    held = connection._get_socket()
    if held is not None:
        with suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)


class _Died(Exception):
    """The connection ended before the first reply."""


def _connection(url: Secret, timeout_s: float) -> Connection:
    from redis.backoff import NoBackoff
    from redis.connection import Connection as ByTcp
    from redis.connection import parse_url
    from redis.retry import Retry

    given: dict[str, Any] = parse_url(url.reveal())  # type: ignore[no-untyped-call]
    make = given.pop("connection_class", ByTcp)
    known = {name: value for name, value in given.items() if name in _FROM_THE_URL or name.startswith("ssl_")}
    return make(
        **known,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
        driver_info=None,
        decode_responses=False,
    )


def _exchange(connection: Connection, commands: Sequence[Command], timeout_s: float) -> list[Any]:
    from redis import exceptions

    replies: list[Any] = []
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        for left_s in _until(time.monotonic() + timeout_s, len(commands)):
            replies.append(_reply(connection, left_s))  # noqa: PERF401 - how many came tells what a failure means
    except CacheFailed:
        raise
    except exceptions.AuthenticationError:
        raise CacheFailed("denied") from None
    except (exceptions.TimeoutError, TimeoutError):
        raise CacheFailed("timeout") from None
    except (exceptions.BusyLoadingError, exceptions.ResponseError) as error:  # the latter on connecting
        raise CacheFailed("status", type(error).__name__) from None
    except (exceptions.ConnectionError, OSError) as error:
        # From None: what these say names the host.
        if not replies:
            raise _Died(type(error).__name__) from None
        raise CacheFailed("transport", type(error).__name__) from None
    except Exception as error:
        raise CacheFailed("garbage", type(error).__name__) from None
    return replies


def _until(moment: float, times: int) -> Iterator[float]:
    """What is left before each of some waits."""
    for _ in range(times):
        left_s = moment - time.monotonic()
        if left_s <= 0:
            raise CacheFailed("timeout", "the answer drips")
        yield left_s


def _reply(connection: Connection, timeout_s: float) -> Any:
    from redis.exceptions import ResponseError

    try:
        return _plain(connection.read_response(timeout=timeout_s))
    except ResponseError as error:
        return _refused(error)


def _plain(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode(errors="replace")
    if isinstance(reply, list):
        return [_plain(element) for element in reply]
    return _refused(reply) if isinstance(reply, Exception) else reply


def _refused(error: Any) -> Refused:
    """The library takes the first word of some messages away, and keeps it beside them."""
    return Refused(f"{error.status_code} {error}" if error.status_code else str(error))
