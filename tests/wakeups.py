"""Who is woken in tests."""

from core.ids import SessionId


class Deaf:
    """Every wake-up is lost: what goes on, goes on because somebody looked."""

    def wake(self, session_id: SessionId) -> None:
        pass

    def recover(self, session_id: SessionId, epoch: int) -> None:
        pass


class Bell:
    """Who is woken by it."""

    def __init__(self) -> None:
        self.woken: list[SessionId] = []

    def wake(self, session_id: SessionId) -> None:
        self.woken.append(session_id)

    def recover(self, session_id: SessionId, epoch: int) -> None:  # noqa: ARG002 - of its shape
        self.woken.append(session_id)
