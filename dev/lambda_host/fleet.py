"""A fleet: all processes of one function. A request takes one that is idle, the one that was used last, or a new one; beyond the
function's concurrency it is throttled.
"""

import threading
import time

from .function import LARGEST_PAYLOAD, Answer, Function, Invocation, PayloadTooLarge, failed
from .logs import Logs
from .sandbox import InitFailed, Place, Sandbox


class Throttled(Exception):
    """TooManyRequestsException (429): all processes that there may be are busy."""


class Fleet:
    def __init__(self, function: Function, place: Place, logs: Logs) -> None:
        self.function = function
        self._place = place
        self._logs = logs
        self._changed = threading.Condition()
        self._idle: list[Sandbox] = []
        self._all: set[Sandbox] = set()
        self._starting = 0
        self._numbers = 0
        self._stopped = False

    @property
    def sandboxes(self) -> list[Sandbox]:
        with self._changed:
            return sorted(self._all, key=lambda sandbox: sandbox.number)

    def invoke(self, payload: bytes) -> Answer:
        """Synchronous, as the gateway and the event sources do it. Throttled, PayloadTooLarge."""
        if len(payload) > LARGEST_PAYLOAD:
            raise PayloadTooLarge
        sandbox = self._take()
        invocation = Invocation.of(self.function, payload)
        if sandbox is None:
            try:
                sandbox, invocation = self._begun(invocation)
            except InitFailed as problem:
                return failed(problem.kind, str(problem), invocation.request_id)
            finally:
                self._has_started()
        return sandbox.serve(invocation)

    def wait_until_idle(self, timeout_s: float = 10.0) -> bool:
        """Until every process has come back for more work."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._starting and len(self._idle) == len(self._all), timeout_s
            )

    def reap(self, idle_s: float) -> int:
        """Ends those that nobody used for so long."""
        with self._changed:
            tired = [one for one in self._idle if time.monotonic() - one.idle_since >= idle_s]
            self._idle = [one for one in self._idle if one not in tired]
        for sandbox in tired:
            sandbox.kill()
        return len(tired)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
        for sandbox in self.sandboxes:
            sandbox.kill()

    # ---- how

    def _take(self) -> Sandbox | None:
        """None: a new one may be started, and its place is kept."""
        with self._changed:
            while self._idle:
                sandbox = self._idle.pop()
                if not sandbox.is_over:
                    return sandbox
            if self._stopped or len(self._all) + self._starting >= self.function.most_at_once:
                raise Throttled
            self._starting += 1
            return None

    def _begun(self, invocation: Invocation) -> tuple[Sandbox, Invocation]:
        """The invocation's time begins when the process is ready. What fails to start is tried once more, within that time."""
        sandbox = self._new()
        try:
            sandbox.start(self.function.init_timeout_s)
            return self._own(sandbox), Invocation.of(self.function, invocation.payload)
        except InitFailed:
            invocation = Invocation.of(self.function, invocation.payload)
            sandbox = self._new()
            sandbox.start(self.function.timeout_s)
            return self._own(sandbox), invocation

    def _new(self) -> Sandbox:
        with self._changed:
            self._numbers += 1
            return Sandbox(
                self.function, self._place, self._numbers, self._logs, idle=self._is_idle, over=self._is_over
            )

    def _own(self, sandbox: Sandbox) -> Sandbox:
        with self._changed:
            self._all.add(sandbox)
            if sandbox in self._idle:
                self._idle.remove(sandbox)
            return sandbox

    def _has_started(self) -> None:
        with self._changed:
            self._starting -= 1
            self._changed.notify_all()

    def _is_idle(self, sandbox: Sandbox) -> None:
        with self._changed:
            # One that has just begun belongs to whoever began it.
            if sandbox in self._all and not self._stopped:
                self._idle.append(sandbox)
                self._changed.notify_all()

    def _is_over(self, sandbox: Sandbox) -> None:
        with self._changed:
            self._all.discard(sandbox)
            if sandbox in self._idle:
                self._idle.remove(sandbox)
            self._changed.notify_all()
