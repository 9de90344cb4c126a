"""Redis over REST, by `upstash-redis`, with its traps closed.

The library composes a request: address, headers, encoding, read-your-writes token. It is not let near the wire, as it
waits without end, sends again what may have been done, looks at no HTTP status, and loses all replies of a pipeline to
the first error among them. `_Exchange` stands in the place of its HTTP client and does that part.

The transport of httpx is used without its client: that would log each address, keep cookies, follow redirects, and read
proxies and .netrc for loopback too.
"""

import ipaddress
import json
import os
import socket
import threading
import time
import weakref
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from core.cache.commands import CacheFailed, Command, Refused
from core.settings import Secret

if TYPE_CHECKING:
    import ssl

    import httpx
    import upstash_redis

# A balancer closes an idle connection after a minute or more; before that it is worth keeping.
_IDLE_S = 30.0
_MOST_BYTES = 64 * 1024 * 1024
_DENIED = (401, 403)


class UpstashRedis:
    """Loads its libraries at the first call: 0.1 s."""

    kind = "upstash"

    def __init__(self, url: str, token: Secret) -> None:
        self._url = url
        self._token = token
        self._lock = threading.Lock()
        self._library: upstash_redis.Redis | None = None
        self._tls: ssl.SSLContext | None = None
        self._line: _Line | None = None
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return "UpstashRedis(…)"

    def run(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        library, line = self._begin()
        try:
            exchange = _Exchange(library, line, timeout_s)
            pipeline: Any = library.pipeline()
            pipeline._http = exchange
            for command in commands:
                # As text: a number beyond 2^53 would not survive every reader of JSON.
                pipeline.execute([str(word) for word in command])
            pipeline.exec()
            return exchange.replies
        finally:
            self._end(line)

    def close(self) -> None:
        """Ends every connection, also those that are being waited for; a later call opens new ones."""
        with self._lock:
            line, self._line = self._line, None
            if line is not None:
                line.shut_down()
                line.close_if(unused=True)

    def _begin(self) -> "tuple[upstash_redis.Redis, _Line]":
        if self._pid != os.getpid():  # the connections are our parent's, and so may be whoever holds the lock
            self._lock, self._line, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._library is None or self._tls is None:
                self._library, self._tls = _library(self._url, self._token), _tls()
            if self._line is None:
                self._line = _Line(_transport(self._url, self._tls))
            self._line.users += 1
            return self._library, self._line

    def _end(self, line: "_Line") -> None:
        with self._lock:
            line.users -= 1
            line.close_if(unused=line is not self._line)


class _Line:
    """The connections to Upstash, and how many calls are on them.

    Nobody closes a socket that another thread reads from: its number could soon be that of somebody else's connection.
    It is shut down, and closed by the last who used the line.
    """

    def __init__(self, transport: "httpx.BaseTransport") -> None:
        self.transport = transport
        self.users = 0
        self.is_shut = False
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def hear(self, event: str, about: dict[str, Any]) -> bool:
        """Told by httpcore of all that it does. True: it opens a connection."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._sockets.add(about["return_value"].get_extra_info("socket"))
            if self.is_shut:  # by somebody who could not know of this one
                self.shut_down()
        return event == "connection.connect_tcp.started"

    def shut_down(self) -> None:
        self.is_shut = True
        for held in list(self._sockets):
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    def close_if(self, *, unused: bool) -> None:
        if unused and self.users == 0:
            self.transport.close()


class _Exchange:
    """One request and its reply, in the place of the library's HTTP client."""

    def __init__(self, library: "upstash_redis.Redis", line: _Line, timeout_s: float) -> None:
        self._library = library
        self._line = line
        self._is_new = False
        self._timeout_s = timeout_s
        self.replies: list[Any] = []

    def execute(
        self,
        url: str,
        headers: dict[str, str],
        command: list[list[str]],
        from_pipeline: bool,  # noqa: ARG002 - the library says so; for us it always is one
    ) -> list[Any]:
        """Gives nothing back, so that the library turns no reply into what its users like better."""
        body = json.dumps(command).encode()
        status, said = self._sent({**headers, "Content-Type": "application/json"}, url, body)
        if status in _DENIED:
            raise CacheFailed("denied", f"HTTP {status}")
        if status != 200:
            raise CacheFailed("status", f"HTTP {status}")
        self.replies = _replies(said, len(command))
        return []

    def _sent(self, headers: dict[str, str], url: str, body: bytes) -> tuple[int, bytes]:
        import httpx

        extensions = {"timeout": httpx.Timeout(self._timeout_s).as_dict(), "trace": self._hear}
        request = httpx.Request("POST", url, headers=headers, content=body, extensions=extensions)
        try:
            return self._read(self._answered(request))
        except CacheFailed:
            raise
        except httpx.TimeoutException as error:
            raise CacheFailed("timeout", type(error).__name__) from None
        except httpx.DecodingError as error:
            raise CacheFailed("garbage", type(error).__name__) from None
        except Exception as error:
            # From None: what these say names the host.
            raise CacheFailed("transport", type(error).__name__) from None

    def _answered(self, request: "httpx.Request") -> "httpx.Response":
        """A kept connection may have died in the meantime; then once more, on a new one."""
        import httpx

        send = self._line.transport.handle_request
        try:
            return send(request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if self._is_new:
                raise
            return send(request)

    def _read(self, response: "httpx.Response") -> tuple[int, bytes]:
        give_up_at = time.monotonic() + self._timeout_s
        said = bytearray()
        try:
            for chunk in response.iter_bytes():
                said += chunk
                if time.monotonic() > give_up_at:
                    raise CacheFailed("timeout", "the answer drips")
                if len(said) > _MOST_BYTES:
                    raise CacheFailed("garbage", "the answer is too long")
        finally:
            response.close()
        if token := response.headers.get("Upstash-Sync-Token"):
            self._library._update_sync_token(token)
        return response.status_code, bytes(said)

    def _hear(self, event: str, about: dict[str, Any]) -> None:
        self._is_new = self._line.hear(event, about) or self._is_new


def _library(url: str, token: Secret) -> "upstash_redis.Redis":
    from upstash_redis import Redis

    library = Redis(url, token.reveal(), rest_retries=0, allow_telemetry=False)
    library.close()  # type: ignore[no-untyped-call]  # its own HTTP client, which is not used
    return library


def _tls() -> "ssl.SSLContext":
    """Kept, as reading the certificates takes longer than many a call may."""
    import httpx

    return httpx.create_ssl_context()


def _transport(url: str, tls: "ssl.SSLContext") -> "httpx.BaseTransport":
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=_IDLE_S)
    return httpx.HTTPTransport(verify=tls, limits=limits, proxy=_proxy(url))


def _proxy(url: str) -> str | None:
    """That of the environment, and none for loopback, whether or not NO_PROXY thinks of it."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _replies(said: bytes, expected: int) -> list[Any]:
    try:
        answers = json.loads(said)
        if not isinstance(answers, list) or len(answers) != expected:
            raise CacheFailed("garbage", "not one answer for each command")
        return [_reply(answer) for answer in answers]
    except (ValueError, RecursionError) as error:
        raise CacheFailed("garbage", type(error).__name__) from None


def _reply(answer: object) -> Any:
    match answer:
        case {"error": str(message)}:
            return Refused(message)
        case {"result": result}:
            return _decoded(result)
    raise CacheFailed("garbage", "an answer with neither result nor error")


def _decoded(result: object) -> Any:
    match result:
        case bool() | float() | dict():
            raise CacheFailed("garbage", f"a result that is a {type(result).__name__}")
        case "OK":
            return "OK"
        case str():
            return b64decode(result, validate=True).decode(errors="replace")
        case list():
            return [_decoded(element) for element in result]
    return result
