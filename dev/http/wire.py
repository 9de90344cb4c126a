"""HTTP/1.1 on a raw socket: one connection that reads requests, and can also misbehave as a network does."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from threading import Event

_LONGEST_LINE = 65_536
_MOST_HEADERS = 200
# How much of a body that is too large is read and thrown away, so that the client gets to read why: so many times the limit.
_DRAINED = 8


class Malformed(Exception):
    """What came is not HTTP."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    too_large: bool
    keeps_alive: bool


class Connection:
    def __init__(self, sock: socket.socket, stopping: Event, most_body_bytes: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._reader = sock.makefile("rb")
        self._stopping = stopping
        self._most_body_bytes = most_body_bytes

    def read_request(self) -> RawRequest | None:
        """The next request, or None when the client has closed."""
        line = self._line()
        if not line:
            return None
        try:
            method, target, version = line.split()
        except ValueError as broken:
            raise Malformed(f"no request line: {line[:80]}") from broken
        headers = self._headers()
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, too_large = self._body(headers)
        keeps = version != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
        return RawRequest(method, target, headers, body, too_large, keeps)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def drip(self, data: bytes, pause_s: float, size: int = 1) -> bool:
        for at in range(0, len(data), size):
            self.send(data[at : at + size])
            if not self.pause(pause_s):
                return False
        return True

    def pause(self, seconds: float) -> bool:
        """Wait; False as soon as the client has gone or the server stops."""
        if seconds <= 0:
            return True
        end = time.monotonic() + seconds
        self._sock.settimeout(seconds)
        try:
            more = self._sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self._sock.settimeout(None)
        # More bytes mean that the client is already sending its next request: then only a stop ends the pause.
        return bool(more) and not self._stopping.wait(end - time.monotonic())

    def wait_for(self, opens: Event) -> bool:
        """Wait for a test's word; False if the server stops first."""
        while not opens.wait(0.01):
            if self._stopping.is_set():
                return False
        return True

    def wait_until_gone(self) -> None:
        while self._sock.recv(65_536):
            pass

    def interrupt(self) -> None:
        """Wake whoever reads or writes here; called by the thread that stops the server."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self, *, reset: bool = False) -> None:
        with contextlib.suppress(OSError):
            if reset:  # closing with a linger of zero sends RST instead of FIN
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._reader.close()
            self._sock.close()

    def _line(self) -> str:
        line = self._reader.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise Malformed("a line is too long")
        return line.decode("latin-1").rstrip("\r\n")

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := self._line():
            name, colon, value = line.partition(":")
            if not colon or len(headers) >= _MOST_HEADERS:
                raise Malformed("bad headers")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def _body(self, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._gather(self._chunk_sizes())
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise Malformed("bad content-length")
        return self._gather([int(length)])

    def _gather(self, sizes: Iterable[int]) -> tuple[bytes, bool]:
        body = bytearray()
        total = 0
        for size in sizes:
            total += size
            if total > _DRAINED * self._most_body_bytes:
                raise Malformed("the body is far too large")
            while size:
                part = self._reader.read(min(size, 1 << 20))
                if not part:
                    raise Malformed("the body ended early")
                size -= len(part)
                if total <= self._most_body_bytes:
                    body += part
        return bytes(body), total > self._most_body_bytes

    def _chunk_sizes(self) -> Iterable[int]:
        while True:
            try:
                size = int(self._line().partition(";")[0], 16)
            except ValueError as broken:
                raise Malformed("bad chunk") from broken
            if size == 0:
                while self._line():
                    pass  # trailers
                return
            yield size
            self._line()


def head(status: int, headers: Mapping[str, str]) -> bytes:
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Overloaded"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
