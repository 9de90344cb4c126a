"""The host: functions by name. It reaps what is idle, and ends everything that it started."""

import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .fleet import Fleet
from .function import Answer, Function
from .logs import Line, Logs
from .runtime import runtime_python
from .sandbox import Place

_LOOKS_EVERY_S = 0.5


class LambdaHost:
    """Serves what is in `task_root`, the unzipped artifact. `idle_s` is how long a process is kept that nobody uses."""

    def __init__(
        self,
        task_root: Path,
        functions: Iterable[Function],
        *,
        idle_s: float = 300.0,
        tell: Callable[[Line], None] = lambda _line: None,
        python: Path | None = None,
    ) -> None:
        # One thread starts every process and outlives them: see dev/children.py.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")
        self.logs = Logs(tell)
        place = Place(task_root.resolve(), python or runtime_python(), self._spawner)
        self._fleets = {function.name: Fleet(function, place, self.logs) for function in functions}
        self._idle_s = idle_s
        self._stopping = threading.Event()
        self._reaper = threading.Thread(target=self._reap, name="reaper", daemon=True)

    def start(self) -> Self:
        self._reaper.start()
        return self

    def stop(self) -> None:
        """May be called twice. Whoever waits for an answer is told that the process has ended."""
        self._stopping.set()
        for fleet in self._fleets.values():
            fleet.stop()
        self._spawner.shutdown()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def fleet(self, name: str) -> Fleet:
        return self._fleets[name]

    def invoke(self, name: str, event: Any) -> Answer:
        """Synchronous. Throttled, PayloadTooLarge; whatever else goes wrong is an answer with a function error."""
        return self._fleets[name].invoke(json.dumps(event).encode())

    def _reap(self) -> None:
        while not self._stopping.wait(_LOOKS_EVERY_S):
            for fleet in self._fleets.values():
                fleet.reap(self._idle_s)
