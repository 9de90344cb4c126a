"""Upstash's REST API on 127.0.0.1, in front of a real Redis.

    with EmbeddedRedis() as redis, RedisFront(redis.wire) as front:
        client = upstash_redis.Redis(url=front.url, token=front.token)

What a request may ask is in `rest`, which commands there are in `repertoire`, what can be made to go wrong in `faults`.
"""

from __future__ import annotations

import itertools
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from dev.http.listener import Listener
from dev.http.record import Record
from dev.http.wire import Connection, Malformed, RawRequest, head
from dev.redis import rest
from dev.redis.carrier import Carrier
from dev.redis.faults import Fault, Faults
from dev.redis.resp import Wire
from dev.redis.rest import MOST_BODY_BYTES, Asked, NotServed

_LONGEST_WORD_KEPT = 4_000
_SECRETS = frozenset({"authorization", "cookie"})
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Handled:
    """A request that came; in the record before its answer leaves, and while it is held up."""

    method: str
    path: str
    """Without its query, in which a token may be."""
    commands: tuple[tuple[str, ...], ...]
    status: int
    """What was answered; 0 for nothing, or nothing yet."""
    fault: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Call:
    connection: Connection
    raw: RawRequest
    asked: Asked | None
    refused: NotServed | None
    only_reads: bool
    commands: tuple[tuple[str, ...], ...]


class RedisFront:
    """`connect` opens a connection to the Redis behind. `remembers`: for how many writes back reads can be made stale."""

    def __init__(
        self,
        connect: Callable[[], Wire],
        port: int = 0,
        *,
        token: str = "",
        read_only_token: str = "",
        remembers: int = 0,
        keep_requests: int = 10_000,
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self.read_only_token = read_only_token or secrets.token_urlsafe(24)
        self.faults = Faults(remembers)
        self.requests: Record[Handled] = Record(keep_requests)
        self._carrier = Carrier(connect, remembers)
        self._sync_tokens = itertools.count(1)
        self._listener = Listener(
            "redis front",
            self._answer,
            self._refuse,
            most_body_bytes=MOST_BODY_BYTES,
            port=port,
            wake=self._carrier.interrupt,
        )

    @property
    def url(self) -> str:
        return self._listener.url

    def start(self) -> RedisFront:
        """Listen; OSError if the port is taken."""
        self._listener.start()
        return self

    def stop(self) -> None:
        """Close everything, also what hangs; may be called twice."""
        self._end(keep_port=False)

    def refuse(self) -> None:
        """A Redis that is down: connections are cut, and new ones refused, until `accept()`."""
        self._end(keep_port=True)

    def accept(self) -> None:
        self._listener.start()

    def _end(self, *, keep_port: bool) -> None:
        self._listener.stop(keep_port=keep_port)
        self._carrier.close()

    def __enter__(self) -> RedisFront:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- one request

    def _answer(self, connection: Connection, raw: RawRequest) -> bool:
        """Whether the connection can serve another."""
        call = self._understand(connection, raw)
        fault = self.faults.take("\n".join(" ".join(words) for words in call.commands))
        if fault is not None and not fault.reaches_redis:
            return self._without_redis(call, fault)
        if not self._hold_up(call, fault):
            return False
        status, body = self._carried(call, fault)
        self._note(call, 0 if fault is not None and fault.kind == "lost" else status, fault)
        return self._deliver(call, status, body, fault)

    def _understand(self, connection: Connection, raw: RawRequest) -> _Call:
        token = rest.token_of(raw)
        only_reads = secrets.compare_digest(token.encode(), self.read_only_token.encode())
        try:
            if not only_reads and not secrets.compare_digest(token.encode(), self.token.encode()):
                raise rest.wrong_token()
            asked = rest.read(raw)
        except NotServed as refused:
            return _Call(connection, raw, None, refused, only_reads, ())
        return _Call(connection, raw, asked, None, only_reads, _shown(asked))

    def _carried(self, call: _Call, fault: Fault | None) -> tuple[int, bytes]:
        if call.asked is None:
            assert call.refused is not None
            return call.refused.status, call.refused.body
        try:
            replies = self._carrier.carry(call.asked, fault, only_reads=call.only_reads)
        except OSError as gone:
            return 500, rest.dumps({"error": f"ERR the Redis behind the front is not there: {gone}"})
        except Exception as bug:
            # A bug of the front itself: say so loudly, lest a product's test chase a ghost.
            traceback.print_exc(file=sys.stderr)
            return 500, rest.dumps({"error": f"ERR bug in the front: {bug!r}"})
        return rest.told(call.asked, replies)

    def _hold_up(self, call: _Call, fault: Fault | None) -> bool:
        """Late is late: what was sent arrives, even if nobody waits for it any more. False if the front stops meanwhile."""
        if fault is None or fault.kind not in ("late", "hold"):
            return True
        self._note(call, 0, fault)
        stopping = self._listener.stopping
        if fault.until is None:
            return not stopping.wait(fault.seconds)
        while not fault.until.wait(_POLL_S):  # one cannot wait for two events
            if stopping.is_set():
                return False
        return True

    def _without_redis(self, call: _Call, fault: Fault) -> bool:
        self._note(call, fault.status, fault)
        if fault.kind == "answer":
            return self._send(call, fault.status, fault.body, fault.media_type)
        if fault.kind == "hang":
            call.connection.wait_until_gone()
        else:
            call.connection.close(reset=fault.reset)
        return False

    def _deliver(self, call: _Call, status: int, body: bytes, fault: Fault | None) -> bool:
        match fault.kind if fault is not None else "none":
            case "lost":
                assert fault is not None
                call.connection.close(reset=fault.reset)
                return False
            case "truncated":
                whole = self._whole(call, status, body, "application/json")
                call.connection.send(whole[: len(whole) - (len(body) + 1) // 2])
                return False
            case "drip":
                assert fault is not None
                whole = self._whole(call, status, body, "application/json")
                return call.connection.drip(whole, fault.seconds)
            case "slow":
                assert fault is not None
                if not call.connection.pause(fault.seconds):
                    return False
        return self._send(call, status, body, "application/json")

    def _send(self, call: _Call, status: int, body: bytes, media_type: str) -> bool:
        call.connection.send(self._whole(call, status, body, media_type))
        return True

    def _whole(self, call: _Call, status: int, body: bytes, media_type: str) -> bytes:
        headers = {"content-type": media_type, "content-length": str(len(body))}
        if status != 401:
            headers["upstash-sync-token"] = f"sync-{next(self._sync_tokens)}"
        return head(status, headers) + (b"" if call.raw.method == "HEAD" else body)

    def _note(self, call: _Call, status: int, fault: Fault | None) -> None:
        if fault is not None and fault.kind in ("late", "hold") and status:
            return  # it is in there since it came
        headers = {
            name: "(kept out)" if name in _SECRETS else value for name, value in call.raw.headers.items()
        }
        path = call.raw.path.partition("?")[0]
        done = None if fault is None or fault.kind == "none" else str(fault)
        self.requests.add(Handled(call.raw.method, path, call.commands, status, done, headers))

    def _refuse(self, connection: Connection, malformed: Malformed) -> None:
        body = rest.dumps({"error": f"ERR not HTTP: {malformed}"})
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        connection.send(head(400, headers) + body)


def _shown(asked: Asked) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(word[:_LONGEST_WORD_KEPT].decode(errors="replace") for word in command)
        for command in asked.commands
    )
