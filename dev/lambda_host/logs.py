"""What all functions write, and the platform about them, in its order."""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    function: str
    sandbox: int
    text: str

    @property
    def json(self) -> dict[str, Any] | None:
        """Where it is an object: our own lines are, the platform's are not."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def __str__(self) -> str:
        return f"{self.function}-{self.sandbox}  {self.text}"


class Logs:
    """`tell` is called with each line, by the thread that collected it."""

    def __init__(self, tell: Callable[[Line], None] = lambda _line: None, *, most: int = 20_000) -> None:
        self._tell = tell
        self._lines: deque[Line] = deque(maxlen=most)
        self._grown = threading.Condition()

    def add(self, function: str, sandbox: int, text: str) -> None:
        line = Line(function, sandbox, text)
        with self._grown:
            self._lines.append(line)
            self._grown.notify_all()
        self._tell(line)

    def of(self, function: str | None = None) -> list[Line]:
        with self._grown:
            return [line for line in self._lines if function in (None, line.function)]

    def wait_for(self, text: str, function: str | None = None, timeout_s: float = 15.0) -> Line:
        """The first line that holds this text; TimeoutError with all that was said instead."""

        def found() -> Line | None:
            return next(
                (line for line in self._lines if text in line.text and function in (None, line.function)),
                None,
            )

        with self._grown:
            line = self._grown.wait_for(found, timeout_s)
        if line is None:
            raise TimeoutError(f"nobody said {text!r}:\n" + "\n".join(map(str, self.of(function)[-50:])))
        return line
