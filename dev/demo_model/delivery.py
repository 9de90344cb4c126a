"""How an answer goes out over the connection: whole, or with a fault on the way.

Every function tells whether the connection can serve another request.
"""

from __future__ import annotations

from typing import Any

from dev.http.wire import LAST_CHUNK, Connection, chunk, head

from . import sse
from .faults import Fault
from .refusal import error_body

Json = dict[str, Any]


def send_json(
    connection: Connection, body: Json, request_id: str, *, status: int = 200, fault: Fault | None = None
) -> bool:
    data = sse.dumps(body).encode()
    about = {"content-type": "application/json", "request-id": request_id}
    if fault and fault.kind == "status":
        about |= fault.headers
    if fault and fault.kind == "end_early":
        half = chunk(data[: len(data) // 2]) + LAST_CHUNK
        connection.send(head(status, {**about, "transfer-encoding": "chunked"}) + half)
        return True
    whole = head(status, {**about, "content-length": str(len(data))})
    if fault and fault.kind == "cut":
        connection.send(whole + data[: len(data) // 2])
        connection.close(reset=fault.reset)
        return False
    return _send(connection, whole + data, fault)


def send_error(
    connection: Connection, type: str, message: str, request_id: str, status: int, fault: Fault | None = None
) -> bool:
    body = error_body(type, message, request_id)
    return send_json(connection, body, request_id, status=status, fault=fault)


def send_stream(connection: Connection, message: Json, request_id: str, fault: Fault | None) -> bool:
    events = sse.stream(message)
    about = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "request-id": request_id,
        "transfer-encoding": "chunked",
    }
    start = head(200, about)
    if fault and fault.kind in ("cut", "end_early", "error_event"):
        events, next_event = events[: fault.after], b"".join(events[fault.after : fault.after + 1])
        if fault.kind == "error_event":
            events.append(sse.encode(error_body(fault.type, fault.message, request_id)))
        if fault.kind == "cut":
            # After the last event there is nothing to break but the ending, which is then missing.
            broken = chunk(next_event)[: 5 + len(next_event) // 2] if next_event else b""
            connection.send(start + b"".join(map(chunk, events)) + broken)
            connection.close(reset=fault.reset)
            return False
    return _send(connection, start + b"".join(map(chunk, events)) + LAST_CHUNK, fault)


def _send(connection: Connection, data: bytes, fault: Fault | None) -> bool:
    if fault and fault.kind == "drip":
        return connection.drip(data, fault.pause_s, fault.size)
    connection.send(data)
    return True
