"""The demo model as a server on 127.0.0.1."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from dev.http.listener import HOST, Listener
from dev.http.wire import Connection, Malformed

from .delivery import send_error
from .faults import Fault
from .prompt_cache import PromptCache
from .record import Record, Recorded
from .request import MAX_BODY_BYTES
from .script import Queue, Reply
from .service import Service, Settings

__all__ = ["HOST", "DemoModel"]


class DemoModel:
    """See the package's docstring."""

    def __init__(
        self,
        port: int = 0,
        *,
        delay_s: float = 0.0,
        minimum_cache_tokens: int = 1024,
        clock: Callable[[], float] = time.monotonic,
        keep_requests: int = 10_000,
        text_beside_results: bool = False,
    ) -> None:
        self.requests: Record[Recorded] = Record(keep_requests)
        self.faults: Queue[Fault] = Queue()
        self.replies: Queue[Reply] = Queue()
        service = Service(
            Settings(delay_s, text_beside_results),
            PromptCache(clock, minimum_cache_tokens),
            self.faults,
            self.replies,
            self.requests,
        )
        self._listener = Listener(
            "demo model", service.handle, _refuse, most_body_bytes=MAX_BODY_BYTES, port=port
        )

    @property
    def url(self) -> str:
        return self._listener.url

    def start(self) -> DemoModel:
        """Listen; OSError if the port is taken."""
        self._listener.start()
        return self

    def stop(self) -> None:
        """Close everything, also what hangs; may be called twice."""
        self._listener.stop()

    def __enter__(self) -> DemoModel:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _refuse(connection: Connection, malformed: Malformed) -> None:
    send_error(connection, "invalid_request_error", f"not HTTP: {malformed}", "req_none", 400)
