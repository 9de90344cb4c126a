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
        self._all: set[Sandbox] = set()
        self._idle: list[Sandbox] = []
        # Those that are still being started belong to whoever starts them.
        self._fresh: set[Sandbox] = set()
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
        if sandbox in self._fresh:
            try:
                sandbox, invocation = self._begun(sandbox, invocation)
            except InitFailed as problem:
                return failed(problem.kind, str(problem), invocation.request_id)
        return sandbox.serve(invocation)

    def wait_until_idle(self, timeout_s: float = 10.0) -> bool:
        """Until every process has come back for more work."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._idle) == len(self._all), timeout_s)

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

    def _take(self) -> Sandbox:
        """One that is idle; or else a new one, to be started."""
        with self._changed:
            while self._idle:
                sandbox = self._idle.pop()
                if not sandbox.is_over:
                    return sandbox
            if len(self._all) >= self.function.most_at_once:
                raise Throttled
            return self._new()

    def _begun(self, sandbox: Sandbox, invocation: Invocation) -> tuple[Sandbox, Invocation]:
        """The invocation's time begins when the process is ready. What fails to start is tried once more, within that time."""
        try:
            sandbox.start(self.function.init_timeout_s)
            invocation = Invocation.of(self.function, invocation.payload)
        except InitFailed:
            with self._changed:
                sandbox = self._new()
            invocation = Invocation.of(self.function, invocation.payload)
            sandbox.start(self.function.timeout_s)
        with self._changed:
            self._fresh.discard(sandbox)
        return sandbox, invocation

    def _new(self) -> Sandbox:
        if self._stopped:
            raise Throttled
        self._numbers += 1
        sandbox = Sandbox(
            self.function, self._place, self._numbers, self._logs, idle=self._is_idle, over=self._is_over
        )
        self._all.add(sandbox)
        self._fresh.add(sandbox)
        return sandbox

    def _is_idle(self, sandbox: Sandbox) -> None:
        with self._changed:
            if sandbox in self._all and sandbox not in self._fresh:
                self._idle.append(sandbox)
                self._changed.notify_all()

    def _is_over(self, sandbox: Sandbox) -> None:
        with self._changed:
            self._all.discard(sandbox)
            self._fresh.discard(sandbox)
            if sandbox in self._idle:
                self._idle.remove(sandbox)
            self._changed.notify_all()
