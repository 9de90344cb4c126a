"""The service as a process that can be killed and started again on its port, with the model beside it, which stays."""

from dataclasses import dataclass, field

from dev.demo_model import DemoModel
from tests.conversations import until
from tests.nursery import Nursery
from tests.streams.conftest import Server, environ_of, free_port

OPERATOR = "the-operator-of-these-tests-who-is-nobody-else"


@dataclass(slots=True)
class Service:
    nursery: Nursery
    # For what a test asks the database by itself: `tests.databases.run(service.database_url, ...)`.
    database_url: str
    # What it says can be scripted (`model.replies`), slowed and cut (`model.faults`), and was asked (`model.requests`).
    model: DemoModel
    # Settings beside the usual ones.
    more: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environ = environ_of(self.database_url, self.model, **{"ADMIN_TOKEN": OPERATOR, **self.more})
        child = self.nursery.start("tests.streams.server", str(self.port), **environ)
        self._server = Server(self.port, child)
        until(self._server.is_up, 60)

    def kill(self) -> None:
        """By SIGKILL, in the middle of whatever it does."""
        if self._server is not None:
            self._server.process.kill()
        self._server = None
