"""EventBridge Scheduler: invokes one function again and again, asynchronously and without retries, as the template declares it.

Its first time is one interval after the start; while an invocation is still going on, the next one is begun all the same.
"""

import threading
import time
from typing import Any
from uuid import uuid4

from .fleet import Throttled
from .function import ACCOUNT, REGION
from .host import LambdaHost


class Schedule:
    def __init__(self, host: LambdaHost, function: str, *, every_s: float) -> None:
        self._host = host
        self._function = function
        self._every_s = every_s
        self._stopping = threading.Event()
        self._clock = threading.Thread(target=self._tick, name=f"{function}-schedule", daemon=True)

    def start(self) -> "Schedule":
        self._clock.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._clock.is_alive():
            self._clock.join(5)

    def _tick(self) -> None:
        while not self._stopping.wait(self._every_s):
            threading.Thread(target=self._invoke, name=f"{self._function}-scheduled", daemon=True).start()

    def _invoke(self) -> None:
        try:
            self._host.invoke(self._function, scheduled_event())
        except Throttled:
            self._host.logs.add(self._function, 0, "the schedule's invocation was throttled")


def scheduled_event() -> dict[str, Any]:
    """As EventBridge Scheduler sends it where the schedule has no input of its own."""
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": ACCOUNT,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "region": REGION,
        "resources": [f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/latchkey-cleanup"],
        "detail": "{}",
    }
