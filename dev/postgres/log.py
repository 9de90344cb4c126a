"""The server's log: what is shown of it when something fails."""

from pathlib import Path

from dev.postgres.failure import PostgresFailed

MAX_BYTES = 5_000_000
LINES_SHOWN = 12


class ServerLog:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    def start_page(self) -> None:
        """What is shown later begins here."""
        if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
            self.path.replace(self.path.with_suffix(".log.1"))
        self.path.touch(mode=0o600)
        self._start = self.path.stat().st_size

    def tail(self) -> str:
        if not self.path.exists():
            return ""
        with self.path.open("rb") as log:
            log.seek(self._start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LINES_SHOWN:])

    def failure(self, what: str) -> PostgresFailed:
        return PostgresFailed(f"{what}; the last lines of {self.path} are:\n{self.tail() or '    (nothing)'}")
